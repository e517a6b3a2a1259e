"""What ``screener model`` prints for people to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from screener.domain.finding import Decision
from screener.report.console import safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from screener.comparison.figures import ChangedStudy, Comparison, LabelledFigures, LevelFigures
    from screener.comparison.misses import Outcome
    from screener.comparison.paired_tests import AreaDifference, Discordance

_DIGITS = 12
"""Letters of a digest that tell models apart on the screen."""
_OUTCOMES = {
    "comes_back": "COMES BACK",
    "still_missed": "still missed",
    "found": "found",
    "not_checked": "not checked, its pictures were not found",
}


def model_lines(rows: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """Yield a line a model; the one in use has a star."""
    for row in rows:
        mark = "*" if row["default"] else " "
        if row["model"] is None:
            yield f"{mark} {safe(str(row['name']))}  cannot be used: {safe(str(row.get('problem', 'not installed')))}"
            continue
        certified = "certified" if row["certified"] else "not certified"
        yield (
            f"{mark} {safe(str(row['name']))}  {safe(str(row['model']))}  {str(row['model_sha256'])[:_DIGITS]}  "
            f"created {safe(str(row['created'] or '?'))[:10]}"
        )
        yield (
            f"    auto by {row['level']}: sensitivity {_share(row['sensitivity'])}, specificity "
            f"{_share(row['specificity'])}, {certified}"
        )
        yield f"    {safe(str(row['folder']))}"
    yield "A star marks the model in use. Change it with: screener model use NAME"


def _share(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "?"


def comparison_lines(found: Comparison) -> Iterator[str]:
    """Yield a comparison: the two models, studies, every study whose decision changes, slices."""
    for name, side in (("A", found.first), ("B", found.second)):
        yield (
            f"{name}  {safe(side.model)}  {side.model_sha256[:_DIGITS]}  {side.operating_point}: threshold "
            f"{side.study_threshold:g} for studies, {side.threshold:g} for slices"
        )
    yield f"on {safe(found.source)}, labels: {found.labels or 'none'}"
    if found.left_out:
        yield f"{found.left_out} studies were judged by one of the models only and are left out"
    yield ""
    yield from _level("Studies", found.studies)
    yield ""
    yield f"Studies whose decision changes: {len(found.changed)}"
    yield from (f"  {_changed(one)}" for one in found.changed)
    yield ""
    yield from _level("Slices", found.slices)
    yield "Tests of decisions are by study: slices of one study depend on each other."


def _level(title: str, level: LevelFigures) -> Iterator[str]:
    yield f"{title}: {level.count}, decision differs in {level.changed}"
    names = {
        Decision.FLAGGED: "flagged",
        Decision.NOT_FLAGGED: "not flagged",
        Decision.NOT_ASSESSABLE: "not assessable",
    }
    yield f"  {'A, below; B, right':<20}" + "".join(f"{name:>16}" for name in names.values())
    for one, name in names.items():
        yield f"  {name:<20}" + "".join(f"{level.decisions[one][other]:>16}" for other in names)
    if level.largest_difference is not None:
        yield f"  largest difference of two probabilities: {level.largest_difference:.3f}"
    if level.flagged is not None:
        yield f"  flagged by A alone {level.flagged.first_only}, by B alone {_test(level.flagged)}"
    for what, figures in (("with a tumour", level.sensitivity), ("without a tumour", level.specificity)):
        if figures is not None:
            yield f"  {what}: {_labelled(figures)}"
    if level.auc is not None:
        yield f"  AUC: {_areas(level.auc)}"


def _test(test: Discordance) -> str:
    return f"{test.second_only} (McNemar, exact: p = {test.p:.3g})"


def _labelled(figures: LabelledFigures) -> str:
    text = f"right A {figures.first} of {figures.cases}, B {figures.second} of {figures.cases}"
    return text if figures.test is None else f"{text}; A alone {figures.test.first_only}, B alone {_test(figures.test)}"


def _areas(area: AreaDifference) -> str:
    text = f"A {area.first:.3f}, B {area.second:.3f}, difference {area.difference:+.3f}"
    if area.low is None or area.high is None or area.p is None:
        return f"{text} (too few patients for an interval: {area.patients})"
    return f"{text} (95 % {area.low:+.3f} to {area.high:+.3f}, DeLong p = {area.p:.3g}, {area.patients} patients)"


def _changed(one: ChangedStudy) -> str:
    label = {True: "tumour", False: "no tumour", None: "no label"}[one.positive]
    scores = " → ".join(
        "–" if value is None else f"{value:.3f}" for value in (one.first_probability, one.second_probability)
    )
    reason = f", {one.reason}" if one.reason else ""
    return f"{safe(one.study)}: {one.first} → {one.second} ({scores}{reason}), {label}"


def check_lines(title: str, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield what became of each recorded miss, the worst first."""
    order = list(_OUTCOMES)
    for one in sorted(outcomes, key=lambda one: (order.index(one.outcome), one.study)):
        score = "" if one.probability is None else f" ({one.probability:.3f}, threshold {one.threshold:.3f})"
        history = f"missed by {safe(one.missed_by)}" + (f", found by {safe(one.found_by)}" if one.found_by else "")
        yield f"{_OUTCOMES[one.outcome]}{score}: {safe(one.study)} ({history})"
    counts = ", ".join(f"{sum(one.outcome == name for one in outcomes)} {name.replace('_', ' ')}" for name in order)
    yield f"{safe(title)}: {len(outcomes)} missed studies: {counts}"
