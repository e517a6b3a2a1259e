"""What can raise an alarm: studies in fixed bins, tumours by outcome, and each indicator's share of false alarms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from screener.domain.finding import Decision
from screener.domain.verdict import Diagnosis, SelectionReason
from screener.monitor.martingales import exchangeability, sensitivity_below
from screener.monitor.structs import Indicator
from screener.monitor.units import DECISIONS, STATISTICS, period_of, seconds_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from screener.agreement.opinions import Reading
    from screener.monitor.units import Columns

FALSE_ALARMS = 0.05
"""Chance of any alarm, ever, at a site where nothing changes, at most."""
BUDGET = {
    "sensitivity": 0.02,
    "flagged": 0.005,
    "not_assessable": 0.005,
    "score": 0.005,
    "features": 0.005,
    "brightness": 0.0025,
    "contrast": 0.0025,
    "sharpness": 0.0025,
    "size": 0.0025,
}
"""Each indicator's share of `FALSE_ALARMS`: the chance of any is at most their sum."""
CHANGES = tuple(name for name in BUDGET if name != "sensitivity")
BINS = 256
RANGES = {
    "score": (-8.0, 8.0),
    "features": (-2.0, 3.0),
    "brightness": (0.0, 1.0),
    "contrast": (0.0, 0.5),
    "sharpness": (-2.0, 1.5),
    "size": (4.0, 12.0),
}
"""Between which values the bins lie: of scores their logit, of features and sharpness the decimal logarithm. They are
the same for every site, so that no value decides how another is counted."""
_LEAST_REFERENCE = 10
"""Studies with features below which no distance is told."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """The periods of a site.

    Attributes
    ----------
    days : int
        Of a period.
    first : int
        Number of the first period, see `screener.monitor.units.period_of`.
    reference : int
        Periods, from the first, with which the others are compared; no alarm rests on them alone.
    """

    days: int
    first: int
    reference: int

    def numbers(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the number of the period of each time."""
        return np.array([period_of(float(time), self.days) for time in times], dtype=np.int64)

    def watched(self, periods: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which entries, in the order of time, are the first of a period after the reference."""
        fresh = np.diff(periods, prepend=-1) != 0 if len(periods) else np.zeros(0, dtype=bool)
        found: NDArray[np.bool_] = fresh & (periods >= self.first + self.reference)
        return found


def binned(name: str, values: NDArray[np.float64]) -> NDArray[np.int16]:
    """Return the bins of values of an indicator, -1 where there is none.

    Parameters
    ----------
    name : str
        Of `CHANGES`.
    values : ndarray of float64
        Of ``flagged`` and ``not_assessable`` 0 or 1, of ``score`` probabilities, of ``features`` squared distances.
    """
    known = np.isfinite(values)
    safe = np.where(known, values, 1.0)
    if name not in RANGES:
        return np.where(known, safe, -1).astype(np.int16)
    if name == "score":
        inside = np.clip(safe, 1e-9, 1 - 1e-9)
        safe = np.log(inside / (1 - inside))
    elif name in {"features", "sharpness"}:
        safe = np.log10(np.maximum(safe, 1e-9))
    low, high = RANGES[name]
    place = np.floor((safe - low) / (high - low) * BINS)
    return np.where(known, np.clip(place, 0, BINS - 1), -1).astype(np.int16)


def feature_distances(
    embeddings: Sequence[NDArray[np.float16] | None], reference: NDArray[np.bool_], usable: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the squared distance of each study's features from the middle of the reference, in standard deviations.

    Middle and deviations are those of every other study of the reference, which get no distance themselves: the rest
    then come in no particular order while nothing changes.

    Parameters
    ----------
    embeddings : sequence of (ndarray or None)
    reference : ndarray of shape (N,), bool
    usable : ndarray of shape (N,), bool
        Of these studies the middle may be made.

    Returns
    -------
    ndarray of shape (N,), float64
        Mean over the features; NaN where there is none.
    """
    found = np.full(len(embeddings), np.nan)
    sizes = [0 if one is None else one.size for one in embeddings]
    known = np.array(sizes) == max(sizes, default=0)
    if not max(sizes, default=0):
        return found
    middle = np.flatnonzero(reference & usable & known)[::2]
    if len(middle) < _LEAST_REFERENCE:
        return found
    chosen = set(middle.tolist())
    rows = [one for number, one in enumerate(embeddings) if one is not None and number in chosen]
    usual = np.stack(rows).astype(np.float64)
    centre, spread = usual.mean(axis=0), np.maximum(usual.std(axis=0), 1e-6)
    for number, one in enumerate(embeddings):
        if one is not None and known[number]:
            found[number] = np.square((one - centre) / spread).mean()
    found[middle] = np.nan
    return found


def measured(columns: Columns, distances: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return what is watched of each study, by `CHANGES`."""
    decisions = np.array(columns.decisions)
    refused = decisions == DECISIONS.index(Decision.NOT_ASSESSABLE)
    found = {
        "flagged": (decisions == DECISIONS.index(Decision.FLAGGED)).astype(np.float64),
        "not_assessable": refused.astype(np.float64),
        "score": np.array(columns.probabilities),
        "features": distances,
    }
    return found | {
        name: np.array(column, dtype=np.float64) for name, column in zip(STATISTICS, columns.statistics, strict=True)
    }


def changes(
    values: dict[str, NDArray[np.float64]],
    chances: NDArray[np.float64],
    periods: NDArray[np.int64],
    calendar: Calendar,
) -> Iterator[tuple[str, list[tuple[int, float]], int]]:
    """Yield each indicator's evidence of a change after each study, as period and evidence, and how many it rests on.

    Parameters
    ----------
    values : dict of str to ndarray of shape (N,)
        By `CHANGES`, in the order of time, one study a patient.
    chances : ndarray of shape (N,)
        See `screener.monitor.martingales.exchangeability`.
    periods : ndarray of shape (N,)
    calendar : Calendar
    """
    table = np.stack([binned(name, values[name]) for name in CHANGES], axis=1)
    # Other digits of the same hash for each indicator: ties of one say nothing about another's.
    several = np.modf(chances[:, None] * 2.0 ** (3 * np.arange(len(CHANGES))))[0].clip(1e-9, 1 - 1e-9)
    starts = calendar.watched(periods)
    rows = list(exchangeability(table, several, starts, BINS))
    for number, name in enumerate(CHANGES):
        path = [(int(period), float(row[number])) for period, row in zip(periods, rows, strict=True)]
        yield name, path, int((table[:, number] >= 0).sum())


def tumours(readings: Iterable[Reading], excluded: Counter[str]) -> list[tuple[float, float]]:
    """Return time and outcome of each patient with a tumour, in the order of the verdicts.

    See `screener.monitor.martingales.sensitivity_below` for the outcome. A study that a reader opened unasked was
    certain to be read, and stands for itself.

    Parameters
    ----------
    readings : iterable of Reading
    excluded : Counter of str
        Counts what is left out, by the fields of `screener.monitor.structs.Excluded`.
    """
    found, met = [], set()
    for reading in sorted(readings, key=lambda one: one.settled):
        if reading.reference not in {Diagnosis.TUMOUR, Diagnosis.NO_TUMOUR}:
            excluded["contradictory" if reading.contested else "undecided"] += 1
            continue
        time = seconds_of(reading.settled)
        if reading.reference is Diagnosis.NO_TUMOUR or reading.unit in met or not math.isfinite(time):
            continue
        outcome = _outcome(reading)
        if outcome is None:
            excluded["chance_unknown"] += 1
            continue
        met.add(reading.unit)
        found.append((time, outcome))
    return found


def _outcome(reading: Reading) -> float | None:
    decision = reading.stratum.decision
    if decision is Decision.FLAGGED:
        return 0.0
    if decision is Decision.NOT_ASSESSABLE or reading.drawn is not SelectionReason.SAMPLE:
        return 1.0
    return None if reading.sampling is None else 1 / reading.sampling


def sensitivity(
    found: Sequence[tuple[float, float]], target: float, calendar: Calendar
) -> tuple[str, list[tuple[int, float]], int]:
    """Return the evidence that the sensitivity is below its target, as `changes` does; it needs no reference."""
    periods = calendar.numbers(np.array([time for time, _ in found]))
    starts = Calendar(calendar.days, calendar.first, 0).watched(periods)
    rows = sensitivity_below(np.array([[outcome] for _, outcome in found]).reshape(-1, 1), starts, target)
    path = [(int(period), float(row[0])) for period, row in zip(periods, rows, strict=True)]
    return "sensitivity", path, len(found)


def indicator(name: str, path: Sequence[tuple[int, float]], count: int, names: dict[int, str]) -> Indicator:
    """Say how an indicator stands.

    Parameters
    ----------
    name : str
        Of `BUDGET`.
    path : sequence of tuple of (int, float)
        Period and evidence.
    count : int
    names : dict of int to str
        Of the periods.
    """
    limit = 1 / BUDGET[name]
    first = next((period for period, evidence in path if evidence >= limit), None)
    evidence = [one for _, one in path] or [1.0]
    return Indicator(
        name=name,
        evidence=evidence[-1],
        most=max(evidence),
        limit=limit,
        count=count,
        alarm=None if first is None else names.get(first, str(first)),
        check=None if first is None else name,
    )
