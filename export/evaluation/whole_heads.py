"""A released model on whole heads: figures within heads and sites; aggregations of slices to studies compared."""

from __future__ import annotations

import math
from collections import defaultdict
from statistics import mean
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from export.errors import DataError
from export.evaluation.head_scores import score_volumes
from export.files import read_rows
from screener.evaluate.acquisition_baseline import baseline_scores, grey_statistics
from screener.evaluate.heads import (
    adjusted,
    counted,
    key_slices,
    parts_compared,
    patient_answers,
    random_parts,
    series_answer,
    series_of,
    share,
)
from screener.evaluate.levels import STACKED, UNORDERED, level_of
from screener.evaluate.metrics import auc
from screener.model.session import Model
from screener.pipeline.study import Aggregation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from screener.evaluate.heads import Known, Row
    from screener.evaluate.labelled import LabelledRow

_LEVELS = {"lower": "lower 40 %", "middle": "middle", "top": "top 20 %"}


def top_mean(known: Known, count: int = 3) -> float:
    """Return the mean of the highest slices."""
    return mean(sorted(known)[-count:])


def noisy_or(known: Known) -> float:
    """Return the probability that any slice shows a tumour, were they independent."""
    return 1 - math.prod(1 - value for value in known)


AGGREGATIONS: dict[str, Callable[[Known], float]] = {
    "highest mean of five neighbours": series_answer(Aggregation()),
    "highest mean of three neighbours": series_answer(Aggregation(window=3)),
    "mean of the three highest": top_mean,
    "highest slice": max,
    "noisy-or": noisy_or,
}
"""What makes one number of a series, from its assessable slices in anatomical order."""


def whole_heads(data: Path, model_folder: Path, patients: Path | None = None) -> dict[str, Any]:
    """Measure a model on the volumes of a folder with ``volumes.csv``.

    Refusals count by the contract: a slice with a tumour that is refused scores 0, one without scores 1.

    Parameters
    ----------
    data : Path
    model_folder : Path
    patients : Path, optional
        A ``patients.csv``, by default the model's own: only patients of its certification set are measured. Without
        one, all of them.
    """
    model = Model.load(model_folder)
    own = model_folder / "patients.csv"
    known = patients or (own if own.is_file() else None)
    scored = score_volumes(data, model, None if known is None else certified_patients(known))
    series = series_of(scored)
    threshold = model.card.operating_points["auto"].threshold
    section = model.card.study
    for_studies = threshold if section is None else section.operating_points["auto"].threshold
    sequences = None if section is None else section.sequences
    used = series_of(row for row in scored if sequences is None or row.sequence in {*sequences, ""})
    return {
        "model": model.card.title,
        "threshold": threshold,
        "study_threshold": for_studies,
        "sequences": None if sequences is None else list(sequences),
        "certification_set": None if known is None else "own" if patients is None else "other",
        "patients": len({(row.source, row.patient) for row in scored}),
        "adjusted": adjusted(series),
        "levels": _levels(scored, threshold),
        "refused": _refused(scored),
        "parts": {name: parts_compared(series, how) for name, how in AGGREGATIONS.items()},
        "key_slices": key_slices(series),
        "random_parts": random_parts(series, AGGREGATIONS["highest mean of five neighbours"]),
        "pooled": _pooled(data, scored, series),
        "studies": {name: _studies(used, how, for_studies) for name, how in AGGREGATIONS.items()},
    }


def certified_patients(path: Path) -> frozenset[str]:
    """Return ``source/patient`` of the certification set in a ``patients.csv``."""
    rows = read_rows(path, ("source", "patient", "set"), "python -m export convert writes it")
    return frozenset(f"{row['source']}/{row['patient']}" for _, row in rows if row["set"] == "certify")


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
    return {f"{source}, {level}": share(sum(right), len(right)) for (source, level), right in sorted(counts.items())}


def _refused(rows: Iterable[Row]) -> dict[str, Any]:
    """Return how many slices quality control refused, by source and label."""
    counts: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for row in rows:
        counts[row.source, row.label].append(row.score is None)
    return {f"{source}, {label}": share(sum(found), len(found)) for (source, label), found in sorted(counts.items())}


def _studies(series: Mapping[str, Sequence[Row]], how: Callable[[Known], float], threshold: float) -> dict[str, Any]:
    """Return sensitivity and specificity by patient at the threshold; all refused is a miss or a false alarm."""
    answers, positive = patient_answers(series, how)
    found: dict[str, Any] = {}
    for name, patients in (("sensitivity", positive), ("specificity", set(answers) - positive)):
        for source in sorted({source for source, _ in patients} - UNORDERED):
            mine = [patient for patient in patients if patient[0] == source]
            right = sum((answers[patient] >= threshold) == (name == "sensitivity") for patient in mine)
            found[f"{name}, {source}"] = share(right, len(mine))
    return found


def _pooled(data: Path, rows: Sequence[Row], series: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Return the AUC by patient over sources, beside that of a baseline which is blind to anatomy."""
    answers, positive = patient_answers(series, AGGREGATIONS["highest mean of five neighbours"])
    known = {patient: answers[patient] for patient in {(row.source, row.patient) for row in rows}}
    return beside_baseline(data, [row for row in rows if row.source not in UNORDERED], known, positive)


def beside_baseline(
    data: Path,
    rows: Iterable[Row | LabelledRow],
    answers: Mapping[tuple[str, str], float],
    positive: Collection[tuple[str, str]],
) -> dict[str, Any]:
    """Return the AUC by patient over sources, beside that of a baseline which is blind to anatomy.

    Parameters
    ----------
    data : Path
    rows : iterable of Row or LabelledRow
        The slices whose size and grey statistics the baseline sees, averaged by patient.
    answers : mapping of (source, patient) to float
    positive : collection of (source, patient)
        Those with a tumour.

    Returns
    -------
    dict
        ``patients``, ``positives``, and the AUCs ``model`` and ``acquisition_baseline``; empty where one label has
        fewer than two patients.
    """
    grey: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for row in rows:
        if (row.source, row.patient) in answers:
            grey[row.source, row.patient].append(_grey_statistics(data / row.path))
    patients = sorted(grey)
    labels = np.array([int(patient in positive) for patient in patients])
    if len(set(labels.tolist())) < 2 or min(np.bincount(labels)) < 2:  # noqa: PLR2004 - both labels stay when one leaves
        return {}
    features = np.array([np.mean(grey[patient], axis=0) for patient in patients])
    blind = baseline_scores(features, labels, np.arange(len(patients)))
    scores = np.array([answers[patient] for patient in patients])
    return {
        "patients": len(patients),
        "positives": int(labels.sum()),
        "model": round(auc(labels, scores), 4),
        "acquisition_baseline": round(auc(labels, blind), 4),
    }


def _grey_statistics(path: Path) -> list[float]:
    """Return size and grey statistics of a file."""
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise DataError(f"{path} cannot be decoded", "copy it again, or take it out of volumes.csv")
    return grey_statistics(image)
