"""Find files that are complete, sniff their type from bytes, decode them to a `Slice`.

Importing this package loads neither numpy nor OpenCV, so that ``--help`` and ``--dry-run`` answer at once.
"""

from screener.inbox.limits import Limits, RefusedError
from screener.inbox.raster import Fetched, decode, develop, fetch, read
from screener.inbox.walk import Entry, Fate, Seen, WalkOptions, check, explain, find, locate, patient_pattern

__all__ = [
    "Entry",
    "Fate",
    "Fetched",
    "Limits",
    "RefusedError",
    "Seen",
    "WalkOptions",
    "check",
    "decode",
    "develop",
    "explain",
    "fetch",
    "find",
    "locate",
    "patient_pattern",
    "read",
]
