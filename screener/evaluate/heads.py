"""Figures on whole heads from the slices of their series: within a site, a sequence, a level, a head.

Refusals count by the contract: a slice with a tumour that is refused scores 0, one without scores 1.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np

from screener.evaluate.levels import STACKED, UNORDERED, tenth_of
from screener.evaluate.metrics import auc, exact_interval
from screener.evaluate.within_head import covariate_adjusted_auc, key_slice, parts
from screener.pipeline.study import Aggregation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from screener.evaluate.labelled import LabelledRow

    Known = Sequence[float]

_SENSITIVITY = 0.95
_RANDOM_DRAWS = 30


@dataclass(frozen=True, slots=True)
class Row:
    """A slice of a volume and what the model says of it; `score` is None where it was refused."""

    path: str
    label: str
    source: str
    sequence: str
    patient: str
    site: str
    series: str
    index: int
    count: int
    score: float | None

    @classmethod
    def of(cls, row: LabelledRow, score: float | None, *, patient: str | None = None) -> Row:
        """Return a line of labelled data with its score; `patient` is whose it counts as, by default the line's own."""
        return cls(
            path=row.path,
            label=row.label,
            source=row.source,
            sequence=row.sequence,
            patient=row.patient if patient is None else patient,
            site=row.site,
            series=row.series,
            index=row.slice_index or 1,
            count=row.n_slices or 1,
            score=score,
        )

    @property
    def height(self) -> float:
        """Where in the head the slice lies, from 0 (lowest) to 1."""
        return (self.index - 1) / max(self.count - 1, 1)


