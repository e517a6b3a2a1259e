"""Measure a model on labelled slices: by study, slice, sequence, level and site, refusals counted by the contract."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from screener import __version__
from screener.evaluate.acquisition_baseline import baseline_scores, grey_statistics
from screener.evaluate.detection import detection, supported
from screener.evaluate.heads import Row, adjusted, key_slices, parts_compared, random_parts, series_answer, series_of
from screener.evaluate.levels import level_of
from screener.evaluate.metrics import (
    Scored,
    auc,
    brier,
    calibration_error,
    called,
    confusion_figures,
    rate,
    reliability,
    summary,
)
from screener.evaluate.score import score_files
from screener.evaluate.studies import StudyScorer, decisions, probabilities

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from screener.evaluate.labelled import LabelledSet
    from screener.evaluate.score import Answers
    from screener.evaluate.studies import LabelledStudy
    from screener.model.card import OperatingPoint
    from screener.model.session import Model
    from screener.pipeline.study import Aggregation

DECIDED = 0.5
"""Between 0, not flagged, and 1, flagged."""
_COUNTED = frozenset({"yes", "no"})
_NAMED = ("path", "label", "patient", "site")
"""What is said of a slice that was misjudged."""
PREVALENCES = (0.01, 0.05, 0.2)
"""For which PPV and NPV are given: in a set of examples tumours are far more frequent than in an inbox."""


def measure(labelled: LabelledSet, model: Model, point: OperatingPoint) -> dict[str, Any]:
    """Screen a labelled set and return every figure, as JSON has it.

    Parameters
    ----------
    labelled : LabelledSet
    model : Model
    point : OperatingPoint

    Returns
    -------
    dict
        By study, see `study_figures`: ``studies``, ``sequences`` and ``sites``. By slice: ``slices``, see `figures`;
        ``levels``, see `level_figures`; ``without_anatomy``. Within heads: ``heads``, see `head_figures`. Beside the
        AUC by study: ``acquisition_baseline``, see `baseline`. As a certificate counts: ``detection``, see `detected`.
        Mistakes, worst first: ``missed_studies, false_alarm_studies, missed, false_alarms``. ``refusals`` by reason;
        what was measured with what; remarks and faults of the set.
    """
    answers = score_files([labelled.root / row.path for row in labelled.rows], model)
    scorer = StudyScorer.of(labelled, answers, model.card, model.sha256, point)
    studies = scorer.studies()
    slices = slice_scores(labelled, answers)
    sequences = sorted({row.sequence for row in labelled.rows} - {""})
    return {
        "model": model.card.title,
        "model_sha256": model.sha256,
        "tool_version": __version__,
        "measured": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "operating_point": point.name,
        "threshold": point.threshold,
        "study_threshold": scorer.aggregation.point(scorer.policy).threshold,
        "data": labelled.fingerprint(),
        "studies": study_figures(studies),
        "slices": figures(slices, point.threshold),
        "sequences": {name: study_figures(chosen) for name in sequences if (chosen := scorer.studies(name))},
        "sites": {site: study_figures([study for study in studies if study.site == site]) for site in _sites(studies)},
        "levels": level_figures(labelled, answers, point.threshold),
        "heads": head_figures(labelled, answers, scorer.aggregation),
        "acquisition_baseline": baseline(labelled, studies),
        "without_anatomy": without_anatomy(labelled, answers, point.threshold),
        "detection": detected(
            _scored_rows(labelled, answers), np.array([labelled.patient(row) for row in labelled.rows]), point.threshold
        ),
        "refusals": dict(sorted(Counter(filter(None, answers.reasons)).items())),
        **_mistaken_studies(studies),
        **_mistakes(labelled, answers, point.threshold),
        "remarks": list(labelled.remarks),
        "faults": list(labelled.faults),
    }


def _sites(studies: Sequence[LabelledStudy]) -> list[str]:
    return sorted({study.site for study in studies})


def slice_scores(labelled: LabelledSet, answers: Answers) -> Scored:
    """Return the slices labelled ``yes`` and ``no``: the others count neither way, or apart."""
    rows = _scored_rows(labelled, answers)
    return rows.part(np.array([row.label in _COUNTED for row in labelled.rows]))


def _scored_rows(labelled: LabelledSet, answers: Answers) -> Scored:
    """Return all rows of a set."""
    return Scored(
        np.array([row.label == "yes" for row in labelled.rows], np.int64), answers.scores, labelled.row_units()
    )


def without_anatomy(labelled: LabelledSet, answers: Answers, threshold: float) -> dict[str, int]:
    """Return how many slices are labelled ``none``, and how many of them were refused, as is right, and flagged."""
    chosen = np.array([row.label == "none" for row in labelled.rows])
    scores = answers.scores[chosen]
    return {
        "slices": int(chosen.sum()),
        "refused": int(np.isnan(scores).sum()),
        "flagged": int((np.nan_to_num(scores, nan=-1.0) >= threshold).sum()),
    }


def study_figures(studies: Sequence[LabelledStudy]) -> dict[str, Any]:
    """Return what `figures` returns, by study: rates from the decisions, AUC and calibration from the probabilities."""
    return figures(probabilities(studies), DECIDED, decisions(studies))


def level_figures(labelled: LabelledSet, answers: Answers, threshold: float) -> dict[str, Any]:
    """Return sensitivity and specificity by slice for the lower 40 %, the middle and the top 20 % of the series.

    Empty where no slice has a known height. Slices labelled ``none`` and ``border`` are left out.
    """
    levels = np.array([level_of(row.height) if row.label in _COUNTED else "" for row in labelled.rows])
    scored = _scored_rows(labelled, answers)
    result: dict[str, Any] = {}
    for level in ("lower", "middle", "top"):
        part = scored.part(levels == level)
        if len(part.labels):
            flagged, positive = called(part, threshold), part.labels == 1
            result[level] = {
                "sensitivity": asdict(rate(flagged[positive], part.units[positive])),
                "specificity": asdict(rate(~flagged[~positive], part.units[~positive])),
            }
    return result


def head_figures(labelled: LabelledSet, answers: Answers, aggregation: Aggregation) -> dict[str, Any]:
    """Return the figures that the hospital cannot give away; empty where no series has a slice with a tumour.

    Returns
    -------
    dict
        ``adjusted``: covariate-adjusted AUC by source and sequence, slices alone and in context; ``parts``: part with a
        tumour against part without, same heads, and ``random_parts``, what random scores get there; ``key_slices``: on
        the tumour, beside chance.
    """
    rows = [
        Row.of(row, None if reason else float(score), patient=row.patient or row.series)
        for row, score, reason in zip(labelled.rows, answers.scores, answers.reasons, strict=True)
        if row.series and row.slice_index is not None and row.n_slices is not None
    ]
    series = series_of(rows)
    if not any(row.label == "yes" for row in rows):
        return {}

    how = series_answer(aggregation)
    random = random_parts(series, how)
    return {
        "adjusted": adjusted(series),
        "parts": parts_compared(series, how),
        "random_parts": None if math.isnan(random) else random,
        "key_slices": key_slices(series),
    }


def baseline(labelled: LabelledSet, studies: Sequence[LabelledStudy]) -> dict[str, Any] | None:
    """Return the AUC by study of the acquisition baseline; None where too few patients have either label.

    Returns
    -------
    dict or None
        ``auc``, and how many ``studies`` and ``patients`` are behind it.
    """
    paths = [labelled.root / row.path for row in labelled.rows]
    features: list[NDArray[np.float64]] = []
    usable: list[LabelledStudy] = []
    for study in studies:
        grey = [statistics for statistics in (_grey(paths[place]) for place in study.members) if statistics is not None]
        if grey:
            features.append(np.mean(grey, axis=0))
            usable.append(study)
    labels = np.array([study.positive for study in usable], np.int64)
    units = np.array([study.unit for study in usable], np.int64)
    # Both labels must stay whoever is left out.
    if min(len(np.unique(units[labels == label])) for label in (0, 1)) < 2:  # noqa: PLR2004
        return None
    scores = baseline_scores(np.array(features), labels, units)
    return {"auc": auc(labels, scores), "studies": len(usable), "patients": len(np.unique(units))}


def _grey(path: Path) -> list[float] | None:
    """Return the statistics of a picture; None where it cannot be decoded."""
    from screener.inbox import RefusedError, decode

    try:
        return grey_statistics(decode(path.read_bytes())[0])
    except (RefusedError, OSError):
        return None


def figures(scored: Scored, threshold: float, decided: Scored | None = None) -> dict[str, Any]:
    """Return counts, AUC, the confusion matrix and what follows, PPV and NPV at some prevalences, and calibration.

    Brier score and calibration error are those of what is assessable: a refusal has no probability.

    Parameters
    ----------
    scored : Scored
    threshold : float, in [0, 1]
    decided : Scored, optional
        What the threshold is applied to, where that is not the probabilities.
    """
    result = {**summary(scored), **confusion_figures(decided or scored, threshold)}
    result["count"] = result.pop("slices")
    for name in ("auc", "assessable_auc"):
        result[name] = _plain(result[name])
    seen = scored.part(scored.assessable)
    result |= {
        "brier": _plain(brier(seen.labels, seen.scores)),
        "calibration_error": _plain(calibration_error(seen.labels, seen.scores)),
        "reliability": reliability(seen.labels, seen.scores),
        "at_prevalence": at_prevalence(result["sensitivity"]["value"], result["specificity"]["value"]),
    }
    return result


def _plain(value: Any) -> Any:  # noqa: ANN401 - a number, or a dictionary of some
    """Turn what is no number into None: JSON knows no NaN."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def at_prevalence(sensitivity: float | None, specificity: float | None) -> dict[str, dict[str, float | None]]:
    """Return PPV and NPV by Bayes' rule."""
    result: dict[str, dict[str, float | None]] = {}
    for share in PREVALENCES if sensitivity is not None and specificity is not None else ():
        caught, alarms = share * (sensitivity or 0.0), (1 - share) * (1 - (specificity or 0.0))
        quiet, missed = (1 - share) * (specificity or 0.0), share * (1 - (sensitivity or 0.0))
        result[f"{share:g}"] = {
            "ppv": caught / (caught + alarms) if caught + alarms else None,
            "npv": quiet / (quiet + missed) if quiet + missed else None,
        }
    return result


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
    patients_found = detection(called(scored, threshold)[positive], patients[positive])
    if patients_found is None:
        return None
    bound, rung = supported(patients_found.missed, patients_found.units)
    return {**asdict(patients_found), "bound": bound, "supports": rung}


