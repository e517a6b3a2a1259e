"""``screener monitor``: what changes over time, from the log."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.cli.language import checked_language
from screener.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from screener.messages import Language
    from screener.monitor.structs import Report
    from screener.monitor.watch import MonitorOptions


@dataclass(frozen=True, slots=True)
class Shown:
    """How to tell."""

    json: bool
    out: Path | None
    alert: bool
    log_group: str | None
    lang: str | None
    color: bool


def run(options: MonitorOptions, shown: Shown) -> ExitCode:
    """Print how the site stands, and write the page and the ALERT events that are asked for.

    Raises
    ------
    NothingFoundError
        The log holds no study.
    ScreenerError
        The page cannot be written; or the log is damaged, and what stands before the damage was printed.
    """
    from screener.monitor.watch import watch

    lang = checked_language(shown.lang)
    if shown.out is not None:
        from screener.report.document import refuse

        refuse(shown.out)
    report, problem = watch(options)
    _print(report, shown, lang)
    if shown.out is not None:
        from screener.monitor.page import save_page

        save_page(shown.out, report, lang)
    if problem is not None:
        raise problem
    if not shown.alert or not report.alarms:
        return ExitCode.OK
    from screener.monitor.alerts import record_alarms

    record_alarms(options.log, report, shown.log_group)
    return ExitCode.ALARM


def _print(report: Report, shown: Shown, lang: Language) -> None:
    if shown.json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        from screener.monitor.tables import parts
        from screener.report.console import console, print_parts

        print_parts(console(sys.stdout, color=shown.color), parts(report, lang))
    sys.stdout.flush()
