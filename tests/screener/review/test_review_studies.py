"""Verdicts on studies: what is asked, what is shown of their slices, and what reaches the log."""

from __future__ import annotations

import csv
import hashlib
import io
from typing import TYPE_CHECKING

import pytest

from screener.audit import AuditLog, read, verify
from screener.domain.slice import Identity, Prediction
from screener.domain.verdict import Diagnosis, Opinion, SelectionReason
from screener.errors import UsageError
from screener.model.card import OperatingPoint
from screener.pipeline.study import Aggregation, Logged, StudySlices, study_finding
from screener.review.queue import ReviewQueue, hidden
from screener.review.table import read_rows, record, template
from screener.review.terminal import TerminalReview
from screener.review.verdicts import Doctors
from screener.triage import TriagePolicy
from tests.conftest import write_slice
from tests.study_logs import StudyLog

if TYPE_CHECKING:
    from pathlib import Path

    from screener.audit import Event

LOW = [0.1] * 5
STUDIES = {"quiet": LOW, "mass": [*LOW, 0.97, 0.98, 0.97, *LOW], "refused": [None] * 4, "noisy": [*LOW, 0.99, *LOW]}
TUMOUR = Opinion(Diagnosis.TUMOUR, "dr.a")


@pytest.fixture
def log(tmp_path: Path) -> StudyLog:
    """Return a log of four studies whose slices are files."""
    inbox, hashes = tmp_path / "inbox", {}
    for seed, (study, slices) in enumerate(STUDIES.items()):
        for number in range(len(slices)):
            path = f"{study}/{number}.png"
            hashes[path] = hashlib.sha256(write_slice(inbox / path, 100 * seed + number).read_bytes()).hexdigest()
    found = StudyLog(tmp_path / "audit.jsonl", str(inbox))
    found.run(STUDIES, hashes=hashes)
    return found


def reviews(log: Path) -> list[Event]:
    return [event for event in read(log) if event["event"] == "REVIEW"]


def paths(queue: ReviewQueue) -> list[str]:
    return [queue.case(result).item.finding.path for result in queue.results()]


def test_studies_are_asked_in_reading_order_and_their_slices_are_not(log: StudyLog) -> None:
    with ReviewQueue(log.log, sample=1.0) as queue:
        assert paths(queue) == ["mass", "refused", "noisy", "quiet"]
        assert [queue.case(result).selection for result in queue.results()] == [
            SelectionReason.FLAGGED,
            SelectionReason.NOT_ASSESSABLE,
            *[SelectionReason.SAMPLE] * 2,
        ]
    with ReviewQueue(log.log, sample=0.0) as queue:
        assert paths(queue) == ["mass", "refused"]
        assert queue.progress().unasked == 2


def test_a_verdict_on_a_study_refers_to_its_event_and_ends_the_asking(log: StudyLog) -> None:
    with ReviewQueue(log.log, sample=0.0) as queue:
        queue.record(log.studies["mass"], TUMOUR)
    (event,) = reviews(log.log)
    assert (event["result"], event["drawn"], event["agreement"]) == (log.studies["mass"], "flagged", True)
    assert verify(log.log).ok
    with ReviewQueue(log.log, sample=0.0) as queue:
        assert paths(queue) == ["refused"]


def test_a_verdict_on_a_slice_takes_no_study_off(log: StudyLog) -> None:
    with ReviewQueue(log.log, sample=1.0) as queue:
        queue.record(log.results["mass/0.png"], Opinion(Diagnosis.NO_TUMOUR, "dr.a"))
        case = queue.case(log.studies["mass"])
        assert case.item.verdict is None
        given = {one.item.finding.path: one.item.verdict for one in queue.slices(case)}
        assert given["mass/0.png"] is not None
        assert given["mass/1.png"] is None
    (event,) = reviews(log.log)
    assert (event["drawn"], "sampling" in event) == ("asked", False), "no slice of a study is drawn at random"
    with ReviewQueue(log.log, sample=0.0) as queue:
        assert paths(queue) == ["mass", "refused"]


def test_slices_stand_in_order_with_the_key_slices_marked(log: StudyLog) -> None:
    with ReviewQueue(log.log, sample=0.0) as queue:
        slices = queue.slices(queue.case(log.studies["mass"]))
        assert [one.item.finding.path for one in slices] == [f"mass/{number}.png" for number in range(13)]
        keys = {one.key: one.item.finding.path for one in slices if one.key is not None}
        assert sorted(keys) == [0, 1, 2]
        assert set(keys.values()) == {f"mass/{number}.png" for number in (5, 6, 7)}
        (alone,) = queue.slices(queue.case(log.results["mass/6.png"]))
        assert alone.item.finding.path == "mass/6.png"


