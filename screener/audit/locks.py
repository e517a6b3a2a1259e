"""Two locks: one scan at a time over a log, and one append at a time by whoever writes."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from screener.audit.events import now
from screener.audit.files import Access, explained, open_private, write_all
from screener.errors import AuditLogError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.2
_APPEND_WAIT = 30.0
"""Seconds to wait for another append: one takes milliseconds, so longer means a stopped process."""
_READ_WAIT = 5.0
_NOTE = 4096
"""Bytes read of what the holder of a lock says about itself."""


def write_lock_path(log: Path) -> Path:
    """Return the file whose lock is held for each append."""
    return log.with_name(f"{log.name}.write.lock")


def run_lock_path(log: Path) -> Path:
    """Return the file whose lock a scan holds for its whole run."""
    return log.with_name(f"{log.name}.run.lock")


class FileLock:
    """An exclusive lock that the system lets go when its process dies, however it dies."""

    def __init__(self, path: Path, access: Access) -> None:
        self.path = path
        self._access = access
        self._fd: int | None = None

    def acquire(self, wait: float) -> bool:
        """Take the lock, trying for `wait` seconds; return whether it is held now."""
        deadline = time.monotonic() + wait
        pause = _FIRST_PAUSE
        while not self._attempt():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)
        return True

    def _attempt(self) -> bool:
        while True:
            if self._fd is None:
                self._fd = open_private(self.path, self._access, os.O_RDWR)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if self._named():
                return True
            # Someone removed the file: a lock on what has no name any more keeps nobody out.
            self.close()

    def _named(self) -> bool:
        assert self._fd is not None  # noqa: S101 - only called while open
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self.path, follow_symlinks=False))  # noqa: PTH116 - twice the speed
        except FileNotFoundError:
            return False

    def note(self, text: bytes) -> None:
        """Write down who holds the lock, for those who find it taken."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
            write_all(self._fd, text)

    def read_note(self) -> bytes:
        """Return what the holder wrote down."""
        return b"" if self._fd is None else os.pread(self._fd, _NOTE, 0)

    def release(self) -> None:
        """Let the lock go; the file stays, since removing it would let two in."""
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let the lock go and forget the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class WriteLock:
    """Held from reading the end of the log to the write that follows it."""

    def __init__(self, log: Path, access: Access) -> None:
        self._lock = FileLock(write_lock_path(log), access)
        self._log = log

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for the block.

        Raises
        ------
        AuditLogError
            If another process keeps it for half a minute.
        """
        with explained(self._lock.path):
            taken = self._lock.acquire(_APPEND_WAIT)
        if not taken:
            raise AuditLogError(
                f"another process has been writing to {self._log} for {_APPEND_WAIT:.0f} s",
                f"See who with `fuser -v {self._lock.path}`; a stopped process must be continued or ended.",
            )
        try:
            yield
        finally:
            self._lock.release()

    def close(self) -> None:
        """Forget the lock file."""
        self._lock.close()


class RunLock:
    """Held by a scan from beginning to end: two scans over one log would judge the same slices twice."""

    def __init__(self, log: Path, access: Access) -> None:
        self._lock = FileLock(run_lock_path(log), access)
        self._log = log

    def acquire(self, wait: float) -> None:
        """Take the lock, trying for `wait` seconds.

        Raises
        ------
        AuditLogError
            If another scan holds it; the message says which.
        """
        with explained(self._lock.path):
            taken = self._lock.acquire(wait)
            holder = self._lock.read_note()
            if taken:
                self._lock.note(_whoami())
        if not taken:
            self._lock.close()
            raise AuditLogError(
                f"another scan is using {self._log}: {_describe(holder)}",
                "Wait for it to end, let this one wait with --wait, or give this one a log of its own.",
            )

    def close(self) -> None:
        """Let the next scan in."""
        with suppress(OSError):
            self._lock.note(b"")
        self._lock.close()


def _whoami() -> bytes:
    return json.dumps({"pid": os.getpid(), "host": os.uname().nodename, "since": now()}).encode("ascii")


def _describe(note: bytes) -> str:
    """Say who holds the lock; the note may be anything, so only harmless text of it is shown."""
    try:
        holder: Any = json.loads(note)
        pid, host, since = int(holder["pid"]), str(holder["host"]), str(holder["since"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "it did not say which process it is"
    harmless = "".join(c for c in f"host {host[:64]}, since {since[:32]}" if c.isprintable())
    return f"process {pid} on {harmless}"


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Keep writers out while a reader looks, where that is possible.

    A copy of a log has no lock file, and an auditor may not be allowed to open it: both read all the same.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield
        return
    try:
        _wait_shared(fd)
        yield
    finally:
        os.close(fd)


def _wait_shared(fd: int) -> None:
    deadline = time.monotonic() + _READ_WAIT
    while time.monotonic() < deadline:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_FIRST_PAUSE)
        except OSError:
            return
        else:
            return
