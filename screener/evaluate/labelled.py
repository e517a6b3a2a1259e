"""Slices with a label, to train and to measure a model on: folders ``yes/`` and ``no/``, or a CSV.

This is the only reader of labelled data; training and evaluation see the same slices, patients and faults.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from screener.domain.estimate import Share
from screener.errors import NothingFoundError, UsageError
from screener.evaluate.levels import height_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

Label = Literal["yes", "no", "none", "border"]
MANIFEST = "manifest.csv"
_FOLDERS: dict[str, Literal[0, 1]] = {"yes": 1, "no": 0}
_SUFFIXES = {".jpg", ".jpeg", ".png"}
_LEAST_INSIDE = 0.5
"""Share of a box that must lie inside the image; hand-drawn ones that reach past the edge have at least 0.7 there."""
_PLACE = re.compile(r" - at `\$\.(\w+)`$")

Box = tuple[Share, Share, Share, Share]
"""``x0 y0 x1 y1`` as shares of width and height, in [0, 1]."""


class LabelledRow(msgspec.Struct, frozen=True):
    """A line of a CSV of labelled slices, such as ``manifest.csv`` or ``volumes.csv``; an empty cell means unknown."""

    path: Annotated[str, Meta(min_length=1, description="The file, relative to the CSV, separated by `/`.")]
    label: Annotated[
        Label,
        Meta(
            description="`yes`: shows a tumour; `no`: shows none; `none`: no anatomy in view; `border`: a sliver of "
            "tumour, which counts neither way."
        ),
    ]
    source: Annotated[str, Meta(description="Collection that the slice comes from.")] = ""
    sequence: Annotated[str, Meta(description="`T1`, `T1ce`, `T2` or `FLAIR`.")] = ""
    plane: Annotated[str, Meta(description="`axial`, `coronal` or `sagittal`.")] = ""
    patient: Annotated[str, Meta(description="Whose slice it is; known only within the source and site.")] = ""
    site: Annotated[str, Meta(description="Hospital.")] = ""
    fold: Annotated[str, Meta(description="Part of the source that is never divided.")] = ""
    study: Annotated[str, Meta(description="Examination, where a patient has several.")] = ""
    series: Annotated[
        str, Meta(description="Series that the slice belongs to; the series of a patient and examination make a study.")
    ] = ""
    slice_index: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Number within the series, from 1, lowest first.")
    ] = None
    n_slices: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Slices of the series.")] = None
    boxes: Annotated[
        str, Meta(description="Tumour boxes `x0 y0 x1 y1` as shares of width and height, separated by `;`.")
    ] = ""
    mask: Annotated[str, Meta(description="PNG of the slice's shape, non-zero where the tumour is.")] = ""

    @property
    def height(self) -> float | None:
        """Where in the head the slice lies, from 0 (lowest) to 1; None where the order of the source tells none."""
        return height_of(self.source, self.slice_index, self.n_slices)

    @property
    def study_key(self) -> tuple[str, ...]:
        """Name the study: the patient and the examination, else the series; a slice without a series is alone."""
        if self.patient and self.series:
            return "patient", self.source, self.site, self.patient, self.study
        return ("series", self.source, self.series) if self.series else ("slice", self.path)


class Record(msgspec.Struct, frozen=True):
    """One labelled slice. Empty strings mean unknown.

    Attributes
    ----------
    path : str
        Relative to the folder of the set, ``/``-separated.
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
class LabelledSet:
    """Labelled slices, and what is wrong or remarkable about them.

    Attributes
    ----------
    root : Path
    slices : tuple of Record
    without_anatomy : tuple of Record
        Slices labelled ``none``: refusing them is right, flagging them a false alarm.
    border : int
        How many slices are labelled ``border``; they count neither way.
    faults : tuple of str
        Lines and files that cannot be used, each named.
    mended : tuple of str
        Lines that are used otherwise than as written, each named.
    remarks : tuple of str
        What the figures cannot show, or must be read with.
    rows : tuple of LabelledRow
        Every slice that can be used, whatever its label, in the order of the set: studies consist of all of them.
    """

    root: Path
    slices: tuple[Record, ...]
    without_anatomy: tuple[Record, ...] = ()
    border: int = 0
    faults: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    rows: tuple[LabelledRow, ...] = ()

    @property
    def paths(self) -> list[Path]:
        """The files, in the order of the slices."""
        return [self.root / one.path for one in self.slices]

    def labels(self) -> NDArray[np.int64]:
        """Return the labels: (N,)."""
        import numpy as np

        return np.array([one.label for one in self.slices], np.int64)

    def units(self) -> NDArray[np.int64]:
        """Return a number for every patient; a slice of an unknown one is its own: (N,)."""
        return self._units(self.slices)

    def row_units(self) -> NDArray[np.int64]:
        """Return a number for the patient of every row: (M,)."""
        return self._units(self.rows)

    def _units(self, chosen: Sequence[Record | LabelledRow]) -> NDArray[np.int64]:
        import numpy as np

        known: dict[str, int] = {}
        keys = [self.patient(one) or one.path for one in chosen]
        return np.array([known.setdefault(key, len(known)) for key in keys], np.int64)

    def patient(self, one: Record | LabelledRow) -> str:
        """Name a patient so that two sources or sites cannot share one; empty when unknown."""
        return f"{one.source}\n{one.site}\n{one.patient}" if one.patient else ""

    def fingerprint(self) -> str:
        """Return ``sha256:…`` over every path, label and file size."""
        digest = hashlib.sha256()
        for one, path in zip(self.slices, self.paths, strict=True):
            digest.update(f"{one.path}\t{one.label}\t{path.stat().st_size}\n".encode())
        return f"sha256:{digest.hexdigest()}"


