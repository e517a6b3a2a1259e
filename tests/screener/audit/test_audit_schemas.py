"""Versions of the event format: what was ever written is read, and a study rests on the results in the log."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from audit_samples import finding
from hypothesis import given
from hypothesis import strategies as st

from screener.agreement.opinions import collect
from screener.audit import AuditLog, Kind, finding_of, read, verify
from screener.audit.events import GENESIS, SCHEMA, digest_of, parse, result_event, seal
from screener.audit.reader import EventReader
from screener.audit.schemas import EVENTS, REQUIRED
from screener.domain.finding import Decision, Urgency
from screener.domain.study import KeySlice, SeriesFinding, SliceCounts, StudyFinding
from screener.domain.verdict import Diagnosis, Opinion
from screener.finding_store import FindingStore
from screener.latest_results import latest_results
from screener.review.queue import ReviewQueue
from screener.worklist import entries, waiting

RECORDED = Path(__file__).parents[2] / "data" / "audit"


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Copy the log that the first schema wrote: two sealed segments, a verdict, a recovery."""
    for file in RECORDED.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path / "schema-1.jsonl"


def study(study_id: str = "p1") -> StudyFinding:
    return StudyFinding(
        level="study",
        study_id=study_id,
        patient_id=study_id,
        accession_number=None,
        study_date=None,
        decision=Decision.FLAGGED,
        probability=0.9,
        confidence=0.9,
        urgency=Urgency.HIGH,
        recommendation="read",
        threshold=0.4,
        operating_point="auto",
        reason=None,
        slices=SliceCounts(2, 2, 1, 0),
        series=(SeriesFinding(None, None, None, 2, 0.9, (0.9, None)),),
        key_slices=(KeySlice("p1/a.png", None, 0.0, 0.9),),
        model="m",
        model_sha256="0" * 64,
        tool_version="1",
        seen_before=False,
        notice="n",
    )


def write_study(log: Path, *, claimed: str | None = None) -> list[str]:
    """Write two results and the study that rests on them; return their hashes."""
    with AuditLog(log) as writer:
        writer.start({"inbox": "/in"})
        slices = [replace(finding(number), study_id="p1") for number in (0, 1)]
        hashes = writer.results(slices, doctor_id=None, preprocessing="v1")
        writer.study(study(), preprocessing="v1", results_sha256=claimed or digest_of(hashes))
        writer.end({}, "complete")
    return hashes


def test_a_log_of_the_first_schema_verifies_and_goes_on(recorded: Path) -> None:
    assert verify(recorded).ok
    assert verify(recorded).events == 10
    kinds = [event["event"] for event in read(recorded)]
    assert set(kinds) == {"START", "RESULT", "REVIEW", "RECOVERED", "END"}
    with AuditLog(recorded) as log:
        log.start({"inbox": "/mri_inbox"})
        log.results([finding(99)], doctor_id=None, preprocessing="v1")
    assert verify(recorded).ok
    assert [event["schema"] for event in read(recorded)] == [1] * 10 + [SCHEMA] * 2


def test_findings_of_the_first_schema_are_read(recorded: Path) -> None:
    found = [finding_of(event) for event in read(recorded) if event["event"] == Kind.RESULT]
    assert [one.path for one in found] == ["p1/a.png", "p1/é.png", "p2/a.png", "p3/b.png"]
    assert [one.probability for one in found] == [0.97, 0.1, None, 0.55]
    assert {one.study_id for one in found} == {None}
    with AuditLog(recorded) as log:
        about = {"model_sha256": "a" * 64, "preprocessing": "v1"}
        assert log.seen(found[0].path, found[0].sha256, threshold=0.4, **about) is not None


def test_the_worklist_of_a_log_of_the_first_schema(recorded: Path) -> None:
    with FindingStore() as store:
        waiting(EventReader(recorded), store)
        assert store.count() == 2  # flagged without a verdict, and not assessable


def test_a_log_of_the_first_schema_is_reviewed_and_reported_by_slice(recorded: Path) -> None:
    with ReviewQueue(recorded, sample=1.0) as queue:
        found = [queue.case(result).item.finding.path for result in queue.results()]
        assert found == ["p3/b.png", "p2/a.png", "p1/é.png"]
        queue.record(queue.results()[0], Opinion(Diagnosis.TUMOUR, "dr"))
    assert verify(recorded).ok
    found_agreement = collect(EventReader(recorded))
    assert (found_agreement.level, sum(found_agreement.population.values())) == ("slice", 4)
    assert found_agreement.verdicts == 2
    with FindingStore() as store:
        waiting(EventReader(recorded), store)
        assert [item.finding.path for item in entries(store, "study")] == ["p2/a.png"]
        assert latest_results(EventReader(recorded), store)


def test_every_version_has_its_own_fields() -> None:
    assert set(EVENTS) == set(REQUIRED) == {1, 2}
    assert REQUIRED[2]["RESULT"] - REQUIRED[1]["RESULT"] == {
        *("frame", "study_id", "series_id", "position", "sequence", "plane", "statistics", "embedding")
    }
    assert "STUDY" not in REQUIRED[1]


def test_an_event_that_its_version_does_not_have_is_bad() -> None:
    event = result_event(finding(1), "r", doctor_id=None, preprocessing="v1")
    del event["study_id"]
    with pytest.raises(ValueError, match="lacks study_id"):
        parse(seal(event, GENESIS)[0])


@given(
    position=st.none() | st.floats(-500, 500),
    frame=st.none() | st.integers(1, 65535),
    study=st.none() | st.text(max_size=30),
)
def test_a_result_reads_back_as_it_was(position: float | None, frame: int | None, study: str | None) -> None:
    before = replace(finding(1), position=position, frame=frame, study_id=study)
    event = result_event(before, "r", doctor_id=None, preprocessing="v1")
    after = finding_of(parse(seal(event, GENESIS)[0]))
    assert after.position == position
    assert after.frame == frame
    assert after == replace(before, study_id=after.study_id)
    assert len(json.dumps(event["embedding"])) <= 200


def test_a_study_is_logged_and_found_again(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    hashes = write_study(log)
    assert verify(log).ok
    (event,) = (event for event in read(log) if event["event"] == Kind.STUDY)
    assert event["results_sha256"] == hashlib.sha256("".join(hashes).encode()).hexdigest()
    assert event["probability"] == "0.9"
    assert "curve" not in event["series"][0]
    for _ in range(2):
        with AuditLog(log) as again:
            threshold = float(event["threshold"])
            assert again.study_seen("p1", event["results_sha256"], threshold)
            assert not again.study_seen("p1", event["results_sha256"], threshold / 2), (
                "another threshold, another answer"
            )
            assert not again.study_seen("p2", event["results_sha256"], threshold)
            assert not again.study_seen("p1", "0" * 64, threshold)
        # The second time the index is gone.
        (tmp_path / "log.jsonl.index.sqlite").unlink()


def test_a_study_that_rests_on_other_results_is_found(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    write_study(log, claimed="f" * 64)
    found = verify(log)
    assert not found.ok
    assert found.first_bad is not None
    assert "does not rest on the results" in found.first_bad.why
