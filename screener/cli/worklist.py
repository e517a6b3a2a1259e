"""``screener worklist``: what waits for a person, over all runs in the log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from screener.cli.language import checked_language
from screener.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def run(*, log: Path | None, level: str, top: int, as_json: bool, lang: str | None, color: bool) -> ExitCode:
    """Print the worklist on stdout.

    Raises
    ------
    UsageError
        The level is neither ``study`` nor ``slice``.
    AuditLogError
        There is no such log; or it is damaged, and what stands before the damage was printed.
    """
    from screener.audit import default_log
    from screener.audit.reader import EventReader
    from screener.finding_store import FindingStore
    from screener.report.terminal import Worklist, show, show_json
    from screener.worklist import counts, entries, waiting

    if level not in {"study", "slice"}:
        raise UsageError(f"--level {level!r} is unknown", "choose one of study, slice")
    speech = checked_language(lang)
    reader = EventReader(log or default_log())
    with FindingStore() as store:
        waiting(reader, store)
        studies, slices = counts(store, level)
        worklist = Worklist(entries(store, level), studies, slices)
        if as_json:
            show_json(worklist)
        else:
            show(worklist, top, speech, color=color)
    sys.stdout.flush()
    if reader.problem is not None:
        raise reader.problem
    return ExitCode.OK
