"""The end of a log: its last sound line, and what a crash may have left behind it."""

from __future__ import annotations

import base64
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.audit.events import GENESIS, BadLineError, Event, Kind, new_event, parse
from screener.audit.files import Access, replace
from screener.audit.segments import sealed_segments
from screener.errors import AuditLogError

if TYPE_CHECKING:
    from pathlib import Path

_FIRST_LOOK = 1 << 16
_LONGEST_LOOK = 1 << 26
"""Bytes of the longest end without a sound line that is recovered; a batch is a thousandth of it."""
_KEPT_IN_EVENT = 1 << 16
"""Torn bytes that a RECOVERED event carries itself; longer ones stay in a file beside the log."""


@dataclass(frozen=True, slots=True)
class End:
    """How a file ends.

    Attributes
    ----------
    clean : int
        Bytes up to the end of the last whole line.
    last : bytes
        That line, or nothing when there is none.
    """

    clean: int
    last: bytes


def find_end(fd: int, size: int, path: Path) -> End:
    """Find the last whole line of a file without reading all of it.

    Raises
    ------
    AuditLogError
        If the file ends in more rubbish than a crash leaves.
    """
    look = _FIRST_LOOK
    while True:
        start = max(0, size - look)
        block = os.pread(fd, size - start, start)
        clean = _whole_lines(block)
        begin = block.rfind(b"\n", 0, max(0, clean - 1)) + 1
        if start == 0 or (clean and begin):
            return End(start + clean, block[begin:clean])
        if look >= _LONGEST_LOOK:
            raise _damaged(path, f"no whole line in its last {look} bytes")
        look *= 8


def _whole_lines(block: bytes) -> int:
    """Return how many leading bytes are whole lines; a power cut can leave zeros, which no line holds."""
    clean = block.rfind(b"\n") + 1
    zero = block.find(b"\0", 0, clean)
    return clean if zero < 0 else block.rfind(b"\n", 0, zero) + 1


def _damaged(path: Path, why: str) -> AuditLogError:
    return AuditLogError(
        f"audit log {path} cannot be continued: {why}",
        "Run `screener verify` on it, move the log and its segments aside as evidence, and scan again.",
    )


def last_event(log: Path, end: End) -> Event | None:
    """Return the event that the next one follows: the last of this file, or of the last sealed segment.

    Raises
    ------
    AuditLogError
        If that line is not sound: a crash leaves a cut line, not a changed one.
    """
    path, line = log, end.last
    if not line:
        sealed = sealed_segments(log)
        if not sealed:
            return None
        path = sealed[-1][1]
        line = _last_line(path)
    try:
        return parse(line)
    except BadLineError as error:
        raise _damaged(path, f"its last line {error}") from None


def _last_line(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        size = os.fstat(fd).st_size
        end = find_end(fd, size, path)
    finally:
        os.close(fd)
    if end.clean != size:
        raise _damaged(path, "a sealed segment ends in the middle of a line")
    return end.last


def torn_path(log: Path) -> Path:
    """Return the file that holds torn bytes until an event tells of them."""
    return log.with_name(f"{log.name}.torn")


def set_aside(log: Path, fd: int, clean: int, size: int) -> None:
    """Move what follows the last whole line to a file of its own.

    It is on disk before the log is cut, and joins what an interrupted recovery left there, so no crash loses it.
    """
    side = torn_path(log)
    torn = os.pread(fd, size - clean, clean)
    with suppress(FileNotFoundError):
        torn = side.read_bytes() + torn
    replace(side, torn, Access.like(fd))
    os.ftruncate(fd, clean)
    os.fsync(fd)


def recovered_event(log: Path, run_id: str) -> Event | None:
    """Return the event that tells of torn bytes set aside, or None when there are none."""
    try:
        torn = torn_path(log).read_bytes()
    except FileNotFoundError:
        return None
    digest = hashlib.sha256(torn).hexdigest()
    content = {
        "torn_bytes": len(torn),
        "torn_sha256": digest,
        "torn_base64": base64.b64encode(torn[:_KEPT_IN_EVENT]).decode("ascii"),
        "torn_file": _keeping_name(log, digest).name if len(torn) > _KEPT_IN_EVENT else None,
    }
    return new_event(Kind.RECOVERED, run_id, content)


def clear_torn_bytes(log: Path, event: Event) -> None:
    """Clear the torn bytes away once the log tells of them; those that it could not hold keep a file."""
    side = torn_path(log)
    if event["torn_file"] is None:
        side.unlink(missing_ok=True)
    else:
        side.replace(_keeping_name(log, event["torn_sha256"]))


def _keeping_name(log: Path, digest: str) -> Path:
    return log.with_name(f"{log.name}.torn-{digest[:16]}")


def head_of(event: Event | None) -> str:
    """Return the hash that the next event carries as ``prev``."""
    head: str = GENESIS if event is None else event["hash"]
    return head
