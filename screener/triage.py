"""From the raw answer to what we tell a person. Pure functions; the rules are those of the operating points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener import __version__
from screener.domain.finding import Decision, Finding, Urgency
from screener.domain.slice import Prediction, Reason, Refused
from screener.errors import ModelError, UsageError
from screener.messages import NOTICE, RECOMMENDATION
from screener.model.card import OperatingPoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from screener.domain.slice import Identity
    from screener.domain.study import StudyFinding

AUTO = "auto"
"""Name of the operating point that promises a sensitivity."""
CUSTOM = "custom"
"""Name of the operating point when the user gives a number."""
SITE_PREFIX = "site-"
"""Begins the name of an operating point that a site profile sets."""
UNCERTIFIED_SUFFIX = "-uncertified"
"""Ends the name of one that was not shown to reach its target."""
_ORDER = {urgency: rank for rank, urgency in enumerate(Urgency)}


@dataclass(frozen=True, slots=True)
class TriagePolicy:
    """Everything but the slice that a finding depends on.

    Attributes
    ----------
    point : OperatingPoint
    confirmation : float, in [0, 1]
        From this probability on (but never below the threshold) a flagged slice is HIGH.
    model, model_sha256 : str
    study_point : OperatingPoint or None
        That of studies, where a site profile sets one; None takes the card's, by the name of `point`.
    """

    point: OperatingPoint
    confirmation: float
    model: str
    model_sha256: str
    study_point: OperatingPoint | None = None

    def finding(self, identity: Identity, prediction: Prediction, refused: Reason | None = None) -> Finding:
        """Judge a scored slice; `refused` is the model's own reason not to trust its answer."""
        if refused is None and not math.isfinite(prediction.probability):
            refused = Reason.NON_FINITE_SCORE
        if refused is not None:
            return self.refusal(Refused(identity, refused))
        return self._tell(identity, prediction.probability, None)

    def refusal(self, refused: Refused) -> Finding:
        """Report a slice about which nothing trustworthy can be said."""
        return self._tell(refused.identity, None, refused.reason)

    def _tell(self, identity: Identity, probability: float | None, reason: Reason | None) -> Finding:
        decision = decide(probability, self.point.threshold)
        urgency = urgency_of(probability, self.point.threshold, self.confirmation)
        return Finding(
            path=identity.path,
            sha256=identity.sha256,
            patient_id=identity.patient_id,
            decision=decision,
            probability=probability,
            confidence=confidence(decision, probability),
            urgency=urgency,
            recommendation=RECOMMENDATION["en"][urgency],
            threshold=self.point.threshold,
            operating_point=self.point.name,
            reason=reason,
            model=self.model,
            model_sha256=self.model_sha256,
            tool_version=__version__,
            seen_before=False,
            notice=NOTICE["en"],
            frame=identity.frame,
            study_id=identity.study_id,
            series_id=identity.series_id,
            position=identity.position,
            sequence=identity.sequence,
            plane=identity.plane,
        )


def decide(probability: float | None, threshold: float) -> Decision:
    """Flag from the threshold on; no probability means not assessable."""
    if probability is None:
        return Decision.NOT_ASSESSABLE
    return Decision.FLAGGED if probability >= threshold else Decision.NOT_FLAGGED


def urgency_of(probability: float | None, threshold: float, confirmation: float) -> Urgency:
    """Return how soon to look."""
    if probability is None:
        return Urgency.REVIEW
    if probability < threshold:
        return Urgency.LOW
    return Urgency.HIGH if probability >= max(threshold, confirmation) else Urgency.MEDIUM


def confidence(decision: Decision, probability: float | None) -> float | None:
    """Return the probability of the decision taken, in [0, 1]; None when none was taken."""
    if probability is None:
        return None
    return probability if decision is Decision.FLAGGED else 1.0 - probability


def operating_point(requested: str, known: Mapping[str, OperatingPoint]) -> OperatingPoint:
    """Look up a name or read a number.

    Parameters
    ----------
    requested : str
        Name of an operating point of the model, or a number in [0, 1].
    known : mapping of str to OperatingPoint

    Raises
    ------
    UsageError
        Neither a known name nor a number in [0, 1].
    """
    if requested in known:
        return known[requested]
    hint = f"give one of {', '.join(known)}, or a number from 0 to 1"
    try:
        threshold = float(requested)
    except ValueError:
        raise UsageError(f"{requested!r} is no operating point of this model", hint) from None
    if not 0.0 <= threshold <= 1.0:
        raise UsageError(f"a threshold of {requested} is outside 0 to 1", hint)
    return OperatingPoint(CUSTOM, abs(threshold))  # "-0" is 0


def screening_point(
    requested: str, known: Mapping[str, OperatingPoint], *, accept_uncertified: bool = False
) -> OperatingPoint:
    """Look up the operating point to screen with; ``auto`` is a promise, and one that was not shown is refused.

    Parameters
    ----------
    requested : str
        See `operating_point`.
    known : mapping of str to OperatingPoint
    accept_uncertified : bool
        Screen with an ``auto`` that is not certified all the same.

    Raises
    ------
    UsageError
        See `operating_point`.
    ModelError
        ``auto`` is not certified.
    """
    point = operating_point(requested, known)
    if point.name == AUTO and not (point.certified or accept_uncertified):
        raise ModelError(
            f"the threshold auto of this model is not certified: {point.flaw}",
            "use a certified model; or measure this one on slices of your own (`screener evaluate`), then name a "
            "threshold (--threshold screening, or a number) or add --accept-uncertified",
        )
    return point


def reading_order(finding: Finding | StudyFinding) -> tuple[int, float, str]:
    """Return the sort key of every list: urgency, then probability descending, then path."""
    return _ORDER[finding.urgency], -(finding.probability or 0.0), finding.path
