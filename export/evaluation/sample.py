"""One set of slices with all that is known of them and what a model says: what choosing and reporting start from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from export.evaluation.localisation import Pointing
from screener.evaluate.metrics import Scored
from screener.evaluate.score import score_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from export.data.dataset import Dataset
    from export.data.splits import Split
    from export.evaluation.localisation import Evidence
    from screener.evaluate.calibration import Calibration
    from screener.evaluate.labelled import Record
    from screener.model.session import Model

WITHOUT_PROMISE = ("T1",)
"""Sequences that neither ``auto`` is chosen on nor a certificate speaks of: many tumours cannot be seen there."""


@dataclass(frozen=True)
class Sample:
    """N slices.

    Attributes
    ----------
    records : tuple of N Record
    scored : Scored
    reasons : tuple of N str
        Why a slice was refused; empty where it was not.
    evidence : Evidence
        Where the heatmaps point.
    """

    records: tuple[Record, ...]
    scored: Scored
    reasons: tuple[str, ...]
    evidence: Evidence

    def column(self, name: str) -> NDArray[np.str_]:
        """Return a column of the manifest: (N,)."""
        return np.array([str(getattr(record, name)) for record in self.records], dtype=np.str_)

    @property
    def patients(self) -> NDArray[np.str_]:
        """Patient, or run of slices, with its source; empty where unknown: (N,)."""
        named = (f"{record.source}/{record.patient}" if record.patient else "" for record in self.records)
        return np.array(list(named), dtype=np.str_)

    @property
    def promised(self) -> NDArray[np.bool_]:
        """Whether ``auto`` promises anything about a slice of this sequence: (N,)."""
        return ~np.isin(self.column("sequence"), WITHOUT_PROMISE)

    def part(self, chosen: NDArray[np.bool_]) -> Sample:
        """Return the chosen slices only."""
        picked = np.flatnonzero(chosen).tolist()
        return Sample(
            tuple(self.records[index] for index in picked),
            self.scored.part(chosen),
            tuple(self.reasons[index] for index in picked),
            self.evidence.part(chosen),
        )

    def calibrated(self, calibration: Calibration) -> Sample:
        """Return the scores of the calibrated model."""
        return replace(self, scored=replace(self.scored, scores=calibration.apply(self.scored.scores)))


def screened(dataset: Dataset, split: Split, name: str | Sequence[int], model: Model) -> Sample:
    """Screen a set as a scan would: the same reading, quality control, preprocessing and graph.

    Parameters
    ----------
    dataset : Dataset
    split : Split
    name : str or sequence of int
        One of `export.data.splits.SETS`, or the indices of records.
    model : Model
    """
    chosen = split.where(name) if isinstance(name, str) else np.array(name, np.int64)
    records = tuple(dataset.records[index] for index in chosen.tolist())
    pointing = Pointing(dataset.root, records, model.card.preprocessing)
    answers = score_files(dataset.paths(chosen), model, pointing if model.card.outputs.heatmap else None)
    labels = np.array([record.label for record in records], np.int64)
    scored = Scored(labels, answers.scores, split.units[chosen])
    return Sample(records, scored, tuple(answers.reasons), pointing.evidence())
