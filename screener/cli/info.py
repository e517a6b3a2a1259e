"""``screener info``: the model card, readable."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from screener.cli.scan import checked_language

if TYPE_CHECKING:
    from collections.abc import Iterator

    from screener.messages import Language
    from screener.model.card import Card, OperatingPoint


def run(model: str | None, *, as_json: bool, lang: str | None) -> None:
    """Print the card of a model on stdout.

    Raises
    ------
    ModelError
        There is no such model, or its card cannot be read.
    """
    from screener.model.store import locate, read_card
    from screener.report.console import safe

    speech = checked_language(lang)
    card = read_card(locate(model))
    text = json.dumps(card.data, indent=2) if as_json else "\n".join(map(safe, lines(card, speech)))
    sys.stdout.write(text + "\n")


def lines(card: Card, lang: Language) -> Iterator[str]:
    """Yield the card, line by line."""
    from screener.messages import NOTICE

    data = card.data
    yield f"{card.title} · {data.get('architecture', '')}"
    yield f"created {data.get('created', '?')} · licence of the weights: {data.get('licence', '?')}"
    yield ""
    yield str(data.get("intended_use", ""))
    yield from (f"- {text}" for text in data.get("limitations", ()))
    yield ""
    yield from _points(card, lang)
    yield ""
    yield from _training(data.get("training_data", {}))
    yield ""
    yield NOTICE[lang]


def _points(card: Card, lang: Language) -> Iterator[str]:
    from screener.report.console import point_lines

    yield "Operating points"
    for point in card.operating_points.values():
        target = f", chosen for sensitivity {point.recall_target:g}" if point.recall_target is not None else ""
        yield f"  {point.name}: threshold {point.threshold:g}{target}"
        yield from (f"    {text}" for text in point_lines(point, lang))
        yield from (f"    {text}" for text in _certificate(card, point))


def _certificate(card: Card, point: OperatingPoint) -> Iterator[str]:
    """Yield what a certificate rests on; as prose of the card it is English."""
    if point.certificate is None:
        return
    shown = point.certificate
    yield f"lower bound {shown.bound:g} at confidence {shown.level:g}; a unit is {shown.unit}"
    told = card.data["operating_points"][point.name]["certificate"].get("holds_for")
    if isinstance(told, str):
        yield told


def _training(data: dict[str, Any]) -> Iterator[str]:
    yield f"Training data {data.get('fingerprint', '')}"
    for name, counts in data.get("sets", {}).items():
        told = ", ".join(f"{count} {what}" for what, count in counts.items())
        yield f"  {name}: {told}"
    for source in data.get("sources", ()):
        yield f"  source {source.get('name')}: {source.get('licence')}"
