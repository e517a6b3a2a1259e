"""``screener info``: the model card, readable."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from msgspec import structs

from screener.cli.language import checked_language

if TYPE_CHECKING:
    from collections.abc import Iterator

    from screener.domain.estimate import Estimate
    from screener.messages import Language
    from screener.model.card import Card, OperatingPoint, StudySection, TrainingData


def run(model: str | None, *, as_json: bool, lang: str | None) -> None:
    """Print the card of a model on stdout.

    Raises
    ------
    ModelError
        There is no such model, or its card cannot be read.
    """
    from screener.model.card import Card
    from screener.model.store import locate, read_card_text
    from screener.report.console import safe

    speech = checked_language(lang)
    text = read_card_text(locate(model))
    card = Card.parse(text)
    shown = json.dumps(json.loads(text), indent=2) if as_json else "\n".join(map(safe, lines(card, speech)))
    sys.stdout.write(shown + "\n")


def lines(card: Card, lang: Language) -> Iterator[str]:
    """Yield the card, line by line."""
    from screener.messages import NOTICE

    yield f"{card.title} · {card.architecture}"
    yield f"created {card.created or '?'} · licence of the weights: {card.licence or '?'}"
    yield ""
    yield card.intended_use
    yield from (f"- {text}" for text in card.limitations)
    yield ""
    yield from _points(card, lang)
    yield ""
    if card.study is not None:
        yield from _study(card.study, lang)
        yield ""
    yield from _training(card.training_data)
    yield ""
    yield NOTICE[lang]


def _points(card: Card, lang: Language) -> Iterator[str]:
    from screener.report.console import point_lines

    yield "Operating points"
    for point in card.operating_points.values():
        yield _threshold(point)
        yield from (f"    {text}" for text in point_lines(point, lang))
        yield from (f"    {text}" for text in _certificate(point))


def _threshold(point: OperatingPoint) -> str:
    target = f", chosen for sensitivity {point.recall_target:g}" if point.recall_target is not None else ""
    return f"  {point.name}: threshold {point.threshold:g}{target}"


def _certificate(point: OperatingPoint) -> Iterator[str]:
    """Yield what a certificate rests on; as prose of the card it is English."""
    shown = point.certificate
    if shown is None:
        return
    yield f"lower bound {shown.bound:g} at confidence {shown.level:g}; a unit is {shown.unit}"
    yield from filter(None, (shown.rule, shown.holds_for))


def _study(section: StudySection, lang: Language) -> Iterator[str]:
    """Yield how studies are judged, with the figures by patient."""
    from screener.pipeline.study import Aggregation
    from screener.report.console import study_lines

    aggregation = Aggregation.of_section(section)
    how = section.aggregation
    yield "Studies"
    yield f"  sequences: {_listed(section.sequences)} · planes: {_listed(section.planes)}"
    share = f" or {how.least_share:.0%} of its slices" if how.least_share else ""
    yield (
        f"  not assessable: a study of {2 * how.least_slices} slices or more with fewer than {how.least_slices} "
        f"assessable ones{share}, unless it is flagged"
    )
    for point in aggregation.points.values():
        yield _threshold(point)
        yield from (f"    {text}" for text in study_lines(aggregation, point, lang)[1:])
        yield from (f"    {text}" for text in _certificate(point))
    yield from (f"  {_estimate(one)}" for one in section.estimates)


def _listed(names: tuple[str, ...] | None) -> str:
    return "any" if names is None else ", ".join(names) or "none"


def _estimate(one: Estimate) -> str:
    value = "not known" if one.value is None else f"{one.value:.3f}"
    interval = "" if one.low is None or one.high is None else f" ({one.low:.3f}–{one.high:.3f})"
    behind = f"; {one.count} {one.unit}" if one.count else ""
    return f"{one.name}: {value}{interval}{behind}{f'; {one.measured_on}' if one.measured_on else ''}"


def _training(data: TrainingData) -> Iterator[str]:
    yield f"Training data {data.fingerprint}"
    for name, counts in data.sets.items():
        yield f"  {name}: " + ", ".join(f"{count} {what}" for what, count in structs.asdict(counts).items())
    yield from (f"  source {source.name}: {source.licence}" for source in data.sources)
