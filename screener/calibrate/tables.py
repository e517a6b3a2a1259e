"""A profile in words and tables, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from screener.calibrate.messages import CALIBRATE, EXCLUDED
from screener.messages import NOTICE
from screener.report.console import comma, exact, number, rich_table, safe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from screener.calibrate.site import SiteResult
    from screener.domain.estimate import Rate
    from screener.messages import Language
    from screener.pipeline.site_profile import SiteLevel, SiteProfile, ThresholdEffect


def tables(result: SiteResult, lang: Language) -> Iterator[Table | str]:
    """Yield rich tables and lines of text."""
    profile, words = result.profile, CALIBRATE[lang]
    about = {name: safe(getattr(profile, name)) for name in ("site", "model", "created", "who")}
    yield words["about"].format(**about)
    for title, level in _levels(profile):
        yield _effects(words[title], level, lang)
        yield from _lines(level, lang)
        if level.decision_curve:
            yield _curve(level, lang)
    for error in result.left_out:
        yield words["left_out"].format(why=error)
    yield NOTICE[lang]


def _levels(profile: SiteProfile) -> Iterator[tuple[str, SiteLevel]]:
    if profile.study is not None:
        yield "study", profile.study
    if profile.slice is not None:
        yield "slice", profile.slice


def _effects(title: str, level: SiteLevel, lang: Language) -> Table:
    words = CALIBRATE[lang]
    columns = ("threshold_column", "sensitivity", "specificity", "flagged", "refused", "ppv")
    rows = [
        (words["before"].format(name=level.before.name), *_cells(level.before, lang)),
        (words["after"], *_cells(level.after, lang)),
    ]
    return rich_table(title, ("", *(words[name] for name in columns)), rows)


def _cells(found: ThresholdEffect, lang: Language) -> tuple[str, ...]:
    per_100 = (comma(f"{one:.1f}", lang) for one in (found.flagged_per_100, found.not_assessable_per_100))
    return (
        comma(exact(found.threshold), lang),
        _rate(found.sensitivity, lang),
        _rate(found.specificity, lang),
        *per_100,
        _rate(found.ppv, lang),
    )


def _rate(found: Rate | None, lang: Language) -> str:
    if found is None or found.value is None:
        return "–"
    value, low, high = ("?" if one is None else number(one, lang) for one in (found.value, found.low, found.high))
    return CALIBRATE[lang]["interval"].format(
        value=value, low=low, high=high, hits=found.hits, count=found.count, units=found.units
    )


def _lines(level: SiteLevel, lang: Language) -> Iterator[str]:
    """Yield what a level rests on."""
    words = CALIBRATE[lang]
    yield words["certified" if level.certified else "uncertified"].format(
        target=comma(f"{level.target:g}", lang),
        level=comma(f"{100 * level.confidence:g} %", lang),
        missed=level.missed,
        units=level.units,
    )
    if level.least_chance < 1:
        yield words["sampled"].format(chance=number(level.least_chance, lang))
    yield _prevalence(level.prevalence, lang)
    fitted = level.calibration
    if fitted is None:
        yield words["no_calibration"]
    else:
        yield words["calibration"].format(
            kind=fitted.kind,
            before=number(fitted.error_before, lang),
            after=number(fitted.error_after, lang),
            brier_before=number(fitted.brier_before, lang),
            brier_after=number(fitted.brier_after, lang),
        )
    if level.excluded:
        told = ", ".join(f"{count} {EXCLUDED[lang][reason]}" for reason, count in sorted(level.excluded.items()))
        yield words["excluded"].format(told=told)


def _prevalence(found: Rate, lang: Language) -> str:
    words = CALIBRATE[lang]
    if found.low is None or found.high is None:
        return words["prevalence_given"].format(value=number(found.value or 0.0, lang))
    return words["prevalence"].format(
        value=number(found.value or 0.0, lang),
        low=number(found.low, lang),
        high=number(found.high, lang),
        hits=found.hits,
        count=found.count,
    )


def _curve(level: SiteLevel, lang: Language) -> Table:
    words = CALIBRATE[lang]
    head = (words["at"], words["all_first"], words["before"].format(name=level.before.name), words["after"])
    rows = []
    for point in level.decision_curve:
        benefits = (point.all_first, point.before, point.after, point.calibrated)
        shown = ("–" if one is None else comma(f"{100 * one:.2f}", lang) for one in benefits)
        rows.append((comma(f"{point.at:g}", lang), *shown))
    return rich_table(words["curve"], (*head, words["calibrated"]), rows)
