"""What a person is told about one slice."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from screener.domain.slice import Reason


class Decision(StrEnum):
    """The answer about one slice."""

    FLAGGED = "flagged"
    NOT_FLAGGED = "not_flagged"
    NOT_ASSESSABLE = "not_assessable"


class Urgency(StrEnum):
    """How soon a radiologist should look; members stand in reading order."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    REVIEW = "REVIEW"
    LOW = "LOW"


@dataclass(frozen=True, slots=True)
class Finding:
    """What we tell a person about one slice. Field names and order are those of the JSON output."""

    path: str
    sha256: str
    patient_id: str | None
    decision: Decision
    probability: float | None
    confidence: float | None
    urgency: Urgency
    recommendation: str
    threshold: float
    operating_point: str
    reason: Reason | None
    model: str
    model_sha256: str
    tool_version: str
    seen_before: bool
    notice: str
    level: str = "slice"
    frame: int | None = None
    study_id: str | None = None
    series_id: str | None = None
    position: float | None = None
    sequence: str | None = None
    plane: str | None = None
