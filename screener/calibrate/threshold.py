"""The highest threshold whose sensitivity by patient is shown: Learn then Test, with exact binomial p-values.

Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then Test: Calibrating predictive algorithms to achieve risk
control", Annals of Applied Statistics 2025 (arXiv:2110.01052). The thresholds 0, 0.0001 … 0.9999 are fixed beforehand.
They are tested in rising order, each against "the sensitivity lies below the target", until the first that is not
rejected. A fixed sequence needs no correction for the number of tests, so that the chance of a threshold whose true
sensitivity lies below the target is at most one minus the confidence. All patients choose and certify: halves would
need twice as many. Because misses only grow with the threshold, the end of the sequence is a quantile of the scores.

Where a miss came to be known with some chance only, as from verdicts on a random sample of what was not flagged, the
test asks for a smaller share of misses; see `screener.pipeline.site_profile.shown_sensitivity`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from screener.errors import NotShownError
from screener.model.certificate import MOST_UNITS, supports
from screener.pipeline.site_profile import shown_sensitivity

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS = 10_000
"""The ladder has the thresholds k / STEPS, k from 0 to STEPS − 1."""
USUAL_PREVALENCE = 0.05
"""Where a site does not say how many of its studies show a tumour: a labelled set does not tell."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be shown.

    Attributes
    ----------
    sensitivity : float, in (0, 1)
        By patient.
    confidence : float, in (0, 1)
        One-sided.
    """

    sensitivity: float = 0.95
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class Chosen:
    """A threshold and the patients behind it.

    Attributes
    ----------
    threshold : float, in [0, 1)
    units, missed : int
        Patients with a tumour, and those of them that score below the threshold.
    certified : bool
        Whether the target was shown.
    """

    threshold: float
    units: int
    missed: int
    certified: bool


def most_missed(units: int, target: Target, least_chance: float = 1.0) -> int:
    """Return how many of so many patients may be missed for the target to be shown; -1: not even none."""
    asked = shown_sensitivity(target.sensitivity, least_chance)
    low, high = -1, units
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if supports(asked, target.confidence, units, middle) else (low, middle)
    return low


def certified_threshold(
    scores: NDArray[np.float64], target: Target, *, least_chance: float = 1.0, highest: float = 1.0
) -> Chosen | None:
    """Return the highest threshold of the ladder for which the target is shown; None where it is for none.

    Parameters
    ----------
    scores : ndarray of shape (P,), float64
        One of each patient with a tumour; ``-inf`` where it was refused, a miss at every threshold.
    target : Target
    least_chance : float, in (0, 1]
        Least chance with which a patient who is missed came to be known.
    highest : float, in [0, 1]
        Where the ladder ends.
    """
    allowed = most_missed(len(scores), target, least_chance)
    if allowed < 0:
        return None
    threshold = rung_below(min(float(np.sort(scores)[allowed]), highest))
    return None if threshold is None else Chosen(threshold, len(scores), int((scores < threshold).sum()), True)


def with_margin(chosen: Chosen, scores: NDArray[np.float64], negatives: NDArray[np.float64]) -> Chosen:
    """Lower a threshold by what costs no false alarm: to the middle of the gap below it in which none scores.

    What is shown for a threshold is shown for every lower one, all at once.

    Parameters
    ----------
    chosen : Chosen
    scores : ndarray of shape (P,)
        Of patients with a tumour, as for `certified_threshold`.
    negatives : ndarray of shape (N,)
        Of cases without a tumour; NaN where refused.
    """
    below = negatives[negatives < chosen.threshold]
    threshold = rung_below((float(below.max()) + chosen.threshold) / 2) if len(below) else None
    if threshold is None or threshold <= below.max():
        return chosen
    return replace(chosen, threshold=threshold, missed=int((scores < threshold).sum()))


def rung_below(score: float) -> float | None:
    """Return the highest threshold of the ladder that does not exceed a score; None below all."""
    if score < 0:
        return None
    number = min(math.floor(score * STEPS), STEPS - 1)
    # The product may have been rounded up to the next rung.
    return (number if number / STEPS <= score else number - 1) / STEPS


def nearest_threshold(scores: NDArray[np.float64], target: Target, *, highest: float = 1.0) -> Chosen | None:
    """Return the highest threshold at which the patients at hand reach the target, shown or not; None: nowhere."""
    allowed = math.floor((1 - target.sensitivity) * len(scores) + 1e-9)
    threshold = rung_below(min(float(np.sort(scores)[allowed]), highest)) if len(scores) else None
    if threshold is None:
        return None
    return Chosen(threshold, len(scores), int((scores < threshold).sum()), False)


def units_needed(target: Target, missed: int, least_chance: float = 1.0) -> int | None:
    """Return how many patients show the target if no more than `missed` are missed; None beyond `MOST_UNITS`."""
    asked = shown_sensitivity(target.sensitivity, least_chance)
    if not supports(asked, target.confidence, MOST_UNITS, missed):
        return None
    low, high = missed, MOST_UNITS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if supports(asked, target.confidence, middle, missed) else (middle, high)
    return high


def highest_shown(units: int, missed: int, confidence: float, least_chance: float = 1.0) -> float | None:
    """Return the highest sensitivity, in hundredths, that so many patients can show; None below 0.5."""
    tries = (number / 100 for number in range(99, 49, -1))
    return next(
        (one for one in tries if most_missed(units, Target(one, confidence), least_chance) >= missed),
        None,
    )


def not_certified(
    scores: NDArray[np.float64], target: Target, *, level: str, prevalence: float | None, least_chance: float = 1.0
) -> NotShownError:
    """Return the refusal: what is lacking, and how many patients and cases that takes.

    Parameters
    ----------
    scores : ndarray of shape (P,)
    target : Target
    level : {"study", "slice"}
    prevalence : float or None
        Share of studies with a tumour at the site; None takes `USUAL_PREVALENCE`.
    least_chance : float, in (0, 1]
    """
    units, missed = len(scores), int((scores < 0).sum())
    needed = units_needed(target, missed, least_chance)
    refused = f", {missed} of them not assessable," if missed else ""
    lacking = "no number of patients would be enough"
    if needed is not None:
        more = needed - units
        lacking = f"{more} more patients with a tumour are needed, found without a miss ({needed} in all)"
        share = prevalence or USUAL_PREVALENCE
        lacking += f"; at {100 * share:.3g} % prevalence that is about {math.ceil(more / share):,} studies"
    help_ = []
    if least_chance < 1:
        help_.append(
            f"verdicts on a share of what is not flagged show less: a miss came to be known with a chance of "
            f"{least_chance:.3g}; read more of it (`screener review --sample 1`)"
        )
    else:
        help_.append("add labelled patients with a tumour")
    if (shown := highest_shown(units, missed, target.confidence, least_chance)) is not None:
        help_.append(f"or aim at what so many can show at best (--sensitivity {shown:g})")
    help_.append("or add --accept-uncertified for a profile that promises nothing")
    return NotShownError(
        f"{level}: {units} patients with a tumour{refused} cannot certify a sensitivity of {target.sensitivity:g} at "
        f"{100 * target.confidence:g} % confidence: {lacking}",
        ", ".join(help_),
    )
