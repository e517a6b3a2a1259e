"""Where in the head a slice lies, from ``volumes.csv`` beside a manifest: the series, and the height within it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from export.errors import DataError
from export.files import read_rows
from screener.evaluate.levels import height_of

if TYPE_CHECKING:
    from pathlib import Path

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
