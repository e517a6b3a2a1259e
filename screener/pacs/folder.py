"""Watch a folder: what changes below the inbox is noted under the first part of its path."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from screener.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from screener.pacs.arrivals import Arrivals

LOGGER = logging.getLogger("screener.pacs")
INSTALL = "python -m pip install 'screener[watch]'"
_STEP_MS, _DEBOUNCE_MS, _WAKE_MS = 200, 1000, 1000


class FolderWatch:
    """Notes changes in a thread of its own; use it as a context manager.

    Parameters
    ----------
    inbox : Path
    arrivals : Arrivals
    poll : bool
        Compare listings instead of asking the system, for shares that tell of no changes.

    Raises
    ------
    UsageError
        watchfiles is not installed.
    """

    def __init__(self, inbox: Path, arrivals: Arrivals, *, poll: bool = False) -> None:
        try:
            import watchfiles
        except ImportError:
            raise UsageError("watching a folder needs watchfiles", f"run: {INSTALL}") from None
        self._watch = watchfiles.watch
        self._inbox, self._arrivals, self._poll = os.path.realpath(inbox), arrivals, poll
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="folder-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            for changes in self._watch(
                self._inbox,
                watch_filter=None,
                debounce=_DEBOUNCE_MS,
                step=_STEP_MS,
                rust_timeout=_WAKE_MS,
                stop_event=self._over,
                force_polling=True if self._poll else None,
                raise_interrupt=False,
            ):
                self._note(path for _, path in changes)
        except OSError as error:
            # The service lists the inbox again and again: it only notices later.
            LOGGER.error(  # noqa: TRY400 - no traceback
                "the folder cannot be watched (%s): what arrives is found when the inbox is listed; "
                "a larger fs.inotify.max_user_watches, or --poll, helps",
                error.strerror,
            )

    def _note(self, paths: Iterable[str]) -> None:
        for name in {Path(os.path.relpath(path, self._inbox)).parts[0] for path in paths}:
            if not name.startswith("."):
                self._arrivals.note(name)
