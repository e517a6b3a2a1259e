"""Open and replace files so that nobody is let in and nothing is half-written."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from screener.errors import AuditLogError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ_AHEAD = 1 << 18
"""Bytes fetched at once when streaming a log."""
_SHARED = 0o660
"""Permission bits of a log that a group shares."""
_FULL = ("no room to write", "Free some space or raise the quota, then run the same command: nothing is half-written.")
_CLOSED = ("may not be written", "Give this user write access to the file and its folder, or name another with --log.")
_REASONS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
    errno.EROFS: _CLOSED,
    errno.ELOOP: ("is a symbolic link", "Name the real file: a link could be turned to another one unseen."),
    errno.EISDIR: ("is a folder", "Name a file inside it."),
    errno.ENOENT: ("its folder does not exist", "Create the folder first, or check that the share is mounted."),
    errno.ENOTDIR: ("its folder is a file", "Name a file inside a folder."),
}


def explain(error: OSError, path: Path) -> AuditLogError:
    """Return what an operating system error means for the audit log, with what to do next."""
    fallback = (error.strerror or str(error), "Check the disk and the folder, then run the same command again.")
    why, hint = _REASONS.get(error.errno or 0, fallback)
    return AuditLogError(f"audit log {path}: {why}", hint)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn each `OSError` of the block into an `AuditLogError` about `path`."""
    try:
        yield
    except OSError as error:
        raise explain(error, path) from error


@dataclass(frozen=True, slots=True)
class Access:
    """Who may open a new file.

    Attributes
    ----------
    mode : int
        Permission bits.
    gid : int or None
        Group that owns the file; None keeps what the system gives.
    """

    mode: int = 0o600
    gid: int | None = None

    @classmethod
    def for_group(cls, group: str | None) -> Access:
        """Return owner-only access, or owner-and-group when a group is named.

        Raises
        ------
        AuditLogError
            If the system knows no such group.
        """
        if group is None:
            return cls()
        import grp

        try:
            return cls(_SHARED, grp.getgrnam(group).gr_gid)
        except KeyError:
            raise AuditLogError(
                f"the group {group!a} does not exist", "Create it, or name one that `getent group` lists."
            ) from None

    @classmethod
    def like(cls, fd: int) -> Access:
        """Return the access that an open file has."""
        state = os.fstat(fd)
        return cls(stat.S_IMODE(state.st_mode) & _SHARED, state.st_gid)


def open_private(path: Path, access: Access, flags: int) -> int:
    """Open a regular file, creating it for `access` only; links and special files are refused.

    Returns
    -------
    int
        A file descriptor that child processes do not inherit.

    Raises
    ------
    OSError
        As the system says.
    AuditLogError
        If the path names something other than a regular file.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    while True:
        try:
            fd = os.open(path, flags)
        except FileNotFoundError:
            # Exclusive, so that only the process that made the file sets its owner and mode.
            with suppress(FileExistsError):
                return _created(path, access, flags)
            continue
        try:
            refuse_irregular(fd, path)
            _tighten(fd, access)
        except BaseException:
            os.close(fd)
            raise
        return fd


def _created(path: Path, access: Access, flags: int) -> int:
    fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if access.gid is not None and os.fstat(fd).st_gid != access.gid:
            os.fchown(fd, -1, access.gid)
        os.fchmod(fd, access.mode)
        sync_folder(path.parent)
    except BaseException:
        os.close(fd)
        path.unlink(missing_ok=True)
        raise
    return fd


def _tighten(fd: int, access: Access) -> None:
    """Take away what others may do, and give the named group its part; only the owner can."""
    state = os.fstat(fd)
    if state.st_uid != os.geteuid():
        return
    mode = stat.S_IMODE(state.st_mode)
    if access.gid is not None:
        if state.st_gid != access.gid:
            os.fchown(fd, -1, access.gid)
        expected = access.mode
    else:
        # Opened to a group by an earlier run: a run without the option does not shut the group out.
        expected = mode if mode == _SHARED else access.mode
    if mode != expected:
        os.fchmod(fd, expected)


def refuse_irregular(fd: int, path: Path) -> None:
    """Raise `AuditLogError` unless the open file is an ordinary one.

    Raises
    ------
    AuditLogError
        For a folder, pipe, socket or device.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise explain(OSError(errno.EISDIR, ""), path)
    if not stat.S_ISREG(mode):
        raise AuditLogError(f"audit log {path}: is not an ordinary file", "Name an ordinary file.")


def open_for_reading(path: Path) -> IO[bytes]:
    """Open an existing regular file; a pipe in its place is refused rather than waited for.

    Raises
    ------
    OSError
        As the system says.
    AuditLogError
        If the path names something other than a regular file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        refuse_irregular(fd, path)
    except AuditLogError:
        os.close(fd)
        raise
    return os.fdopen(fd, "rb", buffering=_READ_AHEAD)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte: one call may take only a part of them."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(folder: Path) -> None:
    """Make a new or renamed entry survive a power cut; a file system that cannot is left alone."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            os.fsync(fd)
    finally:
        os.close(fd)


def replace(path: Path, data: bytes, access: Access) -> None:
    """Write a whole file so that a reader sees the old content or the new, never a part.

    Raises
    ------
    OSError
        As the system says; the old content then stands.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    fd = open_private(draft, access, os.O_WRONLY | os.O_TRUNC)
    try:
        write_all(fd, data)
        os.fsync(fd)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    sync_folder(path.parent)


_SHADOW = ".shadow"


def default_log() -> Path:
    """Return the log used when none is named: ``screener/audit.jsonl`` in the user's XDG state folder.

    Raises
    ------
    AuditLogError
        If this user has no home.
    """
    home = os.environ.get("XDG_STATE_HOME", "")
    # The XDG rule: a relative value is to be ignored.
    try:
        state = Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        raise AuditLogError("this user has no home folder for the audit log", "Name a log with --log.") from None
    return state / "screener" / "audit.jsonl"


def shadow_log(log: Path) -> Path:
    """Return the log of the shadow runs of a log, beside it: ``audit.shadow.jsonl``. Nobody acts on what it holds."""
    return log.with_name(f"{log.stem}{_SHADOW}{log.suffix}")


def refuse_shadow(log: Path) -> None:
    """Refuse the log of shadow runs where answers are to be written that somebody acts on.

    Raises
    ------
    UsageError
        Its name is that of such a log.
    """
    if log.stem.endswith(_SHADOW):
        raise UsageError(f"{log} is the log of shadow runs", "name the log of the model in use, or another file")


def make_default_folder(log: Path) -> None:
    """Create the folder of the default log; another folder that is missing may be a share that is not mounted."""
    try:
        default = default_log()
    except AuditLogError:
        return
    if log == default:
        with explained(log):
            log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def refuse_inside(log: Path, inbox: Path) -> None:
    """Refuse a log (or an anchor) that lies inside the folder being screened.

    Raises
    ------
    UsageError
        If it does, whatever links or mounts lead there: the scan would screen its own evidence, and who may
        drop images could write it.
    """
    folder = Path(os.path.realpath(log.parent))
    for above in (folder, *folder.parents):
        if above.exists() and inbox.exists() and above.samefile(inbox):
            raise UsageError(
                f"{log} lies inside the inbox {inbox}", "Name a file outside the inbox, or leave --log out."
            )
