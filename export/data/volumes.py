"""Where in the head a slice lies, from ``volumes.csv`` beside a manifest: the series, and the height within it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from export.errors import DataError
from export.files import read_rows

if TYPE_CHECKING:
    from pathlib import Path

UNORDERED = frozenset({"oasis"})
"""Sources whose slice numbers are not in anatomical order."""
STACKED = frozenset({"tcga_gbm"})
"""Sources in which a stack joins several series, so that its levels are not known."""
TENTHS = 10
_LOWER, _TOP = 0.4, 0.8
_COLUMNS = ("path", "source", "series", "slice_index", "n_slices")


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
    path = folder / "volumes.csv"
    if not path.is_file():
        return {}
    places = {}
    for line, row in read_rows(path, _COLUMNS, "the first line names its columns, in UTF-8"):
        try:
            places[row["path"]] = Place(row["series"], height_of(row["source"], row["slice_index"], row["n_slices"]))
        except ValueError as error:
            raise DataError(f"{path}:{line}: {error}", "mend or delete this line") from None
    return places


def height_of(source: str, index: str, count: str) -> float | None:
    """Return the height of slice `index`, counted from 1, of `count`; None where the source's order tells none."""
    if source in UNORDERED | STACKED or not index or not count:
        return None
    return (int(index) - 1) / max(int(count) - 1, 1)


def level_of(height: float | None) -> str:
    """Return ``lower`` (40 %), ``middle``, ``top`` (20 %), or an empty string where the height is not known."""
    if height is None:
        return ""
    return "lower" if height < _LOWER else "top" if height >= _TOP else "middle"


def tenth_of(height: float | None) -> str:
    """Return the tenth of the head, ``0`` to ``9``; an empty string where the height is not known."""
    return "" if height is None else str(min(int(height * TENTHS), TENTHS - 1))
