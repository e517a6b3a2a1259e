"""What monitoring found, in the terminal: alarms first, then the last periods, then what was left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from screener.messages import NOTICE
from screener.monitor.messages import CHECK, EXCLUDED, INDICATOR, TEXT, UNKNOWN
from screener.monitor.periods import TOLD
from screener.report.console import comma, number, safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from screener.domain.estimate import Rate
    from screener.messages import Language
    from screener.monitor.structs import Indicator, Mean, Period, Report, Weighted

SHOWN = 13
"""Periods in the terminal: a quarter of a year of weeks."""
_NONE = "–"
PERIOD_COLUMNS = ("period", "studies", "patients", "flagged", "not_assessable", "psi", "distance", "sensitivity")
_LARGE = 1e6


def parts(report: Report, lang: Language) -> Iterator[Table | str]:
    """Yield what is printed."""
    words = TEXT[lang]
    yield from opening(report, lang)
    yield table(words["indicators"], indicator_head(lang), [indicator_row(one, lang) for one in report.indicators])
    shown = report.periods[-SHOWN:]
    yield table(words["periods"], [words[name] for name in PERIOD_COLUMNS], [period_row(one, lang) for one in shown])
    if len(report.periods) > SHOWN:
        yield words["more_periods"].format(count=len(report.periods) - SHOWN)
    yield overall(report, lang)
    yield from left_out(report, lang)
    yield NOTICE[lang]


def opening(report: Report, lang: Language) -> Iterator[str]:
    """Yield what stands first: a log that cannot be trusted, alarms, and what was watched."""
    words = TEXT[lang]
    if report.problem is not None:
        yield words["problem"].format(problem=safe(report.problem))
    yield from (alarm(one, lang) for one in report.alarms)
    if not report.alarms:
        yield words["no_alarm"].format(share=number(report.false_alarms, lang))
    studies = sum(one.studies for one in report.periods)
    most = max((one.patients for one in report.periods), default=0)
    about = {"model": safe(report.model), "days": report.days, "minimum": report.minimum}
    yield words["about"].format(studies=studies, patients=most, **about)
    if report.level == "slice":
        yield words["folders"]
    yield words["reference"].format(reference=report.reference)


def alarm(found: Indicator, lang: Language) -> str:
    """Say which indicator raised an alarm, when, and what to check first."""
    shown = {"evidence": capital(found.most, lang), "limit": capital(found.limit, lang)}
    return TEXT[lang]["alarm"].format(
        period=found.alarm, name=INDICATOR[lang][found.name], check=CHECK[lang][found.name], **shown
    )


def capital(value: float, lang: Language) -> str:
    """Show evidence, which may be very large."""
    return comma(f"{value:.1e}" if value >= _LARGE else f"{value:.1f}", lang)


def indicator_head(lang: Language) -> list[str]:
    """Return the heads of the table of indicators."""
    return [TEXT[lang][name] for name in ("indicator", "evidence", "most", "limit", "count", "since")]


def indicator_row(found: Indicator, lang: Language) -> list[str]:
    """Return the cells of an indicator."""
    values = [capital(value, lang) for value in (found.evidence, found.most, found.limit)]
    return [INDICATOR[lang][found.name], *values, str(found.count), found.alarm or _NONE]


def period_row(found: Period, lang: Language) -> list[str]:
    """Return the cells of a period: of one with too few patients, the counts and that it has too few."""
    cells = [found.name, str(found.studies), str(found.patients)]
    if found.state != TOLD:
        return [*cells, UNKNOWN[lang][found.state], *[_NONE] * (len(PERIOD_COLUMNS) - 4)]
    return [
        *cells,
        rate(found.flagged, lang),
        rate(found.not_assessable, lang),
        distance(found.distances.get("psi"), lang),
        mean(found.distances.get("features"), lang),
        weighted(found.verdicts.get("sensitivity"), lang),
    ]


def rate(found: Rate | None, lang: Language) -> str:
    """Show a share with its interval."""
    return _NONE if found is None else interval(found.value, found.low, found.high, lang)


def mean(found: Mean | None, lang: Language) -> str:
    """Show a mean with its interval."""
    return _NONE if found is None else interval(found.value, found.low, found.high, lang)


def weighted(found: Weighted | None, lang: Language) -> str:
    """Show a figure from verdicts with its interval."""
    return _NONE if found is None else interval(found.value, found.low, found.high, lang)


def distance(found: Mean | None, lang: Language) -> str:
    """Show a distance beside what chance alone stays below."""
    if found is None or found.chance is None:
        return _NONE
    return TEXT[lang]["with_chance"].format(value=number(found.value, lang), chance=number(found.chance, lang))


def interval(value: float | None, low: float | None, high: float | None, lang: Language) -> str:
    """Show a figure with its interval, where it is known."""
    if value is None:
        return _NONE
    if low is None or high is None:
        return number(value, lang)
    shown = {name: number(one, lang) for name, one in (("value", value), ("low", low), ("high", high))}
    return TEXT[lang]["interval"].format(**shown)


def overall(report: Report, lang: Language) -> str:
    """Say what all verdicts show."""
    words = TEXT[lang]
    shown = {
        name: words["not_known"] if found.value is None else weighted(found, lang)
        for name, found in report.overall.items()
    }
    return words["overall"].format(**shown)


def left_out(report: Report, lang: Language) -> list[str]:
    """Say what counts in no figure, and why."""
    counts = msgspec.structs.asdict(report.excluded)
    return [EXCLUDED[lang][name].format(count=count) for name, count in counts.items() if count]


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table for the terminal; the first column is text, the others are numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(head):
        made.add_column(name, justify="right" if place else "left")
    for row in rows:
        made.add_row(*(Text(safe(cell)) for cell in row))
    return made
