"""Append, chain, recover, read and verify the events of the audit log: the only state that there is.

Importing this package loads the standard library and msgspec only, and SQLite not before the first look-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from screener.audit.anchor import Anchor, read_anchor
from screener.audit.events import GENESIS, SCHEMA, Event, Kind, finding_of, measurements_of, study_finding_of
from screener.audit.files import default_log, refuse_inside
from screener.audit.log import ROTATE_BYTES, AuditLog
from screener.audit.segments import segments
from screener.audit.verify import BadLine, Verification, read, verify

if TYPE_CHECKING:
    from screener.audit.index import History

__all__ = [
    "GENESIS",
    "ROTATE_BYTES",
    "SCHEMA",
    "Anchor",
    "AuditLog",
    "BadLine",
    "Event",
    "History",
    "Kind",
    "Verification",
    "default_log",
    "finding_of",
    "measurements_of",
    "read",
    "read_anchor",
    "refuse_inside",
    "segments",
    "study_finding_of",
    "verify",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562 hands out whatever the module exports
    """Import the look-ups on first use: ``--help`` has no need of SQLite."""
    if name == "History":
        from screener.audit.index import History

        return History
    raise AttributeError(f"module 'screener.audit' has no attribute {name!r}")
