"""Who computes: threads of this process, or one after the other; a cluster can implement the same interface.

A scan walks, looks up and logs in one place. What costs time, reading and scoring, it gives to an executor, takes the
answers back in the order given, and never has more work given out than the executor wants. An executor that works on
other machines is built from `PipelineSettings` alone: each worker makes its own `SlicePipeline` of them, with the model
and the decoder, and reads and hashes the files itself.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from screener.cores import workers
from screener.model.session import AT_ONCE
from screener.pipeline.slice import FileSlices, SlicePipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from screener.domain.slice import Refused
    from screener.inbox import Entry, FileBytes
    from screener.model.session import Model
    from screener.pipeline.slice import PipelineSettings, ScoredSlice

T = TypeVar("T")
Work = TypeVar("Work")
Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)

_FILES_AHEAD = 2 * AT_ONCE
"""Files read ahead of the threads that score."""
_BATCHES_AHEAD = 16
"""Batches given to those threads, so that none of them waits while the log is being written."""


class Pending(Protocol[Answer_co]):
    """An answer that may still be computed, such as a `concurrent.futures.Future`."""

    def result(self) -> Answer_co:
        """Wait for the answer, or raise what kept it from coming."""


class Executor(Protocol):
    """Computes for a scan; used as a context manager, which on leaving waits for what is running and drops the rest.

    Attributes
    ----------
    files_ahead, batches_ahead : int
        Files to be read, and batches to be scored, that may be given out at once: with the largest file that is read,
        the bound on memory.
    """

    files_ahead: int
    batches_ahead: int

    def read(self, entry: Entry) -> Pending[FileSlices]:
        """Read, hash and open a file; see `SlicePipeline.read`."""

    def score(self, items: Sequence[FileBytes]) -> Pending[list[ScoredSlice | Refused]]:
        """Score a batch of slices; see `SlicePipeline.score`."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class ThreadExecutor:
    """One thread reads, the others score, each on one core from the first byte to the answer.

    Parameters
    ----------
    pipeline : SlicePipeline
    jobs : int or None
        Threads that score; None, and at most: the cores that this process may use.
    """

    files_ahead = _FILES_AHEAD
    batches_ahead = _BATCHES_AHEAD

    def __init__(self, pipeline: SlicePipeline, jobs: int | None = None) -> None:
        self._pipeline = pipeline
        # Reading has a thread of its own: behind a queue of scoring it would wait for its turn.
        self._reader = ThreadPoolExecutor(1)
        self._scorers = ThreadPoolExecutor(workers(jobs))

    def read(self, entry: Entry) -> Future[FileSlices]:
        """Read a file in the thread that reads."""
        return self._reader.submit(self._pipeline.read, entry)

    def score(self, items: Sequence[FileBytes]) -> Future[list[ScoredSlice | Refused]]:
        """Score a batch in one of the threads that score."""
        return self._scorers.submit(self._pipeline.score, items)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self._reader, self._scorers):
            pool.shutdown(wait=True, cancel_futures=True)
        self._pipeline.close()


class SequentialExecutor:
    """Computes at once, in the thread that asks: nothing runs beside it, and one file at most is in memory.

    Parameters
    ----------
    pipeline : SlicePipeline
    """

    files_ahead = 1
    batches_ahead = 1

    def __init__(self, pipeline: SlicePipeline) -> None:
        self._pipeline = pipeline

    def read(self, entry: Entry) -> Pending[FileSlices]:
        """Read a file."""
        return done(self._pipeline.read(entry))

    def score(self, items: Sequence[FileBytes]) -> Pending[list[ScoredSlice | Refused]]:
        """Score a batch."""
        return done(self._pipeline.score(items))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipeline.close()


def local_executor(settings: PipelineSettings, model: Model, jobs: int | None) -> Executor:
    """Return an executor on this machine: threads, or without any where one job was asked for."""
    pipeline = SlicePipeline(settings, model)
    return SequentialExecutor(pipeline) if jobs == 1 else ThreadExecutor(pipeline, jobs)


def in_order(submit: Callable[[Work], Pending[Answer]], work: Iterator[Work], ahead: int) -> Iterator[Answer]:
    """Yield the answers in the order of the work, of which at most `ahead` pieces are given out at once."""
    waiting: deque[Pending[Answer]] = deque()
    for piece in work:
        waiting.append(submit(piece))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def done(answer: T) -> Future[T]:
    """Return an answer that needs no waiting for."""
    future: Future[T] = Future()
    future.set_result(answer)
    return future
