"""Waiting times for a person: one sentence, a table, and a page with a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from screener.messages import NOTICE
from screener.monitor.tables import table
from screener.queueing.answer import curve
from screener.queueing.messages import METHOD, TEXT
from screener.report import document
from screener.report.console import comma, number, safe
from screener.report.rendering import render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.table import Table

    from screener.messages import Language
    from screener.queueing.answer import Between, QueueAnswer

WIDTH, HEIGHT = 720, 240
_DAY_HOURS, _HOUR_MINUTES = 24, 60
_ROWS = (("arrival", "everybody", "arrival"), ("tool", "tumour", "tumour"), ("tool", "no_tumour", "no_tumour"))


def parts(found: QueueAnswer, lang: Language) -> Iterator[Table | str]:
    """Yield what is printed in the terminal."""
    yield from told(found, lang)
    yield table(TEXT[lang]["title"], head(found, lang), rows(found, lang))
    yield NOTICE[lang]


def told(found: QueueAnswer, lang: Language) -> Iterator[str]:
    """Yield the sentence, and what it rests on."""
    words, site = TEXT[lang], found.site
    if found.problem is not None:
        yield words["problem"].format(problem=safe(found.problem))
    waits = {"before": found.arrival, "after": found.tumour, "others": found.no_tumour}
    shown = {name: duration(one.value, lang) for name, one in waits.items()}
    yield words["sentence"].format(readers=site.readers, load=comma(f"{100 * site.load:.0f} %", lang), **shown)
    shares = ("prevalence", "sensitivity", "specificity", "not_assessable")
    yield words["inputs"].format(
        arrivals=comma(f"{site.arrivals:.4g}", lang),
        minutes=comma(f"{site.minutes:g}", lang),
        hours=comma(f"{site.hours:g}", lang),
        **{name: _figure(found, name, lang) for name in shares},
    )
    if found.studies:
        yield words["from_log"].format(studies=found.studies, verdicts=found.verdicts)
    if not found.figures:
        yield words["given"]
    if found.overloaded:
        yield words["overloaded"].format(share=number(found.overloaded, lang))


def _figure(found: QueueAnswer, name: str, lang: Language) -> str:
    one = found.figures.get(name)
    if one is None:
        return number(getattr(found.site, name), lang)
    shown = {key: number(getattr(one, key), lang) for key in ("value", "low", "high")}
    return TEXT[lang]["interval"].format(**shown)


def duration(days: float, lang: Language) -> str:
    """Show a wait in the unit in which it has a number before the point."""
    words = TEXT[lang]
    if days >= 1:
        return words["days"].format(count=comma(f"{days:.1f}", lang))
    hours = days * _DAY_HOURS
    if hours >= 1:
        return words["hours_long"].format(count=comma(f"{hours:.1f}", lang))
    return words["minutes_long"].format(count=comma(f"{hours * _HOUR_MINUTES:.1f}", lang))


def head(found: QueueAnswer, lang: Language) -> list[str]:
    """Return the heads of the table."""
    names = ("order", "who", "formula", "simulated") if found.simulated else ("order", "who", "formula")
    return [TEXT[lang][name] for name in names]


def rows(found: QueueAnswer, lang: Language) -> list[list[str]]:
    """Return the rows of the table: each order, each kind of patient."""
    words = TEXT[lang]
    made = []
    for order, who, name in _ROWS:
        cells = [words[order], words[who], _wait(getattr(found, name), lang)]
        if found.simulated is not None:
            cells.append(_wait(found.simulated[name], lang))
        made.append(cells)
    return made


def _wait(one: Between, lang: Language) -> str:
    shown = {name: duration(max(value, 0.0), lang) for name, value in (("low", one.low), ("high", one.high))}
    if one.low == one.high:
        return duration(one.value, lang)
    return TEXT[lang]["interval"].format(value=duration(one.value, lang), **shown)


def save_page(out: Path, found: QueueAnswer, lang: Language) -> None:
    """Write the page.

    Raises
    ------
    UsageError
        Something else than one of our documents has that name, or its folder is missing.
    ScreenerError
        The file cannot be written.
    """
    document.save(out, page(found, lang))


def page(found: QueueAnswer, lang: Language) -> str:
    """Return the page."""
    words = TEXT[lang]
    first, *others = told(found, lang)
    lines, here, top = _plot(found)
    return render(
        "queue.html",
        lang,
        title=words["title"],
        mark=document.MARK,
        words=words,
        sentence=first,
        told=others,
        width=WIDTH,
        height=HEIGHT,
        lines=lines,
        here=here,
        top=duration(top, lang),
        head=head(found, lang),
        rows=rows(found, lang),
        method=METHOD[lang],
    )


def _plot(found: QueueAnswer) -> tuple[list[tuple[str, str]], float, float]:
    """Return each curve's name and path, the place of this site's load, and the greatest wait that is drawn."""
    curves = curve(found.site)
    most = max(found.no_tumour.value, found.arrival.value) * 2
    first, last = curves[0][0], max(curves[-1][0], found.site.load)
    lines = []
    for name in ("arrival", "tumour", "no_tumour"):
        points = [(load, getattr(waits, name)) for load, waits in curves if getattr(waits, name) <= most]
        steps = [
            f"{round(WIDTH * (load - first) / (last - first), 1)} {round(HEIGHT * (1 - wait / most), 1)}"
            for load, wait in points
        ]
        lines.append((name, "M" + "L".join(steps) if steps else ""))
    return lines, round(WIDTH * (found.site.load - first) / (last - first), 1), most
