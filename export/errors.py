"""What can be wrong with the data or the run, said so that the data scientist can mend it."""

from __future__ import annotations

import errno
import os

from screener.errors import ExitCode, ScreenerError


class DataError(ScreenerError):
    """Labelled data that cannot be used as given; names the file and line where there is one."""

    code = ExitCode.USAGE


class StoppedError(ScreenerError):
    """Somebody stopped a command that can go on where it was."""

    code = ExitCode.INTERRUPTED


class StorageError(ScreenerError):
    """A file cannot be written or read; what was finished before is kept."""

    @classmethod
    def of(cls, error: OSError) -> StorageError:
        """Say what the system said, and what to do about it."""
        where = f"{error.filename}: " if error.filename else ""
        hint = "what was finished is kept: put it right, then give the same command again"
        if error.errno in {errno.ENOSPC, errno.EDQUOT} or "No space left" in str(error):
            hint = "free some space, then give the same command again: what was finished is kept"
        # The system's own words: HDF5 adds buffers and offsets to them.
        return cls(f"{where}{os.strerror(error.errno) if error.errno else error}", hint)