def series_of(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the slices of every series, lowest first."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[f"{row.source}/{row.series}"].append(row)
    return {name: sorted(slices, key=lambda row: row.index) for name, slices in found.items()}


def counted(row: Row, value: float | None) -> float:
    """Return a score as the contract counts it."""
    return value if value is not None else float(row.label == "no")


def answer(slices: Sequence[Row], how: Callable[[Known], float], *, refused: float) -> float:
    """Return a series' or part's answer from its assessable slices; `refused` where there is none."""
    known = [row.score for row in slices if row.score is not None]
    return how(known) if known else refused


def series_answer(aggregation: Aggregation) -> Callable[[Known], float]:
    """Return what makes one number of the assessable slices of a series; 0 where there is none."""
    return lambda known: aggregation.series(known) or 0.0


def patient_answers(
    series: Mapping[str, Sequence[Row]], how: Callable[[Known], float]
) -> tuple[dict[tuple[str, str], float], set[tuple[str, str]]]:
    """Return the answer of each (source, patient), from the best series, and which of them have a tumour."""
    grouped: dict[tuple[str, str], list[Sequence[Row]]] = defaultdict(list)
    for slices in series.values():
        grouped[slices[0].source, slices[0].patient].append(slices)
    positive = {
        patient for patient, every in grouped.items() if any(row.label == "yes" for slices in every for row in slices)
    }
    answers = {}
    for patient, every in grouped.items():
        refused = 0.0 if patient in positive else 1.0
        assessable = [slices for slices in every if any(row.score is not None for row in slices)]
        answers[patient] = max((answer(slices, how, refused=refused) for slices in assessable), default=refused)
    return answers, positive


def part_answers(series: Mapping[str, Sequence[Row]], how: Callable[[Known], float]) -> dict[str, tuple[float, float]]:
    """Return for every patient the best answer of a part with a tumour, and of the tumour-free part of the same head.

    Heads whose levels are not known are left out. A part without any assessable slice counts as the contract says.
    """
    best: dict[str, tuple[float, float]] = {}
    for slices in series.values():
        found = None if slices[0].source in STACKED | UNORDERED else parts([row.label for row in slices])
        if found is None:
            continue
        with_tumour = answer([slices[index] for index in found.with_tumour], how, refused=0.0)
        without = answer([slices[index] for index in found.without], how, refused=1.0)
        former = best.get(slices[0].patient, (0.0, 0.0))
        best[slices[0].patient] = max(former[0], with_tumour), max(former[1], without)
    return best


def adjusted(series: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Return the covariate-adjusted AUC by source and sequence, slices alone and in context."""
    groups: dict[str, list[tuple[Row, float, float]]] = defaultdict(list)
    for slices in series.values():
        curve = Aggregation().in_context([row.score for row in slices])
        for row, value in zip(slices, curve, strict=True):
            if row.label in {"yes", "no"}:
                name = f"{row.source} {row.sequence}".strip()
                groups[name].append((row, counted(row, row.score), counted(row, value)))
    return {name: found for name, rows in sorted(groups.items()) if (found := _adjusted_rows(rows))}


def _adjusted_rows(rows: Sequence[tuple[Row, float, float]]) -> dict[str, Any]:
    labels = [int(row.label == "yes") for row, _, _ in rows]
    strata = [_stratum(row) for row, _, _ in rows]
    alone = covariate_adjusted_auc(labels, [one for _, one, _ in rows], strata)
    context = covariate_adjusted_auc(labels, [one for _, _, one in rows], strata)
    if alone.value is None or context.value is None:
        return {}
    patients = len({row.patient for row, _, _ in rows})
    return {
        "alone": round(alone.value, 4),
        "in_context": round(context.value, 4),
        "positives": alone.positives,
        "patients": patients,
        "strata": alone.strata,
        "strata_left_out": alone.left_out,
    }


def _stratum(row: Row) -> tuple[str, ...]:
    return row.site, row.sequence, tenth_of(None if row.source in STACKED else row.height)


def parts_compared(series: Mapping[str, Sequence[Row]], how: Callable[[Known], float]) -> dict[str, Any]:
    """Compare the part with a tumour against the tumour-free part of the same heads: best series a patient.

    Empty where no head has both parts.
    """
    best = part_answers(series, how)
    if not best:
        return {}
    positives = np.array([pair[0] for pair in best.values()])
    negatives = np.array([pair[1] for pair in best.values()])
    labels = np.repeat([1, 0], len(best))
    cut = np.quantile(positives, 1 - _SENSITIVITY, method="lower")
    specificity = share(int((negatives < cut).sum()), len(negatives))
    return {"auc": round(auc(labels, np.concatenate([positives, negatives])), 4), "specificity": specificity}


def random_parts(series: Mapping[str, Sequence[Row]], how: Callable[[Known], float]) -> float:
    """Return the mean AUC that random scores get in the comparison of parts; a fair comparison gives them 0.5."""
    rng = np.random.default_rng(1)
    areas: list[float] = []
    for _ in range(_RANDOM_DRAWS):
        drawn = {name: [replace(row, score=float(rng.random())) for row in slices] for name, slices in series.items()}
        if compared := parts_compared(drawn, how):
            areas.append(float(compared["auc"]))
    return round(float(mean(areas)), 4) if areas else math.nan


def key_slices(series: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Return the share of series whose key slice carries a tumour, beside the share of such slices."""
    hits: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    for slices in series.values():
        if not any(row.label == "yes" for row in slices):
            continue
        place = key_slice(Aggregation().in_context([row.score for row in slices]))
        # A sliver of a tumour counts neither way.
        counted = [row for row in slices if row.label != "border"]
        if place is None or slices[place].label != "border":
            on_tumour = place is not None and slices[place].label == "yes"
            chance = sum(row.label == "yes" for row in counted) / len(counted)
            hits[f"{slices[0].source} {slices[0].sequence}".strip()].append((on_tumour, chance))
    return {
        name: share(sum(hit for hit, _ in rows), len(rows)) | {"chance": round(mean(one for _, one in rows), 3)}
        for name, rows in sorted(hits.items())
    }


def share(hits: int, count: int) -> dict[str, Any]:
    """Return a share with its exact binomial interval, rounded for reports."""
    low, high = exact_interval(hits, count)
    return {"value": round(hits / count, 4), "low": round(low, 4), "high": round(high, 4), "hits": hits, "count": count}
