"""Who computes: threads of this process, or one after the other; `screener.cluster` implements the same interface.

A scan walks, looks up and logs in one place. What costs time, reading and scoring, it gives to an executor, which never
has more work given out than a bound. An executor of this machine answers in the order of the walk. One that works on
other machines answers in the order in which whole studies are complete; it is built from `PipelineSettings` alone: each
worker makes its own `SlicePipeline` of them, with the model and the decoder, and reads and hashes the files itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias, TypeVar

from screener.cores import workers
from screener.domain.slice import Refused
from screener.inbox import FileBytes
from screener.model.session import AT_ONCE
from screener.pipeline.slice import AnsweredFile, FileSlices, SlicePipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from screener.domain.finding import Finding
    from screener.inbox import Entry
    from screener.model.session import Model
    from screener.pipeline.slice import PipelineSettings, ScoredSlice
    from screener.pipeline.study import Logged

T = TypeVar("T")
Work = TypeVar("Work")
Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)

LOG_BATCH = 16
"""Slices logged at once: few waits for the disk, and little is lost in a crash."""
_FILES_AHEAD = 2 * AT_ONCE
"""Files read ahead of the threads that score."""
_BATCHES_AHEAD = 16
"""Batches given to those threads, so that none of them waits while the log is being written."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A finding of an earlier run, and its RESULT event."""

    finding: Finding
    logged: Logged


Outcome: TypeAlias = "ScoredSlice | Refused | Remembered"
"""What became of a slice."""
Item: TypeAlias = "FileBytes | ScoredSlice | Refused | Remembered"
"""A slice on its way: `FileBytes` is still to be scored."""
Examine: TypeAlias = Callable[[FileSlices | AnsweredFile], Iterable[Item]]
"""Relates the slices of a file to their studies, and puts what the log knows in the place of what it knows already."""


class Pending(Protocol[Answer_co]):
    """An answer that may still be computed, such as a `concurrent.futures.Future`."""

    def result(self) -> Answer_co:
        """Wait for the answer, or raise what kept it from coming."""


class Executor(Protocol):
    """Computes for a scan; used as a context manager, which on leaving waits for what is running and drops the rest.

    Attributes
    ----------
    log_batch : int
        Slices that are logged at once.
    """

    log_batch: int

    def screen(self, found: Iterator[Entry | Refused], examine: Examine) -> Iterator[list[Outcome]]:
        """Read and score what the walk finds.

        Parameters
        ----------
        found : iterator of (Entry or Refused)
            In the order of the walk, studies one after the other; advanced only as far as work is wanted.
        examine : callable
            Is given each file once it was read, in the order of the answers.

        Yields
        ------
        list of (ScoredSlice, Refused or Remembered)
            Some slices; whole studies follow each other. Empty where nothing came for a while.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class InOrderExecutor:
    """The part that executors of this machine share: answers come in the order of the walk.

    Attributes
    ----------
    files_ahead, batches_ahead : int
        Files to be read, and batches to be scored, that may be given out at once: with the largest file that is read,
        the bound on memory.
    """

    log_batch = LOG_BATCH
    files_ahead = 1
    batches_ahead = 1

    def read(self, entry: Entry) -> Pending[FileSlices]:
        """Read, hash and open a file; see `SlicePipeline.read`."""
        raise NotImplementedError

    def score(self, items: Sequence[FileBytes]) -> Pending[list[ScoredSlice | Refused]]:
        """Score a batch of slices; see `SlicePipeline.score`."""
        raise NotImplementedError

    def screen(self, found: Iterator[Entry | Refused], examine: Examine) -> Iterator[list[Outcome]]:
        """Read ahead, and score in batches; see `Executor.screen`."""
        files = in_order(self._read, found, self.files_ahead)
        batches = _batched((item for file in files for item in examine(file)), AT_ONCE)
        return in_order(self._score, batches, self.batches_ahead)

    def _read(self, item: Entry | Refused) -> Pending[FileSlices]:
        return done(FileSlices([item], None)) if isinstance(item, Refused) else self.read(item)

    def _score(self, items: list[Item]) -> Pending[list[Outcome]]:
        """Score what was not judged before."""
        unknown = [item for item in items if isinstance(item, FileBytes)]
        return _Batch(items, self.score(unknown) if unknown else done([]))


class ThreadExecutor(InOrderExecutor):
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


class SequentialExecutor(InOrderExecutor):
    """Computes at once, in the thread that asks: nothing runs beside it, and one file at most is in memory.

    Parameters
    ----------
    pipeline : SlicePipeline
    """

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


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some items in the order of the walk, and the answers to come about those that were not judged before."""

    items: list[Item]
    answers: Pending[list[ScoredSlice | Refused]]

    def result(self) -> list[Outcome]:
        """Wait for the answers and put them in their places."""
        answers = iter(self.answers.result())
        return [next(answers) if isinstance(item, FileBytes) else item for item in self.items]


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of that many items, the last one perhaps shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def done(answer: T) -> Future[T]:
    """Return an answer that needs no waiting for."""
    future: Future[T] = Future()
    future.set_result(answer)
    return future
