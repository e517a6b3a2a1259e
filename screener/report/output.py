"""Where a page may be written, and how: complete or not at all, readable by its owner only, over no file but a page."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from screener.errors import ScreenerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

_HEAD = 200
"""Bytes of a page within which its mark stands."""


def refuse(out: Path, mark: str, kind: str) -> None:
    """Make sure that a page may be written, before any work is done for it.

    Parameters
    ----------
    out : Path
    mark : str
        What tells a page of this kind from a file that must not be replaced.
    kind : str
        Such as ``worklist``, for the message.

    Raises
    ------
    UsageError
        Its folder is missing, its name is impossible, or something else is in its place.
    """
    try:
        if not out.parent.is_dir():
            raise UsageError(f"the folder of {out} does not exist", "create it first, or name a file elsewhere")
        taken = out.exists() and not _has(out, mark)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror or error}", "name a file elsewhere") from None
    if taken:
        raise UsageError(f"{out} exists and is no {kind}", "it is left alone: name another file")


def refuse_inside(out: Path, inbox: Path) -> None:
    """Make sure that a page does not come to lie inside an inbox.

    Raises
    ------
    UsageError
        It would.
    """
    folder = out.parent.resolve()
    if inbox.is_dir() and any(above.exists() and above.samefile(inbox) for above in (folder, *folder.parents)):
        raise UsageError(
            f"{out} lies inside the inbox {inbox}", "the next scan would take it for a slice: name a file elsewhere"
        )


@contextmanager
def whole(out: Path) -> Iterator[IO[str]]:
    """Write beside the page, then put it in its place; an exception leaves the former page alone.

    Yields
    ------
    text stream
        UTF-8; what is no text is spelt out.

    Raises
    ------
    ScreenerError
        The page cannot be written.
    """
    draft = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(out)
    except OSError as error:
        raise unwritable(out, error) from None
    finally:
        with suppress(OSError):
            draft.unlink()


def unwritable(out: Path, error: OSError) -> ScreenerError:
    """Say that a page cannot be written though its place was found fit: no slip of whoever gave the command."""
    return ScreenerError(
        f"{out} cannot be written: {error.strerror or error}",
        "free some space or name a file elsewhere; a worklist can be made again from the log: screener report",
    )


def _has(out: Path, mark: str) -> bool:
    # Asked before anything is opened: a pipe without a writer would keep us waiting for ever.
    if not out.is_file():
        return False
    with out.open("rb") as file:
        return mark.encode() in file.read(_HEAD)
