"""From the findings of one study's slices to the study's own: the aggregation, key slices and the curve of a series."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from screener import __version__
from screener.audit.events import digest_of
from screener.domain.finding import Decision
from screener.domain.slice import Reason
from screener.domain.study import KeySlice, SeriesFinding, SliceCounts, StudyFinding
from screener.inbox.studies import natural_key
from screener.messages import NOTICE, RECOMMENDATION
from screener.quality import refuse_series
from screener.triage import confidence, decide, urgency_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from screener.domain.finding import Finding
    from screener.model.card import Card, OperatingPoint, StudySection
    from screener.triage import TriagePolicy

_KEY_SLICES = 3
_UNUSABLE = frozenset({Reason.PLANE_NOT_SUPPORTED, Reason.SEQUENCE_NOT_SUPPORTED})
_NOT_FOR_THE_MODEL = _UNUSABLE | {Reason.LOCALIZER, Reason.DERIVED_MAP, Reason.MOSAIC, Reason.BURNT_IN_REPORT}
"""Reasons why a whole series is not used."""


@dataclass(frozen=True, slots=True)
class Aggregation:
    """How slices make a study: the highest mean of neighbouring slices of a series, the highest over series.

    Averaging over neighbours follows from what a tumour is: it runs over several slices, noise does not. The defaults
    are for models whose card has no section ``study``: every series is used, the operating point is that of a slice,
    and nothing is certified.

    Attributes
    ----------
    window : int
        Neighbouring assessable slices that are averaged for the answer of a series.
    reach : int
        Neighbours on each side with which a slice is shown in context.
    least : int
        Assessable slices below which a large study that is not flagged is not assessable.
    least_share : float, in [0, 1]
        Share of assessable slices below which it is not assessable either.
    planes, sequences : tuple of str, or None
        For which the model was shown to work; None uses any. A series that does not name its own is used.
    points : mapping of str to OperatingPoint
        Operating points of studies.
    """

    window: int = 5
    reach: int = 2
    least: int = 5
    least_share: float = 0.0
    planes: tuple[str, ...] | None = None
    sequences: tuple[str, ...] | None = None
    points: Mapping[str, OperatingPoint] = field(default_factory=dict)

    @classmethod
    def of(cls, card: Card) -> Aggregation:
        """Return the aggregation that a card describes; the defaults where it has no section ``study``."""
        return cls() if card.study is None else cls.of_section(card.study)

    @classmethod
    def of_section(cls, section: StudySection) -> Aggregation:
        """Return the aggregation that a card's section ``study`` describes."""
        how = section.aggregation
        return cls(
            window=how.window,
            reach=how.reach,
            least=how.least_slices,
            least_share=how.least_share,
            planes=section.planes,
            sequences=section.sequences,
            points=section.believed_points(),
        )

    def point(self, policy: TriagePolicy) -> OperatingPoint:
        """Return the operating point of studies: the policy's own, or that of the slice's name, or the slice's."""
        return policy.study_point or self.points.get(policy.point.name, policy.point)

    def confirmation(self, policy: TriagePolicy) -> float:
        """Return the probability, in [0, 1], from which on a flagged study is HIGH."""
        known = self.points.get("confirmation")
        return policy.confirmation if known is None else known.threshold

    def refuses(self, sequence: str | None, plane: str | None) -> Reason | None:
        """Return why a series is not used, None if it is; what a series does not name is not held against it."""
        return refuse_series(plane, sequence, self.planes, self.sequences)

    def in_context(self, probabilities: Sequence[float | None]) -> tuple[float | None, ...]:
        """Average each slice with its assessable neighbours.

        Parameters
        ----------
        probabilities : sequence of (float in [0, 1] or None)
            In anatomical order; None where not assessable.
        """
        return tuple(
            None if value is None else _mean(probabilities[max(0, index - self.reach) : index + self.reach + 1])
            for index, value in enumerate(probabilities)
        )

    def series(self, probabilities: Sequence[float | None]) -> float | None:
        """Return the probability of a series, in [0, 1]; None where no slice is assessable.

        A series with fewer assessable slices than the window is judged by its highest slice.
        """
        known = [value for value in probabilities if value is not None]
        if len(known) < self.window:
            return max(known, default=None)
        sums = [sum(known[start : start + self.window]) for start in range(len(known) - self.window + 1)]
        return max(sums) / self.window

    def too_few(self, counts: SliceCounts) -> bool:
        """Say whether too little of a study could be assessed to call it not flagged."""
        least = max(self.least, self.least_share * counts.total)
        return counts.total >= 2 * self.least and counts.assessed < least


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


