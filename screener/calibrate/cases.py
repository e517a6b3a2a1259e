"""Studies or slices whose truth is known at a site: from labelled data, or from the verdicts in an audit log."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from screener.agreement.figures import weigh
from screener.domain.finding import Decision
from screener.domain.study import StudyFinding
from screener.domain.verdict import Diagnosis
from screener.errors import ModelError, NotShownError, UsageError
from screener.evaluate.detection import drawn_cases
from screener.evaluate.studies import StudyScorer
from screener.model.card import OperatingPoint
from screener.pipeline.site_profile import Level, in_future
from screener.pipeline.study import Aggregation
from screener.triage import AUTO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from screener.agreement.opinions import ReaderStudy, Reading
    from screener.agreement.weighted_estimates import Sample
    from screener.domain.finding import Finding
    from screener.evaluate.labelled import LabelledSet
    from screener.evaluate.score import Answers
    from screener.evaluate.studies import LabelledStudy
    from screener.model.card import Card
    from screener.model.session import Model

UNKNOWN_PATIENT = "patient_unknown"
TOO_SMALL = "too_small"
OTHER_MODEL = "other_model"
OTHER_THRESHOLD = "other_threshold"
IN_FUTURE = "in_future"
CONTRADICTED = "contradictory_verdicts"
NOT_DECIDED = "not_decided"
EXCLUSIONS = (UNKNOWN_PATIENT, TOO_SMALL, OTHER_MODEL, OTHER_THRESHOLD, IN_FUTURE, CONTRADICTED, NOT_DECIDED)
"""Why a case does not count: its patient is not named; too few slices for the threshold of studies; judged by another
model, or at a threshold with fewer verdicts; dated in the future; readers differ; unsure or a bad image."""
_TRUTH = {Diagnosis.TUMOUR: 1, Diagnosis.NO_TUMOUR: 0}
_DATE = 8
"""Letters of a DICOM date."""


@dataclass(frozen=True)
class Cases:
    """N studies or slices of one site; arrays of shape (N,).

    Attributes
    ----------
    level : {"study", "slice"}
    labels : ndarray of int
        1 with a tumour, 0 without.
    scores : ndarray of float64, in [0, 1]
        NaN where refused whatever the threshold.
    unless_flagged : ndarray of bool
        Refused where not flagged: too few slices could be assessed.
    units : ndarray of int
        Patient.
    weights : ndarray of float64
        Cases for which each stands.
    pick : {"lowest", "drawn"}
        Which case of a patient with several tumours counts for the certificate: the lowest score, or one drawn.
    least_chance : float, in (0, 1]
        Least chance with which a missed tumour came to be known.
    highest : float, in [0, 1]
        Thresholds above were not looked at: flagged cases between went unread.
    before : OperatingPoint
        In use until now; only its name and threshold count.
    representative : bool
        Whether the weighted cases are what the site meets, so that their share of tumours is its prevalence.
    excluded : mapping of str to int
        Cases that do not count, by reason.
    """

    level: Level
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    unless_flagged: NDArray[np.bool_]
    units: NDArray[np.int64]
    weights: NDArray[np.float64]
    pick: Literal["lowest", "drawn"]
    before: OperatingPoint
    least_chance: float = 1.0
    highest: float = 1.0
    representative: bool = False
    excluded: Counter[str] = field(default_factory=Counter)

    def part(self, chosen: NDArray[np.bool_]) -> Cases:
        """Return the chosen cases only."""
        names = ("labels", "scores", "unless_flagged", "units", "weights")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})

    def flagged(self, threshold: float) -> NDArray[np.bool_]:
        """Return which cases are flagged: (N,)."""
        return np.asarray(np.nan_to_num(self.scores, nan=-1.0) >= threshold)

    def refused(self, threshold: float) -> NDArray[np.bool_]:
        """Return which cases are not assessable at a threshold: (N,)."""
        return np.asarray(np.isnan(self.scores) | (self.unless_flagged & ~self.flagged(threshold)))

    def patient_scores(self) -> NDArray[np.float64]:
        """Return the score that counts of each patient with a tumour: (P,), ``-inf`` where it was refused."""
        positive = self.labels == 1
        scores: NDArray[np.float64] = np.nan_to_num(self.scores[positive], nan=-np.inf)
        if not len(scores):
            return scores
        _, units = np.unique(self.units[positive], return_inverse=True)
        if self.pick == "drawn":
            return np.asarray(scores[drawn_cases(units)])
        lowest = np.full(int(units.max()) + 1, np.inf)
        np.minimum.at(lowest, units, scores)
        return lowest


def labelled_cases(found: LabelledSet, answers: Answers, model: Model) -> list[Cases]:
    """Return the studies and the slices of a labelled set whose patients are known, each level that has any.

    Parameters
    ----------
    found : LabelledSet
    answers : Answers
        Of its rows.
    model : Model
    """
    levels = [_labelled_studies(found, answers, model), _labelled_slices(found, answers, model.card)]
    return [one for one in levels if len(one.labels)]


def _labelled_slices(found: LabelledSet, answers: Answers, card: Card) -> Cases:
    labelled = np.array([row.label in {"yes", "no"} for row in found.rows], bool)
    known = np.array([bool(row.patient) for row in found.rows], bool)
    chosen = labelled & known
    return Cases(
        level="slice",
        labels=np.array([row.label == "yes" for row in found.rows], np.int64)[chosen],
        scores=answers.scores[chosen],
        unless_flagged=np.zeros(int(chosen.sum()), bool),
        units=found.row_units()[chosen],
        weights=np.ones(int(chosen.sum())),
        pick="drawn",
        before=card.operating_points[AUTO],
        excluded=Counter({UNKNOWN_PATIENT: unknown} if (unknown := int((labelled & ~known).sum())) else {}),
    )


def _labelled_studies(found: LabelledSet, answers: Answers, model: Model) -> Cases:
    aggregation = Aggregation.of(model.card)
    # A study with a probability keeps it at a threshold of 0, however few its slices, and loses it at one above 1.
    lenient, strict = (
        StudyScorer.of(found, answers, model.card, model.sha256, OperatingPoint("", at)).studies() for at in (0.0, 2.0)
    )
    excluded: Counter[str] = Counter()
    kept: list[tuple[LabelledStudy, LabelledStudy]] = []
    for one, other in zip(lenient, strict, strict=True):
        if not found.rows[one.members[0]].patient:
            excluded[UNKNOWN_PATIENT] += 1
        elif not _fills_window(one, found, answers, aggregation):
            excluded[TOO_SMALL] += 1
        else:
            kept.append((one, other))
    return Cases(
        level="study",
        labels=np.array([one.positive for one, _ in kept], np.int64),
        scores=np.array([_score(one.finding) for one, _ in kept], np.float64),
        unless_flagged=np.array([_assessed(one) and not _assessed(other) for one, other in kept], bool),
        units=np.array([one.unit for one, _ in kept], np.int64),
        weights=np.ones(len(kept)),
        pick="lowest",
        before=aggregation.points.get(AUTO) or model.card.operating_points[AUTO],
        excluded=excluded,
    )


def _assessed(study: LabelledStudy) -> bool:
    return study.finding.decision is not Decision.NOT_ASSESSABLE


def _score(finding: StudyFinding | Finding) -> float:
    return np.nan if finding.probability is None else finding.probability


def _fills_window(study: LabelledStudy, found: LabelledSet, answers: Answers, aggregation: Aggregation) -> bool:
    """Say whether a study is judged by the threshold of studies; one that is refused is if it has slices enough."""
    if not _assessed(study):
        return len(study.members) >= aggregation.window
    counts: Counter[str] = Counter()
    for place in study.members:
        row = found.rows[place]
        if not answers.reasons[place] and aggregation.refuses(row.sequence or None, row.plane or None) is None:
            counts[row.series] += 1
    return max(counts.values(), default=0) >= aggregation.window


def of_site(found: LabelledSet, site: str) -> tuple[LabelledSet, str]:
    """Return what a set holds of one site, and the site's name.

    Parameters
    ----------
    found : LabelledSet
    site : str
        Empty takes the only site that the set names. A set that names one site or none is taken as a whole.

    Raises
    ------
    UsageError
        The set names several sites and `site` is none of them, or no name is known.
    """
    sites = sorted({row.site for row in found.rows} - {""})
    if len(sites) > 1 and site not in sites:
        raise UsageError(
            f"the labelled data are of {len(sites)} sites and a profile is of one",
            f"add --site with one of {', '.join(sites)}",
        )
    if not (site or sites):
        raise UsageError("the labelled data name no site", "add --site NAME")
    if len(sites) < 2:  # noqa: PLR2004 - nothing to choose from
        return found, site or sites[0]
    return (
        replace(
            found,
            rows=tuple(row for row in found.rows if row.site == site),
            slices=tuple(one for one in found.slices if one.site == site),
        ),
        site,
    )


def logged_cases(study: ReaderStudy, model: Model) -> list[Cases]:
    """Return the studies, or the single slices, on which clinicians gave verdicts; each level that has any.

    Each case stands for others as `screener.agreement.figures` says. Of several thresholds in the log the one with
    most verdicts counts, since weights hold within one.

    Parameters
    ----------
    study : ReaderStudy
        See `screener.agreement.opinions.collect`.
    model : Model

    Raises
    ------
    ModelError
        No verdict is about a result of this model.
    NotShownError
        A group of cases was not read at all, or what was not flagged was not sampled.
    """
    sample, _ = weigh(study.population, study.readings)
    excluded: dict[str, Counter[str]] = {"study": Counter(), "slice": Counter()}
    kept: dict[Level, list[int]] = {"study": [], "slice": []}
    window = Aggregation.of(model.card).window
    _refuse_other_models(study, model)
    for number, reading in enumerate(study.readings):
        if reading.item.finding.model_sha256 != model.sha256:
            _count(excluded, OTHER_MODEL)
            continue
        level = _level_of(reading, window)
        if level is None:
            excluded["study"][TOO_SMALL] += 1
        elif reason := _unusable(reading):
            excluded[level][reason] += 1
        else:
            kept[level].append(number)
    return [_logged(level, study, sample, numbers, excluded[level]) for level, numbers in kept.items() if numbers]


def _count(excluded: dict[str, Counter[str]], reason: str) -> None:
    for counts in excluded.values():
        counts[reason] += 1


def _refuse_other_models(study: ReaderStudy, model: Model) -> None:
    known = dict.fromkeys(f"{one.model.partition(' ≥ ')[0]} ({one.model_sha256[:12]})" for one in study.population)
    if not any(stratum.model_sha256 == model.sha256 for stratum in study.population):
        raise ModelError(
            f"the log holds no result of {model.card.title} ({model.sha256[:12]})",
            f"name a model that judged there (--model): {', '.join(known) or 'none did'}",
        )


def _level_of(reading: Reading, window: int) -> Level | None:
    """Return what a verdict is evidence of; None for a study of several slices too small for the study's threshold."""
    finding = reading.item.finding
    if not isinstance(finding, StudyFinding) or (finding.slices.total == 1 and window > 1):
        return "slice"
    counted = finding.slices.assessed if finding.decision is not Decision.NOT_ASSESSABLE else finding.slices.total
    return "study" if counted >= window else None


