"""Tests of a difference between two models that judged the same cases."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from msgspec import Meta

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEVEL = 0.95


class Discordance(msgspec.Struct, frozen=True):
    """Cases in which exactly one of two models is right, or flags."""

    first_only: Annotated[int, Meta(ge=0, description="Cases of the first model alone.")]
    second_only: Annotated[int, Meta(ge=0, description="Cases of the second model alone.")]
    p: Annotated[float, Meta(ge=0, le=1, description="Exact McNemar test, two-sided; 1 without discordant cases.")]


class AreaDifference(msgspec.Struct, frozen=True):
    """AUC of two models on the same cases, and their difference."""

    first: Annotated[float, Meta(ge=0, le=1, description="AUC of the first model.")]
    second: Annotated[float, Meta(ge=0, le=1, description="AUC of the second model.")]
    difference: Annotated[float, Meta(description="Second minus first.")]
    low: Annotated[float | None, Meta(description="Lower end of its 95 % interval; null where it cannot be said.")]
    high: Annotated[float | None, Meta(description="Upper end of its 95 % interval.")]
    p: Annotated[float | None, Meta(description="Two-sided p-value (DeLong, by patient).")]
    patients: Annotated[int, Meta(ge=0, description="Patients behind it.")]


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Discordance:
    """Return McNemar's exact test (Psychometrika 1947): under no difference, discordant cases fall either way alike.

    Parameters
    ----------
    first, second : ndarray of shape (N,), bool
        Whether each model is right, or flags. Cases must not depend on each other: one a patient.
    """
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    total = only_first + only_second
    return Discordance(only_first, only_second, float(binomtest(only_first, total).pvalue) if total else 1.0)


def compare_areas(
    labels: NDArray[np.int64], first: NDArray[np.float64], second: NDArray[np.float64], units: NDArray[np.int64]
) -> AreaDifference | None:
    """Compare two areas under the ROC curve (DeLong, Biometrics 1988), cases of one patient together.

    With one case a patient this is DeLong's test; with several, its extension to clustered data (Obuchowski,
    Biometrics 1997).

    Parameters
    ----------
    labels : ndarray of shape (N,), int, 0 or 1
    first, second : ndarray of shape (N,), float64
        Scores of the two models.
    units : ndarray of shape (N,), int
        Patient of each case.

    Returns
    -------
    AreaDifference or None
        None where one of the labels is missing.
    """
    positive = labels == 1
    if positive.all() or not positive.any():
        return None
    _, unit = np.unique(units, return_inverse=True)
    parts = [_components(scores[positive], scores[~positive]) for scores in (first, second)]
    areas = [float(tumour.mean()) for tumour, _ in parts]
    count = int(unit.max()) + 1
    tumour, free = (
        # Of each case, how much more its rank deviates with the second model than with the first.
        _by_unit((parts[1][place] - areas[1]) - (parts[0][place] - areas[0]), unit[chosen], count)
        for place, chosen in enumerate((positive, ~positive))
    )
    variance = _variance(tumour, free, unit, positive)
    difference = areas[1] - areas[0]
    low, high, p = _interval(difference, variance)
    return AreaDifference(areas[0], areas[1], difference, low, high, p, count)


def _components(tumour: NDArray[np.float64], free: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return for each case the share of cases of the other label that it is ranked rightly against, ties half."""
    ordered_free, ordered_tumour = np.sort(free), np.sort(tumour)
    below = np.searchsorted(ordered_free, tumour, "left") + np.searchsorted(ordered_free, tumour, "right")
    above = np.searchsorted(ordered_tumour, free, "left") + np.searchsorted(ordered_tumour, free, "right")
    return below / (2 * len(free)), 1 - above / (2 * len(tumour))


def _by_unit(values: NDArray[np.float64], unit: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """Add values up by patient: (count,)."""
    return np.bincount(unit, values, count).astype(np.float64)


def _variance(
    tumour: NDArray[np.float64], free: NDArray[np.float64], unit: NDArray[np.intp], positive: NDArray[np.bool_]
) -> float:
    """Return the variance of a difference from its deviations by patient; NaN where there are too few patients."""
    with_tumour, without = len(np.unique(unit[positive])), len(np.unique(unit[~positive]))
    units, cases, others = len(tumour), int(positive.sum()), int((~positive).sum())
    if min(with_tumour, without) < 2:  # noqa: PLR2004 - one patient has no variance
        return math.nan
    return float(
        with_tumour / (with_tumour - 1) * np.square(tumour).sum() / cases**2
        + without / (without - 1) * np.square(free).sum() / others**2
        + 2 * units / (units - 1) * (tumour * free).sum() / (cases * others)
    )


def _interval(difference: float, variance: float) -> tuple[float | None, float | None, float | None]:
    from scipy.stats import norm

    if not math.isfinite(variance):
        return None, None, None
    error = math.sqrt(max(variance, 0.0))
    if error == 0:
        return (difference, difference, 1.0) if difference == 0 else (None, None, None)
    reach = float(norm.ppf(0.5 + _LEVEL / 2)) * error
    return difference - reach, difference + reach, float(2 * norm.sf(abs(difference) / error))