@dataclass(frozen=True, slots=True)
class Member:
    """What a study keeps of one slice.

    Attributes
    ----------
    path, series_id, sequence, plane
        As in the slice's finding.
    position : float or None
    probability : float or None
    flagged : bool
    reason : Reason or None
    result : str
        Hash of the RESULT event; empty without a log.
    timestamp, run_id : str
        Of that event where an earlier run wrote it, or this one before it answered the study; else empty.
    """

    path: str
    series_id: str | None
    sequence: str | None
    plane: str | None
    position: float | None
    probability: float | None
    flagged: bool
    reason: Reason | None
    result: str
    timestamp: str
    run_id: str = ""
    repeated: bool = False
    """A copy of a slice that counts already."""


class Logged(NamedTuple):
    """Where a finding stands in the log.

    Attributes
    ----------
    result : str
        Hash of its RESULT event; empty without a log.
    timestamp, run_id : str
        Of the event, where an earlier run wrote it; else empty.
    """

    result: str = ""
    timestamp: str = ""
    run_id: str = ""


_NOT_LOGGED = Logged()


class StudySlices:
    """The slices of one study while its folder is being screened.

    Parameters
    ----------
    study_id : str
    patient_id : str or None
    accession_number, study_date : str or None
        As the headers of its files name them.
    warning : Reason or None
        What a reader should know although the study can be judged.
    """

    def __init__(
        self,
        study_id: str,
        patient_id: str | None,
        accession_number: str | None = None,
        study_date: str | None = None,
        warning: Reason | None = None,
    ) -> None:
        self.study_id, self.patient_id = study_id, patient_id
        self.accession_number, self.study_date, self.warning = accession_number, study_date, warning
        self.members: list[Member] = []

    def add(self, finding: Finding, logged: Logged = _NOT_LOGGED, *, repeated: bool = False) -> None:
        """Take a slice in.

        Parameters
        ----------
        finding : Finding
        logged : Logged
        repeated : bool
            The same bytes are in the study already: the answer rests on this event too, and counts the slice once.
        """
        self.members.append(
            Member(
                finding.path,
                finding.series_id,
                finding.sequence,
                finding.plane,
                finding.position,
                finding.probability,
                finding.decision is Decision.FLAGGED,
                finding.reason,
                logged.result,
                logged.timestamp,
                logged.run_id,
                repeated,
            )
        )

    @property
    def counted(self) -> list[Member]:
        """The slices, each once."""
        return [member for member in self.members if not member.repeated]

    def earlier_results(self) -> list[tuple[str, str]]:
        """Return run and hash of the RESULT events from before, oldest first."""
        earlier = [member for member in self.members if member.timestamp]
        return [(member.run_id, member.result) for member in sorted(earlier, key=lambda member: member.timestamp)]

    def results_sha256(self) -> str:
        """Return the SHA-256 over the hashes of all RESULT events that the study rests on, in log order."""
        own = [member.result for member in self.members if not member.timestamp]
        return digest_of([*(result for _, result in self.earlier_results()), *own])

    def series(self) -> Iterator[tuple[str | None, list[Member]]]:
        """Yield each series with its slices in anatomical order."""
        found: dict[str | None, list[Member]] = defaultdict(list)
        for member in self.counted:
            found[member.series_id].append(member)
        for series_id, members in sorted(found.items(), key=lambda item: natural_key(item[0] or "")):
            yield series_id, sorted(members, key=_anatomical)


def _anatomical(member: Member) -> tuple[float, tuple[tuple[int, int, str], ...]]:
    return (0.0 if member.position is None else member.position), natural_key(member.path)


