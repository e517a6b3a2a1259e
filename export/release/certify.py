"""Choose ``auto`` on the tune set with a margin, and certify it once on patients that chose nothing.

Both speak of the same thing: a patient (or a run of neighbouring slices, where identities are unknown) counts as
detected when a randomly drawn slice with a tumour is flagged. Sequences in which tumours are often invisible promise
nothing and choose nothing; see `export.evaluation.sample.WITHOUT_PROMISE`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from export.data.sources import source
from export.errors import DataError
from screener.evaluate.detection import LADDER, SEED, detection, shares, supported
from screener.evaluate.metrics import LEVEL, called, lower_bound, rate
from screener.model.card import ThresholdChoice
from screener.model.certificate import Certificate, SourceDetection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from export.data.splits import Split
    from export.evaluation.sample import Sample

SPECIFICITY_FLOOR = 0.85
"""Least specificity on the tune set, sources equal, that margin may cost: a false alarm may cost a biopsy."""
RULE = (
    "The threshold is chosen on the tune set alone. A patient with a tumour counts as detected when one slice with a "
    "tumour, drawn at random, is flagged; one draw with a fixed seed is counted, and a refused slice counts as missed."
)
HOLDS_FOR = (
    "It holds for patients like these: of these sources together, on these sequences, with a tumour that somebody saw "
    "on the slice. It says nothing of another hospital until that hospital measures it."
)


def ladder_below(target: float) -> tuple[float, ...]:
    """Return the sensitivities that are tried: the one aimed at, then the fixed rungs below it."""
    return (target, *(rung for rung in LADDER if rung < target))


def choose_auto(tune: Sample, target: float = LADDER[0]) -> ThresholdChoice:
    """Choose the threshold: high enough a sensitivity first, then as much margin as specificity allows.

    The mean over sources must reach `target`, whatever that costs. Below the highest threshold that does, margin is
    bought for the certificate: for every rung from `target` down, the highest threshold at which the exact lower bound
    over all units reaches it; the first that keeps `SPECIFICITY_FLOOR`, or that costs nothing, is taken.

    Parameters
    ----------
    tune : Sample
    target : float, in (0, 1]

    Raises
    ------
    DataError
        No slice that a promise speaks of shows a tumour, or too many of them were refused.
    """
    promised = tune.part(tune.promised)
    if not promised.scored.labels.any():
        raise DataError(
            "the tune set holds no positive slice of a sequence that auto promises anything for",
            "add slices with a tumour, other than plain T1",
        )
    aim = _highest(promised, _mean, target)
    if aim is None:
        refused = int((~promised.scored.assessable & (promised.scored.labels == 1)).sum())
        raise DataError(
            f"no threshold detects {target:g} of the tune set: {refused} of its positive slices were refused",
            "look at why they were refused, or lower the target",
        )
    for rung in ladder_below(target):
        requested = _highest(promised, _bound, rung)
        if requested is None:
            continue
        choice = _described(tune, promised, min(aim, requested), rung)
        if choice.threshold == aim or (choice.specificity or 0.0) >= SPECIFICITY_FLOOR:
            return choice
    return _described(tune, promised, aim, None)


def _units(sample: Sample) -> NDArray[np.str_]:
    """Return whose slice each is: patients where the set knows any, leak-free units where it knows none."""
    patients = sample.patients
    return patients if (patients != "").any() else sample.scored.units.astype(np.str_)


def _detected(sample: Sample, threshold: float) -> dict[str, NDArray[np.float64]]:
    """Return for every source the chance, unit by unit, that a drawn slice with a tumour is flagged."""
    units, sources = _units(sample), sample.column("source")
    known = (units != "") & (sample.scored.labels == 1)
    flagged = called(sample.scored, threshold)
    return {
        str(name): shares(flagged[known & (sources == name)], units[known & (sources == name)])
        for name in np.unique(sources[known])
    }


def _bound(sample: Sample, threshold: float) -> float:
    """Return the exact lower bound over all units, of however many are expected to be detected."""
    every = np.concatenate(list(_detected(sample, threshold).values()))
    return lower_bound(float(every.sum()), len(every))


def _mean(sample: Sample, threshold: float) -> float:
    """Return the mean over sources, so that the largest does not decide."""
    return float(np.mean([one.mean() for one in _detected(sample, threshold).values()]))


def _highest(promised: Sample, figure: Callable[[Sample, float], float], requested: float) -> float | None:
    """Return the highest threshold at which a figure that falls with it still reaches the request; None: nowhere."""
    scores = promised.scored.scores[(promised.scored.labels == 1) & promised.scored.assessable]
    # What is printed is what is compared: four decimals, rounded down.
    tries = np.unique(np.floor(np.append(scores, 0.0) * 1e4) / 1e4)
    low, high = -1, len(tries) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if figure(promised, float(tries[middle])) >= requested:
            low = middle
        else:
            high = middle - 1
    return float(tries[low]) if low >= 0 else None


def _described(tune: Sample, promised: Sample, threshold: float, margin: float | None) -> ThresholdChoice:
    found = _detected(promised, threshold)
    specificity = even_specificity(tune, threshold)
    return ThresholdChoice(
        threshold=threshold,
        margin=margin,
        bound=_bound(promised, threshold),
        by_source={name: float(one.mean()) for name, one in found.items()},
        specificity=None if math.isnan(specificity) else specificity,
        units=sum(map(len, found.values())),
        floor=SPECIFICITY_FLOOR,
    )


def even_specificity(sample: Sample, threshold: float) -> float:
    """Return the mean over sources of the share of tumour-free slices that are not flagged; every sequence counts."""
    quiet, sources = ~called(sample.scored, threshold), sample.column("source")
    negative = sample.scored.labels == 0
    found = [quiet[negative & (sources == name)].mean() for name in np.unique(sources[negative])]
    return float(np.mean(found)) if found else math.nan


def certify(sample: Sample, threshold: float, target: float = LADDER[0]) -> Certificate | None:
    """Look once, with a threshold that is no longer chosen, and say what the counts support.

    Parameters
    ----------
    sample : Sample
        The certification set.
    threshold : float, in [0, 1]
    target : float
        What was aimed at: nothing above it is certified.

    Returns
    -------
    Certificate or None
        Its ``target`` is None where the counts support no rung. None where no patient with a tumour is known.
    """
    asked = sample.part(sample.promised & (sample.patients != "") & (sample.scored.labels == 1))
    flagged = called(asked.scored, threshold)
    found = detection(flagged, asked.patients)
    if found is None:
        return None
    bound, rung = supported(found.missed, found.units, ladder_below(target))
    negative = sample.scored.labels == 0
    quiet = ~called(sample.scored, threshold)
    return Certificate(
        threshold=threshold,
        level=LEVEL,
        bound=bound,
        units=found.units,
        missed=found.missed,
        unit=_unit(np.unique(asked.column("source")).tolist()),
        target=rung,
        rule=RULE,
        aimed_at=target,
        targets_tried=", ".join(f"{one:g}" for one in ladder_below(target)),
        mean_detected=found.average,
        missed_interval=found.usual,
        seed=SEED,
        by_source=_by_source(asked, flagged),
        sequences=tuple(sorted(set(asked.column("sequence").tolist()))),
        specificity=rate(quiet[negative], sample.scored.units[negative]),
        holds_for=HOLDS_FOR,
    )


def _unit(sources: Sequence[str]) -> str:
    """Say what was counted, and where that is not a person."""
    runs = [
        f"in {name}, whose identities are unknown, {source(name).people}" for name in sources if source(name).people
    ]
    if not runs:
        return "a patient"
    return f"a patient; {', '.join(runs)}: the bound takes them for independent, and is too high by what they share"


def _by_source(asked: Sample, flagged: NDArray[np.bool_]) -> dict[str, SourceDetection]:
    """Count units, slices and the averaged share of detected units of each source."""
    sources = asked.column("source")
    result = {}
    for name in np.unique(sources).tolist():
        here = sources == name
        found = shares(flagged[here], asked.patients[here])
        result[name] = SourceDetection(len(found), int(here.sum()), float(found.mean()))
    return result


def refuse_leaks(split: Split, used: Sequence[str] = ("fit", "tune")) -> None:
    """Make sure that nothing in the certification set has a look-alike, or a slice of the same patient, elsewhere.

    Raises
    ------
    DataError
        A unit lies in two sets.
    """
    shared = np.intersect1d(split.units[split.where("certify")], split.units[np.isin(split.sets, used)])
    if len(shared):
        raise DataError(
            f"{len(shared)} units of the certification set have slices in {' or '.join(used)}",
            "split again: python -m export train into another run",
        )
