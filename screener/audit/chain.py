"""Append events to a chained file: alone while writing, whole lines only, sealed when long."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.audit.events import GENESIS, Event, seal
from screener.audit.files import Access, explained, open_private, sync_folder, write_all
from screener.audit.locks import WriteLock
from screener.audit.recovery import clear_torn_bytes, find_end, head_of, last_event, recovered_event, set_aside
from screener.audit.segments import sealed_path, sealed_segments
from screener.errors import AuditLogError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Written:
    """Where a batch went.

    Attributes
    ----------
    segment : int
        Number of the file, 1 for the first of the log.
    offsets : tuple of int
        Where each line begins, in bytes; one more at the end for where the next one will.
    hashes : tuple of str
        Hash of each event.
    synced : bool
        Whether the disk has confirmed it.
    """

    segment: int
    offsets: tuple[int, ...]
    hashes: tuple[str, ...]
    synced: bool


class ChainFile:
    """The end of one log, as its writers share it.

    Parameters
    ----------
    path : Path
    access : Access
        For files that have to be made.
    run_id : str
        Named in an event that tells of a recovery.
    fsync_every : float
        Seconds that may pass between two confirmations by the disk; 0 asks for one with each batch.
    rotate_bytes : int or None
        A file is sealed rather than grow beyond this; None never seals.
    """

    def __init__(
        self, path: Path, access: Access, *, run_id: str, fsync_every: float = 0.0, rotate_bytes: int | None = None
    ) -> None:
        self._path = path
        self._access = access
        self._run_id = run_id
        self._fsync_every = fsync_every
        self._rotate_bytes = rotate_bytes
        self._lock = WriteLock(path, access)
        self._fd = -1
        self._size = -1
        self._segment = 0
        self._dirty = False
        self._synced_at = 0.0
        self.head = GENESIS

    def open(self) -> None:
        """Create the file if need be, and recover what a crash left at its end.

        Raises
        ------
        AuditLogError
            If the log cannot be written or continued.
        """
        with explained(self._path), self._lock.held():
            self._catch_up()

    def append(self, events: Sequence[Event]) -> Written:
        """Write events as one piece.

        Raises
        ------
        AuditLogError
            If they cannot be written; the file is then as long as before.
        """
        with explained(self._path), self._lock.held():
            self._catch_up()
            return self._append(events)

    def _append(self, events: Sequence[Event]) -> Written:
        lines, hashes, head = [], [], self.head
        for event in events:
            line, head = seal(event, head)
            lines.append(line)
            hashes.append(head)
        data = b"".join(lines)
        if self._rotate_bytes is not None and self._size > 0 and self._size + len(data) > self._rotate_bytes:
            self._rotate()
        offsets = [self._size]
        for line in lines:
            offsets.append(offsets[-1] + len(line))
        synced = self._write(data, head)
        return Written(self._segment, tuple(offsets), tuple(hashes), synced)

    def _write(self, data: bytes, head: str) -> bool:
        """Write and, when it is time, wait for the disk; on any failure nothing of it stays."""
        # Unknown until all is done: an interrupt between two of these lines must not leave an old head to chain to.
        before, self._size = self._size, -1
        due = time.monotonic() - self._synced_at >= self._fsync_every
        try:
            write_all(self._fd, data)
            if due:
                os.fsync(self._fd)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._fd, before)
            raise
        self._dirty = not due
        if due:
            self._synced_at = time.monotonic()
        self.head = head
        self._size = before + len(data)
        return due

    def sync(self) -> None:
        """Wait for the disk to confirm what was written.

        Raises
        ------
        AuditLogError
            If the disk refuses.
        """
        if self._dirty:
            with explained(self._path):
                os.fsync(self._fd)
            self._dirty = False

    def position(self) -> tuple[int, int] | None:
        """Return the number of the file being written and its size in bytes; None when that is not known."""
        return None if self._size < 0 else (self._segment, self._size)

    def close(self) -> None:
        """Let go of the file."""
        self._close_file()
        self._lock.close()

    def _catch_up(self) -> None:
        """Learn what others appended since; costs one look at the file when nobody did."""
        state = self._state()
        if self._fd >= 0 and state is not None and os.path.samestat(state, os.fstat(self._fd)):
            if state.st_size == self._size:
                return
            if state.st_size < self._size:
                raise _meddled(self._path, "became shorter")
        else:
            self._reopen()
        self._read_end()

    def _state(self) -> os.stat_result | None:
        try:
            return os.stat(self._path, follow_symlinks=False)  # noqa: PTH116 - once for each batch
        except FileNotFoundError:
            return None

    def _reopen(self) -> None:
        sealed = sealed_segments(self._path)
        access = self._access
        if self._fd >= 0:
            # Another writer may have sealed the file; any other way to vanish is not ours to continue from.
            mine = os.fstat(self._fd)
            if not any(os.path.samestat(path.stat(), mine) for _, path in sealed):
                raise _meddled(self._path, "was removed or replaced")
            access = Access.like(self._fd)
            self._close_file()
        self._segment = sealed[-1][0] + 1 if sealed else 1
        self._fd = open_private(self._path, access, os.O_RDWR | os.O_APPEND)

    def _read_end(self) -> None:
        size = os.fstat(self._fd).st_size
        end = find_end(self._fd, size, self._path)
        last = last_event(self._path, end)
        if end.clean < size:
            set_aside(self._path, self._fd, end.clean, size)
        self.head = head_of(last)
        self._size = end.clean
        self._tell_recovery(last)

    def _tell_recovery(self, last: Event | None) -> None:
        event = recovered_event(self._path, self._run_id)
        if event is None:
            return
        # Told already when the crash came between writing the event and clearing up.
        if last is None or last.get("torn_sha256") != event["torn_sha256"]:
            self._append([event])
            self._dirty = True
            self.sync()
        clear_torn_bytes(self._path, event)

    def _rotate(self) -> None:
        """Seal the file under its number and begin the next one."""
        access = Access.like(self._fd)
        os.fsync(self._fd)
        self._path.rename(sealed_path(self._path, self._segment))
        sync_folder(self._path.parent)
        self._close_file()
        self._segment += 1
        self._fd = open_private(self._path, access, os.O_RDWR | os.O_APPEND)
        self._size = 0

    def _close_file(self) -> None:
        self._size = -1
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _meddled(path: Path, how: str) -> AuditLogError:
    return AuditLogError(
        f"audit log {path} {how} while this process was writing to it",
        "Find out who did that; what the log held before is in a backup or nowhere. Then scan again.",
    )
