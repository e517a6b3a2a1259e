"""What a worker shows before it gets work, and what it does with an order."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from screener.cluster import worker
from screener.cluster.executor import question_for
from screener.cluster.orders import Answer, Canary, Order, Proof, Question, Unfit, canary_in, wrong_with
from screener.domain.slice import Reason, Refused
from screener.errors import NothingFoundError
from screener.inbox import Entry, find
from screener.model.session import Model
from screener.pipeline.config import ScanConfig
from screener.pipeline.slice import ScoredSlice, SeenSlice, SlicePipeline
from tests.conftest import tiny_card, write_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def question(inbox: Path, tiny_model: Path) -> Question:
    return question_for(inbox, Model.load(tiny_model), ScanConfig(model=str(tiny_model)))


def entries(inbox: Path) -> tuple[Entry, ...]:
    return tuple(item for item in find(inbox) if isinstance(item, Entry))


def order(question: Question, inbox: Path) -> Order:
    found = entries(inbox)
    return Order(question, found, (frozenset(),) * len(found))


def test_the_same_tool_model_and_archive_pass(question: Question) -> None:
    assert wrong_with(worker.prove(question), question) is None
    assert question.canary.missing() is None


def test_a_worker_screens_as_one_machine_does(question: Question, inbox: Path, tiny_model: Path) -> None:
    found = worker.screen_bytes(pickle.dumps(order(question, inbox)), "w")
    assert isinstance(found, Answer)
    pickle.loads(pickle.dumps(found))  # noqa: S301 - our own
    with SlicePipeline(question.settings, Model.load(tiny_model)) as pipeline:
        for file, entry in zip(found.files, entries(inbox), strict=True):
            expected = pipeline.score(pipeline.read(entry).items)  # type: ignore[arg-type]
            assert [one.identity for one in file.items] == [one.identity for one in expected]
            assert [one.prediction.probability for one in file.items if isinstance(one, ScoredSlice)] == [
                one.prediction.probability for one in expected if isinstance(one, ScoredSlice)
            ]
    assert found.read_bytes == sum(entry.file.stat().st_size for entry in entries(inbox))


def test_what_the_log_knows_is_read_and_not_scored(question: Question, inbox: Path) -> None:
    full = worker.screen(order(question, inbox), "w")
    assert isinstance(full, Answer)
    first = full.files[0].items[0].identity
    known = (frozenset({(first.sha256, None)}), *(frozenset({("0" * 64, None)}),) * 3)
    again = worker.screen(replace(order(question, inbox), known=known), "w")
    assert isinstance(again, Answer)
    assert again.files[0].items == [SeenSlice(first)]
    assert [type(file.items[0]) for file in again.files[1:]] == [ScoredSlice] * 3


@pytest.mark.parametrize(
    ("proof", "message"),
    [
        (ModuleNotFoundError("No module named 'screener'"), "has no such tool"),
        ("garbage", "has no such tool"),
        (Proof("0.0.1", "0" * 64, "fingerprint", None), "another version of screener: '0.0.1'"),
        (Proof("1", "f" * 64, "fingerprint", None), "another version of the model"),
        (Proof("1", "0" * 64, "other", None), "another version of preprocessing"),
        (Proof("1", "", "", "does not see the archive"), "does not see the archive"),
    ],
)
def test_what_differs_is_named(proof: object, message: str) -> None:
    from tests.screener.cluster.fake_workers import QUESTION

    assert message in str(wrong_with(proof, QUESTION))


def test_a_worker_without_the_model_is_not_fit(question: Question, inbox: Path, tmp_path: Path) -> None:
    lacking = replace(question, settings=replace(question.settings, model=str(tmp_path / "none")))
    assert "no model at" in str(wrong_with(worker.prove(lacking), lacking))
    found = worker.screen(order(lacking, inbox), "w")
    assert isinstance(found, Unfit)
    assert "no model at" in found.why


def test_a_worker_with_another_model_is_not_fit(question: Question, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", tiny_card(version="2.0.0"))
    differing = replace(question, settings=replace(question.settings, model=str(other)))
    assert "not the model" in str(wrong_with(worker.prove(differing), differing))


def test_a_worker_that_sees_no_archive_or_another_is_not_fit(question: Question, inbox: Path, tmp_path: Path) -> None:
    gone = replace(question, canary=replace(question.canary, file=str(tmp_path / "nowhere.png")))
    assert "does not see the archive" in str(wrong_with(worker.prove(gone), gone))
    (inbox / "p0/0.png").write_bytes(b"other bytes")
    other = replace(question, canary=replace(question.canary, size=3))
    assert "sees another archive" in str(wrong_with(worker.prove(other), other))


def test_an_archive_that_goes_out_of_sight_is_no_fault_of_its_files(question: Question, inbox: Path) -> None:
    asked = order(question, inbox)
    assert isinstance(worker.screen(asked, "w"), Answer)
    moved = inbox.rename(inbox.with_name("unmounted"))
    found = worker.screen(asked, "w")
    assert isinstance(found, Unfit)
    assert "does not see the archive" in found.why
    moved.rename(inbox)
    assert isinstance(worker.screen(asked, "w"), Answer)


def test_one_file_that_is_gone_is_refused(question: Question, inbox: Path) -> None:
    asked = order(question, inbox)
    (inbox / "p1/3.png").unlink()
    found = worker.screen(asked, "w")
    assert isinstance(found, Answer)
    (refused,) = found.files[3].items
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.UNREADABLE


def test_a_worker_keeps_few_sessions(question: Question) -> None:
    for number in range(6):
        worker.session(replace(question, canary=replace(question.canary, size=number)))
    assert len(worker._sessions) <= worker._MOST_SESSIONS
    worker.close_session(question)
    assert question not in worker._sessions


def test_the_first_file_that_can_be_read_is_the_canary(inbox: Path, tmp_path: Path) -> None:
    assert canary_in(inbox) == Canary.of((inbox / "p0/0.png").resolve())
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingFoundError):
        canary_in(tmp_path / "empty")


def test_a_path_of_a_model_is_meant_for_all_workers_and_a_name_is_found_by_each(inbox: Path, tiny_model: Path) -> None:
    model = Model.load(tiny_model)
    assert question_for(inbox, model, ScanConfig(model=str(tiny_model))).settings.model == str(tiny_model)
    assert question_for(inbox, model, ScanConfig()).settings.model == "lite"
