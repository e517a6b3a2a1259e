"""The fields of every version of every event. What a version once wrote is read by its own struct for ever.

Decimal numbers are strings. The structs name the fields that an event must have; it may have more.
"""

from __future__ import annotations

from typing import Any

import msgspec


class _Event(msgspec.Struct, frozen=True):
    schema: int
    event: str
    timestamp: str
    run_id: str
    prev: str


class StartV1(_Event, frozen=True):
    """A run begins; its other fields say with what."""


class ResultV1(_Event, frozen=True):
    """What was found about one slice."""

    path: str
    sha256: str
    patient_id: str | None
    decision: str
    probability: str | None
    confidence: str | None
    urgency: str
    recommendation: str
    threshold: str
    operating_point: str
    reason: str | None
    model: str
    model_sha256: str
    tool_version: str
    seen_before: bool
    notice: str
    doctor_id: str | None
    final_diagnosis: str | None
    agreement: bool | None
    preprocessing: str


class ReviewV1(_Event, frozen=True):
    """A clinician's verdict on the RESULT whose hash is ``result``."""

    result: str
    doctor_id: str
    final_diagnosis: str
    agreement: bool | None


class RecoveredV1(_Event, frozen=True):
    """What a crash had left at the end of the log was set aside."""

    torn_bytes: int
    torn_sha256: str
    torn_base64: str | None
    torn_file: str | None


class EndV1(_Event, frozen=True):
    """A run ends."""

    counts: dict[str, Any]
    reason: str


class StartV2(StartV1, frozen=True):
    """As in version 1."""


class ResultV2(ResultV1, frozen=True):
    """What was found about one slice, and where in its study it stands.

    ``statistics`` and ``embedding`` (base64, at most 200 bytes) are null until something writes them.
    """

    frame: int | None
    study_id: str | None
    series_id: str | None
    position: str | None
    sequence: str | None
    plane: str | None
    statistics: dict[str, str] | None
    embedding: str | None


class StudyV2(_Event, frozen=True):
    """What was found about one study.

    ``results_sha256`` is the SHA-256 over the hashes of the RESULT events that it rests on, in log order: those of
    ``earlier_results``, which earlier runs wrote, then those of this run and study since the run's last STUDY of it.
    """

    study_id: str
    patient_id: str | None
    accession_number: str | None
    study_date: str | None
    decision: str
    probability: str | None
    confidence: str | None
    urgency: str
    recommendation: str
    threshold: str
    operating_point: str
    reason: str | None
    slices: dict[str, int]
    series: list[Any]
    key_slices: list[Any]
    model: str
    model_sha256: str
    tool_version: str
    seen_before: bool
    notice: str
    preprocessing: str
    results_sha256: str
    earlier_results: list[str]


class ReviewV2(ReviewV1, frozen=True):
    """A clinician's verdict on the RESULT or STUDY whose hash is ``result``."""


class RecoveredV2(RecoveredV1, frozen=True):
    """As in version 1."""


class EndV2(EndV1, frozen=True):
    """As in version 1."""


EVENTS: dict[int, dict[str, type[_Event]]] = {
    1: {"START": StartV1, "RESULT": ResultV1, "REVIEW": ReviewV1, "RECOVERED": RecoveredV1, "END": EndV1},
    2: {
        "START": StartV2,
        "RESULT": ResultV2,
        "STUDY": StudyV2,
        "REVIEW": ReviewV2,
        "RECOVERED": RecoveredV2,
        "END": EndV2,
    },
}
"""The struct of each kind of event, by version of the format."""
REQUIRED: dict[int, dict[str, frozenset[str]]] = {
    version: {kind: frozenset(struct.__struct_fields__) for kind, struct in kinds.items()}
    for version, kinds in EVENTS.items()
}
"""The fields that each event must have."""
