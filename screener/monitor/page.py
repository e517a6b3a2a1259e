"""What monitoring found, as a page to open in a browser: alarms, charts by period, tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.monitor.messages import INDICATOR, METHOD, TEXT, UNKNOWN
from screener.monitor.periods import TOLD
from screener.monitor.tables import (
    alarm,
    distance,
    indicator_head,
    indicator_row,
    interval,
    left_out,
    mean,
    opening,
    overall,
    rate,
    weighted,
)
from screener.report import document
from screener.report.rendering import render

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from screener.messages import Language
    from screener.monitor.structs import Period, Report

WIDTH, HEIGHT = 720, 160
_CHARTS = (
    "flagged",
    "not_assessable",
    "psi",
    "features",
    "sensitivity",
    "score",
    "brightness",
    "contrast",
    "sharpness",
)
_FIGURES = ("flagged", "not_assessable", "psi", "jensen_shannon", "distance", "sensitivity", "specificity", "kappa")
_MEANS = ("score", "brightness", "contrast", "sharpness", "size")
_VALUES = 12
"""Values of a share that have a row of their own."""
_HASH = 12


@dataclass(frozen=True, slots=True)
class Chart:
    """One figure by period, drawn.

    Attributes
    ----------
    label : str
        What a screen reader says, and the caption.
    line : str
        Path of the values; gaps where there is none.
    bars : list of tuple of float
        x, top and height of each interval.
    points : list of tuple of (float, float, str)
        Place of each value, and its text.
    shaded : float
        Width of the reference.
    low, high : str
        Ends of the scale.
    first, last : str
        Names of the first and the last period.
    """

    label: str
    line: str
    bars: list[tuple[float, float, float]]
    points: list[tuple[float, float, str]]
    shaded: float
    low: str
    high: str
    first: str
    last: str


def save_page(out: Path, report: Report, lang: Language) -> None:
    """Write the page.

    Raises
    ------
    UsageError
        Something else than one of our documents has that name, or its folder is missing.
    ScreenerError
        The file cannot be written.
    """
    document.save(out, page(report, lang))


def page(report: Report, lang: Language) -> str:
    """Return the page."""
    words = TEXT[lang]
    told = {"written": report.written, "log": report.log, "head": report.head[:_HASH]}
    return render(
        "monitor.html",
        lang,
        title=words["title"],
        mark=document.MARK,
        words=words,
        width=WIDTH,
        height=HEIGHT,
        alarms=[alarm(one, lang) for one in report.alarms],
        about=[
            *(text for text in opening(report, lang) if text not in _told_apart(report, lang)),
            overall(report, lang),
        ],
        written=words["written"].format(**told),
        charts=[made for name in _CHARTS if (made := chart(report.periods, name, lang)) is not None],
        tables=list(_tables(report, lang)),
        excluded=left_out(report, lang),
        method=METHOD[lang],
    )


def _told_apart(report: Report, lang: Language) -> set[str]:
    """Return the alarms, which the page shows by themselves."""
    return {alarm(one, lang) for one in report.alarms}


def chart(periods: Sequence[Period], name: str, lang: Language) -> Chart | None:
    """Draw one figure by period; None where no period has it."""
    found = [_figure(one, name) for one in periods]
    known = [one for one in found if one is not None]
    if not known:
        return None
    low, high = min(one[1] for one in known), max(one[2] for one in known)
    ends = interval(low, None, None, lang), interval(high, None, None, lang)
    room = (high - low) * 0.05 or 0.5
    low, high = low - room, high + room
    step = WIDTH / len(periods)

    def y(value: float) -> float:
        return round(HEIGHT * (high - value) / (high - low), 1)

    bars, points, line, pen = [], [], [], "M"
    for place, one in enumerate(found):
        if one is None:
            pen = "M"
            continue
        x = round((place + 0.5) * step, 1)
        bars.append((x, y(one[2]), round(y(one[1]) - y(one[2]), 1)))
        points.append((x, y(one[0]), f"{periods[place].name}: {interval(*one, lang)}"))
        line.append(f"{pen}{x} {y(one[0])}")
        pen = "L"
    shaded = round(step * sum(one.reference for one in periods), 1)
    label = TEXT[lang]["chart"].format(name=_title(name, lang))
    return Chart(label, "".join(line), bars, points, shaded, *ends, periods[0].name, periods[-1].name)


def _title(name: str, lang: Language) -> str:
    return TEXT[lang][name].split(" (")[0] if name != "features" else INDICATOR[lang]["features"]


def _figure(period: Period, name: str) -> tuple[float, float, float] | None:
    """Return value and interval of a figure; None where it is not known."""
    places = {"flagged": period.flagged, "not_assessable": period.not_assessable}
    found = places.get(name) or period.distances.get(name) or period.statistics.get(name) or period.verdicts.get(name)
    if found is None or found.value is None:
        return None
    low = found.value if found.low is None else found.low
    return found.value, low, found.value if found.high is None else found.high


def _tables(report: Report, lang: Language) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield title, heads and rows of each table."""
    words = TEXT[lang]
    rows = [indicator_row(one, lang) for one in report.indicators]
    yield words["indicators"], indicator_head(lang), rows
    head = [words[name] for name in ("period", "studies", "patients", *_FIGURES)]
    yield words["periods"], head, [_period_row(one, lang) for one in report.periods]
    yield (
        words["pictures"],
        [words["period"], *(words[name] for name in _MEANS)],
        [[one.name, *(mean(one.statistics.get(name), lang) for name in _MEANS)] for one in report.periods],
    )
    for name in ("manufacturer", "sequence", "plane"):
        yield from _makeup(report.periods, name, lang)
    for field in ("reasons", "slice_reasons"):
        yield from _reasons(report.periods, field, lang)


def _period_row(found: Period, lang: Language) -> list[str]:
    counts = [found.name, str(found.studies), str(found.patients)]
    if found.state != TOLD:
        return [*counts, UNKNOWN[lang][found.state], *["–"] * (len(_FIGURES) - 1)]
    return [
        *counts,
        rate(found.flagged, lang),
        rate(found.not_assessable, lang),
        distance(found.distances.get("psi"), lang),
        distance(found.distances.get("jensen_shannon"), lang),
        mean(found.distances.get("features"), lang),
        *(weighted(found.verdicts.get(name), lang) for name in ("sensitivity", "specificity", "kappa")),
    ]


def _makeup(periods: Sequence[Period], name: str, lang: Language) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    words = TEXT[lang]
    total = Counter[str]()
    for one in periods:
        total.update(one.shares.get(name, {}))
    if not total:
        return
    values = [value for value, _ in total.most_common(_VALUES)]
    rows = [[one.name, *(str(one.shares.get(name, {}).get(value, 0)) for value in values)] for one in periods]
    yield words["share"].format(name=words[name]), [words["period"], *values], rows


def _reasons(periods: Sequence[Period], field: str, lang: Language) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    words = TEXT[lang]
    told = [(one.name, getattr(one, field)) for one in periods if getattr(one, field)]
    if told:
        rows = [[name, ", ".join(f"{reason} {count}" for reason, count in found.items())] for name, found in told]
        yield words[field], [words["period"], words["value"]], rows
