"""Labelled slices for training, all of them usable: a manifest, or ``yes/`` and ``no/`` folders."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import structs

from export.data.volumes import read_places
from export.errors import DataError
from screener.errors import UsageError
from screener.evaluate.labelled import MANIFEST, read_slices

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from screener.evaluate.labelled import LabelledSet, Record


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
    """Read labelled slices; one that cannot be used stops the training.

    Parameters
    ----------
    data : Path
        See `screener.evaluate.labelled.read_slices`. A ``volumes.csv`` beside the manifest says where in the head its
        slices lie. Slices labelled ``none`` or ``border`` are left out, and said so in the warnings.

    Raises
    ------
    DataError
        Names file and line of every row that cannot be used.
    """
    if not data.exists():
        raise DataError(f"{data} does not exist", "pass --data FOLDER, or set SCREENER_DATA")
    try:
        found = read_slices(data)
    except UsageError as error:
        raise DataError(str(error), error.hint) from None
    if found.faults:
        raise DataError("\n".join(shorten(found.faults)), "mend or delete these lines")
    for label, word in ((1, "yes"), (0, "no")):
        if not any(record.label == label for record in found.slices):
            raise DataError(f"{data} holds no slice labelled {word!r}", f"add a yes/ and a no/ folder, or a {MANIFEST}")
    return Dataset(found.root, tuple(_placed(found.slices, found.root)), (*found.mended, *_left_out(found)))


def _left_out(found: LabelledSet) -> Iterator[str]:
    for count, label in ((len(found.without_anatomy), "none"), (found.border, "border")):
        if count:
            yield f"{count} slices labelled {label} are left out"


def _placed(records: Iterable[Record], root: Path) -> Iterator[Record]:
    """Add series and height where ``volumes.csv`` tells them."""
    places = read_places(root)
    for record in records:
        place = places.get(record.path)
        yield structs.replace(record, series=place.series, height=place.height) if place else record


def shorten(faults: Sequence[str], shown: int = 20) -> list[str]:
    """Keep the first faults and count the rest: a terminal is no place for ten thousand lines."""
    rest = len(faults) - shown
    return [*faults[:shown], *([f"… and {rest} more"] if rest > 0 else [])]
