"""RECEIVED and DELETED: only what was answered may be deleted, and verification says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from screener.audit import AuditLog, Kind, read, verify
from screener.audit.events import COMPLETE

if TYPE_CHECKING:
    from pathlib import Path

CONTENTS = "c" * 64


def write_received(log: AuditLog, *, folder: str = "1.2", reason: str = COMPLETE, deferred: int = 0) -> str:
    log.start({"inbox": "/in"})
    received = log.received(
        {
            "inbox": "/in",
            "folder": folder,
            "files": 2,
            "bytes": 10,
            "contents_sha256": CONTENTS,
            "last_arrival": "2026-01-01T00:00:00.000000Z",
            "senders": ["MR1"],
        }
    )
    log.end({"files": 2, "deferred": deferred}, reason)
    return received


def delete(log: AuditLog, received: str, folder: str = "1.2") -> None:
    log.deleted(
        {
            "inbox": "/in",
            "folder": folder,
            "files": 2,
            "contents_sha256": CONTENTS,
            "received": received,
            "after_days": 30.0,
        }
    )


def test_what_was_answered_may_be_deleted_once(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with AuditLog(path) as log:
        received = write_received(log)
    with AuditLog(path) as log:
        delete(log, received)
    assert verify(path).ok
    assert [event["event"] for event in read(path)] == [Kind.START, Kind.RECEIVED, Kind.END, Kind.DELETED]


@pytest.mark.parametrize(
    ("reason", "deferred", "folder"), [("interrupted", 0, "1.2"), (COMPLETE, 1, "1.2"), (COMPLETE, 0, "1.3")]
)
def test_a_deletion_without_an_answer_does_not_verify(tmp_path: Path, reason: str, deferred: int, folder: str) -> None:
    path = tmp_path / "log.jsonl"
    with AuditLog(path) as log:
        received = write_received(log, reason=reason, deferred=deferred)
    with AuditLog(path) as log:
        delete(log, received, folder)
    bad = verify(path).first_bad
    assert bad is not None
    assert (bad.line, "whose result the log does not hold" in bad.why) == (4, True)