def _unusable(reading: Reading) -> str:
    """Say why a case does not count; empty where it does."""
    if in_future(reading.settled) or in_future(reading.item.judged) or _future_date(reading.item.finding):
        return IN_FUTURE
    if reading.reference not in _TRUTH:
        return CONTRADICTED if reading.contested else NOT_DECIDED
    return ""


def _future_date(finding: StudyFinding | Finding) -> bool:
    date = getattr(finding, "study_date", None) or ""
    return len(date) == _DATE and date.isdigit() and in_future(f"{date[:4]}-{date[4:6]}-{date[6:]}")


def _logged(level: Level, study: ReaderStudy, sample: Sample, numbers: Sequence[int], excluded: Counter[str]) -> Cases:
    thresholds = Counter(study.readings[number].item.finding.threshold for number in numbers)
    (threshold, _), *_ = thresholds.most_common(1)
    chosen = [number for number in numbers if study.readings[number].item.finding.threshold == threshold]
    if len(chosen) < len(numbers):
        excluded[OTHER_THRESHOLD] = len(numbers) - len(chosen)
    readings = [study.readings[number] for number in chosen]
    least, all_flagged = _chances(readings[0], study, sample)
    finding = readings[0].item.finding
    name = finding.operating_point
    return Cases(
        level=level,
        labels=np.array([_TRUTH[reading.reference] for reading in readings], np.int64),
        scores=np.array([_score(reading.item.finding) for reading in readings], np.float64),
        unless_flagged=np.zeros(len(readings), bool),
        units=sample.units[chosen],
        weights=sample.weights[chosen],
        pick="lowest",
        before=OperatingPoint(name, threshold),
        least_chance=least,
        highest=1.0 if all_flagged else threshold,
        representative=True,
        excluded=excluded,
    )


