"""The figures of each period, with intervals over patients; a period of too few patients has counts only."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from screener.domain.estimate import Rate
from screener.domain.finding import Decision
from screener.monitor.distances import jensen_shannon, stability_index, with_interval
from screener.monitor.structs import Mean, Period, Weighted
from screener.monitor.units import DECISIONS, SHARES, first_day, period_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from screener.domain.estimate import WeightedEstimate
    from screener.monitor.indicators import Calendar
    from screener.monitor.units import Columns

_NORMAL = 1.959963984540054
"""97.5th percentile of the normal distribution."""
_SCORE_BINS = 10
_MEANS = ("score", "brightness", "contrast", "sharpness", "size")
TOLD, TOO_FEW, EMPTY = "told", "too_few", "empty"


@dataclass(frozen=True)
class Site:
    """All that the figures of a period are made of; arrays of shape (N,), in the order of time.

    Attributes
    ----------
    columns : Columns
    order : ndarray of int
        Places in the columns, by time.
    periods, patients, decisions : ndarray of int
    values : dict of str to ndarray of float64
        See `screener.monitor.indicators.measured`.
    calendar : Calendar
    minimum : int
        Patients below which a period has too few for figures.
    """

    columns: Columns
    order: NDArray[np.int64]
    periods: NDArray[np.int64]
    patients: NDArray[np.int64]
    decisions: NDArray[np.int64]
    values: dict[str, NDArray[np.float64]]
    calendar: Calendar
    minimum: int

    def reference_scores(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the edges of ten bins that hold a tenth of the reference's scores each, and the counts in them."""
        scores = self.values["score"][self.periods < self.calendar.first + self.calendar.reference]
        scores = scores[np.isfinite(scores)]
        if not len(scores):
            return np.zeros(0), np.zeros(1)
        edges = np.unique(np.quantile(scores, np.arange(1, _SCORE_BINS) / _SCORE_BINS))
        return edges, counted(scores, edges)


def counted(scores: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many scores lie between edges, the ends open: (len(edges) + 1,)."""
    places = np.searchsorted(edges, scores[np.isfinite(scores)], side="right")
    return np.bincount(places, minlength=len(edges) + 1).astype(np.float64)


def periods(site: Site, verdicts: Mapping[str, Mapping[str, Weighted]]) -> tuple[Period, ...]:
    """Return every period from the first to the last, those without a study included.

    Parameters
    ----------
    site : Site
    verdicts : mapping
        Figures from verdicts, by the name of the period.
    """
    if not len(site.periods):
        return ()
    reference = site.reference_scores()
    return tuple(
        _period(site, number, reference, verdicts.get(period_name(number, site.calendar.days), {}))
        for number in range(site.calendar.first, int(site.periods[-1]) + 1)
    )


def _period(
    site: Site,
    number: int,
    reference: tuple[NDArray[np.float64], NDArray[np.float64]],
    verdicts: Mapping[str, Weighted],
) -> Period:
    days = site.calendar.days
    chosen = np.flatnonzero(site.periods == number)
    patients = len(np.unique(site.patients[chosen]))
    told = patients >= site.minimum
    return Period(
        name=period_name(number, days),
        start=first_day(number, days).strftime("%Y-%m-%d"),
        state=TOLD if told else TOO_FEW if patients else EMPTY,
        reference=number < site.calendar.first + site.calendar.reference,
        studies=len(chosen),
        patients=patients,
        flagged=_rate(site, chosen, Decision.FLAGGED) if told else None,
        not_assessable=_rate(site, chosen, Decision.NOT_ASSESSABLE) if told else None,
        reasons=_counts(site.columns.reasons[place] for place in site.order[chosen]),
        slice_reasons=dict(site.columns.slice_reasons.get(number, {})),
        distances=_distances(site, chosen, *reference) if told else {},
        statistics=_means(site, chosen, _MEANS) if told else {},
        shares={
            name: _counts(value for place in site.order[chosen] for value in column[place])
            for name, column in zip(SHARES, site.columns.shares, strict=True)
        },
        verdicts=dict(verdicts),
    )


def _counts(values: object) -> dict[str, int]:
    """Count texts, most frequent first; None counts nowhere."""
    return dict(Counter(value for value in values if value is not None).most_common())  # type: ignore[attr-defined]


def _rate(site: Site, chosen: NDArray[np.int64], decision: Decision) -> Rate:
    hits = int((site.decisions[chosen] == DECISIONS.index(decision)).sum())
    units = len(np.unique(site.patients[chosen]))
    low, high = wilson(hits / len(chosen), units)
    return Rate(hits / len(chosen), low, high, hits, len(chosen), units)


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by the score of Wilson (J Am Stat Assoc 1927).

    Parameters
    ----------
    share : float, in [0, 1]
    count : int
        Independent units behind it, at least 1: patients, which may be fewer than studies.
    """
    square = _NORMAL**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = _NORMAL * math.sqrt(share * (1 - share) / count + square / (4 * count**2)) / (1 + square / count)
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def _distances(
    site: Site, chosen: NDArray[np.int64], edges: NDArray[np.float64], usual: NDArray[np.float64]
) -> dict[str, Mean]:
    scores = site.values["score"][chosen]
    here, patients = counted(scores, edges), len(np.unique(site.patients[chosen][np.isfinite(scores)]))
    found = {}
    if usual.sum() and here.sum():
        for name, distance in (("psi", stability_index), ("jensen_shannon", jensen_shannon)):
            value, low, high, chance = with_interval(distance, here, usual)
            found[name] = Mean(value, low, high, patients, chance)
    return found | _means(site, chosen, ("features",))


def _means(site: Site, chosen: NDArray[np.int64], names: tuple[str, ...]) -> dict[str, Mean]:
    """Return means over patients, each of whom counts once; what fewer than two patients have is left out."""
    found = {}
    for name in names:
        values = site.values[name][chosen]
        known = np.isfinite(values)
        _, unit = np.unique(site.patients[chosen][known], return_inverse=True)
        if not known.any() or int(unit.max()) < 1:
            continue
        each = np.bincount(unit, values[known]) / np.bincount(unit)
        middle, half = float(each.mean()), _NORMAL * float(each.std(ddof=1)) / math.sqrt(len(each))
        found[name] = Mean(middle, middle - half, middle + half, len(each))
    return found


def weighted(figure: WeightedEstimate) -> Weighted:
    """Return an estimate from verdicts as it is printed."""
    return Weighted(figure.value, figure.low, figure.high, figure.hits, figure.count, figure.units, figure.unknown)
