"""Slices of volumes with what a model says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.data.volumes import read_volumes
from screener.evaluate.heads import Row
from screener.evaluate.score import score_files

if TYPE_CHECKING:
    from pathlib import Path

    from screener.model.session import Model


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
    rows = [row for row in read_volumes(data) if patients is None or f"{row.source}/{row.patient}" in patients]
    answers = score_files([data / row.path for row in rows], model)
    return [
        Row.of(row, None if reason else float(score))
        for row, score, reason in zip(rows, answers.scores, answers.reasons, strict=True)
    ]
