"""Give shards to workers, bounded, again after failures, and take the first answer of each; studies stay whole."""

from __future__ import annotations

import statistics
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from screener.cluster.check import flaw
from screener.cluster.orders import Answer, Order, Unfit
from screener.domain.slice import Identity, Reason, Refused
from screener.errors import ClusterError
from screener.inbox import Entry
from screener.pipeline.slice import AnsweredFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from screener.cluster.orders import Known, Question
    from screener.cluster.shards import Shard

_SHARDS_AHEAD = 4
"""Shards in hand for each core: one is computed, one waits there, the others wait for their turn in the log."""
_POLL = 0.25
"""Seconds for which an answer is waited for before others are served."""
_FAILURES_OF_ONE = 4
"""Failures of a single file after which it is to blame, and not the workers."""
_FAILURES_OF_MANY = 2
"""Failures of several files after which they are tried in halves."""
_BAD_ANSWERS = 2
"""Answers of a worker that cannot be believed, after which it gets no more work."""
_SLOW = 4.0
"""Times the median after which a shard is given to another worker too."""
_LEAST_PATIENCE = 30.0
"""Seconds before which it is not."""
_DURATIONS = 201


@dataclass(frozen=True, slots=True)
class Done:
    """An attempt ended with an answer, which may be anything."""

    attempt: str
    worker: str
    result: object


@dataclass(frozen=True, slots=True)
class Lost:
    """An attempt ended without an answer.

    Attributes
    ----------
    attempt : str
    why : str
    cause : {"cancelled", "failed", "died"}
        ``cancelled``: a scheduler was restarted, or the workers left before they began: nobody failed. ``failed``: the
        network or the storage did. ``died``: a worker did, for which the files may be to blame.
    """

    attempt: str
    why: str
    cause: Literal["cancelled", "failed", "died"]


class Workers(Protocol):
    """Computes orders somewhere."""

    @property
    def capacity(self) -> int:
        """Orders that are computed at the same time, at least 1."""

    def submit(self, attempt: str, order: Order, avoid: str | None) -> None:
        """Begin with an attempt of this name, not on the worker that has the attempt `avoid` in hand."""

    def wait(self, seconds: float) -> list[Done | Lost]:
        """Return what ended; waits for so long where nothing did.

        Raises
        ------
        ClusterError
            No worker is left.
        """

    def forget(self, attempt: str) -> None:
        """Take an attempt back, if it is still to be computed."""

    def leave_out(self, worker: str, why: str) -> None:
        """Give a worker no more work."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may go wrong, and how long things may take.

    Attributes
    ----------
    failures : int
        Attempts that may fail in all.
    least_patience : float
        Seconds before which a shard is not given to a second worker.
    """

    failures: int = 1000
    least_patience: float = _LEAST_PATIENCE


@dataclass(slots=True)
class _Open:
    """A shard in hand: the answers about its files as far as they are known."""

    shard: Shard
    files: list[AnsweredFile | None]
    missing: int


@dataclass(slots=True)
class _Unit:
    """Files of a shard that are ordered together."""

    shard: int
    places: tuple[int, ...]
    order: Order
    failures: int = 0
    attempts: dict[str, float] = field(default_factory=dict)
    """When each attempt that is still running began."""


