"""Numbers that a clinician reads: a rate or a weighted estimate, its interval and the count behind it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % interval and the count behind it.

    Attributes
    ----------
    value, low, high : float, in [0, 1], or None where there is nothing to count
    hits, count : int
        In slices or studies.
    units : int
        Patients or near-duplicate groups behind them: what the interval rests on.
    """

    value: float | None
    low: float | None
    high: float | None
    hits: int
    count: int
    units: int


@dataclass(frozen=True, slots=True)
class WeightedEstimate:
    """An estimate from readings that stand for what was not read, with its 95 % interval.

    Attributes
    ----------
    value, low, high : float or None
        Rates in [0, 1], kappa in [-1, 1]; None where it is not known, or no interval can be told.
    hits, count : int
        Studies or slices read, unweighted: those that agree, and all that the estimate rests on.
    units : int
        Patients behind them.
    unknown : str or None
        Why there is no value: ``flagged_unread``, ``not_flagged_unread``, ``not_assessable_unread`` when nothing was
        read of a group that the estimate needs, ``none`` when none of those read counts.
    """

    value: float | None
    low: float | None
    high: float | None
    hits: int
    count: int
    units: int
    unknown: str | None = None
