"""Cross-fit over sites: every patient is scored by a model that saw no patient of that patient's hospital.

This certifies the recipe, by patient, on all whole heads with a tumour. What is trained, how the threshold is chosen
and what counts as detected is written down before any answer is looked at: the folds below, the threshold in
`export.release.study_threshold`, and the epochs in the make target. A fold is a nested evaluation: its epoch,
calibration and threshold are chosen on patients of the other sites, and the site left out only reports.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from export.data.sources import is_named
from export.data.volumes import read_volumes
from export.evaluation.head_scores import score_volumes
from export.evaluation.leave_one_out import LeaveOneOut, Terms, run_each
from export.evaluation.whole_heads import beside_baseline
from export.release.from_run import release
from export.release.release import Release
from export.release.study_section import TARGETS, patients_rate
from export.release.study_threshold import SEQUENCES, measured, study_scores
from export.training.options import Options
from screener.evaluate.detection import supported
from screener.evaluate.heads import adjusted, key_slices, parts_compared, series_answer, series_of
from screener.model.session import Model
from screener.pipeline.study import Aggregation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


FOLDS = (
    LeaveOneOut("tcga_lgg-DU", ("tcga_lgg:DU", "nichart")),
    LeaveOneOut("tcga_lgg-HT", ("tcga_lgg:HT", "open_ms")),
    LeaveOneOut("tcga_gbm", ("tcga_gbm",)),
)
"""Each hospital with tumours once, and each source of tumour-free heads with skull once."""
_FILE = "cross-fit.json"


def run(
    data: Path,
    folder: Path,
    terms: Terms,
    demo: Path,
    *,
    unseen: NDArray[Any] | None = None,
    max_minutes: float = math.inf,
) -> bool:
    """Train, release and evaluate the folds that have not been; the same call goes on where the last one ended.

    Returns
    -------
    bool
        Whether every fold is evaluated.

    Raises
    ------
    DataError
        See `export.evaluation.leave_one_out.run`.
    """

    def measure(place: Path, fold: LeaveOneOut) -> dict[str, Any]:
        release(data, place, Release(place / "model", fold.name, "0.0.0"), demo)
        result = evaluate(data, place, fold)
        print(f"{fold.name}: evaluated", flush=True)
        return result

    return run_each(data, folder, FOLDS, terms, file=_FILE, measure=measure, unseen=unseen, max_minutes=max_minutes)


def evaluate(data: Path, place: Path, fold: LeaveOneOut) -> dict[str, Any]:
    """Evaluate a fold's model on the patients that it was kept from.

    Returns
    -------
    dict
        ``threshold`` chosen inside; ``patients``: answer and whether there is a tumour, by patient; ``sensitivity`` and
        ``specificity`` by patient; ``adjusted``, ``parts`` and ``key_slices`` of the sources left out; ``epochs``.
    """
    model = Model.load(place / "model")
    rows = [row for row in score_volumes(data, model) if is_named(fold.left_out, row.source, row.site)]
    scores = study_scores(rows)
    threshold = study_threshold(model)
    series = series_of(rows)
    sensitivity, specificity = measured(scores, threshold)
    everybody = {name: (value, True) for name, value in scores.with_tumour.items()}
    everybody |= {name: (value, False) for name, value in scores.without.items()}
    return {
        "left_out": list(fold.left_out),
        "threshold": threshold,
        "epochs": Options.of(place).epochs,
        "patients": [
            {"patient": name, "site": scores.sites[name], "tumour": tumour, "probability": round(value, 4)}
            for name, (value, tumour) in sorted(everybody.items())
        ],
        "sensitivity": asdict(sensitivity),
        "specificity": asdict(specificity),
        "adjusted": adjusted(series),
        "parts": parts_compared(series, series_answer(Aggregation())),
        "key_slices": key_slices(series),
    }


def study_threshold(model: Model) -> float:
    """Return the threshold that ``auto`` has for studies."""
    section = model.card.study
    assert section is not None  # noqa: S101 - every fold holds whole heads
    return float(section.operating_points["auto"].threshold)


def gather(folder: Path, data: Path | None = None) -> dict[str, Any]:
    """Put the folds together: what is certified by patient, and each fold's figures.

    With `data`, ``pooled`` holds the AUC over all patients beside that of the acquisition baseline on the same slices.
    """
    folds = {
        fold.name: json.loads((folder / fold.name / _FILE).read_text())
        for fold in FOLDS
        if (folder / fold.name / _FILE).exists()
    }
    detected = [hit for one in folds.values() for hit in _right(one, tumour=True)]
    quiet = [hit for one in folds.values() for hit in _right(one, tumour=False)]
    missed = len(detected) - sum(detected)
    bound, target = supported(missed, len(detected), TARGETS) if detected else (0.0, None)
    return {
        "folds": folds,
        "missing": [fold.name for fold in FOLDS if fold.name not in folds],
        "certificate": {
            "patients": len(detected),
            "missed": missed,
            "bound": bound,
            "target": target,
            "sites": _by_site(folds.values()),
        },
        "specificity": _rate(quiet),
        "pooled": {} if data is None else _pooled(data, [one for fold in folds.values() for one in fold["patients"]]),
    }


def _pooled(data: Path, patients: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    keys = [tuple(one["patient"].split("/", 1)) for one in patients]
    answers = {key: float(one["probability"]) for key, one in zip(keys, patients, strict=True)}
    positive = {key for key, one in zip(keys, patients, strict=True) if one["tumour"]}
    rows = [row for row in read_volumes(data) if row.sequence in {*SEQUENCES, ""}]
    return beside_baseline(data, rows, answers, positive)


def _right(fold: Mapping[str, Any], *, tumour: bool) -> list[bool]:
    """Say of each patient with, or without, a tumour whether the fold's model was right."""
    return [(one["probability"] >= fold["threshold"]) == tumour for one in fold["patients"] if one["tumour"] is tumour]


def _by_site(folds: Sequence[Mapping[str, Any]] | Any) -> dict[str, Any]:  # noqa: ANN401 - a view of a dict's values
    sites: dict[str, list[bool]] = {}
    for fold in folds:
        for one in fold["patients"]:
            if one["tumour"]:
                sites.setdefault(one["site"], []).append(one["probability"] >= fold["threshold"])
    return {name: _rate(hits) for name, hits in sorted(sites.items())}


def _rate(hits: Sequence[bool]) -> dict[str, Any]:
    return asdict(patients_rate(sum(hits), len(hits)))