def _mistaken_studies(studies: Sequence[LabelledStudy]) -> dict[str, list[dict[str, Any]]]:
    """List missed and falsely flagged studies, those that are not assessable included."""
    wrong = [study for study in studies if not study.correct]
    shown = {
        True: [_study_json(study) for study in wrong if study.positive],
        False: [_study_json(study) for study in wrong if not study.positive],
    }
    return {
        "missed_studies": sorted(shown[True], key=lambda study: study["probability"] or 0.0),
        "false_alarm_studies": sorted(shown[False], key=lambda study: -(study["probability"] or 1.0)),
    }


def _study_json(study: LabelledStudy) -> dict[str, Any]:
    finding = study.finding
    return {
        "study": study.name,
        "site": study.site,
        "decision": finding.decision.value,
        "probability": finding.probability,
        "reason": None if finding.reason is None else finding.reason.value,
        "key_slices": [key.path for key in finding.key_slices],
    }


def _mistakes(labelled: LabelledSet, answers: Answers, threshold: float) -> dict[str, list[dict[str, Any]]]:
    """List missed and falsely flagged slices, refused ones included; one without anatomy is rightly refused."""
    missed, alarms = [], []
    for row, score, reason in zip(labelled.rows, answers.scores.tolist(), answers.reasons, strict=True):
        shown = {name: getattr(row, name) for name in _NAMED}
        shown |= {"probability": None if reason else score, "reason": reason or None}
        flagged = not reason and score >= threshold
        if row.label == "yes" and not flagged:
            missed.append(shown)
        elif flagged if row.label == "none" else (row.label == "no" and (flagged or reason)):
            alarms.append(shown)
    return {
        "missed": sorted(missed, key=lambda row: row["probability"] or 0.0),
        "false_alarms": sorted(alarms, key=lambda row: -(row["probability"] or 1.0)),
    }
