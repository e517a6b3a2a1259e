"""A note of the head kept elsewhere: a chain alone cannot see that its tail was cut."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from screener.audit.events import now
from screener.audit.files import Access, explained, open_for_reading, replace
from screener.audit.segments import holds
from screener.errors import AuditLogError

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST = 1 << 16


@dataclass(frozen=True, slots=True)
class Anchor:
    """The head of a log at some moment.

    Attributes
    ----------
    log : str
        Name of the log's file.
    hash : str
        Hash of its last event.
    segment : int
        Number of the file in which that event lies, 1 for the log's first.
    size : int
        Bytes of that file up to the end of the event.
    timestamp : str
        When this was written, UTC, ISO 8601.
    """

    log: str
    hash: str
    segment: int
    size: int
    timestamp: str


def write_anchor(path: Path, log: Path, head: str, position: tuple[int, int], access: Access) -> None:
    """Write down the head of a log.

    Raises
    ------
    AuditLogError
        If that cannot be done; an earlier note then stands.
    """
    segment, size = position
    anchor = Anchor(log=log.name, hash=head, segment=segment, size=size, timestamp=now())
    with explained(path):
        replace(path, json.dumps(asdict(anchor), indent=2).encode("ascii") + b"\n", access)


def read_anchor(path: Path) -> Anchor:
    """Read such a note.

    Raises
    ------
    AuditLogError
        If there is none, or it is not one.
    """
    try:
        with explained(path), open_for_reading(path) as file:
            content = json.loads(file.read(_LONGEST))
        anchor = Anchor(**content)
    except (ValueError, TypeError, RecursionError):
        raise AuditLogError(f"{path} is not an anchor of an audit log", "Name the file given to --anchor.") from None
    if not (isinstance(anchor.hash, str) and isinstance(anchor.segment, int) and isinstance(anchor.size, int)):
        raise AuditLogError(f"{path} is not an anchor of an audit log", "Name the file given to --anchor.")
    return anchor


def refuse_lost(path: Path, log: Path) -> None:
    """Refuse to go on with a log that lost the anchored event: the next anchor would wipe out the proof.

    Raises
    ------
    AuditLogError
        If the event is not where it was, the anchor is not one, or its folder does not exist.
    """
    with explained(path):
        if not path.parent.is_dir():
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        if not path.exists():
            return
    anchor = read_anchor(path)
    if not holds(log, anchor.segment, anchor.size, anchor.hash):
        raise AuditLogError(
            f"the event anchored in {path} is not in {log}: its end was cut off, or the anchor belongs to another log",
            "Run `screener verify` with the anchor, and move both aside as evidence before scanning again.",
        )
