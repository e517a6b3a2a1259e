"""The fields of every version of every event. What a version once wrote is read by its own struct for ever.

Decimal numbers are strings. The structs name the fields that an event must have; it may have more.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Decimal = Annotated[str, Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?$")]
"""A number as text, with all digits that reading it back exactly needs."""
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
"""A SHA-256 as lower-case hex."""


class _Event(msgspec.Struct, frozen=True):
    schema: Annotated[int, Meta(description="Version of the format.")]
    event: Annotated[str, Meta(description="Kind of the event.")]
    timestamp: Annotated[str, Meta(description="UTC, ISO 8601.")]
    run_id: Annotated[str, Meta(description="Of the process that wrote the event.")]
    prev: Annotated[Digest, Meta(description="`hash` of the event before; 64 zeros for the first.")]


class StartV1(_Event, frozen=True):
    """A run begins; its other fields say with what."""


class ResultV1(_Event, frozen=True):
    """What was found about one slice."""

    path: Annotated[str, Meta(description="Relative to the inbox, separated by `/`.")]
    sha256: Annotated[str, Meta(description="Digest of the file; empty when it could not be read.")]
    patient_id: Annotated[str | None, Meta(description="Whose slice it is.")]
    decision: Annotated[str, Meta(description="`flagged`, `not_flagged` or `not_assessable`.")]
    probability: Annotated[Decimal | None, Meta(description="In [0, 1]; null where not assessable.")]
    confidence: Annotated[Decimal | None, Meta(description="Probability of the decision taken.")]
    urgency: Annotated[str, Meta(description="`HIGH`, `MEDIUM`, `REVIEW` or `LOW`.")]
    recommendation: Annotated[str, Meta(description="What the urgency asks for, in English.")]
    threshold: Annotated[Decimal, Meta(description="Flagged from this probability on.")]
    operating_point: Annotated[str, Meta(description="Name of the threshold.")]
    reason: Annotated[str | None, Meta(description="Why it is not assessable.")]
    model: Annotated[str, Meta(description="Name and version of the model.")]
    model_sha256: Annotated[str, Meta(description="Digest of the ONNX file.")]
    tool_version: Annotated[str, Meta(description="Version of screener.")]
    seen_before: Annotated[bool, Meta(description="Whether an earlier run judged the same.")]
    notice: Annotated[str, Meta(description="What the tool is not.")]
    doctor_id: Annotated[str | None, Meta(description="Who asked for the scan, where given.")]
    final_diagnosis: Annotated[str | None, Meta(description="Always null: a verdict is an event of its own.")]
    agreement: Annotated[bool | None, Meta(description="Always null: a verdict is an event of its own.")]
    preprocessing: Annotated[str, Meta(description="Fingerprint of what turned the slice into the model's input.")]


class ReviewV1(_Event, frozen=True):
    """A clinician's verdict on the RESULT whose hash is ``result``."""

    result: Annotated[str, Meta(description="`hash` of the event that the verdict is about.")]
    doctor_id: Annotated[str, Meta(description="Who gave it.")]
    final_diagnosis: Annotated[str, Meta(description="`tumour`, `no_tumour`, `unsure` or `bad_image`.")]
    agreement: Annotated[bool | None, Meta(description="Whether it agrees with the decision; null: cannot be said.")]


class RecoveredV1(_Event, frozen=True):
    """What a crash had left at the end of the log was set aside."""

    torn_bytes: Annotated[int, Meta(ge=0, description="How many bytes.")]
    torn_sha256: Annotated[str, Meta(description="Their digest.")]
    torn_base64: Annotated[str | None, Meta(description="The first 64 KiB of them.")]
    torn_file: Annotated[str | None, Meta(description="Where all of them are, when there are more.")]


class EndV1(_Event, frozen=True):
    """A run ends."""

    counts: Annotated[dict[str, Any], Meta(description="Slices by decision and urgency, and what else was counted.")]
    reason: Annotated[str, Meta(description="`complete`, or why the run ended early.")]


class StartV2(StartV1, frozen=True):
    """A run begins; its other fields say with what."""


