"""What gives a label away without showing a tumour: the source, the size of the file, the sequence, the brightness.

A network takes whatever separates the labels. What one property separates alone, measured on patients and
near-duplicate groups that chose nothing, is what a network may have learnt instead of tumours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from export.data.duplicates import thumbnails
from screener.evaluate.metrics import LEVEL, resampled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from screener.evaluate.labelled import Record

FOLDS = 5
_LEAVES, _LEAST_LEAF = 16, 10
_BRIGHT = (0.5, 0.7, 0.9)
_HISTOGRAM = 16


@dataclass(frozen=True)
class Property:
    """Something about a slice that is no tumour.

    Attributes
    ----------
    name : str
    values : ndarray of shape (N, k), float64
        NaN where it is not known; categories are numbered.
    """

    name: str
    values: NDArray[np.float64]

    @property
    def known(self) -> NDArray[np.bool_]:
        """For which slices it is known: (N,)."""
        return np.asarray(~np.isnan(self.values).any(axis=1))


def properties(
    records: Sequence[Record], sizes: NDArray[np.int64], means: NDArray[np.float64], framed: NDArray[np.uint8]
) -> list[Property]:
    """Return what the audit holds against the label.

    Parameters
    ----------
    records : sequence of N Record
    sizes : ndarray of shape (N, 2), int64
        Height and width in pixels.
    means : ndarray of shape (N,), float64, in [0, 1]
        Mean stored intensity.
    framed : ndarray of shape (N, S, S), uint8
        Cropped to the head, percentiles 1 and 99 stretched to full range.
    """
    shares = bright_shares(framed)
    return [
        Property("source", _categories([record.source for record in records])),
        Property("size", sizes.astype(np.float64)),
        Property("sequence", _categories([record.sequence for record in records])),
        Property("slice level", levels(records)[:, None]),
        Property("mean intensity", means[:, None]),
        *(Property(f"share brighter than {cut:.0%}", shares[:, [place]]) for place, cut in enumerate(_BRIGHT)),
    ]


def bright_shares(framed: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the shares of bright pixels, brighter than half, 70 % and 90 % of the range: (N, 3)."""
    return np.stack([[float((view > 255 * cut).mean()) for cut in _BRIGHT] for view in framed])


def _categories(names: Sequence[str]) -> NDArray[np.float64]:
    """Give every name a number; an empty one is not known: (N, 1)."""
    order = {name: float(number) for number, name in enumerate(sorted(set(names) - {""}))}
    return np.array([[order.get(name, np.nan)] for name in names])


def levels(records: Sequence[Record]) -> NDArray[np.float64]:
    """Say how far up or down the head a slice lies, where that is known: (N,), in [0, 1], NaN elsewhere.

    The height that ``volumes.csv`` gives counts first. Elsewhere the last number of a file's name is taken for the
    slice's where patient and plane are known, and scaled to the patient's slices of the same sequence.
    """
    numbers = np.full(len(records), np.nan)
    series: dict[tuple[str, ...], list[int]] = {}
    for index, record in enumerate(records):
        digits = re.findall(r"\d+", PurePosixPath(record.path).stem)
        if digits and record.patient and record.plane:
            numbers[index] = float(digits[-1])
            series.setdefault((record.source, record.patient, record.sequence, record.plane), []).append(index)
    scaled = np.full(len(records), np.nan)
    for members in series.values():
        own = numbers[members]
        if np.ptp(own) > 0:
            scaled[members] = (own - own.min()) / np.ptp(own)
    heights = np.array([np.nan if record.height is None else record.height for record in records])
    return np.where(np.isnan(heights), scaled, heights)


def lone(chosen: Property, labels: NDArray[np.int64], units: NDArray[np.int64]) -> dict[str, Any]:
    """Predict the label from one property alone, by a small tree, on units that it was not grown on.

    Returns
    -------
    dict
        ``auc`` with its 95 % interval over units, ``slices`` and ``units`` behind it; or ``auc`` None, and ``why``.
    """
    known = chosen.known
    values, labels, units = chosen.values[known], labels[known], units[known]
    result: dict[str, Any] = {"auc": None, "slices": len(labels), "units": len(np.unique(units))}
    why = _too_few(labels, units) if len(labels) else "not known"
    if not why and len(np.unique(values, axis=0)) == 1:
        why = "the same everywhere"
    if why:
        return result | {"why": why}
    tree = DecisionTreeClassifier(max_leaf_nodes=_LEAVES, min_samples_leaf=_LEAST_LEAF, random_state=0)
    scores = np.zeros(len(labels))
    for learn, held in folds(labels, units):
        scores[held] = tree.fit(values[learn], labels[learn]).predict_proba(values[held])[:, 1]
    return result | {"auc": _area_with_interval(labels, scores, units)}


