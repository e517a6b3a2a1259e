"""Delete received files some days after their answer; never before it stands in the log, and was sent."""

from __future__ import annotations

import logging
import os
import shutil
import time
from contextlib import nullcontext
from datetime import datetime
from typing import TYPE_CHECKING

from screener.audit.files import sync_folder
from screener.pacs.contents import contents, logged_name, names

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from screener.pacs.answers import LoggedAnswers, ReceivedFolder
    from screener.pacs.contents import Contents
    from screener.pipeline.run import ScanRun

LOGGER = logging.getLogger("screener.pacs")
_DAY = 86_400.0
_LEAVING = ".deleted-"
"""Prefix under which a folder waits for its removal, out of sight of every scan."""
_EVERY = 3600.0
_DRIFT = 3600.0
"""Seconds by which the clock may have been set while this process ran; beyond, nothing is deleted."""


class Retention:
    """Deletes folders that were answered more than some days ago.

    Parameters
    ----------
    run : ScanRun
    days : float
    is_sent : callable, optional
        Says whether what STUDY events with these hashes say was sent where it had to be.
    lock : context manager, optional
        Held while a folder is taken away, so that nothing is stored in it at that moment.
    clock, monotonic : callable
        Wall clock and monotonic time, s.
    """

    def __init__(
        self,
        run: ScanRun,
        days: float,
        *,
        is_sent: Callable[[set[str]], bool] | None = None,
        lock: AbstractContextManager[object] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run, self._days, self._is_sent = run, days, is_sent
        self._lock = nullcontext() if lock is None else lock
        self._clock, self._monotonic = clock, monotonic
        self._offset = clock() - monotonic()
        self._applied_at: float | None = None

    def apply(self, answers: LoggedAnswers) -> int:
        """Delete what is old enough, at most once an hour; return how many folders were.

        Raises
        ------
        AuditLogError
            The log cannot take the DELETED event: nothing is deleted.
        OSError
        """
        now = self._monotonic()
        if self._applied_at is not None and now - self._applied_at < _EVERY:
            return 0
        self._applied_at = now
        answers.refresh()
        _clear(self._run.inbox)
        if abs(self._clock() - now - self._offset) > _DRIFT:
            LOGGER.warning("the clock was set during the run: nothing is deleted before the next start")
            return 0
        return sum(self._delete(name, answers) for name in list(names(self._run.inbox)))

    def _delete(self, name: str, answers: LoggedAnswers) -> bool:
        folder = logged_name(self._run.inbox, name, self._run.pseudonyms)
        answered, gone = answers.answered.get(folder), answers.deleted.get(folder)
        if gone is None and (answered is None or not self._may_go(answered, answers)):
            return False
        with self._run.audit_log() as log, self._lock:
            found = contents(self._run.inbox, name, self._run.config.walk_options())
            # More has arrived since: that is answered first.
            if found is None or found.sha256 != (gone or (answered and answered.contents_sha256)):
                return False
            # Told before it is done: after a crash in between, the next look finishes it.
            if gone is None and answered is not None:
                log.deleted(self._deleted(folder, found, answered))
            _remove(self._run.inbox, name)
        answers.refresh()
        LOGGER.info("%s: deleted, %d files, %g days after its answer", folder, found.files, self._days)
        return True

    def _deleted(self, folder: str, found: Contents, answered: ReceivedFolder) -> dict[str, object]:
        return {
            "inbox": self._run.shown_inbox,
            "folder": folder,
            "files": found.files,
            "contents_sha256": found.sha256,
            "received": answered.result,
            "after_days": self._days,
        }

    def _may_go(self, answered: ReceivedFolder, answers: LoggedAnswers) -> bool:
        age = self._clock() - datetime.fromisoformat(answered.timestamp).timestamp()
        if age < self._days * _DAY:
            return False
        return self._is_sent is None or self._is_sent(answers.study_events(answered.folder))


def _remove(inbox: Path, name: str) -> None:
    """Move a folder out of sight at once: a folder of which half is gone must never be screened."""
    leaving = inbox / f"{_LEAVING}{os.urandom(4).hex()}"
    (inbox / name).rename(leaving)
    sync_folder(inbox)
    _clear(inbox)


def _clear(inbox: Path) -> None:
    for left in inbox.glob(f"{_LEAVING}*"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
