"""Rates and areas with intervals whose unit is the patient or near-duplicate group, never the slice.

How a refused slice counts: a positive one as a miss, a negative one as a false alarm, so that no gate can buy
accuracy. Its rank in the AUC is the worst possible: 0 if positive, 1 if negative.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from screener.domain.estimate import Rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
_SEED = 0
_FEW = 10
"""Units below which a bootstrap, which knows only what it has, tells too narrow an interval."""
_DRAWN = 1_000_000
"""Units drawn at a time, a bound on memory."""


@dataclass(frozen=True)
class Scored:
    """Labelled slices and what the tool said about them, all of shape (N,).

    Attributes
    ----------
    labels : ndarray of int, 0 or 1
    scores : ndarray of float64, in [0, 1], NaN where the slice was refused
    units : ndarray of int
        Patient or near-duplicate group of each slice.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    units: NDArray[np.int64]

    def part(self, chosen: NDArray[np.bool_]) -> Scored:
        """Return the chosen slices only."""
        return Scored(self.labels[chosen], self.scores[chosen], self.units[chosen])

    @property
    def assessable(self) -> NDArray[np.bool_]:
        """Which slices got a score: (N,)."""
        return np.isfinite(self.scores)

    def worst(self) -> NDArray[np.float64]:
        """Return the scores with every refusal at its worst: (N,)."""
        return np.where(self.assessable, self.scores, np.where(self.labels == 1, 0.0, 1.0))


def auc(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve: the chance that a positive outranks a negative, ties half.

    Mann-Whitney's U by mid-ranks; NaN when a class is missing.
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def interval(statistic: Callable[[NDArray[np.int64]], float], units: NDArray[np.int64]) -> tuple[float, float]:
    """Bootstrap a statistic over whole units (Efron & Tibshirani 1993, percentile interval).

    Parameters
    ----------
    statistic : callable
        Takes indices of slices, shape (M,), repeated ones included.
    units : ndarray of shape (N,), int

    Returns
    -------
    low, high : float
        0 and 1 where one unit leaves nothing to resample; NaN when no resample gives a number.
    """
    _, inverse = np.unique(units, return_inverse=True)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    rng = np.random.default_rng(_SEED)
    values = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(members), size=len(members))
        values.append(statistic(np.concatenate([members[unit] for unit in drawn])))
    found = np.asarray(values)[np.isfinite(values)]
    if not len(found):
        return float("nan"), float("nan")
    if len(members) == 1:
        return 0.0, 1.0
    tail = (1 - LEVEL) / 2
    return float(np.quantile(found, tail)), float(np.quantile(found, 1 - tail))


def rate(hits: NDArray[np.bool_], units: NDArray[np.int64]) -> Rate:
    """Return the share of hits.

    The interval is the bootstrap's over units. Where every slice agrees, which tells a bootstrap nothing, it is the
    exact binomial one over units (Clopper & Pearson 1934), and below ten units it is at least as wide as that.

    Parameters
    ----------
    hits : ndarray of shape (N,), bool
    units : ndarray of shape (N,), int
    """
    total, count = int(hits.sum()), len(hits)
    if not count:
        return Rate(None, None, None, 0, 0, 0)
    _, unit = np.unique(units, return_inverse=True)
    tables = np.stack([np.bincount(unit, hits), np.bincount(unit)], axis=1)
    drawn = resampled(tables)
    value = _with_interval(total / count, drawn[:, 0] / drawn[:, 1], len(tables))
    return Rate(value["value"], value["low"], value["high"], total, count, len(tables))


def exact_interval(hits: float, count: float) -> tuple[float, float]:
    """Return the two-sided 95 % interval of a binomial share (Clopper & Pearson 1934).

    Hits and count may be expected numbers, and so broken. Where all or none are hits it is a root, and needs no extra.
    """
    tail = (1 - LEVEL) / 2
    if hits == 0:
        return 0.0, 1 - tail ** (1 / count)
    if hits == count:
        return tail ** (1 / count), 1.0
    from scipy.stats import beta

    return float(beta.ppf(tail, hits, count - hits + 1)), float(beta.ppf(1 - tail, hits + 1, count - hits))


