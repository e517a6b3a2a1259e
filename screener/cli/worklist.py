"""``screener worklist``: what waits for a person, over all runs in the log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from screener.cli.scan import checked_language
from screener.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path


def run(*, log: Path | None, top: int, as_json: bool, lang: str | None, color: bool) -> ExitCode:
    """Print the worklist on stdout.

    Raises
    ------
    AuditLogError
        There is no such log; or it is damaged, and what stands before the damage was printed.
    """
    from screener.audit import default_log
    from screener.audit.reader import EventReader
    from screener.finding_store import FindingStore
    from screener.report.terminal import show, show_json
    from screener.worklist import waiting

    speech = checked_language(lang)
    reader = EventReader(log or default_log())
    with FindingStore() as store:
        waiting(reader, store)
        if as_json:
            show_json(store)
        else:
            show(store, top, speech, color=color)
    sys.stdout.flush()
    if reader.problem is not None:
        raise reader.problem
    return ExitCode.OK
