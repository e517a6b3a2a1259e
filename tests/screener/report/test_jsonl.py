"""The objects of ``--json`` are what their structs declare, in the order of the contract."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.domain.finding import Decision, Finding
from screener.domain.slice import Identity, Prediction, Reason, Refused
from screener.model.card import OperatingPoint
from screener.pipeline.study import Aggregation, StudySlices, study_finding
from screener.report.jsonl import SliceLine, StudyLine, line
from screener.triage import TriagePolicy

POLICY = TriagePolicy(OperatingPoint("auto", 0.4), 0.7, "m 1", "0" * 64)
# fmt: off
SLICE = [
    "path", "sha256", "frame", "patient_id", "decision", "probability", "confidence", "urgency", "recommendation",
    "threshold", "operating_point", "reason", "model", "model_sha256", "tool_version", "seen_before", "notice", "level",
    "study_id", "series_id", "position", "sequence", "plane",
]
STUDY = [
    "level", "study_id", "patient_id", "accession_number", "study_date", "decision", "probability", "confidence",
    "urgency", "recommendation", "threshold", "operating_point", "reason", "slices", "series", "key_slices", "model",
    "model_sha256", "tool_version", "seen_before", "notice",
]
# fmt: on
text = st.text(max_size=8) | st.just("a\x1b[2J \udcff\U0001f600")


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    optional = st.none() | text
    identity = Identity(
        draw(text),
        draw(st.sampled_from(["", "0f" * 32])),
        draw(optional),
        frame=draw(st.none() | st.integers(1, 500)),
        study_id=draw(text),
        series_id=draw(optional),
        position=draw(st.none() | st.floats(-500, 500)),
        sequence=draw(st.sampled_from([None, "T1", "T1ce", "T2", "FLAIR", "other"])),
        plane=draw(st.sampled_from([None, "axial", "oblique"])),
    )
    if draw(st.booleans()):
        return POLICY.refusal(Refused(identity, draw(st.sampled_from(Reason))))
    return POLICY.finding(identity, Prediction(draw(st.floats(0, 1))))


@given(findings())
def test_any_slice_is_one_ascii_line_in_the_order_of_the_contract(finding: Finding) -> None:
    shown = line(finding)
    assert shown.isascii()
    assert shown.isprintable()
    plain = json.loads(shown)
    assert list(plain) == SLICE
    assert msgspec.convert(plain, SliceLine).decision is finding.decision
    assert plain["probability"] == finding.probability
    assert plain["reason"] == finding.reason


@given(st.lists(findings(), min_size=1, max_size=8))
def test_any_study_too(found: list[Finding]) -> None:
    slices = StudySlices("p", None)
    for finding in found:
        slices.add(finding)
    plain = json.loads(line(study_finding(slices, POLICY, Aggregation())))
    assert list(plain) == STUDY
    read = msgspec.convert(plain, StudyLine)
    assert read.slices.total == len(found) == sum(len(series.curve) for series in read.series)
    assert (read.probability is None) == (read.decision is Decision.NOT_ASSESSABLE)
    assert list(plain["series"][0]) == ["series_id", "sequence", "plane", "slices", "probability", "curve", "reason"]
    assert set(plain["slices"]) == {"total", "assessed", "flagged", "not_assessable"}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_never_printed(value: float) -> None:
    finding = POLICY.finding(Identity("a.png", "", None), Prediction(0.5))
    with pytest.raises(ValueError, match="JSON compliant"):
        line(replace(finding, probability=value))
