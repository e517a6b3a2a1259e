"""Sets that somebody else chose: a ``groups.csv`` that the audit wrote, another run used, or a person edited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from export.data.dataset import shorten
from export.data.splits import SETS, WITHHELD, Split, check_labels, number
from export.errors import DataError
from export.files import read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from export.data.dataset import Dataset
    from export.data.duplicates import Pairs
    from screener.evaluate.labelled import Record

UNREADABLE = "unreadable"
"""Slices that could not be decoded when the file was written."""
_COLUMNS = ("path", "group", "unit", "set")
_LEARNT_FROM = ("fit", "tune")
_HINT = "write it with: python -m export audit"
_MOST_DIGITS = 18
"""Of a number that 64 bits hold."""


@dataclass(frozen=True)
class Given:
    """A read ``groups.csv``.

    Attributes
    ----------
    path : Path
    split : Split
        In the order of the data set's records.
    lines : ndarray of shape (N,), int64
        Where in the file each record stands, counted from 1.
    """

    path: Path
    split: Split
    lines: NDArray[np.int64]

    def refuse_leaks(self, dataset: Dataset, pairs: Pairs) -> None:
        """Make sure that nobody is in two sets: by the file's units, by patient, and by what the pictures show.

        Parameters
        ----------
        dataset : Dataset
        pairs : Pairs
            Near-duplicates among the records, from `find_pairs`.

        Raises
        ------
        DataError
            Names two lines for each unit that leaks.
        """
        _, units = number(dataset.records, pairs)
        faults = [
            *self._leaks(self.split.units, lambda index: f"unit {self.split.units[index]}"),
            *self._leaks(units, lambda index: _kin(dataset.records[index])),
        ]
        if faults:
            raise DataError("\n".join(shorten(faults)), "put all of them into one set, or withhold the others")

    def _leaks(self, units: NDArray[np.int64], name: Callable[[int], str]) -> Iterator[str]:
        """Say of each unit that reaches from one set into another where it does."""
        first: dict[int, int] = {}
        result: set[int] = set()
        for index, (unit, place) in enumerate(zip(units.tolist(), self.split.sets.tolist(), strict=True)):
            if place not in SETS:
                continue
            before = first.setdefault(unit, index)
            if place != self.split.sets[before] and unit not in result:
                result.add(unit)
                yield (
                    f"{self.path}:{self.lines[index]}: {name(index)} is in {place} here and in "
                    f"{self.split.sets[before]} on line {self.lines[before]}"
                )


def _kin(record: Record) -> str:
    """Name a slice that another set has kin of."""
    patient = f"patient {record.patient} or " if record.patient else ""
    return f"{patient}a near-duplicate of {record.path}"


def read_groups(path: Path, dataset: Dataset) -> Given:
    """Read a ``groups.csv``, as `write_groups` writes it.

    Parameters
    ----------
    path : Path
        Columns ``path, group, unit, set``; ``label`` is compared with the data where it is there.
    dataset : Dataset

    Raises
    ------
    DataError
        Names file and line of every row that cannot be used, and the slices that no row speaks of.
    """
    index = {record.path: number for number, record in enumerate(dataset.records)}
    count = len(index)
    lines, groups, units = (np.zeros(count, np.int64) for _ in range(3))
    sets = np.full(count, WITHHELD, dtype="<U10")
    faults: list[str] = []
    for line, row in read_rows(path, _COLUMNS, _HINT):
        try:
            at = index.get(row["path"])
            if at is None:
                raise ValueError(f"{row['path']!r} is no slice of the data")  # noqa: TRY301 - one place names the line
            if lines[at]:
                raise ValueError(f"{row['path']!r} stands on line {lines[at]} already")  # noqa: TRY301
            lines[at] = line
            groups[at], units[at], sets[at] = _place(row, dataset.records[at])
        except ValueError as error:
            faults.append(f"{path}:{line}: {error}")
    away = [dataset.records[at].path for at in np.flatnonzero(lines == 0).tolist()]
    faults += [f"{path}: no line says where {name} belongs" for name in away]
    if faults:
        raise DataError("\n".join(shorten(faults)), "mend these lines, or write the file again: python -m export audit")
    check_labels(sets, dataset.records, _LEARNT_FROM)
    return Given(path, Split(groups, units, sets), lines)


def sets_of(path: Path) -> dict[str, str]:
    """Return the set of every path in a ``groups.csv``."""
    return {row["path"]: row["set"] for _, row in read_rows(path, _COLUMNS, _HINT)}


class PlacedSlice(msgspec.Struct, frozen=True):
    """Where a slice is, as a run's ``groups.csv`` has it."""

    set: str
    group: int
    unit: int


def places(run: Path) -> dict[str, PlacedSlice]:
    """Return where every slice of a run is, by path.

    Raises
    ------
    DataError
        The run has no ``groups.csv``, or one that was edited: names the line.
    """
    path, hint = run / "groups.csv", "run: python -m export train"
    found: dict[str, PlacedSlice] = {}
    for line, row in read_rows(path, _COLUMNS, hint):
        try:
            found[row["path"]] = msgspec.convert(row, PlacedSlice, strict=False)
        except msgspec.ValidationError as error:
            raise DataError(f"{path}:{line}: {error}", hint) from None
    return found


def _place(row: Mapping[str, str], record: Record) -> tuple[int, int, str]:
    """Return group, unit and set of a row; ValueError says what is wrong with it."""
    allowed = (*SETS, WITHHELD, UNREADABLE)
    if row["set"] not in allowed:
        raise ValueError(f"set {row['set']!r} is none of {', '.join(allowed)}")
    label = "yes" if record.label else "no"
    if row.get("label", label) != label:
        raise ValueError(f"label {row['label']!r}, but {record.path} is labelled {label!r} in the data")
    for column in ("group", "unit"):
        if not row[column].strip().isdecimal() or len(row[column]) > _MOST_DIGITS:
            raise ValueError(f"{column} {row[column][:40]!r} is no number")
    return int(row["group"]), int(row["unit"]), row["set"]
