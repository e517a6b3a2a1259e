"""Rates and kappa of cases that stand for others, with intervals.

Intervals: percentile bootstrap over patients with the weights held fixed (Efron & Tibshirani 1993). Where a group that
was read in part shows no error at all, resampling cannot tell how many there may be among the rest: there the exact
binomial bound (Clopper & Pearson 1934) of its share of errors is added, patients being the trials.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from screener.domain.estimate import WeightedEstimate
from screener.domain.finding import Decision
from screener.evaluate.metrics import LEVEL, RESAMPLES, resampled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

DECISIONS = (Decision.FLAGGED, Decision.NOT_FLAGGED, Decision.NOT_ASSESSABLE)
_FLAGGED, _QUIET, _REFUSED = range(3)
_TAIL = (1 - LEVEL) / 2

# Cells of a table of decision by truth: flagged, not flagged, not assessable; first without, then with a tumour.
_FALSE_ALARM, _TRUE_ALARM, _RIGHTLY_QUIET, _MISS, _REFUSED_NEGATIVE, _REFUSED_POSITIVE = range(6)
_RATES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "sensitivity": ((_TRUE_ALARM,), (_MISS, _REFUSED_POSITIVE)),
    "specificity": ((_RIGHTLY_QUIET,), (_FALSE_ALARM, _REFUSED_NEGATIVE)),
    "ppv": ((_TRUE_ALARM,), (_FALSE_ALARM, _REFUSED_NEGATIVE)),
    "npv": ((_RIGHTLY_QUIET,), (_MISS, _REFUSED_POSITIVE)),
}
"""Cells that are hits and cells that are errors, by rate."""
_RIGHT, _WRONG = (_TRUE_ALARM, _RIGHTLY_QUIET), (_FALSE_ALARM, _MISS, _REFUSED_NEGATIVE, _REFUSED_POSITIVE)
NAMES = (*_RATES, "kappa")


@dataclass(frozen=True)
class Sample:
    """Cases that were read, all arrays of shape (N,).

    Attributes
    ----------
    decisions : ndarray of int
        Index into `DECISIONS`.
    truths : ndarray of int
        1 tumour, 0 no tumour, -1 neither.
    weights : ndarray of float64
        Cases for which each stands.
    drawn : ndarray of bool
        Whether it stands for others too.
    units : ndarray of int
        Patient.
    """

    decisions: NDArray[np.int64]
    truths: NDArray[np.int64]
    weights: NDArray[np.float64]
    drawn: NDArray[np.bool_]
    units: NDArray[np.int64]

    def part(self, chosen: NDArray[np.bool_]) -> Sample:
        """Return the chosen cases only."""
        return Sample(
            self.decisions[chosen], self.truths[chosen], self.weights[chosen], self.drawn[chosen], self.units[chosen]
        )

    def cells(self) -> NDArray[np.int64]:
        """Return the cell of each case in the table of decision by truth, -1 for those without a truth: (N,)."""
        return np.where(self.truths < 0, -1, 2 * self.decisions + self.truths)


def estimates(
    sample: Sample, unread: AbstractSet[Decision]
) -> tuple[dict[str, WeightedEstimate], dict[str, WeightedEstimate]]:
    """Return sensitivity, specificity, predictive values and kappa of a weighted sample, with intervals.

    Parameters
    ----------
    sample : Sample
    unread : set of Decision
        Decisions of which a whole group went unread: what needs them is not known.

    Returns
    -------
    headline, assessable : dict of str to WeightedEstimate
        By `NAMES`: with refusals as errors, and among assessable cases only.
    """
    evidence = _Evidence(totals(sample), _resampled(sample), _slack(sample))
    assessable = sample.part(sample.decisions != _REFUSED)
    return (
        _estimates(sample, evidence, unread),
        _estimates(assessable, evidence.assessable(), unread - {Decision.NOT_ASSESSABLE}),
    )


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What the figures of one sample share: its weighted cells (6,), those of every draw (RESAMPLES, 6), its slack."""

    table: NDArray[np.float64]
    draws: NDArray[np.float64]
    slack: NDArray[np.float64]

    def assessable(self) -> _Evidence:
        """Leave out what was refused; patients are drawn once for both."""
        keep = np.isin(np.arange(6), (_REFUSED_NEGATIVE, _REFUSED_POSITIVE), invert=True)
        return _Evidence(self.table * keep, self.draws * keep, self.slack * keep)


def _estimates(sample: Sample, evidence: _Evidence, unread: AbstractSet[Decision]) -> dict[str, WeightedEstimate]:
    found = {
        name: _unknown(sample, hits, errors, unread) or _rate(sample, evidence, hits, errors)
        for name, (hits, errors) in _RATES.items()
    }
    found["kappa"] = _unknown(sample, _RIGHT, _WRONG, unread) or _kappa(sample, evidence)
    return found


def totals(sample: Sample) -> NDArray[np.float64]:
    """Return the weighted cases in each cell of decision by truth: (6,)."""
    cells = sample.cells()
    known = cells >= 0
    return np.bincount(cells[known], weights=sample.weights[known], minlength=6).astype(np.float64)


