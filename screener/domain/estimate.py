"""Numbers that a clinician reads: a rate or a weighted estimate, its interval and the count behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Struct

Share = Annotated[float, Meta(ge=0, le=1)]
"""A share, probability or threshold, in [0, 1]."""
Count = Annotated[int, Meta(ge=0)]
"""A number of slices, studies, patients or files."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % interval and the count behind it; null or 0 where there was nothing to count."""

    value: Annotated[Share | None, Meta(description="The share.")]
    low: Annotated[Share | None, Meta(description="Lower end of the 95 % interval.")] = None
    high: Annotated[Share | None, Meta(description="Upper end of the 95 % interval.")] = None
    hits: Annotated[Count, Meta(description="How many of `count`.")] = 0
    count: Annotated[Count, Meta(description="Slices or studies; patients where the figure is by patient.")] = 0
    units: Annotated[Count, Meta(description="Patients or near-duplicate groups that the interval rests on.")] = 0


class Estimate(Struct, frozen=True):
    """A named figure of any kind, such as an AUC."""

    name: Annotated[str, Meta(min_length=1, description="What it is, such as `covariate-adjusted AUC, FLAIR`.")]
    value: Annotated[float | None, Meta(description="Null where it cannot be known.")]
    low: Annotated[float | None, Meta(description="Lower end of the 95 % interval.")] = None
    high: Annotated[float | None, Meta(description="Upper end of the 95 % interval.")] = None
    count: Annotated[Count, Meta(description="How many of `unit` are behind it.")] = 0
    unit: Annotated[str, Meta(description="What was counted, such as `patients`.")] = ""
    measured_on: Annotated[str, Meta(description="Which slices or patients it was measured on.")] = ""


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
