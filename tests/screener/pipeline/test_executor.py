"""The interface behind which a scan computes: order, bounds, and two implementations that agree."""

from __future__ import annotations

import itertools
import pickle
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.errors import ModelError
from screener.model.session import Model
from screener.pipeline.config import ScanConfig
from screener.pipeline.executor import (
    Executor,
    InOrderExecutor,
    SequentialExecutor,
    ThreadExecutor,
    done,
    in_order,
    local_executor,
)
from screener.pipeline.scan import Scan
from screener.pipeline.slice import PipelineSettings, SlicePipeline
from screener.triage import TriagePolicy
from tests.conftest import many

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from screener.inbox import Entry, FileBytes


@pytest.fixture
def model(tiny_model: Path) -> Model:
    return Model.load(tiny_model)


def sequential(settings: PipelineSettings, model: Model, _: int | None) -> Executor:
    return SequentialExecutor(SlicePipeline(settings, model))


def threads(settings: PipelineSettings, model: Model, _: int | None) -> Executor:
    return ThreadExecutor(SlicePipeline(settings, model))


def policy(model: Model) -> TriagePolicy:
    return TriagePolicy(model.card.operating_points["auto"], 0.7, model.card.title, model.sha256)


def test_both_implementations_give_the_same_findings(model: Model, tmp_path: Path) -> None:
    inbox = many(tmp_path / "inbox", 40)
    (inbox / "7.png").write_bytes(b"no picture")
    found = [list(Scan(inbox, model, policy(model), executor=make).findings()) for make in (sequential, threads)]
    assert [one.path for one in found[0]] == [one.path for one in found[1]]
    for one, other in zip(*found, strict=True):
        assert (one.decision, one.reason) == (other.decision, other.reason)
        assert one.probability == pytest.approx(other.probability, abs=1e-6)


def test_one_job_starts_no_thread(model: Model, tmp_path: Path) -> None:
    findings = Scan(many(tmp_path / "inbox", 40), model, policy(model), config=ScanConfig(jobs=1)).findings()
    before = threading.active_count()
    next(findings)
    assert threading.active_count() == before
    assert sum(1 for _ in findings) == 39


def test_the_number_of_jobs_chooses_the_implementation(model: Model) -> None:
    settings = PipelineSettings.of(model)
    with local_executor(settings, model, 1) as one, local_executor(settings, model, None) as all_cores:
        assert isinstance(one, SequentialExecutor)
        assert isinstance(all_cores, ThreadExecutor)


class Held:
    """Work that is done only when its answer is waited for."""

    def __init__(self, work: Callable[[], Any], open_: Counter[str], kind: str) -> None:
        self._work, self._open, self._kind = work, open_, kind

    def result(self) -> Any:  # noqa: ANN401 - stands for any answer
        self._open[self._kind] -= 1
        return self._work()


class LazyExecutor(InOrderExecutor):
    """A third implementation, written against the interface alone; it counts what it was given at once."""

    files_ahead = 3
    batches_ahead = 2

    def __init__(self, settings: PipelineSettings, *_: object) -> None:
        self._pipeline = SlicePipeline(pickle.loads(pickle.dumps(settings)))  # noqa: S301 - our own
        self._open: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.left = False

    def read(self, entry: Entry) -> Held:
        return self._held("read", lambda: self._pipeline.read(entry))

    def score(self, items: Sequence[FileBytes]) -> Held:
        return self._held("score", lambda: self._pipeline.score(items))

    def _held(self, kind: str, work: Callable[[], Any]) -> Held:
        self._open[kind] += 1
        self.most[kind] = max(self.most[kind], self._open[kind])
        return Held(work, self._open, kind)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipeline.close()
        self.left = True


def test_a_backend_needs_nothing_but_the_interface(model: Model, tmp_path: Path) -> None:
    made: list[LazyExecutor] = []

    def make(*given_: Any) -> LazyExecutor:  # noqa: ANN401 - whatever a scan passes
        made.append(LazyExecutor(*given_))
        return made[0]

    inbox = many(tmp_path / "inbox", 30)
    found = list(Scan(inbox, model, policy(model), executor=make).findings())
    assert [one.path for one in found] == sorted(f"{number}.png" for number in range(30))
    assert dict(made[0].most) == {"read": 3, "score": 2}, "no more work is given out than was asked for"
    assert made[0].left


def test_what_a_worker_raises_ends_the_scan(model: Model, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise ModelError("the model failed", "report this")

    monkeypatch.setattr(SlicePipeline, "predict", failing)
    for make in (sequential, threads):
        with pytest.raises(ModelError, match="failed"):
            list(Scan(inbox, model, policy(model), executor=make).findings())


@given(st.lists(st.integers()), st.integers(1, 9))
def test_answers_come_in_order_and_never_too_many_wait(work: list[int], ahead: int) -> None:
    out: Counter[str] = Counter()
    most = 0

    def submit(piece: int) -> Held:
        nonlocal most
        out["work"] += 1
        most = max(most, out["work"])
        return Held(lambda: piece * 2, out, "work")

    assert list(in_order(submit, iter(work), ahead)) == [piece * 2 for piece in work]
    assert most == min(ahead, len(work))


def test_no_work_is_taken_before_it_is_wanted() -> None:
    taken = itertools.count()
    answers = in_order(done, (next(taken) for _ in range(100)), 4)
    assert next(taken) == 0
    assert next(answers) == 1
    assert next(taken) == 5