def _chances(like: Reading, study: ReaderStudy, sample: Sample) -> tuple[float, bool]:
    """Return the least chance with which a case came to be read, and whether all that were flagged were.

    What was drawn and not read yet lowers the chance; so does a share that happened to be small. A case that was opened
    on purpose is read for certain.

    Raises
    ------
    NotShownError
        A group was not read at all, or only what somebody picked.
    """
    model, least, all_flagged = like.stratum[:2], 1.0, True
    for stratum, population in study.population.items():
        if stratum[:2] != model:
            continue
        numbers = [number for number, reading in enumerate(study.readings) if reading.stratum == stratum]
        if len(numbers) == population:
            continue
        all_flagged &= stratum.decision is not Decision.FLAGGED
        random = [number for number in numbers if sample.drawn[number]]
        if not random:
            raise _unread(stratum.decision, population)
        chances = (min(study.readings[n].sampling or 1.0, 1 / float(sample.weights[n])) for n in random)
        least = min(least, *chances)
    return least, all_flagged


def _unread(decision: Decision, population: int) -> NotShownError:
    words = decision.value.replace("_", " ")
    if decision is Decision.NOT_FLAGGED:
        return NotShownError(
            f"none of the {population} cases that were not flagged was drawn at random and read: tumours among them "
            "would not be known",
            "give verdicts on a random share of what is not flagged (`screener review --sample 0.1`), or calibrate on "
            "labelled data",
        )
    return NotShownError(
        f"none of the {population} cases that are {words} was read", "give verdicts on them first (`screener review`)"
    )
