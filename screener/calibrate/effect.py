"""What a threshold does at a site: cases flagged of a hundred, predictive value, decision curve, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from screener.domain.estimate import Rate
from screener.evaluate.calibration import calibrate
from screener.evaluate.metrics import LEVEL, RESAMPLES, brier, calibration_error, exact_interval, rate, resampled
from screener.pipeline.site_profile import NetBenefit, SiteCalibration, ThresholdEffect

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from screener.calibrate.cases import Cases

EXCHANGES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
"""Probabilities from which on reading first is worth an alarm; at 0.1 nine alarms are worth one tumour."""
LEAST_PATIENTS = 10
"""Patients with, and without, a tumour below which probabilities are not calibrated."""
_SEED = 0
_TAIL = (1 - LEVEL) / 2


@dataclass(frozen=True)
class Ratio:
    """A weighted share by patient, and what its uncertainty amounts to.

    Attributes
    ----------
    rate : Rate
    effective : float
        Patients that would tell as much if each stood for the same (Kish 1965).
    """

    rate: Rate
    effective: float

    def draws(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw shares that the data leave possible (Jeffreys' prior): (RESAMPLES,)."""
        value = self.rate.value or 0.0
        return rng.beta(value * self.effective + 0.5, (1 - value) * self.effective + 0.5, RESAMPLES)


def weighted_rate(hits: NDArray[np.bool_], weights: NDArray[np.float64], units: NDArray[np.int64]) -> Ratio | None:
    """Return the share of hits among weighted cases with its 95 % interval by patient; None without a case.

    Parameters
    ----------
    hits : ndarray of shape (N,), bool
    weights : ndarray of shape (N,), float64, above 0
    units : ndarray of shape (N,), int
    """
    if not len(hits):
        return None
    _, unit = np.unique(units, return_inverse=True)
    tables = np.stack([np.bincount(unit, weights * hits), np.bincount(unit, weights)], axis=1)
    effective = float(tables[:, 1].sum() ** 2 / (tables[:, 1] ** 2).sum())
    if np.ptp(weights) == 0:
        return Ratio(rate(hits, units), effective)
    value = min(float(tables[:, 0].sum() / tables[:, 1].sum()), 1.0)
    if value in {0.0, 1.0}:
        low, high = exact_interval(effective * value, effective)
    else:
        drawn = resampled(tables)
        low, high = (float(one) for one in np.quantile(drawn[:, 0] / drawn[:, 1], (_TAIL, 1 - _TAIL)))
    return Ratio(Rate(value, low, high, int(hits.sum()), len(hits), len(tables)), effective)


def prevalence_of(cases: Cases, given: float | None) -> Rate:
    """Return the share of cases with a tumour; as it was given, or as the cases show it.

    Labelled sets often hold more tumours than a site meets: then it is to be given.
    """
    if given is not None:
        return Rate(given)
    found = weighted_rate(cases.labels == 1, cases.weights, cases.units)
    return Rate(0.0) if found is None else found.rate


def effect(cases: Cases, threshold: float, name: str, prevalence: float) -> ThresholdEffect:
    """Return what a threshold does to cases of which a share `prevalence`, in [0, 1], has a tumour."""
    flagged, refused, positive = cases.flagged(threshold), cases.refused(threshold), cases.labels == 1
    sensitivity = _among(cases, positive, flagged)
    specificity = _among(cases, ~positive, ~flagged & ~refused)
    return ThresholdEffect(
        name=name,
        threshold=threshold,
        flagged_per_100=100 * _overall(cases, flagged, prevalence),
        not_assessable_per_100=100 * _overall(cases, refused, prevalence),
        sensitivity=None if sensitivity is None else sensitivity.rate,
        specificity=None if specificity is None else specificity.rate,
        ppv=_predictive_value(cases, flagged | (refused & ~positive), sensitivity, specificity, prevalence),
    )


def _among(cases: Cases, chosen: NDArray[np.bool_], hits: NDArray[np.bool_]) -> Ratio | None:
    return weighted_rate(hits[chosen], cases.weights[chosen], cases.units[chosen])


def _overall(cases: Cases, hits: NDArray[np.bool_], prevalence: float) -> float:
    """Return the share of hits at a prevalence; the other label's where there are no cases of one."""
    share = [_mean(cases, cases.labels == label, hits) for label in (1, 0)]
    with_tumour = share[1] if share[0] is None else share[0]
    without = share[0] if share[1] is None else share[1]
    return prevalence * (with_tumour or 0.0) + (1 - prevalence) * (without or 0.0)


def _mean(cases: Cases, chosen: NDArray[np.bool_], hits: NDArray[np.bool_]) -> float | None:
    return float(np.average(hits[chosen], weights=cases.weights[chosen])) if chosen.any() else None