class Dispatcher:
    """Screens shards on workers.

    Parameters
    ----------
    workers : Workers
    question : Question
        What every worker must show.
    known : callable
        From the path of a file to the slices of it that the log knows.
    limits : Limits

    Attributes
    ----------
    counts : Counter of str
        ``failures``, ``repeated`` (given to another worker after a failure), ``doubled`` (given to a second worker
        because it took long), ``ignored`` (answers that came second), ``shards``, ``read_bytes``.
    """

    def __init__(
        self,
        workers: Workers,
        question: Question,
        known: Callable[[str], Known],
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers, self._question, self._known = workers, question, known
        self._limits = limits or Limits()
        self._clock = clock
        self._open: dict[int, _Open] = {}
        self._units: dict[int, _Unit] = {}
        self._attempts: dict[str, int] = {}
        self._bad: Counter[str] = Counter()
        self._durations: deque[float] = deque(maxlen=_DURATIONS)
        self._current: int | None = None
        self._named = 0
        self.counts: Counter[str] = Counter()

    def run(self, shards: Iterator[Shard]) -> Iterator[list[AnsweredFile]]:
        """Yield the files of each shard once all are answered; groups of shards one after the other.

        Yields
        ------
        list of AnsweredFile
            Empty where nothing came for a while.

        Raises
        ------
        ClusterError
            No worker is left, or more attempts failed than may.
        """
        try:
            yield from self._run(shards)
        finally:
            for attempt in self._attempts:
                self._workers.forget(attempt)

    def _run(self, shards: Iterator[Shard]) -> Iterator[list[AnsweredFile]]:
        more = True
        while more or self._open:
            if more and len(self._open) < _SHARDS_AHEAD * self._workers.capacity:
                shard = next(shards, None)
                more = shard is not None
                if shard is not None:
                    self._begin(shard)
            full = not more or len(self._open) >= _SHARDS_AHEAD * self._workers.capacity
            ready = list(self._released())
            yield from ready
            if not self._open and not more:
                return
            self._serve(_POLL if full and not ready else 0.0)
            if full and not ready:
                yield []

    def _serve(self, seconds: float) -> None:
        for event in self._workers.wait(seconds):
            if isinstance(event, Lost):
                self._fail(event)
            else:
                self._take(event)
        self._double_slow()

    def _begin(self, shard: Shard) -> None:
        """Open a shard and order what needs a worker."""
        files: list[AnsweredFile | None] = [
            AnsweredFile([item], None) if isinstance(item, Refused) else None for item in shard.items
        ]
        places = tuple(place for place, file in enumerate(files) if file is None)
        self._open[shard.number] = _Open(shard, files, len(places))
        if places:
            self._order(shard.number, places)

    def _order(self, number: int, places: tuple[int, ...]) -> None:
        items = self._open[number].shard.items
        entries = tuple(entry for place in places if isinstance(entry := items[place], Entry))
        known = tuple(self._known(entry.path) for entry in entries)
        self._named += 1
        unit = self._units[self._named] = _Unit(number, places, Order(self._question, entries, known))
        self._submit(self._named, unit)

    def _submit(self, key: int, unit: _Unit, avoid: str | None = None) -> None:
        self._named += 1
        name = f"shard-{unit.shard}-{self._named}"
        self._attempts[name] = key
        unit.attempts[name] = self._clock()
        self._workers.submit(name, unit.order, avoid)

    def _take(self, event: Done) -> None:
        """Take an answer if it is the first about its files and can be believed."""
        key = self._attempts.pop(event.attempt, None)
        unit = None if key is None else self._units.get(key)
        if key is None or unit is None:
            self.counts["ignored"] += 1
            return
        began = unit.attempts.pop(event.attempt)
        if isinstance(event.result, Unfit):
            self._workers.leave_out(event.worker, event.result.why)
            self._again(key, unit, f"{event.worker} {event.result.why}")
            return
        wrong = flaw(event.result, unit.order)
        if wrong is not None:
            self._bad[event.worker] += 1
            if self._bad[event.worker] >= _BAD_ANSWERS:
                self._workers.leave_out(event.worker, wrong)
            self._again(key, unit, f"{event.worker} {wrong}")
            return
        assert isinstance(event.result, Answer)  # noqa: S101 - it has no flaw
        self._durations.append(self._clock() - began)
        self.counts["read_bytes"] += event.result.read_bytes
        self._settle(key, unit, event.result.files)

    def _settle(self, key: int, unit: _Unit, files: tuple[AnsweredFile, ...]) -> None:
        """Put answers in their places; what other workers still do about them is not wanted any more."""
        found = self._open[unit.shard]
        for place, file in zip(unit.places, files, strict=True):
            found.files[place] = file
        found.missing -= len(files)
        for attempt in unit.attempts:
            self._workers.forget(attempt)
        del self._units[key]

    def _fail(self, event: Lost) -> None:
        key = self._attempts.pop(event.attempt, None)
        unit = None if key is None else self._units.get(key)
        if key is None or unit is None:
            return
        del unit.attempts[event.attempt]
        unit.failures += event.cause == "died"
        self._again(key, unit, None if event.cause == "cancelled" else event.why)

    def _again(self, key: int, unit: _Unit, why: str | None) -> None:
        """Order the same files anew, in halves where they failed often; one file that always fails is refused.

        `why` is None where nobody failed.
        """
        self.counts["failures"] += why is not None
        if self.counts["failures"] > self._limits.failures:
            raise ClusterError(
                f"{self.counts['failures']} attempts failed, the last one because: {why}",
                "look at the workers that are named above, then run the same command: it goes on; "
                "--max-failures allows more",
            )
        if unit.attempts:
            return
        if unit.failures < (_FAILURES_OF_ONE if len(unit.places) == 1 else _FAILURES_OF_MANY):
            self.counts["repeated"] += 1
            self._submit(key, unit)
            return
        if len(unit.places) == 1:
            self._settle(key, unit, (_refused(unit.order.entries[0]),))
            return
        del self._units[key]
        middle = len(unit.places) // 2
        for half in (unit.places[:middle], unit.places[middle:]):
            self.counts["repeated"] += 1
            self._order(unit.shard, half)

    def _double_slow(self) -> None:
        """Give what takes long to a second worker too: the first answer counts."""
        if self._workers.capacity < 2:  # noqa: PLR2004 - there is no other worker
            return
        usual = statistics.median(self._durations) if self._durations else 0.0
        patience = max(self._limits.least_patience, _SLOW * usual)
        now = self._clock()
        for key, unit in list(self._units.items()):
            if len(unit.attempts) == 1:
                ((attempt, began),) = unit.attempts.items()
                if now - began > patience:
                    self.counts["doubled"] += 1
                    self._submit(key, unit, avoid=attempt)

    def _released(self) -> Iterator[list[AnsweredFile]]:
        """Yield complete shards in an order that keeps the shards of each group together.

        A group that is not known to be complete, because the walk is still in it or was cut short, has its turn only
        when everything before it was released: after it, no other group may come until it is known.
        """
        found = self._next()
        while found is not None:
            del self._open[found.shard.number]
            self._current = None if found.shard.last else found.shard.group
            self.counts["shards"] += 1
            yield [file for file in found.files if file is not None]
            found = self._next()

    def _next(self) -> _Open | None:
        """Return a complete shard that may be released now."""
        complete = {one.shard.group for one in self._open.values() if one.shard.last}
        oldest = min(self._open, default=None)
        begun: set[int] = set()
        for number in sorted(self._open):
            shard = self._open[number]
            group = shard.shard.group
            first = group not in begun
            begun.add(group)
            if self._current is not None and group != self._current:
                continue
            if first and not shard.missing and (group in complete or number == oldest or group == self._current):
                return shard
        return None


def _refused(entry: Entry) -> AnsweredFile:
    """Return the answer about a file over which every worker fails."""
    header = None if entry.known is None else entry.known.header
    study = entry.study_id if header is None or header.study_uid is None else header.study_uid
    who = Identity(entry.path, "", entry.patient_id, study_id=study, series_id=entry.series_id)
    return AnsweredFile([Refused(who, Reason.DECODER_CRASHED, "every worker that read it ended")], entry.study_id)
