"""Whatever workers do, every file is answered exactly once, and whole studies follow each other."""

from __future__ import annotations

import random
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screener.cluster import dispatch
from screener.cluster.dispatch import Dispatcher, Done, Limits, Lost
from screener.cluster.orders import Answer, Unfit
from screener.cluster.shards import StudyGroups, cut
from screener.domain.slice import Identity, Prediction, Reason, Refused
from screener.errors import ClusterError
from screener.pipeline.slice import AnsweredFile, ScoredSlice, SeenSlice
from tests.screener.cluster.fake_workers import QUESTION, FakeWorkers, answer, digest, entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from screener.cluster.orders import Order
    from screener.cluster.shards import Shard


def shards(sizes: Sequence[int], files: int = 4) -> Iterator[Shard]:
    items = (entry(f"p{study:02}/{number}.png") for study, size in enumerate(sizes) for number in range(size))
    return cut(items, StudyGroups("folder"), files)


def run(
    workers: FakeWorkers, sizes: Sequence[int], files: int = 4, failures: int = 1000
) -> tuple[Dispatcher, list[str]]:
    """Return the dispatcher and the paths in the order in which they were answered."""
    dispatcher = Dispatcher(workers, QUESTION, lambda _: frozenset(), Limits(failures))
    found = [item for released in dispatcher.run(shards(sizes, files)) for file in released for item in file.items]
    return dispatcher, [item.identity.path for item in found]


def paths(sizes: Sequence[int]) -> list[str]:
    return [f"p{study:02}/{number}.png" for study, size in enumerate(sizes) for number in range(size)]


def assert_whole(found: list[str], sizes: Sequence[int]) -> None:
    assert Counter(found) == Counter(paths(sizes))
    studies = [study for study, _ in groupby(path.partition("/")[0] for path in found)]
    assert len(studies) == len(set(studies)), "the slices of a study follow each other"
    for study in studies:
        own = [path for path in found if path.startswith(f"{study}/")]
        assert own == [path for path in paths(sizes) if path.startswith(f"{study}/")]


class Faults:
    """Fails at random: workers die, leave, answer nonsense, or answer twice."""

    def __init__(self, seed: int, share: float) -> None:
        self._random, self._share = random.Random(seed), share  # noqa: S311 - faults are drawn
        self.seen: list[tuple[str, Order, str]] = []

    def __call__(self, attempt: str, order: Order, worker: str) -> object:
        self.seen.append((attempt, order, worker))
        if self._random.random() > self._share:
            return answer(order, worker)
        kind = self._random.randrange(5)
        if kind == 0:
            return Lost(attempt, "the worker died", "died")
        if kind == 1:
            return Lost(attempt, "the scheduler was restarted", "cancelled")
        if kind == 2:
            earlier, its_order, its_worker = self._random.choice(self.seen)
            again = Done(earlier, its_worker, answer(its_order, its_worker))
            return [Done(attempt, worker, answer(order, worker)), again, again]
        if kind == 3:
            return None
        return Answer(worker, (), 0.0, 0) if self._random.random() < 0.02 else Lost(attempt, "left", "failed")