class ResultV2(ResultV1, frozen=True):
    """What was found about one slice, and where in its study it stands."""

    frame: Annotated[int | None, Meta(description="Number of the frame in a multi-frame file; else null.")]
    study_id: Annotated[str | None, Meta(description="Study that the slice belongs to.")]
    series_id: Annotated[str | None, Meta(description="Series that the slice belongs to.")]
    position: Annotated[Decimal | None, Meta(description="mm along the normal of the series.")]
    sequence: Annotated[str | None, Meta(description="Sequence as far as the header names it.")]
    plane: Annotated[str | None, Meta(description="Plane of the slice.")]
    statistics: Annotated[
        dict[str, str] | None,
        Meta(
            description="Of the stored pixels: `brightness`, `contrast`, `sharpness`, `height`, `width`; from DICOM "
            "`manufacturer` and `manufacturer_model`. Null where nothing was measured."
        ),
    ]
    embedding: Annotated[
        Annotated[str, Meta(max_length=200)] | None,
        Meta(description="The model's features of the slice, compressed, as base64; null where there are none."),
    ]


class SliceCountsV2(msgspec.Struct, frozen=True):
    """How many slices a study has, and what became of them."""

    total: Annotated[int, Meta(ge=0, description="All slices.")]
    assessed: Annotated[int, Meta(ge=0, description="Slices with a probability.")]
    flagged: Annotated[int, Meta(ge=0, description="Slices that are flagged by themselves.")]
    not_assessable: Annotated[int, Meta(ge=0, description="Slices that were refused.")]


class SeriesV2(msgspec.Struct, frozen=True):
    """What one series of a study contributes; its curve follows from the RESULT events."""

    series_id: Annotated[str | None, Meta(description="The series.")]
    sequence: Annotated[str | None, Meta(description="Its sequence.")]
    plane: Annotated[str | None, Meta(description="Its plane.")]
    slices: Annotated[int, Meta(ge=0, description="Its slices.")]
    probability: Annotated[Decimal | None, Meta(description="Null where no slice is assessable, or it is not used.")]


class KeySliceV2(msgspec.Struct, frozen=True):
    """A slice that carries the evidence."""

    path: Annotated[str, Meta(description="As in its RESULT.")]
    series_id: Annotated[str | None, Meta(description="Its series.")]
    position: Annotated[Decimal | None, Meta(description="mm along the normal; for pictures the index.")]
    probability: Annotated[Decimal, Meta(description="In context.")]


class EarlierResultsV2(msgspec.Struct, frozen=True):
    """Some of the RESULT events that a run wrote about one study, by their numbers, which takes little room."""

    run_id: Annotated[str, Meta(description="Run that wrote them.")]
    study_id: Annotated[str | None, Meta(description="Study that they name; null where they name none.")]
    numbers: Annotated[
        tuple[tuple[Annotated[int, Meta(ge=1)], Annotated[int, Meta(ge=1)]], ...],
        Meta(
            min_length=1,
            description="First and last of each unbroken row; 1 is the first RESULT of that run and study in the log.",
        ),
    ]


class StudyV2(_Event, frozen=True):
    """What was found about one study."""

    study_id: Annotated[str, Meta(description="StudyInstanceUID; pictures: the folder.")]
    patient_id: Annotated[str | None, Meta(description="Whose study it is.")]
    accession_number: Annotated[str | None, Meta(description="DICOM AccessionNumber.")]
    study_date: Annotated[str | None, Meta(description="DICOM StudyDate.")]
    decision: Annotated[str, Meta(description="`flagged`, `not_flagged` or `not_assessable`.")]
    probability: Annotated[Decimal | None, Meta(description="In [0, 1]; null where not assessable.")]
    confidence: Annotated[Decimal | None, Meta(description="Probability of the decision taken.")]
    urgency: Annotated[str, Meta(description="`HIGH`, `MEDIUM`, `REVIEW` or `LOW`.")]
    recommendation: Annotated[str, Meta(description="What the urgency asks for, in English.")]
    threshold: Annotated[Decimal, Meta(description="Flagged from this probability on.")]
    operating_point: Annotated[str, Meta(description="Name of the threshold.")]
    reason: Annotated[str | None, Meta(description="Why it is not assessable.")]
    slices: Annotated[SliceCountsV2, Meta(description="How many slices, and what became of them.")]
    series: Annotated[tuple[SeriesV2, ...], Meta(description="Its series.")]
    key_slices: Annotated[tuple[KeySliceV2, ...], Meta(description="Up to three slices, strongest first.")]
    model: Annotated[str, Meta(description="Name and version of the model.")]
    model_sha256: Annotated[str, Meta(description="Digest of the ONNX file.")]
    tool_version: Annotated[str, Meta(description="Version of screener.")]
    seen_before: Annotated[bool, Meta(description="Whether an earlier run answered from the same results.")]
    notice: Annotated[str, Meta(description="What the tool is not.")]
    preprocessing: Annotated[str, Meta(description="Fingerprint of what turned slices into the model's input.")]
    results_sha256: Annotated[
        Digest,
        Meta(
            description="SHA-256 over the hashes of the RESULT events that it rests on: those of `earlier_results`, "
            "as listed, then those of this run and study since the run's last STUDY of it, in log order."
        ),
    ]
    earlier_results: Annotated[
        tuple[EarlierResultsV2, ...], Meta(description="RESULT events from before, of earlier runs or of this one.")
    ]


