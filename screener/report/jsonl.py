"""One finding of a slice or a study, one line of JSON: the structs are the schema of ``--json``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from screener.domain.estimate import Count, Share
from screener.domain.finding import Decision, Urgency
from screener.domain.slice import Reason

if TYPE_CHECKING:
    from screener.domain.finding import Finding
    from screener.domain.study import StudyFinding

_Digest = Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")]
_Sequence = Annotated[str | None, Meta(description="Sequence as far as the header names it; null for pictures.")]
_Plane = Annotated[str | None, Meta(description="Plane of the slices; null for pictures.")]
_Patient = Annotated[
    str | None,
    Meta(description="DICOM: PatientID; pictures: first folder under the inbox, or what `--patient-regex` finds."),
]
_Decision = Annotated[Decision, Meta(description="`flagged` from the threshold on; see decisions.")]
_Probability = Annotated[Share | None, Meta(description="Raw answer; null where not assessable.")]
_Confidence = Annotated[
    Share | None, Meta(description="The probability if flagged, one minus it if not; null where not assessable.")
]
_Urgency = Annotated[Urgency, Meta(description="How soon a radiologist should look.")]
_Recommendation = Annotated[str, Meta(description="What the urgency asks for, in English.")]
_Threshold = Annotated[Share, Meta(description="Flagged from this probability on.")]
_Point = Annotated[str, Meta(description="Name of the operating point; `custom` for a number.")]
_Reason = Annotated[Reason | None, Meta(description="Why nothing trustworthy can be said; see reasons.")]
_Model = Annotated[str, Meta(description="Name and version of the model.")]
_ModelDigest = Annotated[_Digest, Meta(description="SHA-256 of the ONNX file, lower-case hex.")]
_Tool = Annotated[str, Meta(description="Version of screener.")]
_Seen = Annotated[bool, Meta(description="Whether an earlier run judged the same with the same model and threshold.")]
_Notice = Annotated[str, Meta(description="What this is not: a diagnosis, a medical device.")]


class SliceLine(msgspec.Struct, frozen=True):
    """The object of one slice."""

    path: Annotated[str, Meta(description="Relative to the inbox, separated by `/`.")]
    sha256: Annotated[_Digest, Meta(description="Lower-case hex digest of the file; empty when it could not be read.")]
    frame: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Number of the frame in a multi-frame file; else null.")
    ]
    patient_id: _Patient
    decision: _Decision
    probability: _Probability
    confidence: _Confidence
    urgency: _Urgency
    recommendation: _Recommendation
    threshold: _Threshold
    operating_point: _Point
    reason: _Reason
    model: _Model
    model_sha256: _ModelDigest
    tool_version: _Tool
    seen_before: _Seen
    notice: _Notice
    level: Annotated[Literal["slice"], Meta(description="Tells a slice from a study.")]
    study_id: Annotated[str | None, Meta(description="Study that the slice belongs to.")]
    series_id: Annotated[str | None, Meta(description="Series that the slice belongs to.")]
    position: Annotated[float | None, Meta(description="mm along the normal of the series; null for pictures.")]
    sequence: _Sequence
    plane: _Plane


class SliceCountsLine(msgspec.Struct, frozen=True):
    """How many slices a study has, and what became of them."""

    total: Annotated[Count, Meta(description="All slices.")]
    assessed: Annotated[Count, Meta(description="Slices with a probability.")]
    flagged: Annotated[Count, Meta(description="Slices that are flagged by themselves.")]
    not_assessable: Annotated[Count, Meta(description="Slices that were refused.")]


class SeriesLine(msgspec.Struct, frozen=True):
    """What one series of a study contributes."""

    series_id: Annotated[str | None, Meta(description="The series.")]
    sequence: _Sequence
    plane: _Plane
    slices: Annotated[Count, Meta(description="Slices of the series.")]
    probability: Annotated[
        Share | None, Meta(description="Null where no slice is assessable, or the model was not shown to work on it.")
    ]
    curve: Annotated[
        tuple[Share | None, ...],
        Meta(description="A number a slice in anatomical order: its probability in context; null: not assessable."),
    ]
    reason: Annotated[
        Reason | None, Meta(description="Why the series is not used: its plane or sequence, or all slices refused.")
    ]


class KeySliceLine(msgspec.Struct, frozen=True):
    """A slice that carries the evidence."""

    path: Annotated[str, Meta(description="As in the object of the slice.")]
    series_id: Annotated[str | None, Meta(description="Its series.")]
    position: Annotated[float | None, Meta(description="mm along the normal; for pictures the index.")]
    probability: Annotated[Share, Meta(description="In context.")]


class StudyLine(msgspec.Struct, frozen=True):
    """The object of one study; it follows the last of its slices."""

    level: Annotated[Literal["study"], Meta(description="Tells a study from a slice.")]
    study_id: Annotated[str, Meta(description="StudyInstanceUID; pictures: the folder.")]
    patient_id: _Patient
    accession_number: Annotated[str | None, Meta(description="DICOM AccessionNumber; null for pictures.")]
    study_date: Annotated[str | None, Meta(description="DICOM StudyDate; null for pictures.")]
    decision: _Decision
    probability: _Probability
    confidence: _Confidence
    urgency: _Urgency
    recommendation: _Recommendation
    threshold: _Threshold
    operating_point: _Point
    reason: _Reason
    slices: Annotated[SliceCountsLine, Meta(description="How many slices, and what became of them.")]
    series: Annotated[tuple[SeriesLine, ...], Meta(description="Its series.")]
    key_slices: Annotated[
        tuple[KeySliceLine, ...], Meta(max_length=3, description="Up to three slices, strongest first.")
    ]
    model: _Model
    model_sha256: _ModelDigest
    tool_version: _Tool
    seen_before: _Seen
    notice: _Notice


def line(finding: Finding | StudyFinding) -> str:
    """Return a finding as one line of pure-ASCII JSON, keys in the order of the contract, without the newline."""
    kind: type[msgspec.Struct] = SliceLine if finding.level == "slice" else StudyLine
    plain = msgspec.to_builtins(finding)
    # Not validated again: a finding of an old log is shown as it was recorded.
    return json.dumps({name: plain[name] for name in kind.__struct_fields__}, allow_nan=False)