def _unknown(
    sample: Sample, hits: Sequence[int], errors: Sequence[int], unread: AbstractSet[Decision]
) -> WeightedEstimate | None:
    """Return an empty figure where a group that it needs went unread or nothing counts; None where it is known."""
    inside = np.isin(sample.cells(), (*hits, *errors))
    count, units = int(inside.sum()), len(np.unique(sample.units[inside]))
    right = int(np.isin(sample.cells(), hits).sum())
    # The unflagged come first: that nobody read any of them is what must be said of a sensitivity.
    for number in (_QUIET, _FLAGGED, _REFUSED):
        if DECISIONS[number] in unread and any(cell // 2 == number for cell in (*hits, *errors)):
            return WeightedEstimate(None, None, None, right, count, units, f"{DECISIONS[number].value}_unread")
    return None if count else WeightedEstimate(None, None, None, 0, 0, 0, "none")


def _rate(sample: Sample, evidence: _Evidence, hits: Sequence[int], errors: Sequence[int]) -> WeightedEstimate:
    cells, table = sample.cells(), evidence.table
    right, inside = np.isin(cells, hits), np.isin(cells, (*hits, *errors))
    units = len(np.unique(sample.units[inside]))
    good, bad = evidence.draws[:, hits].sum(axis=1), evidence.draws[:, errors].sum(axis=1)
    more_good, more_bad = evidence.slack[list(hits)].sum(), evidence.slack[list(errors)].sum()
    usable = good + bad > 0
    good, bad = good[usable], bad[usable]
    low = _quantile(good / (good + bad + more_bad), _TAIL, units)
    high = _quantile((good + more_good) / (good + more_good + bad), 1 - _TAIL, units)
    count, agreeing = int(inside.sum()), int(right.sum())
    if agreeing == count:
        low, high = min(_all_agree(units), 1.0 if low is None else low), 1.0
    elif not agreeing:
        low, high = 0.0, max(1 - _all_agree(units), 0.0 if high is None else high)
    value = float(table[list(hits)].sum() / table[[*hits, *errors]].sum())
    return WeightedEstimate(value, low, high, agreeing, count, units)


def _kappa(sample: Sample, evidence: _Evidence) -> WeightedEstimate:
    """Return Cohen's kappa (Educ Psychol Meas 1960) of the weighted table; unknown where chance alone agrees fully."""
    cells = sample.cells()
    known = cells >= 0
    units, agreeing = len(np.unique(sample.units[known])), int(np.isin(cells, _RIGHT).sum())
    table, draws = _two_by_two(evidence.table), evidence.draws
    value = float(kappa(table))
    if not np.isfinite(value):
        return WeightedEstimate(None, None, None, agreeing, int(known.sum()), units, "none")
    unseen = np.where(np.isin(np.arange(6), _WRONG), evidence.slack, 0.0)
    low = _quantile(kappa(_two_by_two(draws + unseen)), _TAIL, units)
    high = _quantile(kappa(_two_by_two(draws)), 1 - _TAIL, units)
    if agreeing == known.sum():
        low, high = _least_kappa(table, low, units), 1.0
    return WeightedEstimate(value, low, high, agreeing, int(known.sum()), units)


def _least_kappa(table: NDArray[np.float64], low: float | None, units: int) -> float:
    """Return the lower bound of a kappa of 1, from the exact bound of the agreement that was observed."""
    share = table / table.sum()
    chance = float((share.sum(axis=0) * share.sum(axis=1)).sum())
    least = (_all_agree(units) - chance) / (1 - chance)
    return max(-1.0, min(least, 1.0 if low is None else low))


def _two_by_two(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fold cells of shape (..., 6) into index by truth, (..., 2, 2), negative first; what was refused is an error."""
    quiet = table[..., _RIGHTLY_QUIET], table[..., _MISS] + table[..., _REFUSED_POSITIVE]
    loud = table[..., _FALSE_ALARM] + table[..., _REFUSED_NEGATIVE], table[..., _TRUE_ALARM]
    return np.stack([np.stack(quiet, axis=-1), np.stack(loud, axis=-1)], axis=-2)


def kappa(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Cohen's kappa of tables of shape (..., 2, 2): agreement beyond chance; NaN where chance agrees fully."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = table / table.sum(axis=(-2, -1), keepdims=True)
        observed = share[..., 0, 0] + share[..., 1, 1]
        chance = (share.sum(axis=-1) * share.sum(axis=-2)).sum(axis=-1)
        beyond: NDArray[np.float64] = (observed - chance) / (1 - chance)
    # Where chance agrees fully, what is left of 1 - chance is rounding.
    return np.where(1 - chance > 1e-12, beyond, np.nan)  # noqa: PLR2004


def _slack(sample: Sample) -> NDArray[np.float64]:
    """Return how many cases of a cell there may be though none was seen: (6,).

    Only where the group was read in part: the exact upper bound of a share of none, over patients, times those unread.
    """
    slack = np.zeros(6)
    for decision in (_FLAGGED, _QUIET, _REFUSED):
        group = sample.part((sample.decisions == decision) & sample.drawn)
        unread = float(group.weights.sum()) - len(group.weights)
        if unread <= 0:
            continue
        most = 1 - _all_agree(len(np.unique(group.units)))
        for truth in (0, 1):
            if not (group.truths == truth).any():
                slack[2 * decision + truth] = most * unread
    return slack


def _all_agree(units: int) -> float:
    """Return the lower end of the exact interval of n hits in n trials: closed, so that scipy is not needed."""
    return float(_TAIL ** (1 / units))


def _resampled(sample: Sample) -> NDArray[np.float64]:
    """Draw patients with replacement: the weighted cells of each draw, (RESAMPLES, 6)."""
    _, units = np.unique(sample.units, return_inverse=True)
    count = int(units.max()) + 1 if len(units) else 0
    if not count:
        return np.zeros((RESAMPLES, 6))
    cells = sample.cells()
    known = cells >= 0
    by_unit = np.zeros((count, 6))
    np.add.at(by_unit, (units[known], cells[known]), sample.weights[known])
    return resampled(by_unit)


def _quantile(values: NDArray[np.float64], share: float, units: int) -> float | None:
    """Return a quantile of what is a number; None where one patient alone leaves nothing to resample."""
    values = values[np.isfinite(values)]
    return float(np.quantile(values, share)) if len(values) and units > 1 else None
