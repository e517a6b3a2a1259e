"""Find files that are complete, sniff their type from bytes, decode them to a `Slice`.

Importing this package loads neither numpy nor OpenCV, so that ``--help`` and ``--dry-run`` answer at once.
"""

from screener.inbox.limits import Limits, RefusedError
from screener.inbox.picture import FileBytes, decode, decode_slice, fetch, read
from screener.inbox.studies import Grouping
from screener.inbox.walk import Entry, Seen, WalkOptions, WalkOutcome, check, explain, find, locate, patient_pattern

__all__ = [
    "Entry",
    "FileBytes",
    "Grouping",
    "Limits",
    "RefusedError",
    "Seen",
    "WalkOptions",
    "WalkOutcome",
    "check",
    "decode",
    "decode_slice",
    "explain",
    "fetch",
    "find",
    "locate",
    "patient_pattern",
    "read",
]
