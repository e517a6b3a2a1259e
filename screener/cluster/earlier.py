"""Which slices the log knows, by path: what a worker is told so that it need not score them again."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import TYPE_CHECKING, Self

from screener.audit.events import Kind, text_of
from screener.audit.reader import marked
from screener.domain.slice import Reason

if TYPE_CHECKING:
    from pathlib import Path

    from screener.audit.events import Event
    from screener.cluster.orders import Known
    from screener.triage import TriagePolicy

_NOTHING: Known = frozenset()
_AT_ONCE = 10_000
_CACHE_KIB = 32 << 10


class EarlierResults:
    """The results of a log by path, in a temporary file without a name; use it as a context manager.

    It only saves work: whatever it says is looked up in the log again before a result counts as seen before.
    """

    def __init__(self) -> None:
        self._base = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._base.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._base.execute("CREATE TABLE result (path INTEGER, sha256 BLOB, frame INTEGER)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def read(self, log: Path, policy: TriagePolicy, preprocessing: str) -> None:
        """Take in what a log says about this model, preprocessing and threshold; nothing where there is no log.

        Raises
        ------
        AuditLogError
            It cannot be read.
        """
        from screener.audit.segments import sealed_segments

        if not (log.exists() or (log.parent.exists() and sealed_segments(log))):
            return
        wanted = {
            "model_sha256": policy.model_sha256,
            "preprocessing": preprocessing,
            "threshold": text_of(policy.point.threshold),
        }
        rows: list[tuple[int, bytes, int | None]] = []
        for event in marked(log, Kind.RESULT):
            row = _row(event, wanted)
            if row is not None:
                rows.append(row)
            if len(rows) >= _AT_ONCE:
                self._add(rows)
                rows = []
        self._add(rows)
        self._base.execute("CREATE INDEX by_path ON result (path)")

    def of(self, path: str) -> Known:
        """Return digest and frame of what is known of a path."""
        query = "SELECT sha256, frame FROM result WHERE path = ?"
        rows = self._base.execute(query, (_key(path),)).fetchall()
        return frozenset((bytes(digest).hex(), frame) for digest, frame in rows) if rows else _NOTHING

    def _add(self, rows: list[tuple[int, bytes, int | None]]) -> None:
        self._base.execute("BEGIN")
        self._base.executemany("INSERT INTO result VALUES (?, ?, ?)", rows)
        self._base.execute("COMMIT")


def _row(event: Event, wanted: dict[str, str]) -> tuple[int, bytes, int | None] | None:
    """Return the row of a result that counts; what could not be read for want of an extra is tried again."""
    if any(event.get(name) != value for name, value in wanted.items()) or event["reason"] == Reason.UNSUPPORTED_TYPE:
        return None
    path, digest, frame = event["path"], event["sha256"], event.get("frame")
    try:
        return (_key(path), bytes.fromhex(digest), frame) if digest else None
    except (AttributeError, TypeError, ValueError):
        return None


def _key(path: str) -> int:
    text = path.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)
