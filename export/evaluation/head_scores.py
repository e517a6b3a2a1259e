"""Slices of volumes with what a model says of them, gathered into series, patients and parts of heads."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from export.data.volumes import STACKED, UNORDERED
from export.files import read_rows
from screener.evaluate.score import score_files
from screener.evaluate.within_head import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from screener.model.session import Model

    Known = Sequence[float]

_COLUMNS = ("path", "label", "source", "sequence", "patient", "site", "series", "slice_index", "n_slices")


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

    @property
    def height(self) -> float:
        """Where in the head the slice lies, from 0 (lowest) to 1."""
        return (self.index - 1) / max(self.count - 1, 1)


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
