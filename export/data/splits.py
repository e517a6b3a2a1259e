"""Who is where: fit, tune, certify and test sets between which nothing leaks.

Two slices belong to one *unit* when they are near-duplicates (flips and quarter turns included) or come from one
patient. Slices of volumes of two known patients are never copies of each other: necks and vertices of different heads
resemble each other by chance, and would join most patients of a hospital. A unit is never divided.
Where a data set brings its own folds, they are atomic too; a unit that reaches from one fold's set into another keeps
its place in the more protected one, and its other slices are used nowhere.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from export.data.duplicates import TURNED, find_pairs, join, remembered_pairs, thumbnails
from export.errors import DataError
from export.files import atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from export.data.dataset import Dataset
    from export.data.duplicates import Pairs
    from screener.evaluate.labelled import Record

SETS = ("fit", "tune", "certify", "test")
"""From the least to the most protected."""
WITHHELD = "withheld"
"""Slices whose unit is used elsewhere, or that resemble a picture which must stay unseen, such as a demo image."""
_SHARES = {"fit": 0.70, "tune": 0.15, "certify": 0.15}


@dataclass(frozen=True)
class Split:
    """The place of every slice, all of shape (N,).

    Attributes
    ----------
    groups : ndarray of int64
        Near-duplicate group: copies of one picture, one label only.
    units : ndarray of int64
        Leak-free unit: near-duplicate groups and patients joined; the unit of splitting, counting and bootstrap.
    sets : ndarray of str
        One of `SETS`, or `WITHHELD`.
    """

    groups: NDArray[np.int64]
    units: NDArray[np.int64]
    sets: NDArray[np.str_]

    def where(self, name: str) -> NDArray[np.int64]:
        """Return the indices of one set."""
        return np.flatnonzero(self.sets == name)


def split(
    dataset: Dataset,
    views: NDArray[np.uint8],
    *,
    test_sources: Sequence[str] = (),
    unseen: NDArray[np.uint8] | None = None,
    seed: int = 0,
    turned: float = TURNED,
    cache: Path | None = None,
) -> Split:
    """Divide a data set.

    Parameters
    ----------
    dataset : Dataset
    views : ndarray of shape (N, S, S), uint8
        Framed slices, in the order of the records.
    test_sources : sequence of str
        Sources that are tested on and choose nothing; every unit that touches one leaves the other sets.
        Without any, an eighth of the units is set aside.
    unseen : ndarray of shape (M, S, S), uint8, optional
        Pictures that no set may resemble, such as the demo images.
    seed : int
    turned : float
        See `find_pairs`.
    cache : Path, optional
        Folder that remembers comparisons.

    Raises
    ------
    DataError
        A test source is unknown, or there are too few units for four sets.
    """
    extra = np.empty((0, *views.shape[1:]), np.uint8) if unseen is None else unseen
    thumbs = thumbnails(np.concatenate([views, extra]))
    pairs = find_pairs(thumbs, turned=turned) if cache is None else remembered_pairs(thumbs, cache, turned)
    found = divide(dataset.records, pairs, len(extra), test_sources=test_sources, seed=seed)
    check_labels(found.sets, dataset.records)
    return found


def divide(
    records: Sequence[Record], pairs: Pairs, extra: int = 0, *, test_sources: Sequence[str] = (), seed: int = 0
) -> Split:
    """Divide by pairs that were found before: see `split`, which also makes sure that no set lacks a label.

    Parameters
    ----------
    records : sequence of Record
    pairs : Pairs
        Of the records and, following them, `extra` pictures that no set may resemble.
    extra : int
    test_sources : sequence of str
    seed : int

    Raises
    ------
    DataError
        A test source is unknown.
    """
    unknown = set(test_sources) - {record.source for record in records}
    if unknown:
        raise DataError(f"no slice comes from {', '.join(sorted(unknown))}", "name a source of the manifest")
    count = len(records)
    groups, units = number(records, pairs, extra)
    touched = np.isin(units[:count], units[count:])
    groups, units = groups[:count], units[:count]
    requested = _wanted(records, units, test_sources, seed)
    movable = np.array([not record.fold for record in records])
    sets = _settle(units, requested, movable, closed=("test",) if test_sources else ())
    sets[touched] = WITHHELD
    return Split(groups, units, sets)


def number(records: Sequence[Record], pairs: Pairs, extra: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count near-duplicate groups and units off; `extra` slices without a record follow the records in `pairs`."""
    count = len(records) + extra
    links = _possible_copies(records, np.stack([pairs.first, pairs.second], axis=1))
    labels = np.array([record.label for record in records] + [-1] * extra)
    # Neighbouring slices of one patient look alike at the tumour's edge: alike, but not copies with two labels.
    same = labels[links[:, 0]] == labels[links[:, 1]]
    groups = join(count, links[same])
    return groups, join(count, links, _same_patient(records))


def _possible_copies(records: Sequence[Record], links: NDArray[np.int64]) -> NDArray[np.int64]:
    """Leave out pairs of slices of volumes of different patients: (P, 2) → (Q, 2)."""
    identities: dict[tuple[str, str], int] = {}
    owners = np.full(int(links.max(initial=0)) + 1, -1)
    for index, record in enumerate(records[: len(owners)]):
        if record.series and record.patient:
            owners[index] = identities.setdefault((record.source, record.patient), len(identities))
    first, second = owners[links[:, 0]], owners[links[:, 1]]
    return np.asarray(links[(first == second) | (first < 0) | (second < 0)])


