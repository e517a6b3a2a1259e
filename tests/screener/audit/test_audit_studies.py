"""A study that comes in batches over days rests on the results of all of them, in a line that stays short."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from audit_samples import finding, forge
from hypothesis import given
from hypothesis import strategies as st
from test_audit_schemas import study

from screener.audit import AuditLog, Kind, read, verify
from screener.audit.events import (
    GENESIS,
    ResultNumber,
    clean_text,
    digest_of,
    parse,
    seal,
    study_event,
    study_finding_of,
)
from screener.audit.index import index_path
from screener.audit.schemas import EVENTS
from screener.domain.study import KeySlice, SeriesFinding, SliceCounts
from screener.errors import AuditLogError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DAYS = ((0, 1, 2), (3, 4), (5,))


def add_day(
    log: Path, numbers: Sequence[int], earlier: Sequence[tuple[str, str]], *, study_id: str = "p1", answer: bool = True
) -> list[tuple[str, str]]:
    """Scan further slices of a study on another day; return run and hash of all its results so far."""
    with AuditLog(log) as writer:
        run_id = writer.start({"inbox": "/in"})
        own = []
        for number in numbers:
            slices = [finding(1000 + number, study_id="p2"), finding(number, study_id=study_id)]
            own.append(writer.results(slices, doctor_id=None, preprocessing="v1")[1])
        rests_on = digest_of([*(result for _, result in earlier), *own])
        if answer:
            writer.study(study("p1"), preprocessing="v1", results_sha256=rests_on, earlier_results=earlier)
        writer.end({}, "complete")
    return [*earlier, *((run_id, one) for one in own)]


@pytest.fixture
def three_days(tmp_path: Path) -> Path:
    log = tmp_path / "log.jsonl"
    results: list[tuple[str, str]] = []
    for day in DAYS:
        results = add_day(log, day, results)
    return log


def studies(log: Path) -> list[dict[str, Any]]:
    return [event for event in read(log) if event["event"] == Kind.STUDY]


def rewrite(log: Path, change: Any) -> None:  # noqa: ANN401 - a function on events
    """Write the log anew with sound hashes, as one who can forge would."""
    prev, lines = GENESIS, []
    for event in list(read(log)):
        change(event)
        event["prev"] = prev
        lines.append(forge(event))
        prev = json.loads(lines[-1])["hash"]
    log.write_bytes(b"".join(lines))


def test_three_days_verify_and_name_rows_of_earlier_results(three_days: Path) -> None:
    found = verify(three_days)
    assert found.ok, found.first_bad
    runs = [event["run_id"] for event in read(three_days) if event["event"] == Kind.START]
    assert [event["earlier_results"] for event in studies(three_days)] == [
        [],
        [{"run_id": runs[0], "study_id": "p1", "numbers": [[1, 3]]}],
        [
            {"run_id": runs[0], "study_id": "p1", "numbers": [[1, 3]]},
            {"run_id": runs[1], "study_id": "p1", "numbers": [[1, 2]]},
        ],
    ]


@pytest.mark.parametrize("number", [0, 3, 5])
def test_a_result_that_was_changed_on_any_day_is_found(three_days: Path, number: int) -> None:
    path = finding(number).path
    log = three_days.read_bytes()
    place = log.index(b'"0.97', log.index(path.encode()) - 900)
    three_days.write_bytes(log[:place] + b'"0.17' + log[place + 5 :])
    assert not verify(three_days).ok


@pytest.mark.parametrize("number", [0, 2, 3, 4, 5])
def test_a_result_forged_with_a_sound_chain_is_found(three_days: Path, number: int) -> None:
    path = finding(number).path

    def change(event: dict[str, Any]) -> None:
        if event.get("path") == path:
            event["probability"] = "0.17"

    rewrite(three_days, change)
    found = verify(three_days)
    assert found.first_bad is not None
    assert "does not rest on the results" in found.first_bad.why


@pytest.mark.parametrize(
    "rows",
    [
        [{"run_id": "RUN", "study_id": "p1", "numbers": [[1, 2]]}],
        [{"run_id": "RUN", "study_id": "p1", "numbers": [[2, 3]]}],
        [{"run_id": "RUN", "study_id": "p1", "numbers": [[1, 4]]}],
        [{"run_id": "RUN", "study_id": "p1", "numbers": [[3, 1]]}],
        [{"run_id": "RUN", "study_id": "p2", "numbers": [[1, 3]]}],
        [{"run_id": "another", "study_id": "p1", "numbers": [[1, 3]]}],
        [{"run_id": "RUN", "study_id": "p1", "numbers": [[1, 10**9]]}],
        [{"run_id": "RUN", "study_id": "p1", "numbers": [[0, 3]]}],
        [{"run_id": "RUN", "study_id": "p1", "numbers": []}],
        [{"run_id": "RUN", "numbers": [[1, 3]]}],
        ["f" * 64],
        {"run_id": "RUN"},
        "all",
        None,
    ],
)
def test_a_forged_reference_is_found(three_days: Path, rows: object) -> None:
    run_id = next(read(three_days))["run_id"]
    forged = json.loads(json.dumps(rows).replace("RUN", run_id))
    seen = iter(range(9))

    def change(event: dict[str, Any]) -> None:
        if event["event"] == Kind.STUDY and next(seen) == 1:
            event["earlier_results"] = forged

    rewrite(three_days, change)
    found = verify(three_days)
    assert not found.ok
    assert found.first_bad is not None
    assert found.first_bad.why.isascii()


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("RESULT", {"path": 7}),
        ("RESULT", {"probability": "high"}),
        ("RESULT", {"frame": "1"}),
        ("RESULT", {"seen_before": 1}),
        ("RESULT", {"statistics": [1]}),
        ("STUDY", {"slices": 7}),
        ("STUDY", {"series": [1]}),
        ("STUDY", {"key_slices": [{"path": "\x1b"}]}),
        ("STUDY", {"results_sha256": "F" * 64}),
        ("END", {"counts": []}),
        ("END", {"reason": None}),
    ],
)
def test_a_forged_event_of_a_wrong_type_is_found(three_days: Path, kind: str, change: dict[str, object]) -> None:
    rewrite(three_days, lambda event: event.update(change) if event["event"] == kind else None)
    found = verify(three_days)
    assert found.first_bad is not None
    assert f"{kind} of a wrong type" in found.first_bad.why
    assert found.first_bad.why.isascii()
    assert len(list(read(three_days))) > 10, "a reader still sees the other events"


def test_a_study_that_rests_on_results_cut_from_the_front_is_found(three_days: Path) -> None:
    lines = three_days.read_bytes().splitlines(keepends=True)
    start = next(index for index, line in enumerate(lines) if b"START" in line and index)
    three_days.write_bytes(b"".join(lines[start:]))
    assert not verify(three_days).ok


def test_what_comes_first_is_told_first(three_days: Path) -> None:
    def change(event: dict[str, Any]) -> None:
        if event["event"] == Kind.STUDY and event["earlier_results"]:
            event["results_sha256"] = "0" * 64

    rewrite(three_days, change)
    lines = three_days.read_bytes().splitlines(keepends=True)
    second = [index for index, line in enumerate(lines) if b'"STUDY"' in line][1]
    three_days.write_bytes(b"".join([*lines[:-1], lines[-1].replace(b"complete", b"Complete")]))
    found = verify(three_days)
    assert found.first_bad is not None
    assert found.first_bad.line == second + 1


def test_a_run_that_broke_off_before_its_answer_is_named_by_its_numbers(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    results = add_day(log, range(30), [], answer=False)
    add_day(log, [30], results)
    assert verify(log).ok
    (event,) = studies(log)
    assert event["earlier_results"] == [{"run_id": results[0][0], "study_id": "p1", "numbers": [[1, 30]]}]


def test_results_recorded_under_another_study_or_none_are_named_so(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    results = add_day(log, [0, 1], [], study_id='a "study", \\ ü', answer=False)
    with AuditLog(log) as writer:
        run_id = writer.start({})
        bare = writer.results([finding(9), finding(8)], doctor_id=None, preprocessing="v1")
    add_day(log, [2], [*results, (run_id, bare[1])])
    assert verify(log).ok
    (event,) = studies(log)
    assert [row["study_id"] for row in event["earlier_results"]] == ['a "study", \\ ü', None]
    assert event["earlier_results"][1]["numbers"] == [[2, 2]]


def test_slices_that_are_gone_leave_gaps(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    results = add_day(log, range(9), [])
    add_day(log, [9], [one for index, one in enumerate(results) if index not in {3, 6}])
    assert verify(log).ok
    assert studies(log)[1]["earlier_results"][0]["numbers"] == [[1, 3], [5, 6], [8, 9]]


def test_a_study_answered_twice_in_a_run_rests_on_its_own_earlier_results(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with AuditLog(log) as writer:
        run_id = writer.start({})
        first = writer.results([finding(0, study_id="p1")], doctor_id=None, preprocessing="v1")
        writer.study(study(), preprocessing="v1", results_sha256=digest_of(first))
        second = writer.results([finding(1, study_id="p1")], doctor_id=None, preprocessing="v1")
        digest = digest_of([*first, *second])
        writer.study(study(), preprocessing="v1", results_sha256=digest, earlier_results=[(run_id, first[0])])
    assert verify(log).ok


def test_neither_a_lost_index_nor_sealed_segments_change_the_numbers(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    results: list[tuple[str, str]] = []
    with AuditLog(log, rotate_bytes=3000) as writer:
        run_id = writer.start({})
        for number in range(20):
            hashes = writer.results([finding(number, study_id="p1")], doctor_id=None, preprocessing="v1")
            results.append((run_id, hashes[0]))
    index_path(log).unlink()
    add_day(log, [20], results)
    assert verify(log).ok
    assert studies(log)[0]["earlier_results"][0]["numbers"] == [[1, 20]]


def test_an_earlier_result_that_the_log_lacks_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    results = add_day(log, [0], [])
    with pytest.raises(AuditLogError, match="lacks 1 results"):
        add_day(log, [1], [*results, (results[0][0], "e" * 64)])
    assert verify(log).ok


def test_the_line_of_a_study_of_20000_slices_stays_short() -> None:
    rows = [ResultNumber(f"{run:016x}", "1.2.840." + "9" * 40, number) for run in range(3) for number in range(1, 6668)]
    answer = replace(study(), slices=SliceCounts(20001, 20001, 0, 0))
    event = study_event(answer, "r", preprocessing="v1", results_sha256="0" * 64, earlier_results=rows)
    assert len(seal(event, GENESIS)[0]) < 64 << 10
    gaps = [one for one in rows if one.number % 10]
    event = study_event(answer, "r", preprocessing="v1", results_sha256="0" * 64, earlier_results=gaps)
    assert len(seal(event, GENESIS)[0]) < 64 << 10


@given(
    study_id=st.text(min_size=1, max_size=40),
    probability=st.none() | st.floats(0, 1),
    positions=st.lists(st.none() | st.floats(-500, 500), max_size=3),
    counts=st.tuples(*[st.integers(0, 10**6)] * 4),
    date=st.none() | st.text(max_size=10),
)
def test_a_study_reads_back_as_it_was(
    study_id: str, probability: float | None, positions: list[float | None], counts: tuple[int, ...], date: str | None
) -> None:
    before = replace(
        study(),
        study_id=clean_text(study_id),
        study_date=None if date is None else clean_text(date),
        probability=probability,
        slices=SliceCounts(*counts),
        series=(SeriesFinding("s", None, "axial", 2, probability, ()),),
        key_slices=tuple(KeySlice("p1/a.png", None, position, 0.5) for position in positions),
    )
    event = parse(
        seal(study_event(before, "r", preprocessing="v1", results_sha256="0" * 64, earlier_results=()), GENESIS)[0]
    )
    assert study_finding_of(event) == before
    assert msgspec.convert(event, EVENTS[2]["STUDY"])


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from([None, "s", "t"]), st.integers(1, 60)).map(
            lambda one: ResultNumber(*one)
        ),
        max_size=40,
    )
)
def test_rows_name_exactly_the_results_in_their_order(results: list[ResultNumber]) -> None:
    event = study_event(study(), "r", preprocessing="v1", results_sha256="0" * 64, earlier_results=results)
    after = parse(seal(event, GENESIS)[0])
    named = [
        ResultNumber(row["run_id"], row["study_id"], number)
        for row in after["earlier_results"]
        for first, last in row["numbers"]
        for number in range(first, last + 1)
    ]
    assert named == results
