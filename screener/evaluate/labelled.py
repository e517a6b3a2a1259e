"""Slices with a label, to measure a model on: folders ``yes/`` and ``no/``, or a CSV."""

from __future__ import annotations

import csv
import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.errors import NothingFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_LABELS = {"yes": 1, "no": 0}
_SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True, slots=True)
class Labelled:
    """One labelled slice.

    Attributes
    ----------
    path : str
        Relative to the folder of the set, ``/``-separated.
    label : int
        1 where it shows a tumour, 0 where not.
    patient, site : str
        Empty when unknown.
    """

    path: str
    label: int
    patient: str = ""
    site: str = ""


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Labelled slices, and what is wrong or remarkable about them.

    Attributes
    ----------
    root : Path
    slices : tuple of Labelled
    faults : tuple of str
        Lines and files that cannot be used, each named.
    remarks : tuple of str
        What the figures cannot show, or must be read with.
    """

    root: Path
    slices: tuple[Labelled, ...]
    faults: tuple[str, ...]
    remarks: tuple[str, ...]

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
        import numpy as np

        known: dict[tuple[str, str], int] = {}
        keys = [(one.site, one.patient) if one.patient else (one.path, "") for one in self.slices]
        return np.array([known.setdefault(key, len(known)) for key in keys], np.int64)

    def patient(self, one: Labelled) -> str:
        """Name a patient so that two sites cannot share one; empty when unknown."""
        return f"{one.site}\n{one.patient}" if one.patient else ""

    def fingerprint(self) -> str:
        """Return ``sha256:…`` over every path, label and file size."""
        digest = hashlib.sha256()
        for one, path in zip(self.slices, self.paths, strict=True):
            digest.update(f"{one.path}\t{one.label}\t{path.stat().st_size}\n".encode())
        return f"sha256:{digest.hexdigest()}"


def read_labelled(source: Path) -> LabelledSet:
    """Read a set; what cannot be used is named and left out, the rest is kept.

    Parameters
    ----------
    source : Path
        A CSV with the columns ``path,label`` and, where known, ``patient`` and ``site`` (paths relative to the CSV), or
        a folder with ``yes/`` and ``no/`` at any depth: the folder that holds them names the site, a folder inside them
        the patient.

    Raises
    ------
    UsageError
        There is no such set, or the CSV lacks a column.
    NothingFoundError
        No slice can be used.
    """
    if not source.exists():
        raise UsageError(f"{source} does not exist", "name a folder with yes/ and no/, or a CSV")
    root = source if source.is_dir() else source.parent
    slices, faults = _from_folders(source) if source.is_dir() else _from_table(source)
    if not slices:
        told = f"{faults[0]}; " if faults else ""
        raise NothingFoundError(
            f"{told}{source} holds no labelled slice", "it needs yes/ and no/ folders, or path,label lines"
        )
    return LabelledSet(root, tuple(slices), tuple(faults), tuple(_remarks(slices)))


def _from_folders(root: Path) -> tuple[list[Labelled], list[str]]:
    """Walk ``yes/`` and ``no/`` at any depth."""
    slices = []
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in _SUFFIXES or not path.is_file():
            continue
        way = path.relative_to(root)
        place = next((at for at, part in enumerate(way.parts[:-1]) if part.lower() in _LABELS), None)
        if place is not None:
            label = _LABELS[way.parts[place].lower()]
            patient = way.parts[place + 1] if place + 2 < len(way.parts) else ""
            slices.append(Labelled(way.as_posix(), label, patient, "/".join(way.parts[:place])))
    return slices, []


def _from_table(table: Path) -> tuple[list[Labelled], list[str]]:
    """Read a CSV; every line that cannot be used is named."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in ("path", "label") if name not in (reader.fieldnames or ())]
            if missing:
                raise UsageError(f"{table}:1: no column {', '.join(missing)}", "the first line names path,label")
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table} cannot be read: {error}", "name a CSV in UTF-8") from None
    slices: dict[Path, Labelled] = {}
    faults = []
    known: dict[Path, tuple[int, int]] = {}
    contradicted: set[Path] = set()
    for number, row in rows:
        text = {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}
        label = _LABELS.get(text["label"].lower())
        if label is None:
            faults.append(f"{table}:{number}: label {text['label'][:40]!r} is neither yes nor no")
        elif not text["path"] or not os.path.isfile(table.parent / text["path"]):  # noqa: PTH113 - no error, however long a name
            faults.append(f"{table}:{number}: path {text['path']!r} is not a file")
        elif (place := (table.parent / text["path"]).resolve()) in known:
            line, former = known[place]
            contradicted |= {place} if label != former else set()
            told = _twice(contradicted=place in contradicted)
            faults.append(f"{table}:{number}: {text['path']!r} stands on line {line} already, {told}")
        else:
            known[place] = (number, label)
            slices[place] = Labelled(text["path"], label, text.get("patient", ""), text.get("site", ""))
    return [one for place, one in slices.items() if place not in contradicted], faults


def _twice(*, contradicted: bool) -> str:
    return "with the other label: neither is used" if contradicted else "and counts once"


def _remarks(slices: list[Labelled]) -> Iterator[str]:
    """Yield what the figures cannot show, or must be read with."""
    labels = {one.label for one in slices}
    if labels == {0}:
        yield "No slice shows a tumour: sensitivity, precision and AUC cannot be known."
    if labels == {1}:
        yield "Every slice shows a tumour: specificity and AUC cannot be known."
    strangers = sum(not one.patient for one in slices)
    if strangers:
        yield (
            f"The patient of {strangers} of {len(slices)} slices is not known: each counts as its own, and the "
            "intervals are narrower than they ought to be."
        )
    seen: dict[tuple[str, str], set[int]] = defaultdict(set)
    for one in slices:
        if one.patient:
            seen[one.site, one.patient].add(one.label)
    both = sorted(patient for (_, patient), found in seen.items() if len(found) > 1)
    if both:
        named = ", ".join(both[:10]) + (" …" if len(both) > 10 else "")  # noqa: PLR2004 - enough to look them up
        yield (
            f"{len(both)} patients have slices of both labels: each counts as a patient with a tumour ({named}). "
            "Right where the tumour does not reach every slice; otherwise mend the labels."
        )
