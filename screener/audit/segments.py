"""Where a log's lines lie: sealed segments in order, then the one being written."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, suppress
from typing import IO, TYPE_CHECKING, NamedTuple

from screener.audit.events import MAX_LINE
from screener.audit.files import explained, open_for_reading
from screener.audit.locks import shared, write_lock_path
from screener.errors import AuditLogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class Line(NamedTuple):
    """One line and where it lies."""

    segment: int
    """1 for the oldest; sealing a segment does not change its number."""
    path: Path
    number: int
    """1 for the first line read from this file."""
    offset: int
    """Bytes before the line in its file."""
    raw: bytes


def sealed_path(log: Path, number: int) -> Path:
    """Return the name of a sealed segment: ``audit.000001.jsonl`` beside ``audit.jsonl``."""
    return log.with_name(f"{log.stem}.{number:06d}{log.suffix}")


def sealed_segments(log: Path) -> list[tuple[int, Path]]:
    """Return the number and path of each sealed segment, oldest first."""
    name = re.compile(re.escape(log.stem) + r"\.([0-9]{6,})" + re.escape(log.suffix))
    return sorted(
        (int(match[1]), entry) for entry in log.parent.iterdir() if (match := name.fullmatch(entry.name)) is not None
    )


def segments(path: Path) -> list[Path]:
    """Return every existing file of a log in the order of its chain.

    Parameters
    ----------
    path : Path
        The log as the user names it: the segment being written, which comes last.

    Raises
    ------
    AuditLogError
        If the folder cannot be listed.
    """
    with explained(path):
        files = [segment for _, segment in sealed_segments(path)]
        return [*files, path] if path.exists() else files


def open_segment(log: Path, number: int) -> IO[bytes]:
    """Open the file that has this number, sealed or still being written.

    Raises
    ------
    OSError, AuditLogError
        If there is none, or it is not an ordinary file.
    """
    sealed = sealed_path(log, number)
    with suppress(FileNotFoundError):
        return open_for_reading(sealed)
    file = open_for_reading(log)
    if not sealed.exists():
        return file
    # It was sealed between the two looks, and what we opened is its successor.
    file.close()
    return open_for_reading(sealed)


def holds(log: Path, segment: int, size: int, digest: str) -> bool:
    """Say whether the first `size` bytes of a segment end in the event with this hash."""
    ending = f'{digest}"}}\n'.encode("ascii", "replace")
    try:
        with open_segment(log, segment) as file:
            return os.pread(file.fileno(), len(ending), max(0, size - len(ending))) == ending
    except (OSError, AuditLogError):
        return False


def lines(log: Path, *, segment: int = 0, offset: int = 0) -> Iterator[Line]:
    """Stream a log's lines as they stood when the first was asked for.

    Parameters
    ----------
    log : Path
    segment, offset : int
        Where to begin; segments with a smaller number are passed over.

    Yields
    ------
    Line
        A line longer than the bound comes in pieces, none of which parses.

    Raises
    ------
    AuditLogError
        If there is no such log or it cannot be read.
    """
    with ExitStack() as stack, explained(log):
        # Under the lock no batch is half-written and nobody renames the file between the two looks.
        with shared(write_lock_path(log)):
            sealed = sealed_segments(log)
            active, size = _open_active(log, stack, required=not sealed)
        for number, path in sealed:
            if number >= segment:
                with open_for_reading(path) as file:
                    yield from _lines(file, number, path, offset if number == segment else 0, None)
        number = sealed[-1][0] + 1 if sealed else 1
        if active is not None and number >= segment:
            yield from _lines(active, number, log, offset if number == segment else 0, size)


def _open_active(log: Path, stack: ExitStack, *, required: bool) -> tuple[IO[bytes] | None, int]:
    try:
        file = stack.enter_context(open_for_reading(log))
    except FileNotFoundError:
        # A power cut between sealing and beginning anew leaves only sealed segments.
        if required:
            raise AuditLogError(f"there is no audit log {log}", "Check the path; a scan creates the log.") from None
        return None, 0
    size = file.seek(0, 2)
    return file, size


def lines_of(paths: Sequence[Path]) -> Iterator[Line]:
    """Stream the lines of the very files named, as one chain in that order.

    Raises
    ------
    AuditLogError
        If one cannot be read.
    """
    for number, path in enumerate(paths, 1):
        with explained(path), open_for_reading(path) as file:
            yield from _lines(file, number, path, 0, None)


def _lines(file: IO[bytes], segment: int, path: Path, offset: int, size: int | None) -> Iterator[Line]:
    file.seek(offset)
    number = 0
    limit = MAX_LINE + 1
    while size is None or offset < size:
        raw = file.readline(limit if size is None else min(limit, size - offset))
        if not raw:
            return
        number += 1
        yield Line(segment, path, number, offset, raw)
        offset += len(raw)