def _predictive_value(
    cases: Cases, alarmed: NDArray[np.bool_], sensitivity: Ratio | None, specificity: Ratio | None, prevalence: float
) -> Rate | None:
    """Return the share of tumours among alarms, by Bayes' rule; the interval from draws of both rates."""
    if sensitivity is None or specificity is None or not 0 < prevalence < 1:
        return None
    rng = np.random.default_rng(_SEED)
    caught = prevalence * sensitivity.draws(rng)
    drawn = caught / (caught + (1 - prevalence) * (1 - specificity.draws(rng)))
    found = prevalence * (sensitivity.rate.value or 0.0)
    false = (1 - prevalence) * (1 - (specificity.rate.value or 0.0))
    if found + false == 0:
        return None
    low, high = (float(one) for one in np.quantile(drawn, (_TAIL, 1 - _TAIL)))
    value = found / (found + false)
    hits = int((alarmed & (cases.labels == 1)).sum())
    units = len(np.unique(cases.units[alarmed]))
    return Rate(value, min(low, value), max(high, value), hits, int(alarmed.sum()), units)


def decision_curve(
    cases: Cases, before: float, after: float, calibrated: NDArray[np.float64] | None, prevalence: float
) -> tuple[NetBenefit, ...]:
    """Return the net benefit of two thresholds (Vickers & Elkin, Med Decis Making 2006); none where a label is lacking.

    Parameters
    ----------
    cases : Cases
    before, after : float
        Thresholds.
    calibrated : ndarray of shape (N,), optional
        Calibrated probabilities, cross-fitted.
    prevalence : float, in [0, 1]
    """
    if len(np.unique(cases.labels)) < 2:  # noqa: PLR2004 - both labels
        return ()

    def benefit(flagged: NDArray[np.bool_], odds: float) -> float:
        caught = _mean(cases, cases.labels == 1, flagged) or 0.0
        alarms = _mean(cases, cases.labels == 0, flagged) or 0.0
        return prevalence * caught - (1 - prevalence) * alarms * odds

    return tuple(
        NetBenefit(
            at=at,
            all_first=benefit(np.ones(len(cases.labels), bool), at / (1 - at)),
            before=benefit(cases.flagged(before), at / (1 - at)),
            after=benefit(cases.flagged(after), at / (1 - at)),
            calibrated=None if calibrated is None else benefit(np.nan_to_num(calibrated) >= at, at / (1 - at)),
        )
        for at in EXCHANGES
    )


def site_calibration(cases: Cases, prevalence: float) -> tuple[SiteCalibration, NDArray[np.float64]] | None:
    """Fit probabilities to the share of tumours at a prevalence, and measure that on patients that fitted nothing.

    Returns
    -------
    (SiteCalibration, ndarray) or None
        The fit on all cases, and the cross-fitted probabilities, (N,), NaN where refused. None where too few patients
        have, or lack, a tumour.
    """
    known = cases.part(np.isfinite(cases.scores))
    if min(len(np.unique(known.units[known.labels == label])) for label in (0, 1)) < LEAST_PATIENTS:
        return None
    weights = _at_prevalence(known, prevalence)
    half = _halves(known)
    apart = np.empty(len(known.labels))
    for side in (True, False):
        fit = half == side
        apart[~fit] = calibrate(known.labels[fit], known.scores[fit], weights[fit])[0].apply(known.scores[~fit])
    final, _ = calibrate(known.labels, known.scores, weights)
    everywhere = np.full(len(cases.labels), np.nan)
    everywhere[np.isfinite(cases.scores)] = apart
    measured = SiteCalibration(
        kind=final.kind,
        scale=final.scale,
        offset=final.offset,
        error_before=calibration_error(known.labels, known.scores, weights=weights),
        error_after=calibration_error(known.labels, apart, weights=weights),
        brier_before=brier(known.labels, known.scores, weights),
        brier_after=brier(known.labels, apart, weights),
    )
    return measured, everywhere


def _at_prevalence(cases: Cases, prevalence: float) -> NDArray[np.float64]:
    """Return weights with which the cases hold a share of tumours: (N,)."""
    positive = cases.labels == 1
    share = np.where(positive, prevalence, 1 - prevalence)
    total = np.where(positive, cases.weights[positive].sum(), cases.weights[~positive].sum())
    return np.asarray(cases.weights * share / total)


def _halves(cases: Cases) -> NDArray[np.bool_]:
    """Divide patients, those with a tumour and those without each in two: (N,)."""
    rng = np.random.default_rng(_SEED)
    with_tumour = np.unique(cases.units[cases.labels == 1])
    without = np.setdiff1d(cases.units, with_tumour)
    chosen = [rng.permutation(group)[::2] for group in (with_tumour, without)]
    return np.isin(cases.units, np.concatenate(chosen))