def read_labelled(source: Path) -> LabelledSet:
    """Read a set to measure on; what cannot be used is named and left out, the rest is kept.

    Parameters
    ----------
    source : Path
        See `read_slices`.

    Raises
    ------
    UsageError
        There is no such set, or the CSV lacks a column.
    NothingFoundError
        No slice can be used.
    """
    found = read_slices(source)
    if not found.slices:
        message = f"{found.faults[0]}; " if found.faults else ""
        raise NothingFoundError(
            f"{message}{source} holds no labelled slice", "it needs yes/ and no/ folders, or path,label lines"
        )
    return found


def read_slices(source: Path) -> LabelledSet:
    """Read a set, however little of it can be used.

    Parameters
    ----------
    source : Path
        A CSV with the columns of `LabelledRow` (at least ``path`` and ``label``; paths relative to the CSV), a folder
        that holds such a ``manifest.csv``, or a folder with ``yes/`` and ``no/`` at any depth: the folder that holds
        them names source and site, the first folder inside them the patient.

    Raises
    ------
    UsageError
        There is no such set, or the CSV lacks a column.
    """
    if not source.exists():
        raise UsageError(f"{source} does not exist", "name a folder with yes/ and no/, or a CSV")
    table = source / MANIFEST if source.is_dir() else source
    read = _from_table(table) if table.is_file() else _from_folders(source)
    return LabelledSet(
        source if source.is_dir() else source.parent,
        tuple(read.slices),
        tuple(read.without_anatomy),
        read.border,
        tuple(read.faults),
        tuple(read.mended),
        tuple(_remarks(read)),
        tuple(read.rows),
    )


def read_table(table: Path, columns: Sequence[str] = ("path", "label")) -> list[tuple[int, LabelledRow | str]]:
    """Read the lines of a CSV in UTF-8 without looking at the files that they name.

    Parameters
    ----------
    table : Path
    columns : sequence of str
        Those that it must have.

    Returns
    -------
    list of (int, LabelledRow or str)
        The line on which each row ends, as an editor counts, and the row; where it cannot be used, a text that says
        why, with file and line.

    Raises
    ------
    UsageError
        It cannot be read, or lacks a column.
    """
    rows: list[tuple[int, LabelledRow | str]] = []
    for number, cells in _cells(table, columns):
        try:
            rows.append((number, msgspec.convert(cells, LabelledRow, strict=False)))
        except msgspec.ValidationError as error:
            rows.append((number, f"{table}:{number}: {_fault(str(error), cells)}"))
    return rows


def _cells(table: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Return line number and cells of every row; empty cells are left out, labels in lower case."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise UsageError(f"{table}:1: no column {', '.join(missing)}", "the first line names path,label[,…]")
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table} cannot be read: {error}", "name a CSV in UTF-8") from None
    return [(number, _cleaned(row)) for number, row in rows]


def _cleaned(row: dict[str, str]) -> dict[str, str]:
    """Leave out empty cells and those beyond the last column, which come under no name; write labels in lower case."""
    cells = {name: text for name, value in row.items() if isinstance(name, str) and (text := (value or "").strip())}
    return cells | {"label": cells["label"].lower()} if "label" in cells else cells


def _fault(message: str, cells: dict[str, str]) -> str:
    """Say which cell cannot be used, and what it should be."""
    if "label" not in cells or message.startswith("Invalid enum value"):
        return f"label {cells.get('label', '')[:40]!r} is none of yes, no, none, border"
    place = _PLACE.search(message)
    if place is None:
        return f"path {cells.get('path', '')!r} is not a file"
    return f"{place[1]} {cells.get(place[1], '')[:40]!r} cannot be used: {message[: place.start()].lower()}"


