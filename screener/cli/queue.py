"""``screener queue``: what triage gains, as waiting times."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.cli.language import checked_language
from screener.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from screener.messages import Language
    from screener.queueing.answer import QueueAnswer


@dataclass(frozen=True, slots=True)
class Shown:
    """How to tell."""

    json: bool
    out: Path | None
    lang: str | None
    color: bool


def run(
    log: Path | None,
    figures: Sequence[float | None],
    shown: Shown,
    *,
    minutes: float,
    hours: float,
    readers: int,
    simulate: bool,
) -> ExitCode:
    """Print the waiting times, and write the page that is asked for.

    Parameters
    ----------
    log : Path or None
    figures : sequence of (float or None)
        By `screener.queueing.answer.FIGURES`; None where the log is to tell.
    shown : Shown
    minutes, hours : float
        See `screener.queueing.answer.QueueOptions`.
    readers : int
    simulate : bool

    Raises
    ------
    ScreenerError
        Of the class that owns the exit code.
    """
    from screener.queueing.answer import FIGURES, QueueOptions, answer

    lang = checked_language(shown.lang)
    if shown.out is not None:
        from screener.report.document import refuse

        refuse(shown.out)
    given = {name: value for name, value in zip(FIGURES, figures, strict=True) if value is not None}
    found, problem = answer(QueueOptions(log, minutes, hours, readers, given, simulate))
    _print(found, shown, lang)
    if shown.out is not None:
        from screener.queueing.show import save_page

        save_page(shown.out, found, lang)
    if problem is not None:
        raise problem
    return ExitCode.OK


def _print(found: QueueAnswer, shown: Shown, lang: Language) -> None:
    if shown.json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        from screener.queueing.show import parts
        from screener.report.console import console, print_parts

        print_parts(console(sys.stdout, color=shown.color), parts(found, lang))
    sys.stdout.flush()
