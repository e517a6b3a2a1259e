"""How the inbox of a service stands, from the disk and the log alone: the service need not run for it."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from screener.pacs.answers import LoggedAnswers
from screener.pacs.contents import contents, logged_name, names
from screener.pipeline.run import shown_place

if TYPE_CHECKING:
    from pathlib import Path

    from screener.pipeline.config import ScanConfig


class WaitingFolder(msgspec.Struct, frozen=True):
    """A folder without an answer."""

    folder: Annotated[str, Meta(description="As the log names it.")]
    files: Annotated[int, Meta(ge=0, description="Its files.")]
    seconds: Annotated[int, Meta(ge=0, description="Since the last of them came.")]
    late: Annotated[bool, Meta(description="Whether it waits for too long.")]


class InboxStatus(msgspec.Struct, frozen=True):
    """How an inbox stands."""

    inbox: Annotated[str, Meta(description="As the log names it.")]
    answered: Annotated[int, Meta(ge=0, description="Folders with an answer.")]
    waiting: Annotated[tuple[WaitingFolder, ...], Meta(description="Folders without one, the longest waiting first.")]
    late: Annotated[int, Meta(ge=0, description="How many of these wait for too long.")]
    last_study: Annotated[str | None, Meta(description="Time of the last STUDY event of this inbox, UTC.")]
    free_bytes: Annotated[int, Meta(ge=0, description="Free disk.")]


def inbox_status(inbox: Path, log: Path, config: ScanConfig, late_after: float) -> InboxStatus:
    """Compare an inbox with its log.

    Parameters
    ----------
    inbox, log : Path
    config : ScanConfig
        Says how files are found, and under which names they appear.
    late_after : float
        Seconds after which a folder waits for too long.

    Raises
    ------
    AuditLogError
        The log cannot be read.
    """
    pseudonyms, walk = config.pseudonyms(), config.walk_options()
    shown = shown_place(inbox, config, pseudonyms)
    answers = LoggedAnswers(log, shown)
    answers.refresh()
    answered, waiting, now = 0, [], time.time()
    for name in names(inbox):
        found = contents(inbox, name, walk)
        if found is None:
            continue
        folder = logged_name(inbox, name, pseudonyms)
        if answers.is_answered(folder, found.sha256):
            answered += 1
        else:
            seconds = max(0, round(now - found.newest))
            waiting.append(WaitingFolder(folder, found.files, seconds, seconds > late_after))
    waiting.sort(key=lambda one: (-one.seconds, one.folder))
    late = sum(one.late for one in waiting)
    free = shutil.disk_usage(inbox).free
    return InboxStatus(shown, answered, tuple(waiting), late, answers.last_study, free)