@dataclass(slots=True)
class _Reading:
    """What has been read of a set."""

    slices: list[Record] = field(default_factory=list)
    without_anatomy: list[Record] = field(default_factory=list)
    border: int = 0
    faults: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    rows: list[LabelledRow] = field(default_factory=list)


def _from_folders(root: Path) -> _Reading:
    """Walk ``yes/`` and ``no/`` at any depth; every picture is a study of its own."""
    result = _Reading()
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in _SUFFIXES or not path.is_file():
            continue
        way = path.relative_to(root)
        place = next((at for at, part in enumerate(way.parts[:-1]) if part.lower() in _FOLDERS), None)
        if place is not None:
            patient = way.parts[place + 1] if place + 2 < len(way.parts) else ""
            site = "/".join(way.parts[:place])
            label = _FOLDERS[way.parts[place].lower()]
            source = site or root.name
            result.slices.append(Record(way.as_posix(), label, source=source, patient=patient, site=site))
            word: Label = "yes" if label else "no"
            result.rows.append(LabelledRow(way.as_posix(), word, source=source, patient=patient, site=site))
    return result


def _from_table(table: Path) -> _Reading:
    """Read a CSV; every line that cannot be used is named."""
    result = _Reading()
    known: dict[Path, tuple[int, LabelledRow, Record]] = {}
    contradicted: set[Path] = set()
    for number, row in read_table(table):
        if isinstance(row, str):
            result.faults.append(row)
            continue
        where, place = f"{table}:{number}", (table.parent / row.path).resolve()
        if place in known:
            line, former, _ = known[place]
            contradicted |= {place} if row.label != former.label else set()
            message = _twice(contradicted=place in contradicted)
            result.faults.append(f"{where}: path {row.path!r} stands on line {line} already, {message}")
            continue
        try:
            record, mended = _record(row, table.parent)
        except ValueError as error:
            result.faults.append(f"{where}: {error}")
            continue
        known[place] = (number, row, record)
        result.mended += [f"{where}: {text}" for text in mended]
    for place, (_, row, record) in known.items():
        if place not in contradicted:
            result.rows.append(row)
            _keep(result, row.label, record)
    return result


def _keep(result: _Reading, label: Label, record: Record) -> None:
    if label == "border":
        result.border += 1
    else:
        (result.without_anatomy if label == "none" else result.slices).append(record)


def _twice(*, contradicted: bool) -> str:
    return "with another label: neither is used" if contradicted else "and counts once"


def _record(row: LabelledRow, root: Path) -> tuple[Record, list[str]]:
    """Turn one row into a record and a list of what was mended; ValueError says what cannot be."""
    for column, name in (("path", row.path), ("mask", row.mask)):
        if name and not os.path.isfile(root / name):  # noqa: PTH113 - no error, however long a name
            raise ValueError(f"{column} {name!r} is not a file")
    boxes, mended = _boxes(row.boxes)
    record = Record(
        row.path,
        int(row.label == "yes"),
        source=row.source,
        sequence=row.sequence,
        plane=row.plane,
        patient=row.patient,
        site=row.site,
        fold=row.fold,
        boxes=boxes,
        mask=row.mask,
        series=row.series,
        height=row.height,
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


def _remarks(read: _Reading) -> Iterator[str]:
    """Yield what the figures cannot show, or must be read with."""
    slices = read.slices
    labels = {one.label for one in slices}
    if labels == {0}:
        yield "No slice shows a tumour: sensitivity, precision and AUC cannot be known."
    if labels == {1}:
        yield "Every slice shows a tumour: specificity and AUC cannot be known."
    without_patient = sum(not one.patient for one in slices)
    if without_patient:
        yield (
            f"The patient of {without_patient} of {len(slices)} slices is not known: each counts as its own, and the "
            "intervals are narrower than they ought to be."
        )
    seen: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for one in slices:
        # The slices of a whole series have both labels wherever there is a tumour.
        if one.patient and not one.series:
            seen[one.source, one.site, one.patient].add(one.label)
    both = sorted(patient for (_, _, patient), found in seen.items() if len(found) > 1)
    if both:
        named = ", ".join(both[:10]) + (" …" if len(both) > 10 else "")  # noqa: PLR2004 - enough to look them up
        yield (
            f"{len(both)} patients have slices of both labels ({named}). Right where the tumour does not reach every "
            "slice; otherwise correct the labels."
        )
    if read.border:
        yield f"{read.border} slices are labelled border: they count neither way."
