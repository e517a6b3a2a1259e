"""Audit of labelled slices before training: counts, near-duplicates, implausible slices, confounders of the label."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from export.data.cache import frame_folder, load_views
from export.data.confounding import confounding
from export.data.dataset import read_dataset
from export.data.duplicates import GROUPING, Pairs, join, remembered_pairs, thumbnails
from export.data.groups import UNREADABLE, read_groups
from export.data.image_statistics import measure_images
from export.data.splits import SETS, WITHHELD, Split, check_labels, divide, write_groups
from export.errors import DataError
from screener.errors import ModelError
from screener.model.session import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from export.data.dataset import Dataset
    from export.data.image_statistics import ImageStatistics
    from screener.evaluate.labelled import Record

_SIZES = 8
_FARTHEST = 24
_BLOCK = 1024


@dataclass(frozen=True)
class AuditOptions:
    """Options of an audit.

    Attributes
    ----------
    groups : Path, optional
        A ``groups.csv`` to hold the data against; without, the sets are computed as training would.
    test_sources : tuple of str
    unseen : Path, optional
        Folder of pictures that training must not resemble.
    seed : int
        Of the sets.
    model : str, optional
        Whose embedding is checked; by default the shipped one.
    """

    groups: Path | None = None
    test_sources: tuple[str, ...] = ()
    unseen: Path | None = None
    seed: int = 1
    model: str | None = None


@dataclass(frozen=True)
class Audit:
    """The slices and every figure of them.

    Attributes
    ----------
    dataset : Dataset
    framed : ndarray of shape (N, 192, 192), uint8
    statistics : ImageStatistics
    pairs : Pairs
    split : Split
    figures : dict
        Every figure, as ``audit.json`` has them.
    """

    dataset: Dataset
    framed: NDArray[np.uint8]
    statistics: ImageStatistics
    pairs: Pairs
    split: Split
    figures: dict[str, Any]


def audit(data: Path, out: Path, cache: Path, options: AuditOptions) -> Audit:
    """Audit a data set, and write ``audit.json`` and, where sets can be made, ``groups.csv`` into a folder.

    Parameters
    ----------
    data : Path
        See `read_dataset`.
    out : Path
    cache : Path
        Where framed slices are kept for training to use.
    options : AuditOptions

    Raises
    ------
    DataError
        The data or the given ``groups.csv`` cannot be used.
    """
    start = time.monotonic()
    dataset = read_dataset(data)
    framed = load_views(dataset, GROUPING, GROUPING.size, cache).images
    unseen = frame_folder(options.unseen, GROUPING) if options.unseen else framed[:0]
    pairs = remembered_pairs(thumbnails(np.concatenate([framed, unseen])), cache)
    split, sets = _sets(dataset, pairs, len(unseen), options)
    pairs = within(pairs, len(framed))
    model, name = _model(options.model)
    statistics = measure_images(dataset, model)
    split.sets[~statistics.readable] = UNREADABLE
    result = {
        "data": dataset.fingerprint(),
        "mended": dataset.mended(),
        "counts": counts(dataset.records, statistics.sizes, split.units),
        "duplicates": duplicates(dataset.records, pairs, split, statistics.sha256),
        "conflicts": conflicts(dataset.records, pairs, split.groups),
        "sets": sets | {"leaking_units": leaking(split), "slices": _set_counts(dataset.records, split)},
        "implausible": implausible(dataset.records, statistics, framed, split.units, name),
        "confounding": confounding(dataset.records, statistics.sizes, statistics.means, framed, split.units),
    }
    result["cost"] = {"seconds": round(time.monotonic() - start, 1), "peak_mb": round(_peak_mb())}
    out.mkdir(parents=True, exist_ok=True)
    (out / "audit.json").write_text(json.dumps(result, indent=1) + "\n")
    if not sets["refused"]:
        write_groups(out / "groups.csv", dataset, split)
    return Audit(dataset, framed, statistics, pairs, split, result)


def _peak_mb() -> float:
    """Return the most memory that this process held, in MB; Linux counts kibibytes, macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _model(name: str | None) -> tuple[Model | None, str]:
    """Load the model whose embedding is checked; the shipped one may be missing, one that was named may not."""
    try:
        model = Model.load(name)
    except ModelError:
        if name:
            raise
        return None, ""
    return model, model.card.title


def _sets(dataset: Dataset, pairs: Pairs, extra: int, options: AuditOptions) -> tuple[Split, dict[str, Any]]:
    """Return who is where, and where that comes from; too small a data set is reported, not refused."""
    computed = divide(dataset.records, pairs, extra, test_sources=options.test_sources, seed=options.seed)
    result: dict[str, Any] = {"origin": "computed", "refused": ""}
    if options.groups:
        given = read_groups(options.groups, dataset)
        # Its own sets, but groups and units as they are seen now: that is what it is held against.
        computed = Split(computed.groups, computed.units, given.split.sets.copy())
        return computed, result | {"origin": options.groups.name}
    try:
        check_labels(computed.sets, dataset.records)
    except DataError as error:
        result["refused"] = str(error)
    return computed, result


