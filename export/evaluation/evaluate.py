"""Figures of a released model on slices that chose nothing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from export.data.dataset import read_dataset
from export.data.groups import places
from export.errors import DataError
from screener.evaluate.metrics import Scored, operating_figures, summary
from screener.evaluate.score import score_files
from screener.model.session import Model

if TYPE_CHECKING:
    from pathlib import Path

    from export.data.dataset import Dataset
    from screener.evaluate.score import Answers


def evaluate(data: Path, run: Path, model_folder: Path, source: str) -> dict[str, Any]:
    """Score one test source with a released model, through the whole screening pipeline.

    Parameters
    ----------
    data : Path
    run : Path
        The run that the model was trained in: its ``groups.csv`` says which slices chose nothing.
    model_folder : Path
    source : str

    Returns
    -------
    dict
        Counts, AUC, and what every operating point does, with intervals by unit.

    Raises
    ------
    DataError
        The run did not keep that source for testing.
    """
    dataset = read_dataset(data)
    known = places(run)
    chosen = np.array(
        [
            index
            for index, record in enumerate(dataset.records)
            if record.source == source and record.path in known and known[record.path].set == "test"
        ],
        dtype=np.int64,
    )
    if not len(chosen):
        raise DataError(f"{run} tested on no slice of {source!r}", "name a source that was given as --test-source")
    model = Model.load(model_folder)
    answers = score_files(dataset.paths(chosen), model)
    scored = Scored(
        np.array([dataset.records[index].label for index in chosen]),
        answers.scores,
        np.array([known[dataset.records[index].path].unit for index in chosen]),
    )
    points = {name: operating_figures(scored, point.threshold) for name, point in model.card.operating_points.items()}
    return {
        "source": source,
        "model": model.card.title,
        "model_sha256": model.sha256,
        "created": model.card.created,
        **summary(scored),
        "operating_points": points,
        "refusals": dict(sorted(Counter(filter(None, answers.reasons)).items())),
        "mistakes_at_auto": _mistakes(dataset, chosen, answers, points["auto"]["threshold"]),
    }


def _mistakes(dataset: Dataset, chosen: np.ndarray[Any, Any], answers: Answers, threshold: float) -> dict[str, Any]:
    """List missed and falsely flagged slices, refusals included, so that each can be looked at."""
    missed, alarmed = [], []
    for index, probability, reason in zip(chosen, answers.scores, answers.reasons, strict=True):
        record = dataset.records[index]
        result = {
            "path": record.path,
            "probability": None if reason else round(float(probability), 4),
            "reason": reason,
        }
        if record.label == 1 and (reason or probability < threshold):
            missed.append(result)
        if record.label == 0 and (reason or probability >= threshold):
            alarmed.append(result)
    return {"missed": missed, "false_alarms": alarmed}