def _same_patient(records: Sequence[Record]) -> list[tuple[int, int]]:
    """Link every slice of a known patient to the patient's first one."""
    first: dict[tuple[str, str], int] = {}
    return [
        (first.setdefault((record.source, record.patient), index), index)
        for index, record in enumerate(records)
        if record.patient
    ]


def _wanted(
    records: Sequence[Record], units: NDArray[np.int64], test_sources: Sequence[str], seed: int
) -> NDArray[np.str_]:
    """Say where every slice would go if only its own source, fold and stratum counted.

    A stratum holds the units of a source and site that show a tumour on some slice, or on none.
    """
    rng = np.random.default_rng(seed)
    shares = _SHARES if test_sources else _SHARES | {"fit": 0.575, "test": 0.125}
    requested = np.full(len(records), "fit", dtype="<U8")
    positive = {(record.source, int(units[index])) for index, record in enumerate(records) if record.label}
    strata: dict[tuple[str, str, bool], dict[int, int]] = defaultdict(Counter)
    for index, record in enumerate(records):
        if record.source in test_sources:
            requested[index] = "test"
        elif not record.fold:
            unit = int(units[index])
            strata[record.source, record.site, (record.source, unit) in positive][unit] += 1
    for (source, *_), sizes in sorted(strata.items()):
        placed = _deal(sizes, shares, rng)
        for index, record in enumerate(records):
            if record.source == source and not record.fold and int(units[index]) in placed:
                requested[index] = placed[int(units[index])]
    _deal_folds(records, requested, test_sources)
    return requested


def _deal(sizes: Mapping[int, int], shares: Mapping[str, float], rng: np.random.Generator) -> dict[int, str]:
    """Deal units out in random order, each to the set that lacks most slices."""
    total = sum(sizes.values())
    lacking = {name: share * total for name, share in shares.items()}
    placed = {}
    for unit in rng.permutation(sorted(sizes)).tolist():
        name = max(lacking, key=lambda key: lacking[key] / shares[key])
        placed[unit] = name
        lacking[name] -= sizes[unit]
    return placed


def _deal_folds(records: Sequence[Record], requested: NDArray[np.str_], test_sources: Iterable[str]) -> None:
    """Give a source's last fold to certify and the one before it to tune; the rest is fitted on."""
    folds: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.fold and record.source not in test_sources:
            folds[record.source].add(record.fold)
    place: dict[tuple[str, str], str] = {}
    for source, names in folds.items():
        ordered = sorted(names)
        place |= {(source, name): "fit" for name in ordered}
        place[source, ordered[-1]] = "certify"
        if len(ordered) > 2:  # noqa: PLR2004 - fit, tune and certify want one each
            place[source, ordered[-2]] = "tune"
    for index, record in enumerate(records):
        if (record.source, record.fold) in place:
            requested[index] = place[record.source, record.fold]


def _settle(
    units: NDArray[np.int64], requested: NDArray[np.str_], movable: NDArray[np.bool_], *, closed: Sequence[str]
) -> NDArray[np.str_]:
    """Put every unit into the most protected set that it touches.

    Slices that requested to be elsewhere follow when they belong to no fold, and are withheld when they do. Nothing
    follows into a closed set: that of a test source holds the test source alone.
    """
    rank = np.array([SETS.index(name) for name in requested])
    highest = np.zeros(int(units.max()) + 1, dtype=np.int64)
    np.maximum.at(highest, units, rank)
    goal = np.array(SETS)[highest[units]]
    stays = (rank == highest[units]) | (movable & ~np.isin(goal, closed))
    return np.where(stays, goal, WITHHELD).astype("<U10")


def check_labels(sets: NDArray[np.str_], records: Sequence[Record], names: Sequence[str] = SETS) -> None:
    """Refuse a split in which a set lacks one of the labels.

    Raises
    ------
    DataError
        Names the set and the label.
    """
    labels = np.array([record.label for record in records])
    for name in names:
        for label, word in ((1, "yes"), (0, "no")):
            if not np.any((sets == name) & (labels == label)):
                raise DataError(f"too few near-duplicate groups: the {name} set has no {word!r} slice", "add images")


def write_patients(path: Path, dataset: Dataset, split: Split) -> None:
    """Write ``source,patient,site,set`` of every patient with volumes, for whoever audits the sets."""
    rows = sorted(
        {
            (record.source, record.patient, record.site, str(name))
            for record, name in zip(dataset.records, split.sets.tolist(), strict=True)
            if record.series and record.patient
        }
    )

    def write(partial: Path) -> None:
        with partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([("source", "patient", "site", "set"), *rows])

    atomically(path, write)


def write_groups(path: Path, dataset: Dataset, split: Split) -> None:
    """Write ``groups.csv``: path, label, source, patient, near-duplicate group, unit, set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomically(path, lambda partial: _write_rows(partial, dataset, split))


def _write_rows(path: Path, dataset: Dataset, split: Split) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "source", "patient", "group", "unit", "set"])
        for record, group, unit, name in zip(
            dataset.records, split.groups.tolist(), split.units.tolist(), split.sets.tolist(), strict=True
        ):
            label = "yes" if record.label else "no"
            writer.writerow([record.path, label, record.source, record.patient, group, unit, name])
