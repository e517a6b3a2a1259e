"""What a person is told about one study: one examination of one patient, made of series of slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from screener.domain.finding import Decision, Urgency
    from screener.domain.slice import Reason


@dataclass(frozen=True, slots=True)
class SliceCounts:
    """How many slices a study has, and what became of them."""

    total: int
    assessed: int
    flagged: int
    not_assessable: int


@dataclass(frozen=True, slots=True)
class KeySlice:
    """A slice that carries the evidence.

    Attributes
    ----------
    path : str
        As in the slice's own finding.
    series_id : str or None
    position : float or None
        mm along the normal of the series; for pictures the index in anatomical order.
    probability : float, in [0, 1]
        In context: the mean with its neighbours.
    """

    path: str
    series_id: str | None
    position: float | None
    probability: float


@dataclass(frozen=True, slots=True)
class SeriesFinding:
    """What one series contributes.

    Attributes
    ----------
    series_id : str or None
    sequence, plane : str or None
    slices : int
    probability : float, in [0, 1], or None
        None where no slice is assessable.
    curve : tuple of (float or None)
        One number a slice in anatomical order: its probability in context, None where not assessable.
    reason : Reason or None
        Why the series is not used: its plane or sequence, or what all of its slices were refused for.
    """

    series_id: str | None
    sequence: str | None
    plane: str | None
    slices: int
    probability: float | None
    curve: tuple[float | None, ...]
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class StudyFinding:
    """What we tell a person about one study. Field names and order are those of the JSON output."""

    level: str
    study_id: str
    patient_id: str | None
    accession_number: str | None
    study_date: str | None
    decision: Decision
    probability: float | None
    confidence: float | None
    urgency: Urgency
    recommendation: str
    threshold: float
    operating_point: str
    reason: Reason | None
    slices: SliceCounts
    series: tuple[SeriesFinding, ...]
    key_slices: tuple[KeySlice, ...]
    model: str
    model_sha256: str
    tool_version: str
    seen_before: bool
    notice: str

    @property
    def path(self) -> str:
        """The study's name, which ends the reading order as a slice's path does."""
        return self.study_id