def _too_few(labels: NDArray[np.int64], units: NDArray[np.int64]) -> str:
    """Say why a label cannot be predicted in folds; empty when it can."""
    for label, word in ((1, "yes"), (0, "no")):
        count = len(np.unique(units[labels == label]))
        if not count:
            return f"no slice labelled {word}"
        if count < FOLDS:
            return f"{count} leak-free units labelled {word}, fewer than {FOLDS} folds"
    return ""


def folds(labels: NDArray[Any], units: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Deal slices into stratified folds by unit: what to learn from and what to predict, five times."""
    dealer = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    return list(dealer.split(labels, labels, units))


def _area_with_interval(
    labels: NDArray[np.int64], scores: NDArray[np.float64], units: NDArray[np.int64]
) -> dict[str, float]:
    """Return the AUC of scores that take few values, and its interval over units, all from counts."""
    _, place = np.unique(scores.round(9), return_inverse=True)
    width = int(place.max()) + 1
    tables = _tables(units, place + width * labels, 2 * width)
    return _interval(tables, lambda counts: _areas(counts[:, width:], counts[:, :width]))


def _areas(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one AUC a row from counts by ascending score, (R, K) each; ties half."""
    below = np.cumsum(negatives, axis=1) - negatives / 2
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((positives * below).sum(axis=1) / pairs)


def _tables(units: NDArray[np.int64], kinds: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Count the kinds of every unit: (units, count)."""
    names, row = np.unique(units, return_inverse=True)
    flat = np.bincount(row * count + kinds, minlength=len(names) * count)
    return flat.reshape(len(names), count).astype(np.float64)


def _interval(
    tables: NDArray[np.float64], statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> dict[str, float]:
    """Return a statistic of the summed tables, and its percentile interval over resampled units."""
    value = float(statistic(tables.sum(axis=0, keepdims=True))[0])
    drawn = statistic(resampled(tables))
    low, high = np.nanquantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def cut_alone(chosen: Property, labels: NDArray[np.int64], units: NDArray[np.int64]) -> dict[str, Any]:
    """See how far one threshold on one number gets, when it is chosen on other units than it is measured on.

    Returns
    -------
    dict
        ``balanced_accuracy`` with its interval over units, ``cut`` and whether tumours lie ``above`` it (on all
        slices), ``auc`` of the number itself, at least 0.5; or ``balanced_accuracy`` None, and ``why``.
    """
    known = chosen.known
    values, labels, units = chosen.values[known, 0], labels[known], units[known]
    if why := _too_few(labels, units):
        return {"balanced_accuracy": None, "why": why}
    flagged = np.zeros(len(labels), np.int64)
    for learn, held in folds(labels, units):
        cut, above = best_cut(values[learn], labels[learn])
        flagged[held] = (values[held] >= cut) == above
    cut, above = best_cut(values, labels)
    area = float(_areas(*(_by_value(values, labels == label) for label in (1, 0)))[0])
    return {
        "balanced_accuracy": _interval(_tables(units, flagged + 2 * labels, 4), _balanced),
        "cut": round(cut, 4),
        "above": above,
        "auc": round(max(area, 1 - area), 4),
    }


def _by_value(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Count the chosen slices at each distinct value, ascending: (1, K)."""
    distinct, place = np.unique(values, return_inverse=True)
    return np.bincount(place[chosen], minlength=len(distinct)).astype(np.float64)[None]


def _balanced(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of sensitivity and specificity; columns: quiet and flagged negatives, then positives."""
    quiet, alarms, missed, caught = counts.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((quiet / (quiet + alarms) + caught / (caught + missed)) / 2)


def best_cut(values: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[float, bool]:
    """Return the threshold of the highest balanced accuracy, and whether positives lie above it."""
    distinct = np.unique(values)
    positives, negatives = (_by_value(values, labels == label)[0] for label in (1, 0))
    # Youden's index of calling everything from a value on positive; its mirror image calls what lies below.
    index = np.cumsum(negatives) / negatives.sum() - np.cumsum(positives) / positives.sum()
    index = np.concatenate([[0.0], index[:-1]])
    best = int(np.argmax(np.abs(index)))
    return float(distinct[best]), bool(index[best] >= 0)


def source_from_picture(
    records: Sequence[Record], framed: NDArray[np.uint8], units: NDArray[np.int64]
) -> dict[str, Any]:
    """Predict the source from the framed picture, as a network sees it.

    See `_guess` for what is returned. Linear discriminants (with Ledoit and Wolf's shrinkage) over a 16 x 16 thumbnail
    and a grey-level histogram.
    """
    small = thumbnails(framed).reshape(len(framed), 16, 2, 16, 2).mean(axis=(2, 4)).reshape(len(framed), -1)
    grey = [np.bincount((view >> 4).ravel(), minlength=_HISTOGRAM) / view.size for view in framed]
    return _guess(records, np.hstack([small, np.sqrt(grey)]), units)


def source_from_file(
    records: Sequence[Record], sizes: NDArray[np.int64], means: NDArray[np.float64], units: NDArray[np.int64]
) -> dict[str, Any]:
    """Predict the source from height, width and mean stored intensity alone; see `_guess`."""
    return _guess(records, np.column_stack([sizes, sizes[:, 0] / np.maximum(sizes[:, 1], 1), means]), units)


def _guess(records: Sequence[Record], features: NDArray[Any], units: NDArray[np.int64]) -> dict[str, Any]:
    """Predict the source of units that were not learnt from.

    Returns
    -------
    dict
        ``accuracy`` with its interval over units, ``largest`` (the share of the largest source: what a constant guess
        scores), ``balanced_accuracy``, ``names`` and the ``matrix`` of slices (rows: true); or ``accuracy`` None, and
        ``why``. Sources of fewer than five units are left out.
    """
    sources = np.array([record.source for record in records])
    names = [name for name in np.unique(sources).tolist() if len(np.unique(units[sources == name])) >= FOLDS]
    if len(names) < 2:  # noqa: PLR2004 - nothing to tell apart
        return {"accuracy": None, "why": f"fewer than two sources of {FOLDS} leak-free units"}
    chosen = np.isin(sources, names)
    sources, features, units = sources[chosen], StandardScaler().fit_transform(features[chosen]), units[chosen]
    predicted = sources.copy()
    for learn, held in folds(sources, units):
        classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        predicted[held] = classifier.fit(features[learn], sources[learn]).predict(features[held])
    right = (predicted == sources).astype(np.int64)
    return {
        "accuracy": _interval(_tables(units, right, 2), lambda counts: counts[:, 1] / counts.sum(axis=1)),
        "largest": round(float(np.unique(sources, return_counts=True)[1].max() / len(sources)), 4),
        "balanced_accuracy": round(float(balanced_accuracy_score(sources, predicted)), 4),
        "names": names,
        "matrix": confusion_matrix(sources, predicted, labels=names).tolist(),
    }


def confounding(
    records: Sequence[Record],
    sizes: NDArray[np.int64],
    means: NDArray[np.float64],
    framed: NDArray[np.uint8],
    units: NDArray[np.int64],
) -> dict[str, Any]:
    """Return every figure of confounding; all arrays over the N records.

    Returns
    -------
    dict
        ``source``: how well it is predicted from the ``picture`` and from the ``file``; ``label``: by property, over
        ``all`` slices and within each source; ``threshold``: by number, how far one cut gets.
    """
    labels = np.array([record.label for record in records])
    sources = np.array([record.source for record in records])
    known = properties(records, sizes, means, framed)
    scopes = {"all": np.ones(len(records), bool)} | {name: sources == name for name in np.unique(sources).tolist()}
    return {
        "source": {
            "picture": source_from_picture(records, framed, units),
            "file": source_from_file(records, sizes, means, units),
        },
        "label": {
            one.name: {
                scope: lone(Property(one.name, one.values[chosen]), labels[chosen], units[chosen])
                for scope, chosen in scopes.items()
            }
            for one in known
        },
        "threshold": {
            one.name: cut_alone(one, labels, units) for one in known if one.name.startswith(("mean", "share"))
        },
    }
