"""``MODEL_CARD.md``, written from the card alone, so that prose and numbers cannot drift apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def render(card: Mapping[str, Any]) -> str:
    """Return the card as Markdown."""
    return "\n".join(_lines(card)) + "\n"


def _lines(card: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {card['name']} {card['version']}"
    yield ""
    yield "Generated from the card inside `model.onnx`; do not edit."
    yield ""
    yield f"{card['architecture'][:1].upper()}{card['architecture'][1:]}. Created {card['created']}."
    yield f"Weights: {card['licence']}, research use (see `LICENSE-WEIGHTS`)."
    yield ""
    yield from ("## Intended use", "", card["intended_use"], "", "## Limits", "")
    yield from (f"- {text}" for text in card["limitations"])
    yield from ("", "## Operating points", "")
    yield from _points(card["operating_points"])
    yield from ("", "## Data", "")
    yield from _data(card["training_data"])
    yield from ("", "## Figures", "")
    yield from _figures(card["metrics"])
    if card["gate"]:
        yield from ("", "## Gate", "")
        yield (
            f"A slice is refused as `not_a_brain_mri` when its features lie farther than {card['gate']['cutoff']} from "
            f"what the model knows: the distance that keeps {card['gate']['kept']:.1%} of a source treated as unknown "
            f"({_reach(card['gate']['reach'])})."
        )
    yield from ("", "## Reproduction", "")
    yield (
        "`make model DATA=…` trains, converts and describes this model again. Splits and batches are seeded; threads "
        "add in no fixed order, so weights differ in the last digits from run to run and scores by a few hundredths. "
        "The shipped file itself is held to `golden.json`, tolerance 0.001."
    )


def _reach(reach: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {distance:.1f}" for name, distance in reach.items())


def _points(points: Mapping[str, Any]) -> Iterator[str]:
    yield "| name | threshold | sensitivity | specificity | certified |"
    yield "|---|---|---|---|---|"
    for name, point in points.items():
        told = " | ".join(rate(point[figure]) for figure in ("sensitivity", "specificity"))
        yield f"| `{name}` | {point['threshold']:g} | {told} | {'yes' if point['certified'] else 'no'} |"
    target = points["auto"]["recall_target"]
    yield ""
    yield (
        f"Measured on the {points['auto']['measured_on']}, on which `auto` was chosen for sensitivity {target:g}; a "
        "refused positive counts as missed, a refused negative as a false alarm. Not certified: no bound was shown on "
        "patients who chose nothing. Figures on data that chose nothing: `docs/results/`."
    )


def rate(share: Mapping[str, Any]) -> str:
    """Show a share with its 95 % interval and the counts behind it."""
    if share["value"] is None:
        return "not measured"
    return (
        f"{share['value']:.3f} ({share['low']:.3f}–{share['high']:.3f}; "
        f"{share['hits']}/{share['count']} slices, {share['units']} units)"
    )


def _data(data: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "Sets are disjoint by near-duplicate group (eight flips and quarter turns) and by patient where known; "
        f"seed {data['seed']}; fingerprint `{data['fingerprint']}`."
    )
    yield ""
    yield "| set | slices | with tumour | near-duplicate groups | units |"
    yield "|---|---|---|---|---|"
    for name, counts in data["sets"].items():
        yield f"| {name} | {counts['slices']} | {counts['positives']} | {counts['groups']} | {counts['units']} |"
    yield ""
    yield "| source | slices used | licence | citation |"
    yield "|---|---|---|---|"
    for source in data["sources"]:
        used = ", ".join(f"{name} {count}" for name, count in source["slices"].items())
        yield f"| {source['name']} | {used} | {source['licence']} | {source['citation']} |"
    if data["test_sources"]:
        yield ""
        yield f"Tested on, and never chosen by: {', '.join(data['test_sources'])}. `withheld` slices resemble it or "
        yield "the demo images, or neighbour a slice of another set; they were used nowhere."


def _figures(metrics: Mapping[str, Any]) -> Iterator[str]:
    tune, training = metrics["tune"], metrics["training"]
    yield (
        f"- Tune set: AUC {tune['auc']['value']:.3f} ({tune['auc']['low']:.3f}–{tune['auc']['high']:.3f}), "
        f"{tune['slices']} slices, {tune['units']} units; refused {rate(tune['refused'])}."
    )
    yield (
        f"- Keras and onnxruntime differ by at most {metrics['parity']['largest_difference']:.1e} in probability over "
        f"{metrics['parity']['slices']} real slices."
    )
    yield (
        f"- Best of {training['epochs']} epochs by weighted AUC on the tune set: epoch {training['best_epoch']}; "
        f"{training['minutes']:.0f} minutes on two cores."
    )
