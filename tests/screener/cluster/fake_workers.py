"""Workers without a network: they answer in an order of their own, and fail as they are told."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import TYPE_CHECKING

from screener.cluster.dispatch import Done, Lost
from screener.cluster.orders import Answer, Canary, Question
from screener.domain.slice import Identity, Prediction
from screener.errors import ClusterError
from screener.inbox import Entry
from screener.pipeline.slice import AnsweredFile, PipelineSettings, ScoredSlice

if TYPE_CHECKING:
    from collections.abc import Callable

    from screener.cluster.orders import Order

QUESTION = Question(PipelineSettings("tiny", "0" * 64), "1", "fingerprint", Canary("/archive/0", 1, "0" * 64))


def entry(path: str) -> Entry:
    return Entry(Path("/archive") / path, path, None, path.partition("/")[0])


def digest(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()


def answer(order: Order, worker: str) -> Answer:
    """Score every file as a number drawn from its name."""
    files = tuple(
        AnsweredFile(
            [ScoredSlice(Identity(one.path, digest(one.path), None, study_id=one.study_id), Prediction(0.25))],
            one.study_id,
        )
        for one in order.entries
    )
    return Answer(worker, files, 0.0, 0)


class FakeWorkers:
    """Computes an attempt when it is waited for.

    Parameters
    ----------
    names : list of str
    compute : callable
        From order and worker to an answer, which may be anything; a `Lost` or a `Done` stands for itself, None keeps
        the attempt waiting, a list of events counts as several.
    seed : int
        Of the order in which attempts end.
    """

    def __init__(self, names: list[str], compute: Callable[[str, Order, str], object], seed: int = 0) -> None:
        self.names, self._compute = names, compute
        self._random = random.Random(seed)  # noqa: S311 - faults are drawn
        self.waiting: dict[str, tuple[Order, frozenset[str]]] = {}
        self._holders: dict[str, str] = {}
        self.most = 0
        self.forgotten: list[str] = []
        self.left_out: dict[str, str] = {}

    @property
    def capacity(self) -> int:
        return max(1, len(self.names))

    def submit(self, attempt: str, order: Order, avoid: str | None) -> None:
        free = frozenset(self.names) - {self._holders.get(avoid or "", "")}
        self.waiting[attempt] = (order, free)
        self._holders[attempt] = self._random.choice(sorted(free or self.names or ["nobody"]))
        self.most = max(self.most, len(self.waiting))

    def wait(self, seconds: float) -> list[Done | Lost]:
        if not self.names:
            raise ClusterError("no worker is left", "start some")
        if not seconds or not self.waiting:
            return []
        attempt = self._random.choice(sorted(self.waiting))
        worker = self._holders[attempt]
        if worker not in self.names:
            worker = self._holders[attempt] = self._random.choice(self.names)
        result = self._compute(attempt, self.waiting[attempt][0], worker)
        if result is None:
            return []
        del self.waiting[attempt]
        if isinstance(result, list):
            return result
        return [result if isinstance(result, Lost) else Done(attempt, worker, result)]

    def forget(self, attempt: str) -> None:
        self.forgotten.append(attempt)
        self.waiting.pop(attempt, None)

    def leave_out(self, worker: str, why: str) -> None:
        if worker in self.names:
            self.names.remove(worker)
            self.left_out[worker] = why
