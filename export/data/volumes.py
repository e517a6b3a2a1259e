"""Where in the head a slice lies, from ``volumes.csv`` beside a manifest: the series, and the height within it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from export.errors import DataError
from screener.errors import UsageError
from screener.evaluate.labelled import read_table

if TYPE_CHECKING:
    from pathlib import Path

    from screener.evaluate.labelled import LabelledRow

VOLUMES = "volumes.csv"
_COLUMNS = ("path", "label", "source", "series", "slice_index", "n_slices")
_SHOWN = 20
"""Faults that are named; a terminal is no place for ten thousand."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a slice in its series.

    Attributes
    ----------
    series : str
    height : float or None
        From 0, the lowest slice, to 1; None where it is not known.
    """

    series: str
    height: float | None


def read_places(folder: Path) -> dict[str, Place]:
    """Return the place of every slice in ``folder/volumes.csv`` by its path; empty where there is no such file.

    Raises
    ------
    DataError
        Names the line that cannot be used.
    """
    path = folder / VOLUMES
    return {row.path: Place(row.series, row.height) for row in read_volumes(folder)} if path.is_file() else {}


def read_volumes(folder: Path) -> list[LabelledRow]:
    """Return the lines of ``folder/volumes.csv``, whatever their label.

    Raises
    ------
    DataError
        Names the line that cannot be used, or the column that is missing.
    """
    try:
        rows = [row for _, row in read_table(folder / VOLUMES, _COLUMNS)]
    except UsageError as error:
        raise DataError(str(error), error.hint) from None
    faults = [row for row in rows if isinstance(row, str)]
    if faults:
        raise DataError("\n".join(faults[:_SHOWN]), "mend or delete these lines")
    return [row for row in rows if not isinstance(row, str)]
