"""Slices of volumes with what a model says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.files import read_rows
from screener.evaluate.heads import Row
from screener.evaluate.score import score_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from screener.model.session import Model

    Known = Sequence[float]

_COLUMNS = ("path", "label", "source", "sequence", "patient", "site", "series", "slice_index", "n_slices")


def score_volumes(data: Path, model: Model, patients: frozenset[str] | None = None) -> list[Row]:
    """Score every slice of ``volumes.csv`` as a scan would.

    Parameters
    ----------
    data : Path
        Folder with ``volumes.csv``.
    model : Model
    patients : frozenset of str, optional
        ``source/patient`` of those to score; all without.
    """
    rows = [row for _, row in read_rows(data / "volumes.csv", _COLUMNS, "the first line names its columns, in UTF-8")]
    rows = [row for row in rows if patients is None or f"{row['source']}/{row['patient']}" in patients]
    answers = score_files([data / row["path"] for row in rows], model)
    return [
        _row(row, None if reason else float(score))
        for row, score, reason in zip(rows, answers.scores, answers.reasons, strict=True)
    ]


def _row(row: Mapping[str, str], score: float | None) -> Row:
    return Row(
        path=row["path"],
        label=row["label"],
        source=row["source"],
        sequence=row["sequence"],
        patient=row["patient"],
        site=row["site"],
        series=row["series"],
        index=int(row["slice_index"] or 1),
        count=int(row["n_slices"] or 1),
        score=score,
    )