def lower_bound(hits: float, count: int, level: float = LEVEL) -> float:
    """Return the exact one-sided lower bound of a binomial share; 59 of 59 just supports 0.95.

    Hits may be an expected number, and so broken.
    """
    from scipy.stats import beta

    return 0.0 if hits == 0 else float(beta.ppf(1 - level, hits, count - hits + 1))


def operating_figures(scored: Scored, threshold: float) -> dict[str, Any]:
    """Return what a threshold does: sensitivity and specificity by the contract, and among assessable slices.

    Parameters
    ----------
    scored : Scored
    threshold : float, in [0, 1]
    """
    positive, seen = scored.labels == 1, scored.assessable
    flagged = seen & (np.nan_to_num(scored.scores, nan=-1.0) >= threshold)
    quiet = seen & ~flagged
    return {
        "threshold": threshold,
        "sensitivity": asdict(rate(flagged[positive], scored.units[positive])),
        "specificity": asdict(rate(quiet[~positive], scored.units[~positive])),
        "assessable_sensitivity": asdict(rate(flagged[positive & seen], scored.units[positive & seen])),
        "assessable_specificity": asdict(rate(quiet[~positive & seen], scored.units[~positive & seen])),
    }


def summary(scored: Scored) -> dict[str, Any]:
    """Return counts, refusal rate and AUC with its interval."""
    worst = scored.worst()
    low, high = interval(lambda chosen: auc(scored.labels[chosen], worst[chosen]), scored.units)
    seen = scored.assessable
    return {
        "slices": len(scored.labels),
        "positives": int(scored.labels.sum()),
        "units": len(np.unique(scored.units)),
        "refused": asdict(rate(~seen, scored.units)),
        "auc": {"value": auc(scored.labels, worst), "low": low, "high": high},
        "assessable_auc": auc(scored.labels[seen], scored.scores[seen]),
    }


@dataclass(frozen=True, slots=True)
class Confusion:
    """What a threshold does, in slices; each may be an array, one entry a resample.

    Attributes
    ----------
    caught, alarms, quiet, missed : float or ndarray
        True and false positives, true and false negatives.
    """

    caught: Any
    alarms: Any
    quiet: Any
    missed: Any

    def rates(self) -> dict[str, Any]:
        """Return accuracy, sensitivity, specificity, precision and F1; NaN where there is nothing to divide by."""
        total = self.caught + self.alarms + self.quiet + self.missed
        return {
            "accuracy": _ratio(self.caught + self.quiet, total),
            "sensitivity": _ratio(self.caught, self.caught + self.missed),
            "specificity": _ratio(self.quiet, self.quiet + self.alarms),
            "precision": _ratio(self.caught, self.caught + self.alarms),
            "f1": _ratio(2 * self.caught, 2 * self.caught + self.alarms + self.missed),
        }


def _ratio(part: Any, whole: Any) -> Any:  # noqa: ANN401 - a number or an array of them
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.asarray(whole) > 0, part / np.asarray(whole, np.float64), np.nan)


def called(scored: Scored, threshold: float) -> NDArray[np.bool_]:
    """Return which slices count as flagged: a refused positive does not, a refused negative does. (N,), bool."""
    flagged = np.nan_to_num(scored.scores, nan=-1.0) >= threshold
    return np.where(scored.assessable, flagged, scored.labels == 0)