def within(pairs: Pairs, count: int) -> Pairs:
    """Keep the pairs among the first `count` slices."""
    kept = pairs.second < count
    return Pairs(pairs.first[kept], pairs.second[kept], pairs.turned[kept])


def counts(
    records: Sequence[Record], sizes: NDArray[np.int64], units: NDArray[np.int64]
) -> dict[str, dict[str, dict[str, int]]]:
    """Count slices of either label, leak-free units and known patients by what is known about the slices.

    Returns
    -------
    dict of dict of dict
        ``source``, ``folder``, ``plane``, ``sequence``, ``site``, ``size`` → value → ``yes, no, units, patients``.
        An empty value is "not known"; of sizes, the eight most frequent stand alone.
    """
    shapes = [f"{width}×{height}" for height, width in sizes.tolist()]
    frequent = {shape for shape, _ in Counter(shapes).most_common(_SIZES)}
    columns = {
        "source": [record.source for record in records],
        "folder": [str(PurePosixPath(record.path).parent) for record in records],
        "sequence": [record.sequence for record in records],
        "plane": [record.plane for record in records],
        "site": [record.site for record in records],
        "size": [shape if shape in frequent else f"{len(set(shapes) - frequent)} other sizes" for shape in shapes],
    }
    return {name: _count(column, records, units) for name, column in columns.items()}


def _count(column: Sequence[str], records: Sequence[Record], units: NDArray[np.int64]) -> dict[str, dict[str, int]]:
    result: dict[str, dict[str, int]] = {}
    for value in sorted(set(column)):
        chosen = [index for index, one in enumerate(column) if one == value]
        labels = [records[index].label for index in chosen]
        patients = {(records[index].source, records[index].patient) for index in chosen if records[index].patient}
        result[value or "not known"] = {
            "yes": sum(labels),
            "no": len(labels) - sum(labels),
            "units": len(np.unique(units[chosen])),
            "patients": len(patients),
        }
    return result


def duplicates(records: Sequence[Record], pairs: Pairs, split: Split, sha256: Sequence[str]) -> dict[str, Any]:
    """Count near-duplicates, within and across folders, sources and sets.

    Returns
    -------
    dict
        ``identical_files`` (beyond the first of each), ``pairs``, ``turned_pairs``, ``groups``, ``shared`` (groups of
        more than one slice), ``slices_in_shared``, ``largest``; ``across`` folders, sources and sets: groups that
        reach over more than one; ``by_source``: slices and groups; ``twins``: see `twins`.
    """
    sizes = np.bincount(split.groups)
    sources = [record.source for record in records]
    files = Counter(digest for digest in sha256 if digest)
    return {
        "identical_files": sum(files.values()) - len(files),
        "pairs": len(pairs.first),
        "turned_pairs": int(pairs.turned.sum()),
        "groups": int((sizes > 0).sum()),
        "shared": int((sizes > 1).sum()),
        "slices_in_shared": int(sizes[sizes > 1].sum()),
        "largest": int(sizes.max()),
        "across": {
            "folders": _reaching(split.groups, [str(PurePosixPath(record.path).parent) for record in records]),
            "sources": _reaching(split.groups, sources),
            "sets": _reaching(split.groups, [name if name in SETS else "" for name in split.sets.tolist()]),
        },
        "by_source": _groups_by_source(records, split.groups),
        "twins": twins(sources, pairs),
    }


def _reaching(groups: NDArray[np.int64], places: Iterable[str]) -> int:
    """Count the groups whose slices lie in more than one place; an empty place does not count."""
    seen: dict[int, set[str]] = defaultdict(set)
    for group, place in zip(groups.tolist(), places, strict=True):
        if place:
            seen[group].add(place)
    return sum(len(where) > 1 for where in seen.values())


def _groups_by_source(records: Sequence[Record], groups: NDArray[np.int64]) -> dict[str, dict[str, int]]:
    result: dict[str, dict[str, int]] = {}
    for source in sorted({record.source for record in records}):
        mine = {
            word: groups[[record.source == source and record.label == label for record in records]]
            for label, word in ((1, "yes"), (0, "no"))
        }
        result[source] = {f"{word}_groups": len(np.unique(its_groups)) for word, its_groups in mine.items()}
        result[source] |= {f"{word}_slices": len(its_groups) for word, its_groups in mine.items()}
    return result


def twins(sources: Sequence[str], pairs: Pairs) -> dict[str, dict[str, dict[str, int]]]:
    """Count for each source how many of its slices have a near-twin in itself or another.

    Returns
    -------
    dict of dict of dict
        From, to → ``plain`` (of the same orientation), ``turned`` (flipped or turned) and ``any``; a slice may have
        both. Where there are none, nothing stands.
    """
    column = np.array(sources)
    both = np.concatenate([np.stack([pairs.first, pairs.second]), np.stack([pairs.second, pairs.first])], axis=1)
    turned = np.concatenate([pairs.turned, pairs.turned])
    kinds: dict[str, Callable[[NDArray[np.bool_]], NDArray[np.int64]]] = {
        "plain": lambda between: np.unique(both[0][between & ~turned]),
        "turned": lambda between: np.unique(both[0][between & turned]),
        "any": lambda between: np.unique(both[0][between]),
    }
    result: dict[str, dict[str, dict[str, int]]] = defaultdict(dict)
    for one in sorted(set(sources)):
        for other in sorted(set(sources)):
            between = (column[both[0]] == one) & (column[both[1]] == other)
            if between.any():
                result[one][other] = {name: len(kind(between)) for name, kind in kinds.items()}
    return dict(result)


