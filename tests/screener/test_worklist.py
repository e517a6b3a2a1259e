"""What waits to be read: studies first, slices where no study answers for them."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screener.audit import read, study_finding_of
from screener.audit.events import seal
from screener.audit.reader import EventReader
from screener.domain.finding import Urgency
from screener.finding_store import FindingStore
from screener.report.terminal import Worklist, show, show_json
from screener.triage import reading_order
from screener.worklist import counts, entries, waiting
from tests.study_logs import SHA256, StudyLog

if TYPE_CHECKING:
    from pathlib import Path

HIGH, MEDIUM, LOW = [0.95] * 6, [0.6] * 6, [0.1] * 6


@pytest.fixture
def log(tmp_path: Path) -> StudyLog:
    found = StudyLog(tmp_path / "audit.jsonl")
    found.run({"medium": MEDIUM, "low": LOW, "high": HIGH, "refused": [None] * 6, "noisy": [*LOW, 0.99, *LOW]})
    return found


def listed(log: Path, level: str = "study") -> list[str]:
    with FindingStore() as store:
        waiting(EventReader(log), store)
        return [item.finding.path for item in entries(store, level)]


def test_studies_wait_in_reading_order(log: StudyLog) -> None:
    assert listed(log.log) == ["high", "medium", "refused"]
    assert "noisy/6.png" in listed(log.log, "slice")
    assert len(listed(log.log, "slice")) == 6 + 6 + 6 + 1


def test_a_verdict_on_the_study_takes_it_off_and_one_on_a_slice_does_not(log: StudyLog) -> None:
    log.review(log.results["high/0.png"])
    assert listed(log.log) == ["high", "medium", "refused"]
    assert len(listed(log.log, "slice")) == 18
    log.review(log.studies["high"])
    assert listed(log.log) == ["medium", "refused"]
    assert len(listed(log.log, "slice")) == 13, "its slices were read with it"


def test_more_slices_are_a_new_answer_and_the_verdict_before_stays_visible(log: StudyLog) -> None:
    log.review(log.studies["high"], "no_tumour")
    log.run({"high": [*HIGH, 0.97]})
    assert listed(log.log)[0] == "high"
    with FindingStore() as store:
        waiting(EventReader(log.log), store)
        item = store.studies.find("/inbox", "high")
        assert item is not None
        assert item.verdict is None
        assert item.earlier_verdict is not None
        assert item.earlier_verdict.final_diagnosis == "no_tumour"


def test_the_last_answer_of_the_same_model_and_threshold_counts(log: StudyLog) -> None:
    log.run({"refused": LOW})
    assert listed(log.log) == ["high", "medium"]


@pytest.mark.parametrize("change", [{"threshold": 0.99}, {"model_sha256": "c" * 64}])
def test_another_model_or_threshold_takes_no_unread_study_off(log: StudyLog, change: dict[str, object]) -> None:
    log.run({"high": LOW, "medium": LOW}, **change)  # type: ignore[arg-type]
    assert listed(log.log) == ["high", "medium", "refused"]
    log.review(log.studies["high"])
    assert "high" in listed(log.log), "that verdict is about the other answer"


def test_a_study_that_a_run_did_not_answer_is_listed_by_its_slices(log: StudyLog) -> None:
    log.run({"later": HIGH, "low": [*LOW, 0.96]}, answered=False)
    found = listed(log.log)
    assert {f"later/{number}.png" for number in range(6)} <= set(found)
    assert "low/6.png" in found, "recorded after the answer about its study"
    assert "noisy/6.png" not in found
    log.run({"later": HIGH, "low": [*LOW, 0.96]})
    assert [path for path in listed(log.log) if "/" in path] == []


def test_studies_of_two_inboxes_are_two(log: StudyLog) -> None:
    other = StudyLog(log.log, "/elsewhere")
    other.run({"high": HIGH})
    assert listed(log.log).count("high") == 2
    other.review(other.studies["high"])
    assert listed(log.log).count("high") == 1


def test_a_forged_study_is_reported_and_hides_nothing(log: StudyLog) -> None:
    (event, *_) = (event for event in read(log.log) if event["event"] == "STUDY")
    head = [event["hash"] for event in read(log.log)][-1]
    evil = ({"slices": 7}, {"series": [1]}, {"key_slices": [{"path": 3}]}, {"urgency": "URGENT"}, {"model": None})
    with log.log.open("ab") as file:
        for change in evil:
            sound = {name: value for name, value in event.items() if name not in ("hash", "prev")}
            line, head = seal({**sound, **change, "study_id": "forged"}, head)
            file.write(line)
    reader = EventReader(log.log)
    with FindingStore() as store:
        waiting(reader, store)
        assert [item.finding.path for item in entries(store, "study")] == ["high", "medium", "refused"]
    assert reader.problem is not None


def test_the_table_names_study_and_earlier_verdict(log: StudyLog, capsys: pytest.CaptureFixture[str]) -> None:
    log.review(log.studies["medium"], "unsure")
    log.run({"medium": [*MEDIUM, 0.65]})
    with FindingStore() as store:
        waiting(EventReader(log.log), store)
        show(Worklist(entries(store, "study"), *counts(store, "study")), 2, "en", color=False)
        shown = capsys.readouterr().out
        show_json(Worklist(entries(store, "study"), *counts(store, "study")))
        message = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "/inbox/medium" in shown
    assert "unsure (dr.a)" in shown
    assert "1 more not shown" in shown
    assert "3 studies wait: 1 HIGH, 1 MEDIUM, 1 REVIEW" in shown
    assert [(line["level"], line["study_id"]) for line in message] == [
        ("study", name) for name in ("high", "medium", "refused")
    ]
    assert "curve" not in message[0]["series"][0]


def test_a_study_reads_back_from_its_event(log: StudyLog) -> None:
    events = [event for event in read(log.log) if event["event"] == "STUDY"]
    for event in events:
        found = study_finding_of(event)
        assert (found.study_id, found.model_sha256, found.urgency) == (
            event["study_id"],
            SHA256,
            Urgency(event["urgency"]),
        )
        assert found.probability == (None if event["probability"] is None else float(event["probability"]))
        assert [key.path for key in found.key_slices] == [key["path"] for key in event["key_slices"]]
        assert found.series[0].slices == event["slices"]["total"]
    assert len(events) == 5


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.sampled_from([f"p{n}" for n in range(6)]), st.sampled_from(["high", "medium", "low", "none"]))
)
def test_whatever_was_found_the_order_is_the_contract(
    tmp_path_factory: pytest.TempPathFactory, studies: dict[str, str]
) -> None:
    slices = {"high": HIGH, "medium": MEDIUM, "low": LOW, "none": [None]}
    log = StudyLog(tmp_path_factory.mktemp("log") / "audit.jsonl")
    log.run({name: slices[kind] for name, kind in studies.items()})
    with FindingStore() as store:
        waiting(EventReader(log.log), store)
        found = [item.finding for item in entries(store, "study")]
    assert found == sorted(found, key=reading_order)
    assert {finding.path for finding in found} == {name for name, kind in studies.items() if kind != "low"}


@pytest.mark.long
def test_memory_does_not_grow_with_studies(tmp_path: Path) -> None:
    log = StudyLog(tmp_path / "audit.jsonl")
    log.run({f"p{number:05d}": [0.95] for number in range(2_000)})
    tracemalloc.start()
    with FindingStore() as store:
        waiting(EventReader(log.log), store)
        assert sum(1 for _ in entries(store, "study")) == 2_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20, "SQLite keeps them, Python does not"
