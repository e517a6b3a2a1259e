"""``MODEL_CARD.md``, written from the card alone, so that prose and numbers cannot drift apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from export.data.sources import all_known
from screener.domain.estimate import Rate
from screener.evaluate.metrics import lower_bound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from screener.domain.estimate import Estimate
    from screener.model.card import (
        Card,
        CardPoint,
        EmbeddingReference,
        StudySection,
        ThresholdChoice,
        TrainingSource,
    )
    from screener.model.certificate import Certificate

_NEVER_FOR = (
    "other parts of the body, including the spine",
    "CT, PET, ultrasound, X-ray, and photographs of a screen or film",
    "ruling a tumour out, planning treatment, or measuring a tumour",
    "plain T1 as the only sequence: see the figures below",
)
_PUBLIC_NOT_FOR = (
    "children and adolescents",
    "patients after surgery, radiotherapy or chemotherapy, and those with a shunt or another implant",
    "metastases, lymphoma, abscess, stroke, bleeding, multiple sclerosis or other lesions: it may flag or miss them",
)
_MONITORS = {"auc": "weighted AUC", "recall": "weighted sensitivity", "adjusted_auc": "covariate-adjusted AUC"}
_SETS = {"tune": "tune (chose epoch, calibration and `auto`)", "certify": "certification (chose nothing)"}


def render(card: Card) -> str:
    """Return the card as Markdown."""
    return "\n".join(_lines(card)) + "\n"


def _lines(card: Card) -> Iterator[str]:
    yield f"# {card.title}"
    yield ""
    yield "Generated from the card inside `model.onnx`; do not edit."
    yield ""
    yield f"{card.architecture[:1].upper()}{card.architecture[1:]}. Created {card.created}."
    yield f"Weights: {card.licence}{', research use (see `LICENSE-WEIGHTS`)' if _public(card) else ''}."
    parts = {
        "Intended use": _use(card),
        "What it promises": _promise(card),
        "Operating points": _points(card.points),
        "Studies": _study(card.study),
        "Calibration": _calibration(card),
        "If tumours are rarer": _prevalences(card.metrics),
        "Data": _data(card),
        "Protocol": _protocol(card),
        "Figures": _figures(card),
        "Known failures": _failures(card),
        "Where it looks": _pointing(card.metrics),
        "Quality control by embedding": _embedding_reference(card.embedding_reference),
        "Reproduction": _reproduction(card),
    }
    for title, lines in parts.items():
        yield from ("", f"## {title}", "", *lines)


def _public(card: Card) -> bool:
    return all_known(source.name for source in card.training_data.sources)


def _reproduction(card: Card) -> Iterator[str]:
    made = (
        "`make model DATA=…` trains, converts, calibrates, certifies and describes this model again."
        if _public(card)
        else "`python -m export train` and `convert` with the same options make this model again."
    )
    yield (
        f"{made} Splits and batches are seeded; threads add in no fixed order, so weights differ in the last digits "
        "from run to run and scores by a few hundredths: expect AUCs within 0.01 and a certificate within one rung. "
        "From the graph itself `python -m export certify` gives every figure here exactly. The file is held to "
        "`golden.json`, tolerance 0.001."
    )


def verdict(card: Card) -> str:
    """Say in one line what a release may promise."""
    auto = card.points["auto"]
    result = f"auto {auto.threshold:g}, specificity {rate(auto.specificity)}"
    return f"{result}; {_certified(auto)}"


def _certified(auto: CardPoint) -> str:
    shown = auto.certificate
    if shown is None:
        return "not certified: no patient with a tumour is known in the certification set"
    counts = f"{shown.missed} of {shown.units} patients or runs missed, lower bound {shown.bound:.4f}"
    if not auto.certified:
        return f"not certified: {counts}"
    return f"certified for sensitivity ≥ {shown.target:g} at {100 * shown.level:g} % confidence ({counts})"


def _use(card: Card) -> Iterator[str]:
    yield card.intended_use
    yield from ("", "Not for:", "")
    yield from (f"- {text}" for text in (*(_PUBLIC_NOT_FOR if _public(card) else ()), *_NEVER_FOR))
    yield from ("", "Limits:", "")
    yield from (f"- {text}" for text in card.limitations)


def _promise(card: Card) -> Iterator[str]:
    auto, without = card.points["auto"], ", ".join(card.metrics["without_promise"])
    shown = auto.certificate
    yield f"`auto` ({auto.threshold:g}) is **{_certified(auto)}**."
    yield ""
    if shown is None:
        yield "`screener scan --threshold auto` refuses to work with it unless `--accept-uncertified` is given."
        return
    yield (
        f"- Unit: {shown.unit}. It counts as detected when one randomly drawn slice with a tumour is flagged; one "
        f"fixed draw (seed {shown.seed}) is counted. A refused slice counts as missed."
    )
    if shown.mean_detected is not None and shown.missed_interval is not None:
        low, high = shown.missed_interval
        yield (
            f"- Averaged over every draw, {shown.mean_detected:.4f} of the units are detected; in 95 % of draws {low} "
            f"to {high} are missed."
        )
    yield (
        f"- Aimed at {shown.aimed_at:g}. Certified is the highest of the fixed targets {shown.targets_tried} that the "
        "exact one-sided binomial bound reaches. The threshold was chosen on the tune set alone."
    )
    yield from _earlier_attempts(shown)
    for name, result in shown.by_source.items():
        counts = f"{result.units} units, {result.slices} slices"
        yield f"- {name}: {counts}, {result.mean_detected:.3f} detected on average."
    yield f"- Sequences: {', '.join(shown.sequences)}. Left out, and without promise: {without}."
    yield f"- Specificity on the certification set, every sequence: {rate(shown.specificity)}."
    yield f"- {shown.holds_for}"
    if not auto.certified:
        yield "- `screener scan --threshold auto` refuses to work with it unless `--accept-uncertified` is given."


def _earlier_attempts(shown: Certificate) -> Iterator[str]:
    """Name the other models that the same certification set was asked about."""
    earlier = shown.earlier_attempts
    if not earlier:
        return
    result = "; ".join(f"{one.version} ({one.missed} of {one.units} missed)" for one in earlier)
    looks = len(earlier) + 1
    strict = lower_bound(shown.units - shown.missed, shown.units, 1 - (1 - shown.level) / looks)
    yield (
        f"- The same certification set was also asked about {result}. Whoever shares the error among all {looks} looks "
        f"gets a lower bound of {math.floor(strict * 1e4) / 1e4:.4f}."
    )


def _points(points: Mapping[str, CardPoint]) -> Iterator[str]:
    yield "| name | threshold | sensitivity | specificity | certified |"
    yield "|---|---|---|---|---|"
    for name, point in points.items():
        result = " | ".join(rate(figure) for figure in (point.sensitivity, point.specificity))
        yield f"| `{name}` | {point.threshold:g} | {result} | {'yes' if point.certified else 'no'} |"
    if points["auto"].chosen_by is not None:
        yield from _choice(points["auto"], points["auto"].chosen_by)


def _choice(auto: CardPoint, choice: ThresholdChoice) -> Iterator[str]:
    margin = "no target (too few units)" if choice.margin is None else f"{choice.margin:g}"
    by_source = ", ".join(f"{name} {share:.3f}" for name, share in choice.by_source.items())
    floor = "kept" if (choice.specificity or 0.0) >= choice.floor else "not kept"
    yield ""
    yield (
        f"By slice, on the {auto.measured_on}, plain T1 included; a refused positive counts as missed, a "
        "refused negative as a false alarm."
    )
    yield ""
    yield (
        f"`auto` was chosen on the tune set, plain T1 left out: the mean over sources ({by_source} detected) reaches "
        f"{auto.recall_target or 0:g}; the lower bound over its {choice.units} units is "
        f"{choice.bound:.4f}, a margin that supports {margin}. Specificity there, sources equal and every sequence: "
        f"{_number(choice.specificity)}; the floor of {choice.floor:g} for buying margin is {floor}."
    )


def rate(share: Rate | None) -> str:
    """Show a share with its 95 % interval and the counts behind it."""
    if share is None or share.value is None:
        return "not measured"
    return (
        f"{share.value:.3f} ({_number(share.low)}–{_number(share.high)}; "
        f"{share.hits}/{share.count} slices, {share.units} units)"
    )


def _study(section: StudySection | None) -> Iterator[str]:
    if section is None:
        yield "Studies are judged by the same thresholds as slices, without figures by patient: nothing is certified."
        return
    how = section.aggregation
    yield (
        f"A study's probability is the highest mean of {how.window} neighbouring assessable slices of a series, the "
        f"highest over its series. Sequences: {_listed(section.sequences)}; planes: {_listed(section.planes)}; series "
        f"of others are not used. A study with fewer than {how.least_slices} assessable slices, or less than "
        f"{how.least_share:.0%} of them, is not assessable unless it is flagged."
    )
    yield from ("", "| name | threshold | sensitivity by patient | specificity by patient | certified |")
    yield "|---|---|---|---|---|"
    for name, point in section.operating_points.items():
        result = " | ".join(_by_patient(figure) for figure in (point.sensitivity, point.specificity))
        yield f"| `{name}` | {point.threshold:g} | {result} | {'yes' if point.certified else 'no'} |"
    yield from ("", *_study_certificate(section.operating_points["auto"]))
    if section.estimates:
        yield from ("", "| figure | value (95 % interval) | behind it | measured on |", "|---|---|---|---|")
        yield from (_estimate(one) for one in section.estimates)


def _study_certificate(auto: CardPoint) -> Iterator[str]:
    shown = auto.certificate
    if shown is None:
        yield "Nothing is certified by patient."
        return
    counts = f"{shown.missed} of {shown.units} missed, lower bound {shown.bound:.4f} at {100 * shown.level:g} %"
    certified = "nothing" if shown.target is None else f"sensitivity ≥ {shown.target:g}"
    yield f"Certified for studies: **{certified}** ({counts}; {shown.method}; a unit is {shown.unit})."
    if shown.certifies == "recipe":
        yield "The recipe is certified: each patient was judged by a model that saw no patient of the same site."
    yield from filter(None, (shown.rule, shown.holds_for))


def _by_patient(share: Rate | None) -> str:
    if share is None or share.value is None:
        return "not measured"
    return f"{share.value:.3f} ({_number(share.low)}–{_number(share.high)}; {share.hits}/{share.count} patients)"


def _listed(names: tuple[str, ...] | None) -> str:
    return "any" if names is None else ", ".join(names) or "none"


def _estimate(one: Estimate) -> str:
    interval = "" if one.low is None or one.high is None else f" ({one.low:.3f}–{one.high:.3f})"
    return f"| {one.name} | {_number(one.value)}{interval} | {one.count} {one.unit} | {one.measured_on} |"


def _calibration(card: Card) -> Iterator[str]:
    found = card.calibration
    if found is None:
        yield "Not calibrated: the probability is not the sigmoid of a dense layer."
        return
    offset = "" if found.kind == "temperature" else f", offset {found.offset:+.3f}"
    left = _number(found.balanced_errors.get("temperature"))
    yield (
        f"By {found.kind} (temperature {found.temperature:.3f}{offset}), fitted on the tune set with slices "
        "weighed as in training, and folded into the last layer's weights; the heatmap is as it was. "
        + (
            "A temperature leaves 0.5 where it was; no number was fitted to a cut."
            if found.kind == "temperature"
            else f"A temperature alone left an error of {left} on the tune set; the offset was "
            "fitted by likelihood, never to a cut."
        )
    )
    yield ""
    yield "| set | expected calibration error, balanced: before | after | plain, by slice: before | after |"
    yield "|---|---|---|---|---|"
    for name, result in card.metrics["calibration_errors"].items():
        kinds = ("balanced_before", "balanced_after", "plain_before", "plain_after")
        yield f"| {name} | {' | '.join(f'{result[kind]:.3f}' for kind in kinds)} |"


def _prevalences(metrics: Mapping[str, Any]) -> Iterator[str]:
    yield "At `auto`, with sensitivity and specificity by slice as measured on the certification set (Bayes' rule):"
    yield from ("", "| slices with a tumour | PPV | NPV |", "|---|---|---|")
    for share, result in metrics["certify"]["at_prevalence"].items():
        yield f"| {float(share):.0%} | {_number(result['ppv'])} | {_number(result['npv'], 4)} |"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _data(card: Card) -> Iterator[str]:
    yield "| source | slices (with tumour) | licence | citation |"
    yield "|---|---|---|---|"
    for source in card.training_data.sources:
        yield f"| {source.name} | {_used(source)} | {source.licence} | {source.citation} |"
    yield ""
    yield from _without_restricted(card)


def _used(source: TrainingSource) -> str:
    tumours = source.positives
    return ", ".join(
        f"{name} {count}" + (f" ({tumours[name]})" if name in tumours else "") for name, count in source.slices.items()
    )


def _without_restricted(card: Card) -> Iterator[str]:
    """Yield what it would cost to drop what is not plainly free for commercial use."""
    sources = card.training_data.sources
    kept = [source for source in sources if source.commercial is True]
    lost = [source for source in sources if source.commercial is not True]
    slices = [sum(source.slices.get("fit", 0) for source in part) for part in (lost, sources)]
    tumours = [sum(source.positives.get("fit", 0) for source in part) for part in (lost, sources)]
    named = ", ".join(source.name for source in lost) or "none"
    free = ", ".join(source.name for source in kept) or "none"
    yield (
        f"Plainly free for commercial use are {free}. Not, or not stated to be: {named}. Without those, {slices[0]} of "
        f"the {slices[1]} slices that were fitted on are lost, {tumours[0]} of the {tumours[1]} with a tumour and "
        f"{slices[0] - tumours[0]} of the {slices[1] - tumours[1]} without."
        + (
            " What the recipe is worth there when trained without them, more briefly, stands in the rows *restricted* "
            "of `docs/results/leave-one-out.md`."
            if _public(card)
            else ""
        )
    )


def _protocol(card: Card) -> Iterator[str]:
    data = card.training_data
    yield (
        "Sets are disjoint by near-duplicate group (eight flips and quarter turns) and by patient where known; "
        f"seed {data.seed}; fingerprint `{data.fingerprint}`. Epoch, calibration and `auto` were chosen on tune; "
        "certification was asked once, with all that fixed; test chose nothing."
    )
    yield ""
    yield "| set | slices | with tumour | near-duplicate groups | units |"
    yield "|---|---|---|---|---|"
    for name in ("fit", *_SETS, "test"):
        counts = data.sets[name]
        yield f"| {name} | {counts.slices} | {counts.positives} | {counts.groups} | {counts.units} |"
    if data.test_sources:
        yield ""
        yield (
            f"Tested on, and never chosen by: {', '.join(data.test_sources)}. `withheld` slices resemble it or the "
            "demo images, or neighbour a slice of another set; they were used nowhere."
        )
    training, parity = card.metrics["training"], card.metrics["parity"]
    yield ""
    yield (
        f"Best of {training['epochs']} epochs by {_MONITORS[training.get('monitor', 'auc')]} on the tune set: "
        f"epoch {training['best_epoch']}; "
        f"{training['minutes']:.0f} minutes. Keras and onnxruntime differ by at most "
        f"{parity['largest_difference']:.1e} in probability over {parity['slices']} real slices."
    )


def _figures(card: Card) -> Iterator[str]:
    metrics = card.metrics
    yield (
        "All at `auto`, by slice; 95 % intervals by bootstrap over units, those of rates below ten units no narrower "
        "than the exact ones." + (" More on data that chose nothing: `docs/results/`." if _public(card) else "")
    )
    sets = {f"Set: {title}": metrics[name] for name, title in _SETS.items()}
    sets |= {f"Test source: {name}": result for name, result in metrics["test"].items()}
    for title, result in sets.items():
        yield from ("", f"### {title}", "")
        yield from _set(result)


def _set(result: Mapping[str, Any]) -> Iterator[str]:
    yield "| part | slices (with tumour) | refused | AUC | sensitivity | specificity |"
    yield "|---|---|---|---|---|---|"
    yield _row("**all**", result)
    for kind, rows in result["parts"].items():
        if kind != "tumour size" and len(rows) > 1:
            yield from (_row(f"{kind}: {value}", row) for value, row in rows.items())
    found = result["detection"]
    if found is not None:
        yield ""
        yield (
            f"Patients or runs, plain T1 left out: {found['missed']} of {found['units']} missed, "
            f"{found['average']:.3f} detected on average over all draws, lower bound {found['bound']:.4f}."
        )


def rate_of(figures: Mapping[str, Any]) -> str:
    """Show a share that is kept as a mapping, with its 95 % interval and the counts behind it."""
    return rate(Rate(**figures))


def _row(name: str, result: Mapping[str, Any]) -> str:
    area = result["auc"]
    shown = "–" if area["value"] is None else f"{area['value']:.3f} ({area['low']:.3f}–{area['high']:.3f})"
    matrix = result["confusion"]
    shares = (
        _share(result["sensitivity"], matrix["caught"], matrix["caught"] + matrix["missed"]),
        _share(result["specificity"], matrix["quiet"], matrix["quiet"] + matrix["alarms"]),
    )
    counts = f"{result['slices']} ({result['positives']})"
    return f"| {name} | {counts} | {result['refused']['hits']} | {shown} | {' | '.join(shares)} |"


def _share(found: Mapping[str, Any], hits: int, count: int) -> str:
    if found["value"] is None:
        return "–"
    return f"{found['value']:.3f} ({found['low']:.3f}–{found['high']:.3f}; {hits}/{count})"


def _failures(card: Card) -> Iterator[str]:
    """Yield the weakest parts, with their numbers, from the certification set."""
    result = card.metrics["certify"]
    for name in card.metrics["without_promise"]:
        row = result["parts"]["sequence"].get(name)
        if row and row["sensitivity"]["value"] is not None:
            matrix = row["confusion"]
            found = _share(row["sensitivity"], matrix["caught"], matrix["caught"] + matrix["missed"])
            yield f"- Plain {name} hides tumours: sensitivity {found}."
    sizes = result["parts"]["tumour size"]
    if sizes:
        small, large = (sizes[name]["sensitivity"] for name in ("smallest quarter", "largest quarter"))
        yield (
            f"- By size of the tumour: sensitivity {rate_of(small)} in the smallest quarter of annotated areas, "
            f"{rate_of(large)} in the largest."
        )
    for kind in ("source", "sequence"):
        for figure in ("sensitivity", "specificity"):
            yield from _weakest(result["parts"][kind], kind, figure)
    refused = ", ".join(f"{count} {reason}" for reason, count in result["refusals"].items()) or "none"
    yield f"- Refused though they are brain MRI: {rate_of(result['refused'])} ({refused})."
    matrix = result["confusion"]
    yield f"- By slice, {matrix['missed']} tumours were missed and {matrix['alarms']} slices flagged falsely."


def _weakest(rows: Mapping[str, Any], kind: str, figure: str) -> Iterator[str]:
    known = {name: row for name, row in rows.items() if row[figure]["value"] is not None}
    if len(known) > 1:
        name = min(known, key=lambda one: known[one][figure]["value"])
        found = known[name][figure]
        yield f"- Lowest {figure} by {kind}: {name}, {found['value']:.3f} ({found['low']:.3f}–{found['high']:.3f})."


def _pointing(metrics: Mapping[str, Any]) -> Iterator[str]:
    if not metrics["certify"]["pointing"]:
        yield "It has no heatmap, or no slice is annotated."
        return
    yield (
        "Of the slices with a tumour that `auto` flags and somebody annotated: how many have the heatmap's maximum "
        "inside the annotated box (a mask counts as the boxes around its parts), and the share of its energy there."
    )
    yield from ("", "| set | source | maximum inside | energy inside |", "|---|---|---|---|")
    for name in _SETS:
        for source, result in metrics[name]["pointing"].items():
            yield f"| {name} | {source} | {rate_of(result['inside'])} | {result['energy']:.3f} |"


def _embedding_reference(reference: EmbeddingReference | None) -> Iterator[str]:
    if reference is None:
        yield "The model has no embedding; only the quality control on pixels works."
        return
    distances = ", ".join(f"{name} {distance:.1f}" for name, distance in reference.distance_by_source.items())
    yield (
        f"A slice is refused as `not_a_brain_mri` when its features lie farther than {reference.cutoff} from what the "
        f"model knows: the distance that keeps {reference.kept_share or 0:.1%} of a source treated as unknown "
        f"({distances})."
    )