def conflicts(records: Sequence[Record], pairs: Pairs, groups: NDArray[np.int64]) -> dict[str, Any]:
    """List pairs that look alike and bear two labels.

    Returns
    -------
    dict
        ``pairs``; ``within_patient`` of them, which are neighbours at a tumour's edge; ``mixed_before`` (groups with
        two labels if such pairs were joined) and ``mixed`` (groups with two labels as they are written: none);
        ``listed``: both paths, whether flipped or turned, whether of one patient, those of no known patient first.
    """
    labels = np.array([record.label for record in records])
    differ = labels[pairs.first] != labels[pairs.second]
    listed = [
        {
            "yes": records[first if labels[first] else second].path,
            "no": records[second if labels[first] else first].path,
            "turned": turned,
            "same_patient": _one_patient(records[first], records[second]),
        }
        for first, second, turned in zip(
            pairs.first[differ].tolist(), pairs.second[differ].tolist(), pairs.turned[differ].tolist(), strict=True
        )
    ]
    words = [str(label) for label in labels.tolist()]
    joined = join(len(records), np.stack([pairs.first, pairs.second], axis=1))
    return {
        "pairs": len(listed),
        "within_patient": sum(one["same_patient"] for one in listed),
        "mixed_before": _reaching(joined, words),
        "mixed": _reaching(groups, words),
        "listed": sorted(listed, key=lambda one: (one["same_patient"], one["yes"], one["no"])),
    }


def _one_patient(first: Record, second: Record) -> bool:
    return bool(first.patient) and (first.source, first.patient) == (second.source, second.patient)


def leaking(split: Split) -> int:
    """Count leak-free units that lie in more than one set; what is withheld is in none."""
    return _reaching(split.units, [name if name in SETS else "" for name in split.sets.tolist()])


def _set_counts(records: Sequence[Record], split: Split) -> dict[str, dict[str, int]]:
    labels = np.array([record.label for record in records])
    result = {}
    for name in (*SETS, WITHHELD, UNREADABLE):
        chosen = split.where(name)
        yes = int(labels[chosen].sum())
        result[name] = {"yes": yes, "no": len(chosen) - yes, "units": len(np.unique(split.units[chosen]))}
    return result


def implausible(
    records: Sequence[Record],
    statistics: ImageStatistics,
    framed: NDArray[np.uint8],
    units: NDArray[np.int64],
    model: str,
) -> dict[str, Any]:
    """List what does not look like a brain MRI.

    Returns
    -------
    dict
        ``refused``: path, ``check`` (reader, pixels, model) and ``reason``; ``model``: whose embedding was checked;
        ``measure``: by what the next are ordered; ``farthest``: source → the slices least like any other, the farthest
        first, with their ``distance`` to the nearest slice of another unit. Most of these are brains.
    """
    refused = [
        {"path": record.path, "check": check, "reason": reason}
        for record, check, reason in zip(records, statistics.checks, statistics.reasons, strict=True)
        if check
    ]
    embeddings = statistics.embeddings
    features = thumbnails(framed).reshape(len(framed), -1) if embeddings is None else embeddings
    distances = nearest_distances(features, units)
    distances[[check in {"reader", "pixels"} for check in statistics.checks]] = 0.0
    farthest: dict[str, list[dict[str, Any]]] = {}
    for source in sorted({record.source for record in records}):
        mine = np.array([index for index, record in enumerate(records) if record.source == source])
        order = mine[np.argsort(-distances[mine], kind="stable")][:_FARTHEST]
        farthest[source] = [
            {"path": records[index].path, "distance": round(float(distances[index]), 3)} for index in order.tolist()
        ]
    measure = "thumbnails" if embeddings is None else "the model's features"
    return {"refused": refused, "model": model, "measure": measure, "farthest": farthest}


def nearest_distances(features: NDArray[np.float32], units: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each slice's distance to the nearest slice of another unit: (N, d) → (N,); 0 where there is none."""
    squares = np.square(features).sum(axis=1)
    nearest = np.zeros(len(features))
    for start in range(0, len(features), _BLOCK):
        rows = slice(start, start + _BLOCK)
        distance = squares[rows, None] + squares[None] - 2 * features[rows] @ features.T
        distance[units[rows, None] == units[None]] = np.inf
        nearest[rows] = distance.min(axis=1)
    return np.sqrt(np.where(np.isfinite(nearest), np.maximum(nearest, 0), 0))
