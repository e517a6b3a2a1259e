"""``MODEL_CARD.md``, written from the card alone, so that prose and numbers cannot drift apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from export.data.sources import all_known
from export.evaluation.subgroups import KINDS
from export.reports.figures import counted, interval, ordered, rate
from export.reports.render import markdown
from screener.evaluate.metrics import lower_bound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from screener.model.card import Card, CardPoint
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
_MEASURED_SETS = {"tune": "tune (chose epoch, calibration and `auto`)", "certify": "certification (chose nothing)"}
_SETS = ("fit", *_MEASURED_SETS, "test", "withheld")
_POINTS = ("default", "screening", "confirmation", "auto")


def render(card: Card) -> str:
    """Return the card as Markdown; the same whether the card was just made or read from its model."""
    public = all_known(source.name for source in card.training_data.sources)
    auto = card.points["auto"]
    return markdown(
        "model_card",
        card=card,
        metrics=card.metrics,
        public=public,
        not_for=(*(_PUBLIC_NOT_FOR if public else ()), *_NEVER_FOR),
        auto=auto,
        certified=_certified(auto),
        earlier=None if auto.certificate is None else _earlier_attempts(auto.certificate),
        points=ordered(card.points, _POINTS),
        set_names=_SETS,
        measured_sets=_MEASURED_SETS,
        monitor=_MONITORS[card.metrics["training"].get("monitor", "auc")],
        sources=_source_rows(card),
        restricted=_without_restricted(card),
        sets=list(_set_figures(card.metrics)),
        weakest=list(_weakest_parts(card.metrics["certify"]["parts"])),
        without_promise=list(_without_promise(card.metrics)),
    )


def verdict(card: Card) -> str:
    """Return in one line what a release may promise."""
    auto = card.points["auto"]
    return f"auto {auto.threshold:g}, specificity {rate(auto.specificity)}; {_certified(auto)}"


def _certified(auto: CardPoint) -> str:
    shown = auto.certificate
    if shown is None:
        return "not certified: no patient with a tumour is known in the certification set"
    counts = f"{shown.missed} of {shown.units} patients or runs missed, lower bound {shown.bound:.4f}"
    if not auto.certified:
        return f"not certified: {counts}"
    return f"certified for sensitivity ≥ {shown.target:g} at {100 * shown.level:g} % confidence ({counts})"


def _earlier_attempts(shown: Certificate) -> dict[str, Any] | None:
    """Return ``attempts`` of other models on the same certification set, their ``count`` with this one, the ``bound``.

    The bound shares the error among all of them.
    """
    if not shown.earlier_attempts:
        return None
    count = len(shown.earlier_attempts) + 1
    strict = lower_bound(shown.units - shown.missed, shown.units, 1 - (1 - shown.level) / count)
    attempts = [f"{one.version} ({one.missed} of {one.units} missed)" for one in shown.earlier_attempts]
    return {"attempts": attempts, "count": count, "bound": math.floor(strict * 1e4) / 1e4}


def _source_rows(card: Card) -> list[tuple[str, ...]]:
    """Return name, slices by set, licence and citation of every source."""
    return [
        (
            source.name,
            ", ".join(
                f"{name} {count}" + (f" ({source.positives[name]})" if name in source.positives else "")
                for name, count in ordered(source.slices, _SETS)
            ),
            source.licence,
            source.citation,
        )
        for source in card.training_data.sources
    ]


def _without_restricted(card: Card) -> dict[str, Any]:
    """Return what it would cost to drop what is not plainly free for commercial use: names and counts of fit slices."""
    sources = card.training_data.sources
    lost = [source for source in sources if source.commercial is not True]
    slices = [sum(source.slices.get("fit", 0) for source in part) for part in (lost, sources)]
    tumours = [sum(source.positives.get("fit", 0) for source in part) for part in (lost, sources)]
    return {
        "lost": ", ".join(source.name for source in lost) or "none",
        "free": ", ".join(source.name for source in sources if source.commercial is True) or "none",
        "slices": slices,
        "tumours": tumours,
        "healthy": [count - tumour for count, tumour in zip(slices, tumours, strict=True)],
    }


def _set_figures(metrics: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[object, ...]], Any]]:
    """Yield title, rows by part, and detection by patient of every set."""
    sets = {f"Set: {title}": metrics[name] for name, title in _MEASURED_SETS.items()}
    sets |= {f"Test source: {name}": result for name, result in ordered(metrics["test"])}
    for title, result in sets.items():
        rows = [_part_row("**all**", result)]
        for kind, parts in ordered(result["parts"], KINDS):
            if kind != "tumour size" and len(parts) > 1:
                rows += [_part_row(f"{kind}: {value}", row) for value, row in ordered(parts, ("unknown",))]
        yield title, rows, result["detection"]


def _part_row(name: str, result: Mapping[str, Any]) -> tuple[object, ...]:
    counts = f"{result['slices']} ({result['positives']})"
    return name, counts, result["refused"]["hits"], interval(result["auc"]), *_both_rates(result)


def _both_rates(result: Mapping[str, Any]) -> tuple[str, str]:
    """Return sensitivity and specificity with the slices behind them."""
    matrix = result["confusion"]
    return (
        counted({**result["sensitivity"], "hits": matrix["caught"], "count": matrix["caught"] + matrix["missed"]}),
        counted({**result["specificity"], "hits": matrix["quiet"], "count": matrix["quiet"] + matrix["alarms"]}),
    )


def _without_promise(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and sensitivity of the sequences of which nothing is promised."""
    for name in metrics["without_promise"]:
        row = metrics["certify"]["parts"]["sequence"].get(name)
        if row and row["sensitivity"]["value"] is not None:
            yield name, _both_rates(row)[0]


def _weakest_parts(parts: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield figure, kind, name and value of the lowest sensitivity and specificity by source and by sequence."""
    for kind in ("source", "sequence"):
        for figure in ("sensitivity", "specificity"):
            known = {name: row[figure] for name, row in ordered(parts[kind]) if row[figure]["value"] is not None}
            if len(known) > 1:
                name = min(known, key=lambda part: known[part]["value"])
                yield figure, kind, name, interval(known[name])