def study_finding(
    slices: StudySlices, policy: TriagePolicy, aggregation: Aggregation, *, collection: bool = False
) -> StudyFinding:
    """Judge a study by its slices.

    Parameters
    ----------
    slices : StudySlices
        At least one.
    policy : TriagePolicy
        Its operating point judges the study too where the card has none for studies, and where no series has enough
        assessable slices for the aggregation.
    aggregation : Aggregation
    collection : bool
        The pictures are of many patients, so that nothing can be said about one.
    """
    series, used = [], []
    keys: list[KeySlice] = []
    for series_id, members in slices.series():
        probabilities = [member.probability for member in members]
        curve = aggregation.in_context(probabilities)
        refused = aggregation.refuses(members[0].sequence, members[0].plane)
        value = aggregation.series(probabilities) if refused is None else None
        series.append(_series_finding(series_id, members, value, curve, refused))
        if refused is None:
            used.append(members)
            keys += _key_slices(series_id, members, curve)
    probability = max((one.probability for one in series if one.probability is not None), default=None)
    threshold, confirmation, name = _point(used, policy, aggregation)
    flagged = probability is not None and probability >= threshold
    reason = Reason.NOT_ONE_STUDY if collection else _reason(slices, used, aggregation, flagged=flagged)
    if reason is not None:
        probability = None
    decision = decide(probability, threshold)
    urgency = urgency_of(probability, threshold, confirmation)
    return StudyFinding(
        level="study",
        study_id=slices.study_id,
        patient_id=slices.patient_id,
        accession_number=slices.accession_number,
        study_date=slices.study_date,
        decision=decision,
        probability=probability,
        confidence=confidence(decision, probability),
        urgency=urgency,
        recommendation=RECOMMENDATION["en"][urgency],
        threshold=threshold,
        operating_point=name,
        reason=reason or slices.warning,
        slices=_counts(slices.counted),
        series=tuple(series),
        key_slices=tuple(sorted(keys, key=lambda key: -key.probability)[:_KEY_SLICES]) if reason is None else (),
        model=policy.model,
        model_sha256=policy.model_sha256,
        tool_version=__version__,
        seen_before=False,
        notice=NOTICE["en"],
    )


def _key_slices(series_id: str | None, members: Sequence[Member], curve: Sequence[float | None]) -> Iterator[KeySlice]:
    """Yield every assessable slice of a series with its probability in context."""
    for index, (member, value) in enumerate(zip(members, curve, strict=True)):
        if value is not None:
            position = float(index) if member.position is None else member.position
            yield KeySlice(member.path, series_id, position, value)


def _point(
    used: Sequence[Sequence[Member]], policy: TriagePolicy, aggregation: Aggregation
) -> tuple[float, float, str]:
    """Return threshold, confirmation and name of the operating point: the study's where a series fills the window."""
    assessed = (sum(member.probability is not None for member in members) for members in used)
    if all(count < aggregation.window for count in assessed):
        return policy.point.threshold, policy.confirmation, policy.point.name
    point = aggregation.point(policy)
    return point.threshold, aggregation.confirmation(policy), point.name


def _series_finding(
    series_id: str | None,
    members: Sequence[Member],
    probability: float | None,
    curve: tuple[float | None, ...],
    refused: Reason | None,
) -> SeriesFinding:
    first, reasons = members[0], {member.reason for member in members}
    reason = next(iter(reasons)) if probability is None and len(reasons) == 1 else None
    return SeriesFinding(series_id, first.sequence, first.plane, len(members), probability, curve, refused or reason)


def _counts(members: Sequence[Member]) -> SliceCounts:
    assessed = sum(member.probability is not None for member in members)
    flagged = sum(member.flagged for member in members)
    return SliceCounts(len(members), assessed, flagged, len(members) - assessed)


def _reason(
    slices: StudySlices, used: Sequence[Sequence[Member]], aggregation: Aggregation, *, flagged: bool
) -> Reason | None:
    """Say why a study cannot be judged; None where it can."""
    if not any(member.probability is not None for member in slices.counted):
        reasons = Counter(member.reason for member in slices.counted)
        if _UNUSABLE & reasons.keys() and reasons.keys() <= _NOT_FOR_THE_MODEL:
            return Reason.NO_USABLE_SERIES
        return next(iter(reasons)) if len(reasons) == 1 else Reason.NO_ASSESSABLE_SLICE
    if not used:
        return Reason.NO_USABLE_SERIES
    counts = _counts([member for members in used for member in members])
    if not counts.assessed:
        return Reason.NO_ASSESSABLE_SLICE
    return Reason.TOO_FEW_SLICES if aggregation.too_few(counts) and not flagged else None
