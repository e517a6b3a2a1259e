"""Labelled slices: a manifest, or ``yes/`` and ``no/`` folders."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from export.data.volumes import read_places
from export.errors import DataError
from export.files import read_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_LABELS = {"yes": 1, "no": 0}
_COLUMNS = ("path", "label")
_SUFFIXES = {".jpg", ".jpeg", ".png"}
_LEAST_INSIDE = 0.5
"""Share of a box that must lie inside the image; hand-drawn ones that reach past the edge have at least 0.7 there."""

Box = tuple[float, float, float, float]
"""``x0 y0 x1 y1`` as shares of width and height, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled slice. Empty strings mean unknown.

    Attributes
    ----------
    path : str
        Relative to the data folder, ``/``-separated.
    label : int
        1 where the slice shows a tumour, 0 where not.
    boxes : tuple of Box
        Where the tumour is, when somebody drew it.
    mask : str
        Path of a PNG of the slice's shape, non-zero where the tumour is.
    series : str
        The series that the slice belongs to.
    height : float or None
        Where in the head it lies, from 0 (lowest) to 1.
    """

    path: str
    label: int
    source: str = ""
    sequence: str = ""
    plane: str = ""
    patient: str = ""
    site: str = ""
    fold: str = ""
    boxes: tuple[Box, ...] = ()
    mask: str = ""
    series: str = ""
    height: float | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Records, the folder that their paths start from, and what was mended while reading (file, line, what)."""

    root: Path
    records: tuple[Record, ...]
    warnings: tuple[str, ...] = ()

    def paths(self, chosen: NDArray[np.int64]) -> list[Path]:
        """Return the files of the chosen records, (N,) indices."""
        return [self.root / self.records[index].path for index in chosen.tolist()]

    def mended(self) -> list[str]:
        """Return the warnings without the folder: results are published, and where data lie is nobody's business."""
        return [text.removeprefix(f"{self.root}/") for text in self.warnings]

    def fingerprint(self) -> str:
        """Return ``sha256:…`` over every path, label and file size: what a model card can be held to."""
        digest = hashlib.sha256()
        for record in self.records:
            size = (self.root / record.path).stat().st_size
            digest.update(f"{record.path}\t{record.label}\t{size}\n".encode())
        return f"sha256:{digest.hexdigest()}"


def read_dataset(data: Path) -> Dataset:
    """Read labelled slices.

    Parameters
    ----------
    data : Path
        A manifest in CSV (columns ``path`` and ``label``; ``source, sequence, plane, patient, site, fold, boxes, mask``
        where known), a folder with ``manifest.csv``, or a folder with ``yes/`` and ``no/`` (at any depth, so that
        ``clinic_a/yes`` and ``clinic_b/yes`` become two sources). A ``volumes.csv`` beside the manifest says where in
        the head its slices lie.

    Raises
    ------
    DataError
        Names file and line of every row that cannot be used.
    """
    if not data.exists():
        raise DataError(f"{data} does not exist", "pass --data FOLDER, or set SCREENER_DATA")
    manifest = data if data.is_file() else data / "manifest.csv"
    dataset = _from_manifest(manifest) if manifest.is_file() else Dataset(data, tuple(_from_folders(data)))
    for label, word in ((1, "yes"), (0, "no")):
        if not any(record.label == label for record in dataset.records):
            raise DataError(
                f"{data} holds no slice labelled {word!r}", "add a yes/ and a no/ folder, or a manifest.csv"
            )
    return dataset


def _from_folders(root: Path) -> Iterator[Record]:
    """Walk ``…/yes`` and ``…/no``; the folder that holds them names the source."""
    for path in sorted(root.rglob("*")):
        label = _LABELS.get(path.parent.name.lower())
        if label is not None and path.suffix.lower() in _SUFFIXES and path.is_file():
            holder = path.parent.parent
            source = root.name if holder == root else holder.relative_to(root).as_posix()
            yield Record(path.relative_to(root).as_posix(), label, source=source)