def test_a_file_that_was_replaced_is_shown_as_it_was_judged_last(log: StudyLog) -> None:
    log.run({"mass": STUDIES["mass"]}, hashes={"mass/6.png": "e" * 64})
    with ReviewQueue(log.log, sample=0.0) as queue:
        slices = queue.slices(queue.case(log.studies["mass"]))
        assert len(slices) == 13
        assert {one.item.finding.sha256 for one in slices if one.item.finding.path == "mass/6.png"} == {"e" * 64}


def test_frames_of_one_file_are_told_apart_by_their_position(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    policy = TriagePolicy(OperatingPoint("auto", 0.4), 0.9, "tiny 1.0.0", "b" * 64)
    scores = [0.1, 0.1, 0.1, 0.9, 0.95, 0.9, 0.1, 0.1, 0.1]
    slices = StudySlices("1.2.3", "p")
    with AuditLog(log) as writer:
        writer.start({"inbox": "/inbox", "model": "tiny 1.0.0"})
        findings = [
            policy.finding(
                Identity("a.dcm", "f" * 64, "p", frame=number + 1, study_id="1.2.3", position=4.0 * number),
                Prediction(score),
            )
            for number, score in enumerate(scores)
        ]
        for finding, result in zip(findings, writer.results(findings, doctor_id=None, preprocessing="p"), strict=True):
            slices.add(finding, Logged(result))
        answer = study_finding(slices, policy, Aggregation())
        writer.study(answer, preprocessing="p", results_sha256=slices.results_sha256())
    with ReviewQueue(log, sample=1.0) as queue:
        shown = queue.slices(queue.case(queue.results()[0]))
    assert [one.item.finding.frame for one in shown] == list(range(1, 10))
    assert [one.item.finding.frame for one in shown if one.key is not None] == [4, 5, 6]


def test_more_slices_are_asked_about_anew_with_the_verdict_before(log: StudyLog) -> None:
    with ReviewQueue(log.log, sample=0.0) as queue:
        queue.record(log.studies["mass"], TUMOUR)
        former = log.studies["mass"]
        log.run({"mass": [*STUDIES["mass"], 0.2]})
        queue.refresh()
        assert paths(queue) == ["mass", "refused"]
        item = queue.case(log.studies["mass"]).item
        assert item.verdict is None
        assert item.earlier_verdict is not None  # type: ignore[union-attr]
        with pytest.raises(UsageError, match="no study or slice"):
            queue.case(former)


def test_blind_hides_the_slices_answers_until_the_study_is_judged(log: StudyLog) -> None:
    with ReviewQueue(log.log, sample=1.0, blind=True) as queue:
        slice_ = log.results["mass/6.png"]
        assert hidden(queue.case(slice_), blind=True)
        queue.record(slice_, TUMOUR)
        assert hidden(queue.case(slice_), blind=True), "it would tell what the tool thinks of the study"
        queue.record(log.studies["mass"], TUMOUR)
        assert not hidden(queue.case(slice_), blind=True)
    assert [event["blind"] for event in reviews(log.log)] == [True, True]


def test_the_terminal_names_study_slices_and_key_slices(log: StudyLog) -> None:
    out = io.StringIO()
    with ReviewQueue(log.log, sample=0.0) as queue:
        TerminalReview(queue, "dr.a", "en", io.StringIO("t\n\nq\n"), out).run()
    shown = out.getvalue()
    assert "1 series, 13 slices" in shown
    assert "key slice: mass/6.png" in shown
    assert "1 verdicts recorded" in shown
    out = io.StringIO()
    log.run({"mass": [*STUDIES["mass"], 0.2]})
    with ReviewQueue(log.log, sample=0.0) as queue:
        TerminalReview(queue, "dr.a", "en", io.StringIO("q\n"), out).run()
    assert "earlier verdict: tumour (dr.a)" in out.getvalue()


def on_the_terminal(log: StudyLog, typed: str, **how: object) -> str:
    out = io.StringIO()
    with ReviewQueue(log.log, sample=0.0, **how) as queue:  # type: ignore[arg-type]  # of several types
        TerminalReview(queue, "dr.a", "en", io.StringIO(typed), out).run()
    return out.getvalue()


def test_the_terminal_takes_a_verdict_on_one_slice_and_still_asks_about_the_study(log: StudyLog) -> None:
    shown = on_the_terminal(log, "l\n7\nt\nsmall\nl\n1\ns\nt\n\nq\n")
    assert "slices 1–13: –" in shown
    assert "key slice: 7: mass/6.png" in shown
    assert "slice 7: mass/6.png" in shown
    on_slice, on_study = reviews(log.log)
    assert (on_slice["result"], on_slice["note"], on_slice["drawn"]) == (log.results["mass/6.png"], "small", "flagged")
    assert on_slice["source"] == on_study["source"] == "terminal"
    assert on_study["result"] == log.studies["mass"]
    assert verify(log.log).ok


@pytest.mark.parametrize("number", ["0", "14", "-1", "x", "²", "9" * 50])
def test_a_number_that_no_slice_has_is_asked_for_again(log: StudyLog, number: str) -> None:
    shown = on_the_terminal(log, f"l\n{number}\nq\n")
    assert shown.count("No slice has this number.") == 1
    assert reviews(log.log) == []
    assert "No slice" not in on_the_terminal(log, "l\n\nq\n"), "Enter goes back"


def test_a_blind_reader_is_not_told_the_key_slices(log: StudyLog) -> None:
    typed = "s\nl\n1\nq\n" if first_of(log) == "refused" else "l\n1\nq\n"
    assert "key slice" not in on_the_terminal(log, typed, blind=True)


def first_of(log: StudyLog) -> str:
    with ReviewQueue(log.log, sample=0.0, blind=True) as queue:
        return paths(queue)[0]


def test_a_table_takes_verdicts_on_studies_and_slices(log: StudyLog, tmp_path: Path) -> None:
    with ReviewQueue(log.log, sample=0.0) as queue:
        lines = list(csv.DictReader(io.StringIO("".join(template(queue)))))
    assert [(line["level"], line["path"]) for line in lines] == [("study", "mass"), ("study", "refused")]
    table = tmp_path / "verdicts.csv"
    rows = [(log.studies["mass"], "tumour"), (log.results["mass/0.png"], "no_tumour"), (log.studies["quiet"], "unsure")]
    table.write_text("result,final_diagnosis\n" + "".join(f"{result},{message}\n" for result, message in rows))
    done = record(log.log, read_rows(table, "dr.a", Doctors()), sample=1.0, source=table)
    assert done.count == 3
    assert [event["drawn"] for event in reviews(log.log)] == ["flagged", "asked", "sample"]


def test_the_page_shows_a_study_with_its_slices(log: StudyLog) -> None:
    pytest.importorskip("starlette", reason="needs the extra [review]")
    from starlette.testclient import TestClient

    from screener.review.server import HOST, Server
    from screener.review.viewer import Viewer

    with ReviewQueue(log.log, sample=0.0) as queue, Viewer(None) as viewer:
        server = Server(queue, viewer, doctor="dr.a", lang="en", token="t")  # noqa: S106 - of a test
        client = TestClient(server.app(), base_url=f"http://{HOST}:8000", headers={"X-Screener-Token": "t"})
        case = client.get("/api/next").json()["case"]
        assert (case["level"], case["path"], case["verdict"]) == ("study", "mass", None)
        assert [one["key"] is not None for one in case["slices"]].index(True) == 5
        slice_ = case["slices"][6]["result"]
        assert client.get(f"/api/picture/{slice_}").headers["content-type"] == "image/png"
        assert client.get(f"/api/picture/{case['result']}").status_code == 404
        body = {"result": slice_, "diagnosis": "tumour", "seconds": 1}
        after = client.post("/api/verdict", json=body).json()
        assert (after["case"]["path"], after["case"]["verdict"]) == ("mass", None)
        assert after["case"]["slices"][6]["verdict"] == "tumour"
        assert after["progress"]["done"] == 0
        after = client.post("/api/verdict", json=body | {"result": case["result"]}).json()
        assert (after["case"]["verdict"], after["progress"]["done"]) == ("tumour", 1)
    with ReviewQueue(log.log, sample=1.0, blind=True) as queue, Viewer(None) as viewer:
        server = Server(queue, viewer, doctor="dr.a", lang="en", token="t")  # noqa: S106 - of a test
        client = TestClient(server.app(), base_url=f"http://{HOST}:8000", headers={"X-Screener-Token": "t"})
        found = client.get(f"/api/case/{log.studies['refused']}").json()["case"]
        assert found["opinion"] is None
        assert all(one["key"] is None for one in found["slices"])