@given(st.lists(st.integers(1, 20), max_size=12), st.integers(0, 2**32), st.floats(0, 0.6), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_every_file_is_answered_once_whatever_fails(sizes: list[int], seed: int, share: float, files: int) -> None:
    workers = FakeWorkers([f"w{number}" for number in range(4)], Faults(seed, share), seed)
    _, found = run(workers, sizes, files, failures=10_000)
    assert_whole(found, sizes)
    assert workers.most <= dispatch._SHARDS_AHEAD * 4 * 2
    assert not workers.waiting


def test_only_a_bounded_number_of_shards_is_in_hand() -> None:
    workers = FakeWorkers(["w0", "w1"], lambda _, order, worker: answer(order, worker))
    _, found = run(workers, [3] * 200)
    assert len(found) == 600
    assert workers.most <= dispatch._SHARDS_AHEAD * 2


def test_a_study_that_is_still_being_walked_waits_for_those_before_it() -> None:
    """Else the walk's end, or a limit, would have it answered before all of its slices were there."""
    slow: list[str] = []

    def compute(attempt: str, order: Order, worker: str) -> object:
        if order.entries[0].path.startswith("p00") and len(slow) < 40:
            slow.append(attempt)
            return None
        return answer(order, worker)

    _, found = run(FakeWorkers(["w0", "w1", "w2"], compute), [4, 1, 90])
    assert_whole(found, [4, 1, 90])
    assert found.index("p02/0.png") == 5


def test_a_file_over_which_every_worker_dies_is_refused_and_no_other() -> None:
    def compute(attempt: str, order: Order, worker: str) -> object:
        if any(one.path == "p01/2.png" for one in order.entries):
            return Lost(attempt, "the worker died", "died")
        return answer(order, worker)

    dispatcher = Dispatcher(FakeWorkers(["w0", "w1"], compute), QUESTION, lambda _: frozenset())
    files = [file for released in dispatcher.run(shards([5, 7, 3], 8)) for file in released]
    found = {item.identity.path: item for file in files for item in file.items}
    assert sorted(found) == sorted(paths([5, 7, 3]))
    (refused,) = [item for item in found.values() if isinstance(item, Refused)]
    assert (refused.identity.path, refused.reason) == ("p01/2.png", Reason.DECODER_CRASHED)
    assert refused.identity.study_id == "p01"


def test_a_worker_that_is_not_fit_is_left_out_and_its_shard_goes_on() -> None:
    def compute(_: str, order: Order, worker: str) -> object:
        return Unfit(worker, "does not see the archive") if worker == "w1" else answer(order, worker)

    workers = FakeWorkers(["w0", "w1"], compute)
    _, found = run(workers, [4] * 20)
    assert_whole(found, [4] * 20)
    assert workers.left_out == {"w1": "does not see the archive"}


def test_without_a_worker_the_run_ends() -> None:
    workers = FakeWorkers(["w0", "w1"], lambda _, __, worker: Unfit(worker, "has another model"))
    with pytest.raises(ClusterError, match="no worker"):
        run(workers, [4] * 20)


def test_too_many_failures_end_the_run() -> None:
    workers = FakeWorkers(["w0"], lambda attempt, *_: Lost(attempt, "left", "failed"))
    with pytest.raises(ClusterError, match=r"4 attempts failed.*left") as caught:
        run(workers, [4], failures=3)
    assert "--max-failures" in caught.value.hint


def test_a_scheduler_that_is_restarted_is_no_failure() -> None:
    lost: list[str] = []

    def compute(attempt: str, order: Order, worker: str) -> object:
        if len(lost) < 50:
            lost.append(attempt)
            return Lost(attempt, "the scheduler was restarted", "cancelled")
        return answer(order, worker)

    dispatcher, found = run(FakeWorkers(["w0", "w1"], compute), [4] * 20, failures=0)
    assert_whole(found, [4] * 20)
    assert dispatcher.counts["failures"] == 0


def test_what_takes_long_is_given_to_another_worker_and_the_first_answer_counts() -> None:
    slow: dict[str, str] = {}
    moment = 0.0

    def compute(attempt: str, order: Order, worker: str) -> object:
        nonlocal moment
        moment += 1.0
        if order.entries[0].path.startswith("p03") and len(slow) < 2:
            slow.setdefault(attempt, worker)
            if len(slow) < 2:
                return None
        return answer(order, worker)

    workers = FakeWorkers(["w0", "w1"], compute)
    limits = Limits(least_patience=30.0)
    dispatcher = Dispatcher(workers, QUESTION, lambda _: frozenset(), limits, clock=lambda: moment)
    found = [file.items[0].identity.path for files in dispatcher.run(shards([4] * 30)) for file in files]
    assert_whole(found, [4] * 30)
    assert dispatcher.counts["doubled"] >= 1
    assert len(set(slow.values())) == 2, "the second attempt runs elsewhere"
    assert set(slow) & set(workers.forgotten), "the other attempt is taken back"


def flawed(item: object) -> object:
    """Return an answer to an order of one file."""
    return Answer("w1", (AnsweredFile([item], "p00"),), 0.0, 0)  # type: ignore[list-item]


WHO = Identity("p00/0.png", digest("p00/0.png"), None)
GARBAGE = [
    None.__class__,
    b"\0" * 9,
    Answer("w1", (), 0.0, 0),
    Answer("w1", (AnsweredFile([], "p00"),), 0.0, 0),
    Answer("w1", (AnsweredFile([], "p00"), AnsweredFile([], "p00")), 0.0, 0),
    flawed("nonsense"),
    flawed(ScoredSlice(Identity("p00/1.png", "0" * 64, None), Prediction(0.5))),
    flawed(ScoredSlice(Identity("p00/0.png", "", None), Prediction(0.5))),
    flawed(ScoredSlice(WHO, Prediction(1.5))),
    flawed(ScoredSlice(WHO, Prediction("0.5"))),  # type: ignore[arg-type]
    flawed(SeenSlice(WHO)),
    flawed(Refused(WHO, "because")),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("nonsense", GARBAGE, ids=range(len(GARBAGE)))
def test_a_worker_that_answers_nonsense_is_left_out(nonsense: object) -> None:
    workers = FakeWorkers(["w0", "w1"], lambda _, order, worker: answer(order, worker) if worker == "w0" else nonsense)
    _, found = run(workers, [1] * 20, files=1)
    assert_whole(found, [1] * 20)
    assert list(workers.left_out) == ["w1"]


def test_a_score_that_is_no_number_is_an_answer() -> None:
    def compute(_: str, order: Order, worker: str) -> Answer:
        (one,) = order.entries
        scored = ScoredSlice(Identity(one.path, digest(one.path), None), Prediction(float("nan")))
        return Answer(worker, (AnsweredFile([scored], "p00"),), 0.0, 0)

    _, found = run(FakeWorkers(["w0"], compute), [3], files=1)
    assert_whole(found, [3])


def test_breaking_off_takes_back_what_is_in_hand() -> None:
    workers = FakeWorkers(["w0", "w1"], lambda _, order, worker: answer(order, worker))
    dispatcher = Dispatcher(workers, QUESTION, lambda _: frozenset())
    released = dispatcher.run(shards([4] * 50))
    next(files for files in released if files)
    assert workers.waiting
    released.close()  # type: ignore[attr-defined]
    assert not workers.waiting