def _from_manifest(manifest: Path) -> Dataset:
    """Read every row, and report every bad one at once."""
    records, faults, warnings = [], [], []
    known: dict[Path, int] = {}
    for line, row in read_rows(manifest, _COLUMNS, "the first line names path,label[,patient,…], in UTF-8"):
        try:
            record, mended = _record(row, manifest.parent)
            if (former := known.setdefault((manifest.parent / record.path).resolve(), line)) != line:
                raise ValueError(f"path {record.path!r} stands on line {former} already")  # noqa: TRY301 - named below
            records.append(record)
            warnings += [f"{manifest}:{line}: {text}" for text in mended]
        except ValueError as error:
            faults.append(f"{manifest}:{line}: {error}")
    if faults:
        raise DataError("\n".join(shorten(faults)), "mend or delete these lines")
    return Dataset(manifest.parent, tuple(_placed(records, manifest.parent)), tuple(warnings))


def _placed(records: Iterable[Record], root: Path) -> Iterator[Record]:
    """Add series and height where ``volumes.csv`` tells them."""
    places = read_places(root)
    for record in records:
        place = places.get(record.path)
        yield replace(record, series=place.series, height=place.height) if place else record


def _record(row: Mapping[str, str], root: Path) -> tuple[Record, list[str]]:
    """Turn one row into a record and a list of what was mended; ValueError says what cannot be."""
    # Cells beyond the last column come under no name.
    text = {key: value.strip() for key, value in row.items() if isinstance(key, str)}
    label = _LABELS.get(text["label"].lower())
    if label is None:
        raise ValueError(f"label {text['label']!r} is neither yes nor no")
    for column in ("path", "mask"):
        name = text.get(column, "")
        if (name or column == "path") and not os.path.isfile(root / name):  # noqa: PTH113 - no error, however long a name
            raise ValueError(f"{column} {name!r} is not a file")
    boxes, mended = _boxes(text.get("boxes", ""))
    record = Record(
        text["path"],
        label,
        source=text.get("source", ""),
        sequence=text.get("sequence", ""),
        plane=text.get("plane", ""),
        patient=text.get("patient", ""),
        site=text.get("site", ""),
        fold=text.get("fold", ""),
        boxes=boxes,
        mask=text.get("mask", ""),
    )
    return record, mended


def _boxes(text: str) -> tuple[tuple[Box, ...], list[str]]:
    """Read ``x0 y0 x1 y1; …``; a box that reaches a little past the edge is clipped and reported."""
    boxes, mended = [], []
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        numbers = [float(number) for number in part.split()]
        if len(numbers) != 4:  # noqa: PLR2004 - two corners
            raise ValueError(f"box {part!r} is not the four numbers x0 y0 x1 y1")
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"box {part!r} holds what is no number")
        x0, y0, x1, y1 = (min(max(number, 0.0), 1.0) for number in numbers)
        if not (x0 < x1 and y0 < y1):
            raise ValueError(f"box {part!r} is empty inside the image: it must be x0 y0 x1 y1, in 0 to 1")
        left, top, right, bottom = numbers
        if (x1 - x0) * (y1 - y0) < _LEAST_INSIDE * (right - left) * (bottom - top):
            raise ValueError(f"box {part!r} lies mostly outside the image: are these pixels instead of shares, 0 to 1?")
        if [x0, y0, x1, y1] != numbers:
            mended.append(f"box {part!r} reaches past the edge; clipped")
        boxes.append((x0, y0, x1, y1))
    return tuple(boxes), mended


def shorten(faults: Sequence[str], shown: int = 20) -> list[str]:
    """Keep the first faults and count the rest: a terminal is no place for ten thousand lines."""
    rest = len(faults) - shown
    return [*faults[:shown], *([f"… and {rest} more"] if rest > 0 else [])]
