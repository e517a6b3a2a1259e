"""Judge the studies of a labelled set from the scores of their slices, as a scan does."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from screener.domain.finding import Decision
from screener.domain.slice import Identity, Prediction, Reason, Refused
from screener.evaluate.metrics import Scored
from screener.pipeline.study import Aggregation, StudySlices, study_finding
from screener.triage import TriagePolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from screener.domain.finding import Finding
    from screener.domain.study import StudyFinding
    from screener.evaluate.labelled import LabelledRow, LabelledSet
    from screener.evaluate.score import Answers
    from screener.model.card import Card, OperatingPoint


@dataclass(frozen=True, slots=True)
class LabelledStudy:
    """A study of a labelled set and what the tool says about it.

    Attributes
    ----------
    name : str
        Patient and examination, series, or path of the slice.
    positive : bool
        Whether any of its slices shows a tumour.
    unit : int
        Its patient, see `LabelledSet.row_units`.
    site : str
    members : tuple of int
        Places of its slices among the rows of the set.
    finding : StudyFinding
    """

    name: str
    positive: bool
    unit: int
    site: str
    members: tuple[int, ...]
    finding: StudyFinding

    @property
    def correct(self) -> bool:
        """Whether the decision is right; a study that is not assessable is neither caught nor rightly not flagged."""
        return self.finding.decision is (Decision.FLAGGED if self.positive else Decision.NOT_FLAGGED)


@dataclass(frozen=True, slots=True)
class StudyScorer:
    """What judges the studies of a set.

    Attributes
    ----------
    labelled : LabelledSet
    answers : Answers
        Of its rows.
    policy : TriagePolicy
    aggregation : Aggregation
        That of the model's card.
    """

    labelled: LabelledSet
    answers: Answers
    policy: TriagePolicy
    aggregation: Aggregation

    @classmethod
    def of(cls, labelled: LabelledSet, answers: Answers, card: Card, sha256: str, point: OperatingPoint) -> StudyScorer:
        """Return the judge of a set by a model's card and an operating point."""
        confirmation = card.operating_points["confirmation"].threshold
        return cls(labelled, answers, TriagePolicy(point, confirmation, card.title, sha256), Aggregation.of(card))

    def studies(self, sequence: str | None = None) -> list[LabelledStudy]:
        """Judge every study, or what it holds of row sequence.

        A study with slices labelled ``border`` and none labelled ``yes`` counts neither way and is left out.
        """
        groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for place, row in enumerate(self.labelled.rows):
            if sequence is None or row.sequence == sequence:
                groups[row.study_key].append(place)
        units = self.labelled.row_units().tolist()
        return [
            self._study(key, places, units[places[0]])
            for key, places in groups.items()
            if not _undecided(self.labelled.rows[place] for place in places)
        ]

    def _study(self, key: Sequence[str], places: list[int], unit: int) -> LabelledStudy:
        slices = [self.labelled.rows[place] for place in places]
        name = " ".join(filter(None, key[1:]))
        study = StudySlices(name, slices[0].patient or None)
        for place, row in zip(places, slices, strict=True):
            study.add(self._finding(place, row, name))
        return LabelledStudy(
            name,
            any(row.label == "yes" for row in slices),
            unit,
            slices[0].site,
            tuple(places),
            study_finding(study, self.policy, self.aggregation),
        )

    def slice_finding(self, place: int) -> Finding:
        """Judge row slice, by its place among the rows of the set."""
        row = self.labelled.rows[place]
        return self._finding(place, row, " ".join(filter(None, row.study_key[1:])))

    def _finding(self, place: int, row: LabelledRow, name: str) -> Finding:
        identity = Identity(
            row.path,
            "",
            row.patient or None,
            study_id=name,
            series_id=row.series or None,
            position=None if row.slice_index is None else float(row.slice_index),
            sequence=row.sequence or None,
            plane=row.plane or None,
        )
        if reason := self.answers.reasons[place]:
            return self.policy.refusal(Refused(identity, Reason(reason)))
        return self.policy.finding(identity, Prediction(float(self.answers.scores[place])))


def _undecided(slices: Iterable[LabelledRow]) -> bool:
    labels = {row.label for row in slices}
    return "border" in labels and "yes" not in labels


def probabilities(studies: Sequence[LabelledStudy]) -> Scored:
    """Return the studies with their probabilities, NaN where a study is not assessable."""
    scores = [
        np.nan if study.finding.decision is Decision.NOT_ASSESSABLE else study.finding.probability for study in studies
    ]
    return _scored(studies, scores)


def decisions(studies: Sequence[LabelledStudy]) -> Scored:
    """Return the studies with 1 where flagged, 0 where not, NaN where not assessable: thresholds may differ."""
    values = {Decision.FLAGGED: 1.0, Decision.NOT_FLAGGED: 0.0, Decision.NOT_ASSESSABLE: np.nan}
    return _scored(studies, [values[study.finding.decision] for study in studies])


def _scored(studies: Sequence[LabelledStudy], scores: Sequence[float | None]) -> Scored:
    return Scored(
        np.array([study.positive for study in studies], np.int64),
        np.array(scores, np.float64),
        np.array([study.unit for study in studies], np.int64),
    )
