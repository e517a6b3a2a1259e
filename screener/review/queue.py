"""The reading queue: what is to be read next, and the one way in which a verdict gets into the log."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Self

from screener.audit import AuditLog, Kind
from screener.audit.reader import EventReader, target_of, verdict_of
from screener.domain.finding import Decision
from screener.domain.verdict import SelectionReason
from screener.errors import AuditLogError, UsageError
from screener.finding_store import FindingStore, Item, item_of
from screener.review.verdicts import chance, selection_reason, verdict

if TYPE_CHECKING:
    from pathlib import Path

    from screener.audit import Event
    from screener.domain.verdict import Opinion, Verdict


@dataclass(frozen=True, slots=True)
class Case:
    """One slice before a reader.

    Attributes
    ----------
    item : Item
        With the last verdict given, if any.
    drawn : SelectionReason
        Why it is asked about.
    """

    item: Item
    drawn: SelectionReason


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the reading is: slices to be read, of them read, and slices not flagged that nobody is asked about."""

    total: int
    done: int
    unasked: int


class ReviewQueue:
    """Holds the queue of one sitting; use it as a context manager.

    The queue is what the log said when the sitting began, or was last looked at again: flagged and not assessable
    slices without a verdict, and of those not flagged a random sample.

    Parameters
    ----------
    log : Path
    sample : float, in [0, 1]
        Share of the slices that were not flagged and are asked about all the same.
    blind : bool
        Ask in random order: the reading order gives the tool's opinion away.
    group : str or None
        See `AuditLog`.

    Raises
    ------
    UsageError
        The share is outside [0, 1].
    AuditLogError
        On entry: there is no such log.
    """

    def __init__(self, log: Path, *, sample: float, blind: bool = False, group: str | None = None) -> None:
        if not 0.0 <= sample <= 1.0:
            raise UsageError(f"a sample of {sample:g} is outside 0 to 1", "0.1 asks about every tenth")
        self.log, self.sample, self.blind, self.group = log, sample, blind, group
        self.problem: AuditLogError | None = None
        self.recorded = 0
        self._lock = threading.RLock()
        self._urgent, self._low = FindingStore(), FindingStore()
        self._order: list[str] = []
        self._place: dict[str, int] = {}
        self._done: set[str] = set()
        self._requests: dict[str, str] = {}
        self._unasked = 0

    def __enter__(self) -> Self:
        self.look()
        return self

    def __exit__(self, *_: object) -> None:
        self._urgent.__exit__()
        self._low.__exit__()

    def look(self) -> None:
        """Read the log and lay out what is to be read now; slices read in this sitting stay within reach.

        Raises
        ------
        AuditLogError
            There is no such log: what was laid out before stays. One that is damaged is read up to the damage, see
            `problem`.
        """
        with self._lock:
            former = self._urgent, self._low
            self._urgent, self._low = FindingStore(), FindingStore()
            reader, done = EventReader(self.log), set(self._done)
            try:
                for event in reader.events():
                    self._take(reader, event, done)
            except AuditLogError:
                self.__exit__()
                self._urgent, self._low = former
                raise
            for store in former:
                store.__exit__()
            self.problem = reader.problem
            self._lay_out(done)

    def _take(self, reader: EventReader, event: Event, done: set[str]) -> None:
        if event["event"] == Kind.RESULT:
            # Kept apart: a later result that is not flagged takes nothing off the list, only a person does.
            store = self._low if event["decision"] == Decision.NOT_FLAGGED else self._urgent
            try:
                store.add(item_of(reader, event))
            except AuditLogError as error:
                reader.problem = error
        elif event["event"] == Kind.REVIEW and (target := target_of(event)):
            self._judge(verdict_of(event))
            done.add(target)
            if isinstance(event.get("request"), str):
                self._requests[event["request"]] = event["hash"]

    def _judge(self, given: Verdict) -> None:
        for store in (self._urgent, self._low):
            store.judge(given)

    def _lay_out(self, done: set[str]) -> None:
        """Order what is asked about; what was read in this sitting keeps its place."""
        order: list[str] = []
        self._unasked = 0
        for item in chain(self._urgent.first(None), self._low.first(None)):
            why = selection_reason(item.finding, item.result, self.sample)
            if why is SelectionReason.ASKED:
                self._unasked += 1
            elif item.result not in done or item.result in self._done:
                order.append(item.result)
        if self.blind:
            order.sort(key=_shuffled)
        self._order = order
        self._place = {result: place for place, result in enumerate(order)}

    def results(self) -> tuple[str, ...]:
        """Return the queue: hashes of RESULT events in the order of asking."""
        with self._lock:
            return tuple(self._order)

    def standing(self) -> Standing:
        """Say how far the reading is."""
        with self._lock:
            return Standing(len(self._order), sum(result in self._done for result in self._order), self._unasked)

    def following(self, result: str | None = None) -> Case | None:
        """Return the next slice without a verdict after the one named, then from the start; None when all are read."""
        with self._lock:
            place = self._place.get(result or "", -1) + 1
            for candidate in (*self._order[place:], *self._order[:place]):
                if candidate not in self._done and candidate != result:
                    return self.case(candidate)
            return self.case(result) if result and result in self._place and result not in self._done else None

    def after(self, result: str) -> Case | None:
        """Return the next slice without a verdict further down the queue: one that was skipped does not come back."""
        with self._lock:
            rest = self._order[self._place.get(result, -1) + 1 :]
            return next((self.case(candidate) for candidate in rest if candidate not in self._done), None)

    def neighbour(self, result: str, step: int) -> Case | None:
        """Return the slice so many places on or back, read or not; None at the ends."""
        with self._lock:
            place = self._place.get(result, -1) + step
            return self.case(self._order[place]) if 0 <= place < len(self._order) else None

    def case(self, result: str) -> Case:
        """Return a slice by the hash of its RESULT.

        Raises
        ------
        UsageError
            The log holds no such result, or a later one about the same slice took its place.
        """
        with self._lock:
            item = self._urgent.find(result) or self._low.find(result)
        if item is None:
            raise UsageError(f"no slice of this log has the result {result[:12]!a}", "load the page again")
        return Case(item, selection_reason(item.finding, item.result, self.sample))

    def give(self, result: str, opinion: Opinion) -> str:
        """Append a verdict to the log and return the hash of its event; a request sent twice counts once.

        Raises
        ------
        UsageError
            See `case`.
        AuditLogError
            The log cannot be written: nothing was recorded.
        """
        with self._lock:
            if opinion.request and opinion.request in self._requests:
                return self._requests[opinion.request]
            case = self.case(result)
            # Once a verdict is given the tool's answer is shown, and whoever changes it is no longer blind.
            unseen = hidden(case, blind=self.blind)
            told = verdict(case.item.finding, result, replace(opinion, blind=unseen), self.sample)
            with AuditLog(self.log, exclusive=False, group=self.group) as log:
                digest = log.reviews([told])[0]
            self._judge(told)
            self._done.add(result)
            self.recorded += 1
            if opinion.request:
                self._requests[opinion.request] = digest
            return digest


def hidden(case: Case, *, blind: bool) -> bool:
    """Say whether the tool's opinion is to be kept from the reader for now."""
    return blind and case.item.verdict is None


def _shuffled(result: str) -> tuple[float, str]:
    """Order by other digits than those that drew the sample, or sampled slices would all come first."""
    return chance(result[::-1]), result