class ReceivedV2(_Event, frozen=True):
    """A folder of the inbox came to rest and is screened by this run; answered once the run's END says `complete`."""

    inbox: Annotated[str, Meta(description="As START records it.")]
    folder: Annotated[str, Meta(description="Folder or file directly below the inbox.")]
    files: Annotated[int, Meta(ge=0, description="Its files.")]
    bytes: Annotated[int, Meta(ge=0, description="Their size.")]
    contents_sha256: Annotated[Digest, Meta(description="Digest of the files' names, sizes and times of change.")]
    last_arrival: Annotated[str, Meta(description="Time of the last change, UTC, ISO 8601.")]
    senders: Annotated[
        tuple[str, ...], Meta(description="Calling AE titles, as far as this process knows; empty for a folder.")
    ]


class DeletedV2(_Event, frozen=True):
    """Received files whose result stands in the log are deleted."""

    inbox: Annotated[str, Meta(description="As START records it.")]
    folder: Annotated[str, Meta(description="Folder or file directly below the inbox.")]
    files: Annotated[int, Meta(ge=0, description="Its files.")]
    contents_sha256: Annotated[Digest, Meta(description="As in the RECEIVED event.")]
    received: Annotated[Digest, Meta(description="`hash` of the RECEIVED event, whose run is complete.")]
    after_days: Annotated[Decimal, Meta(description="How long files are kept.")]


class SentObjectV2(msgspec.Struct, frozen=True):
    """One DICOM object that a destination stored."""

    sop_instance_uid: Annotated[str, Meta(description="Its identifier, which follows from the STUDY event.")]
    sha256: Annotated[Digest, Meta(description="Digest of the file.")]


class SentV2(_Event, frozen=True):
    """The answer about a study was stored at a destination."""

    study: Annotated[Digest, Meta(description="`hash` of the STUDY event.")]
    destination: Annotated[str, Meta(description="As given with `--send`: AET@host:port, or an address.")]
    language: Annotated[str, Meta(description="Of the texts in the objects.")]
    objects: Annotated[tuple[SentObjectV2, ...], Meta(min_length=1, description="What was stored.")]


class AlertV2(_Event, frozen=True):
    """Monitoring found a change that chance alone does not explain."""

    indicator: Annotated[str, Meta(description="What changed, such as `sensitivity` or `brightness`.")]
    period: Annotated[str, Meta(description="When the limit was reached: ISO week, or first day.")]
    days: Annotated[int, Meta(ge=1, description="Days of a period.")]
    evidence: Annotated[Decimal, Meta(description="The most evidence so far: capital won by betting on a change.")]
    limit: Annotated[Decimal, Meta(description="While nothing changes, reached with a chance of one over this.")]
    watched: Annotated[str, Meta(description="Model and threshold that were watched.")]
    model_sha256: Annotated[str, Meta(description="Digest of the ONNX file.")]
    check: Annotated[str, Meta(description="What to check first, in English.")]
    read_to: Annotated[Digest, Meta(description="`hash` of the last event that was read.")]


class ReviewV2(ReviewV1, frozen=True):
    """A clinician's verdict on the RESULT or STUDY whose hash is ``result``."""


class RecoveredV2(RecoveredV1, frozen=True):
    """What a crash had left at the end of the log was set aside."""


class EndV2(EndV1, frozen=True):
    """A run ends."""


EVENTS: dict[int, dict[str, type[_Event]]] = {
    1: {"START": StartV1, "RESULT": ResultV1, "REVIEW": ReviewV1, "RECOVERED": RecoveredV1, "END": EndV1},
    2: {
        "START": StartV2,
        "RESULT": ResultV2,
        "STUDY": StudyV2,
        "REVIEW": ReviewV2,
        "RECOVERED": RecoveredV2,
        "RECEIVED": ReceivedV2,
        "DELETED": DeletedV2,
        "SENT": SentV2,
        "ALERT": AlertV2,
        "END": EndV2,
    },
}
"""The struct of each kind of event, by version of the format."""
REQUIRED: dict[int, dict[str, frozenset[str]]] = {
    version: {kind: frozenset(struct.__struct_fields__) for kind, struct in kinds.items()}
    for version, kinds in EVENTS.items()
}
"""The fields that each event must have."""
