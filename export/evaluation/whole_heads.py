"""A released model on whole heads: figures within heads and sites; aggregations of slices to studies compared."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from statistics import mean
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from export.data.volumes import STACKED, UNORDERED, level_of, tenth_of
from export.errors import DataError
from export.evaluation.head_scores import counted, part_answers, patient_answers, score_volumes, series_of
from export.files import save_json
from screener.evaluate.metrics import auc, exact_interval
from screener.evaluate.within_head import covariate_adjusted_auc, key_slice
from screener.model.session import Model
from screener.pipeline.study import Aggregation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from export.evaluation.head_scores import Known, Row

_LEVELS = {"lower": "lower 40 %", "middle": "middle", "top": "top 20 %"}
_SENSITIVITY = 0.95
_RANDOM_DRAWS = 30


def top_mean(known: Known, count: int = 3) -> float:
    """Return the mean of the highest slices."""
    return mean(sorted(known)[-count:])


def noisy_or(known: Known) -> float:
    """Return the probability that any slice shows a tumour, were they independent."""
    return 1 - math.prod(1 - value for value in known)


AGGREGATIONS: dict[str, Callable[[Known], float]] = {
    "highest mean of five neighbours": lambda known: Aggregation().series(known) or 0.0,
    "highest mean of three neighbours": lambda known: Aggregation(window=3).series(known) or 0.0,
    "mean of the three highest": top_mean,
    "highest slice": max,
    "noisy-or": noisy_or,
}
"""What makes one number of a series, from its assessable slices in anatomical order."""


def whole_heads(data: Path, model_folder: Path) -> dict[str, Any]:
    """Measure a model on the volumes of a folder with ``volumes.csv``.

    Refusals count by the contract: a slice with a tumour that is refused scores 0, one without scores 1.
    """
    model = Model.load(model_folder)
    scored = score_volumes(data, model)
    series = series_of(scored)
    threshold = model.card.operating_points["auto"].threshold
    return {
        "model": model.card.title,
        "threshold": threshold,
        "adjusted": adjusted(series),
        "levels": _levels(scored, threshold),
        "refused": _refused(scored),
        "parts": {name: parts_compared(series, how) for name, how in AGGREGATIONS.items()},
        "key_slices": key_slices(series),
        "random_parts": _random_parts(series),
        "pooled": _pooled(data, scored, series),
        "studies": {name: _studies(series, how, threshold) for name, how in AGGREGATIONS.items()},
    }


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


def _levels(rows: Iterable[Row], threshold: float) -> dict[str, Any]:
    """Return the specificity by slice at the threshold, by source and level of the head; refused is a false alarm."""
    counts: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for row in rows:
        if row.label == "no":
            levels = ["all"]
            if row.source not in UNORDERED | STACKED:
                levels.append(_LEVELS[level_of(row.height)])
            for level in levels:
                counts[row.source, level].append(counted(row, row.score) < threshold)
    return {f"{source}, {level}": _share(sum(right), len(right)) for (source, level), right in sorted(counts.items())}


def _refused(rows: Iterable[Row]) -> dict[str, Any]:
    """Return how many slices quality control refused, by source and label."""
    counts: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for row in rows:
        counts[row.source, row.label].append(row.score is None)
    return {f"{source}, {label}": _share(sum(found), len(found)) for (source, label), found in sorted(counts.items())}


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
    specificity = _share(int((negatives < cut).sum()), len(negatives))
    return {"auc": round(auc(labels, np.concatenate([positives, negatives])), 4), "specificity": specificity}


def _random_parts(series: Mapping[str, Sequence[Row]]) -> float:
    """Return the mean AUC that random scores get in the comparison of parts; a fair comparison gives them 0.5."""
    rng = np.random.default_rng(1)
    how = AGGREGATIONS["highest mean of five neighbours"]
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
        name: _share(sum(hit for hit, _ in rows), len(rows)) | {"chance": round(mean(one for _, one in rows), 3)}
        for name, rows in sorted(hits.items())
    }


def _studies(series: Mapping[str, Sequence[Row]], how: Callable[[Known], float], threshold: float) -> dict[str, Any]:
    """Return sensitivity and specificity by patient at the threshold; all refused is a miss or a false alarm."""
    answers, positive = patient_answers(series, how)
    found: dict[str, Any] = {}
    for name, patients in (("sensitivity", positive), ("specificity", set(answers) - positive)):
        for source in sorted({source for source, _ in patients} - UNORDERED):
            mine = [patient for patient in patients if patient[0] == source]
            right = sum((answers[patient] >= threshold) == (name == "sensitivity") for patient in mine)
            found[f"{name}, {source}"] = _share(right, len(mine))
    return found


def _pooled(data: Path, rows: Sequence[Row], series: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Return the AUC by patient over sources, beside that of a baseline which is blind to anatomy."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneOut, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    answers, positive = patient_answers(series, AGGREGATIONS["highest mean of five neighbours"])
    grey: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for row in rows:
        if row.source not in UNORDERED:
            grey[row.source, row.patient].append(_grey_statistics(data / row.path))
    patients = sorted(grey)
    labels = np.array([int(patient in positive) for patient in patients])
    if len(set(labels.tolist())) < 2 or min(np.bincount(labels)) < 2:  # noqa: PLR2004 - both labels stay when one leaves
        return {}
    features = np.array([np.mean(grey[patient], axis=0) for patient in patients])
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    blind = cross_val_predict(regression, features, labels, cv=LeaveOneOut(), method="predict_proba")[:, 1]
    scores = np.array([answers[patient] for patient in patients])
    return {
        "patients": len(patients),
        "positives": int(labels.sum()),
        "model": round(auc(labels, scores), 4),
        "acquisition_baseline": round(auc(labels, blind), 4),
    }


def _grey_statistics(path: Path) -> list[float]:
    """Return size and grey statistics of a file: what a scanner and an export leave, whatever the anatomy."""
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise DataError(f"{path} cannot be decoded", "copy it again, or take it out of volumes.csv")
    levels = np.percentile(image, [5, 25, 50, 75, 95]).tolist()
    return [*map(float, image.shape), float(image.mean()), float(image.std()), *levels]


def _share(hits: int, count: int) -> dict[str, Any]:
    low, high = exact_interval(hits, count)
    return {"value": round(hits / count, 4), "low": round(low, 4), "high": round(high, 4), "hits": hits, "count": count}


def write_report(out: Path, found: Mapping[str, Any]) -> None:
    """Write ``<out>.json`` and ``<out>.md``."""
    save_json(out.with_suffix(".json"), dict(found))
    out.with_suffix(".md").write_text("\n".join(_lines(found)) + "\n")


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield from ("# Whole heads", "")
    yield (
        f"Written by `make whole-heads`: {found['model']} on every slice of `volumes.csv`, at `auto` "
        f"({found['threshold']:g}) where a threshold is needed. Refused slices count as in the contract. Intervals: "
        "exact binomial, 95 %, over what is counted; slices of one patient are alike, so those over slices are too "
        "narrow. Patients of `tcga_lgg` and `oasis` were partly in the training set of lite 0.3.0; those of "
        "`tcga_gbm`, `nichart` and `open_ms` were not. Plain T1, for which the model makes no promise, is included."
    )
    yield from ("", "## Covariate-adjusted AUC (same site, sequence and tenth of the head)", "")
    yield from (
        "| | slices alone | in context | slices with tumour | patients | strata (left out) |",
        "|---|---|---|---|---|---|",
    )
    for name, row in found["adjusted"].items():
        areas = f"{row['alone']:.3f} | {row['in_context']:.3f}"
        counts = f"{row['positives']} | {row['patients']} | {row['strata']} ({row['strata_left_out']})"
        yield f"| {name} | {areas} | {counts} |"
    yield from ("", "## Part with against part without a tumour, same heads, best series", "")
    yield from ("| aggregation | AUC | specificity at sensitivity 0.95 |", "|---|---|---|")
    for name, row in found["parts"].items():
        yield f"| {name} | {row['auc']:.3f} | {_with_interval(row['specificity'])} |"
    yield ""
    yield (
        "Refused slices are left out of a part; a part that is refused whole counts as the contract says. Random "
        f"scores get an AUC of {found['random_parts']:.3f}. Heads whose levels are not known are left out."
    )
    yield from ("", "## Key slice on the tumour", "", "| | series | chance |", "|---|---|---|")
    for name, row in found["key_slices"].items():
        yield f"| {name} | {_with_interval(row)} | {row['chance']:.3f} |"
    yield from _shares("Specificity by slice, by level", found["levels"])
    yield from _shares("Refused by quality control", found["refused"])
    yield from ("", "## By patient at the threshold of a slice", "")
    names = list(next(iter(found["studies"].values())))
    yield from (f"| aggregation | {' | '.join(names)} |", f"|---|{'---|' * len(names)}")
    for name, row in found["studies"].items():
        yield f"| {name} | {' | '.join(_with_interval(row[key]) for key in names)} |"
    if pooled := found["pooled"]:
        yield ""
        yield (
            f"Over all these {pooled['patients']} patients ({pooled['positives']} with a tumour) the AUC of the first "
            f"row is {pooled['model']:.3f}. The acquisition baseline, a logistic regression on image size and grey "
            f"statistics that leaves one patient out, gets {pooled['acquisition_baseline']:.3f}: patients with and "
            "without a tumour come from different scanners, and a figure by patient over sources says little."
        )


def _shares(title: str, rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield from ("", f"## {title}", "", "| | share |", "|---|---|")
    for name, row in rows.items():
        yield f"| {name} | {_with_interval(row)} |"


def _with_interval(row: Mapping[str, Any]) -> str:
    return f"{row['value']:.3f} ({row['low']:.3f}–{row['high']:.3f}; {row['hits']}/{row['count']})"
