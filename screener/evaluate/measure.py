"""Measure a model on labelled slices: by slice, by patient, by site, refusals counted by the contract."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from screener import __version__
from screener.evaluate.detection import detection, supported
from screener.evaluate.metrics import (
    Scored,
    brier,
    calibration_error,
    called,
    confusion_figures,
    reliability,
    summary,
)
from screener.evaluate.score import score_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from screener.evaluate.labelled import LabelledSet
    from screener.evaluate.score import Answers
    from screener.model.card import OperatingPoint
    from screener.model.session import Model

_NAMED = ("path", "label", "patient", "site")
"""What is told of a slice that was misjudged."""
PREVALENCES = (0.01, 0.05, 0.2)
"""For which PPV and NPV are told: in a set of examples tumours are far more frequent than in an inbox."""


def measure(found: LabelledSet, model: Model, point: OperatingPoint) -> dict[str, Any]:
    """Screen a labelled set and return every figure, as JSON has it.

    Parameters
    ----------
    found : LabelledSet
    model : Model
    point : OperatingPoint

    Returns
    -------
    dict
        ``slices, patients`` and ``sites``: see `figures`; ``detection``: see `detected`; ``missed`` and
        ``false_alarms``: the slices, worst first; ``refusals`` by reason; what was measured with what; remarks and
        faults of the set.
    """
    answers = score_files(found.paths, model)
    scored = Scored(found.labels(), answers.scores, found.units())
    places = np.array([one.site for one in found.slices])
    return {
        "model": model.card.title,
        "model_sha256": model.sha256,
        "tool_version": __version__,
        "measured": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "operating_point": point.name,
        "threshold": point.threshold,
        "data": found.fingerprint(),
        "slices": figures(scored, point.threshold),
        "patients": figures(by_patient(scored), point.threshold),
        "sites": {str(site): figures(scored.part(places == site), point.threshold) for site in np.unique(places)},
        "detection": detected(scored, np.array([found.patient(one) for one in found.slices]), point.threshold),
        "refusals": dict(sorted(Counter(filter(None, answers.reasons)).items())),
        **_mistakes(found, answers, point.threshold),
        "remarks": [*found.remarks, *_without_anatomy(found, model, point.threshold)],
        "faults": list(found.faults),
    }


def _without_anatomy(found: LabelledSet, model: Model, threshold: float) -> Iterator[str]:
    """Say what happened to slices that show no anatomy, which no other figure counts."""
    if not found.without_anatomy:
        return
    answers = score_files([found.root / one.path for one in found.without_anatomy], model)
    refused = sum(map(bool, answers.reasons))
    flagged = int((answers.scores >= threshold).sum())
    yield (
        f"Of {len(found.without_anatomy)} slices without anatomy in view {refused} were refused, which is right, and "
        f"{flagged} flagged, which is a false alarm."
    )


def figures(scored: Scored, threshold: float) -> dict[str, Any]:
    """Return counts, AUC, the confusion matrix and what follows, PPV and NPV at some prevalences, and calibration.

    Brier score and calibration error are those of the assessable slices: a refusal has no probability.
    """
    told = {**summary(scored), **confusion_figures(scored, threshold)}
    for name in ("auc", "assessable_auc"):
        told[name] = _plain(told[name])
    seen = scored.part(scored.assessable)
    told |= {
        "brier": _plain(brier(seen.labels, seen.scores)),
        "calibration_error": _plain(calibration_error(seen.labels, seen.scores)),
        "reliability": reliability(seen.labels, seen.scores),
        "at_prevalence": at_prevalence(told["sensitivity"]["value"], told["specificity"]["value"]),
    }
    return told


def _plain(value: Any) -> Any:  # noqa: ANN401 - a number, or a dictionary of some
    """Turn what is no number into None: JSON knows no NaN."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def at_prevalence(sensitivity: float | None, specificity: float | None) -> dict[str, dict[str, float | None]]:
    """Return PPV and NPV by Bayes' rule."""
    told: dict[str, dict[str, float | None]] = {}
    for share in PREVALENCES if sensitivity is not None and specificity is not None else ():
        caught, alarms = share * (sensitivity or 0.0), (1 - share) * (1 - (specificity or 0.0))
        quiet, missed = (1 - share) * (specificity or 0.0), share * (1 - (sensitivity or 0.0))
        told[f"{share:g}"] = {
            "ppv": caught / (caught + alarms) if caught + alarms else None,
            "npv": quiet / (quiet + missed) if quiet + missed else None,
        }
    return told


def by_patient(scored: Scored) -> Scored:
    """Judge patients: the score is that of the most suspicious slice.

    A patient with a slice that shows a tumour is one with a tumour, and refused only where every slice was. One without
    is refused where any slice was: that slice goes to a person, and counts as a false alarm, however quiet the others.
    """
    units, place = np.unique(scored.units, return_inverse=True)
    labels = np.zeros(len(units), np.int64)
    np.maximum.at(labels, place, scored.labels)
    scores = np.full(len(units), -1.0)
    np.maximum.at(scores, place, np.nan_to_num(scored.scores, nan=-1.0))
    whole = np.bincount(place, ~scored.assessable) == 0
    return Scored(labels, np.where((scores < 0) | ((labels == 0) & ~whole), np.nan, scores), units)


def detected(scored: Scored, patients: NDArray[np.str_], threshold: float) -> dict[str, Any] | None:
    """Return how many patients are found as a certificate counts them: by one drawn slice each that shows a tumour.

    Parameters
    ----------
    scored : Scored
        N slices.
    patients : ndarray of shape (N,), str
        Empty where unknown.
    threshold : float, in [0, 1]

    Returns
    -------
    dict or None
        The fields of `screener.evaluate.detection.Detection`, the exact lower ``bound`` at 95 % confidence, and the
        highest sensitivity that it ``supports`` (None below all rungs). None when no patient with a tumour is known.
    """
    positive = scored.labels == 1
    found = detection(called(scored, threshold)[positive], patients[positive])
    if found is None:
        return None
    bound, rung = supported(found)
    return {**asdict(found), "bound": bound, "supports": rung}


def _mistakes(found: LabelledSet, answers: Answers, threshold: float) -> dict[str, list[dict[str, Any]]]:
    """List missed and falsely flagged slices, refused ones included."""
    missed, alarms = [], []
    for one, score, reason in zip(found.slices, answers.scores.tolist(), answers.reasons, strict=True):
        told = {name: getattr(one, name) for name in _NAMED} | {
            "probability": None if reason else score,
            "reason": reason or None,
        }
        if one.label == 1 and (reason or score < threshold):
            missed.append(told)
        elif one.label == 0 and (reason or score >= threshold):
            alarms.append(told)
    return {
        "missed": sorted(missed, key=lambda told: told["probability"] or 0.0),
        "false_alarms": sorted(alarms, key=lambda told: -(told["probability"] or 1.0)),
    }