def confusion_figures(scored: Scored, threshold: float) -> dict[str, Any]:
    """Return the confusion matrix of a threshold and what follows from it, refusals counted by the contract.

    Parameters
    ----------
    scored : Scored
    threshold : float, in [0, 1]

    Returns
    -------
    dict
        ``confusion`` in slices; ``accuracy, sensitivity, specificity, precision, f1``: each with ``value, low, high``
        (95 %, see `rate`), None where it cannot be said.
    """
    flagged, positive = called(scored, threshold), scored.labels == 1
    _, unit = np.unique(scored.units, return_inverse=True)
    kinds = (flagged & positive, flagged & ~positive, ~flagged & ~positive, ~flagged & positive)
    tables = np.stack([np.bincount(unit, kind, minlength=int(unit.max()) + 1) for kind in kinds], axis=1)
    total = Confusion(*tables.sum(axis=0))
    drawn = Confusion(*resampled(tables).T).rates()
    result: dict[str, Any] = {"confusion": {name: int(getattr(total, name)) for name in Confusion.__slots__}}
    by_unit = Confusion(*tables.T).rates()
    for name, value in total.rates().items():
        result[name] = _with_interval(float(value), drawn[name], int(np.isfinite(by_unit[name]).sum()))
    # Among the units that have such slices, as an operating point tells it: one rate, one interval.
    for name, asked, right in (("sensitivity", positive, flagged), ("specificity", ~positive, ~flagged)):
        found = rate(right[asked], scored.units[asked])
        result[name] = {"value": found.value, "low": found.low, "high": found.high}
    return result


def resampled(tables: NDArray[Any]) -> NDArray[np.float64]:
    """Draw units with replacement and add their tables up: (units, k) → (resamples, k)."""
    count = len(tables)
    if not count:
        return np.zeros((0, tables.shape[1]))
    rng = np.random.default_rng(_SEED)
    chances = np.full(count, 1 / count)
    at_once = max(1, _DRAWN // count)
    return np.concatenate(
        [
            rng.multinomial(count, chances, size=min(at_once, RESAMPLES - done)) @ tables
            for done in range(0, RESAMPLES, at_once)
        ]
    )


def _with_interval(value: float, drawn: NDArray[np.float64], units: int) -> dict[str, float | None]:
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None}
    if value in (0.0, 1.0):
        low, high = exact_interval(units if value else 0, units)
    else:
        found, tail = drawn[np.isfinite(drawn)], (1 - LEVEL) / 2
        low, high = float(np.quantile(found, tail)), float(np.quantile(found, 1 - tail))
        if units < _FEW:
            least, most = exact_interval(value * units, units)
            low, high = min(low, least), max(high, most)
    return {"value": value, "low": low, "high": high}


def brier(labels: NDArray[np.int64], scores: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> float:
    """Return the mean squared difference of probability and outcome (Brier, Monthly Weather Review 1950); 0 is best."""
    return float(np.average((scores - labels) ** 2, weights=weights)) if len(labels) else float("nan")


def reliability(labels: NDArray[np.int64], scores: NDArray[np.float64], bins: int = 10) -> list[dict[str, float]]:
    """Return for ``bins`` equally wide ranges of probability how many slices fall there, and what share is positive.

    Returns
    -------
    list of dict
        ``low, high, count, mean`` (of the probabilities) and ``share`` (of positives), for ranges that hold any.
    """
    place = np.minimum((scores * bins).astype(int), bins - 1)
    return [
        {
            "low": number / bins,
            "high": (number + 1) / bins,
            "count": int((place == number).sum()),
            "mean": float(scores[place == number].mean()),
            "share": float(labels[place == number].mean()),
        }
        for number in range(bins)
        if (place == number).any()
    ]


def calibration_error(
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    bins: int = 10,
    weights: NDArray[np.float64] | None = None,
) -> float:
    """Return the expected calibration error, in [0, 1]: mean distance of probability and share (Guo, ICML 2017).

    Parameters
    ----------
    labels, scores : ndarray of shape (N,)
    bins : int
        Equally wide ranges of probability.
    weights : ndarray of shape (N,), optional
        How much each slice counts; without them all count the same.
    """
    if not len(labels):
        return float("nan")
    counted = np.ones(len(labels)) if weights is None else weights
    place = np.minimum((scores * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(place, counted * (scores - labels))).sum() / counted.sum())
