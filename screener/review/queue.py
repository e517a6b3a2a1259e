"""The review queue: what is to be read next, and the one way in which a verdict gets into the log."""

from __future__ import annotations

import heapq
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from screener.audit import AuditLog, Kind
from screener.audit.reader import EventReader, target_of, verdict_of
from screener.domain.finding import Urgency
from screener.domain.verdict import SelectionReason
from screener.errors import AuditLogError, UsageError
from screener.finding_store import FindingStore, Item, item_of
from screener.inbox.studies import natural_key
from screener.review.verdicts import chance, selection_reason, verdict
from screener.study_store import StudyItem, study_item_of
from screener.triage import reading_order
from screener.worklist import add_study

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from screener.audit import Event
    from screener.domain.study import StudyFinding
    from screener.domain.verdict import Opinion


@dataclass(frozen=True, slots=True)
class Case:
    """One study or slice before a reader.

    Attributes
    ----------
    item : StudyItem or Item
        With the last verdict given, if any.
    selection : SelectionReason
        Why it is asked about.
    study : StudyItem or None
        Of a slice, the study that it belongs to.
    """

    item: StudyItem | Item
    selection: SelectionReason
    study: StudyItem | None = None


@dataclass(frozen=True, slots=True)
class StudySlice:
    """One slice of a study.

    Attributes
    ----------
    item : Item
    key : int or None
        0 for the slice with the strongest evidence, 1 and 2 for the next; None for the others.
    """

    item: Item
    key: int | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the reading is: what is to be read, how much of it was, and what was not flagged and is not asked."""

    total: int
    done: int
    unasked: int


class ReviewQueue:
    """Holds the queue of one session; use it as a context manager.

    The queue is what the log said when the session began, or was last read again: studies, and slices that no answer
    about a study rests on, that are flagged or not assessable and have no verdict, and of those not flagged a random
    sample.

    Parameters
    ----------
    log : Path
    sample : float, in [0, 1]
        Share of what was not flagged that is asked about all the same.
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
        self._store = FindingStore()
        self._order: list[str] = []
        self._place: dict[str, int] = {}
        self._done: set[str] = set()
        self._requests: dict[str, str] = {}
        self._unasked = 0

    def __enter__(self) -> Self:
        self.refresh()
        return self

    def __exit__(self, *_: object) -> None:
        self._store.__exit__()

    def refresh(self) -> None:
        """Read the log and order what is to be read now; what was read in this session stays within reach.

        Raises
        ------
        AuditLogError
            There is no such log: what was ordered before stays. One that is damaged is read up to the damage, see
            `problem`.
        """
        with self._lock:
            former, self._store = self._store, FindingStore()
            reader, done = EventReader(self.log), set(self._done)
            try:
                for event in reader.events():
                    self._take(reader, event, done)
            except AuditLogError:
                self._store.__exit__()
                self._store = former
                raise
            former.__exit__()
            self.problem = reader.problem
            self._sort(done)

    def _take(self, reader: EventReader, event: Event, done: set[str]) -> None:
        try:
            if event["event"] == Kind.RESULT:
                self._add_slice(item_of(reader, event))
            elif event["event"] == Kind.STUDY:
                add_study(self._store.studies, study_item_of(reader, event))
        except AuditLogError as error:
            reader.problem = error
        if event["event"] == Kind.REVIEW and (target := target_of(event)):
            self._store.add_verdict(verdict_of(event))
            done.add(target)
            if isinstance(event.get("request"), str):
                self._requests[event["request"]] = event["hash"]

    def _add_slice(self, item: Item) -> None:
        """Take a result in; one that is not flagged takes no unread slice off the list, only a person does."""
        if item.finding.urgency is Urgency.LOW:
            former = self._store.same_slice(item)
            if former is not None and former.finding.urgency is not Urgency.LOW and former.verdict is None:
                return
        self._store.add(item)

    def _sort(self, done: set[str]) -> None:
        """Order what is asked about; what was read in this session keeps its place."""
        order: list[str] = []
        self._unasked = 0
        studies: Iterator[StudyItem | Item] = self._store.studies.items()
        slices = self._store.first(None, unanswered=True)
        for item in heapq.merge(studies, slices, key=lambda item: reading_order(item.finding)):
            if selection_reason(item.finding, item.result, self.sample) is SelectionReason.ASKED:
                self._unasked += 1
            elif item.result not in done or item.result in self._done:
                order.append(item.result)
        if self.blind:
            order.sort(key=_shuffled)
        self._order = order
        self._place = {result: place for place, result in enumerate(order)}

    def results(self) -> tuple[str, ...]:
        """Return the queue: hashes of STUDY and RESULT events in the order of asking."""
        with self._lock:
            return tuple(self._order)

    def progress(self) -> Progress:
        """Say how far the reading is."""
        with self._lock:
            return Progress(len(self._order), sum(result in self._done for result in self._order), self._unasked)

    def next_unread(self, result: str | None = None) -> Case | None:
        """Return the next case without a verdict after the one named, then from the start; None when all are read."""
        with self._lock:
            place = self._place.get(result or "", -1) + 1
            for candidate in (*self._order[place:], *self._order[:place]):
                if candidate not in self._done and candidate != result:
                    return self.case(candidate)
            return self.case(result) if result and result in self._place and result not in self._done else None

    def next_unread_after(self, result: str) -> Case | None:
        """Return the next case without a verdict further down the queue: one that was skipped does not come back."""
        with self._lock:
            rest = self._order[self._place.get(result, -1) + 1 :]
            return next((self.case(candidate) for candidate in rest if candidate not in self._done), None)

    def neighbour(self, result: str, step: int) -> Case | None:
        """Return the case so many places on or back, read or not; None at the ends."""
        with self._lock:
            place = self._place.get(result, -1) + step
            return self.case(self._order[place]) if 0 <= place < len(self._order) else None

    def case(self, result: str) -> Case:
        """Return a study by the hash of its STUDY, or a slice by the hash of its RESULT.

        Raises
        ------
        UsageError
            The log holds no such event, or a later one about the same study or slice took its place.
        """
        with self._lock:
            study = self._store.studies.by_result(result)
            if study is not None:
                return Case(study, selection_reason(study.finding, result, self.sample))
            item = self._store.find(result)
            if item is None:
                raise UsageError(f"no study or slice of this log has the result {result[:12]!a}", "load the page again")
            return Case(item, selection_reason(item.finding, result, self._sample_of(item)), self._study_of(item))

    def _study_of(self, item: Item) -> StudyItem | None:
        study_id = item.finding.study_id
        return None if study_id is None else self._store.studies.find(item.inbox, study_id)

    def _sample_of(self, item: StudyItem | Item) -> float:
        """Return the share that is drawn of its kind: of the slices of a study, none is."""
        return 0.0 if isinstance(item, Item) and self._store.answered(item) else self.sample

    def slices(self, case: Case) -> list[StudySlice]:
        """Return the slices of a study by series, in anatomical order; of a lone slice the slice itself."""
        item = case.item
        if not isinstance(item, StudyItem):
            return [StudySlice(item, None)]
        with self._lock:
            found = self._store.of_study(item.inbox, item.finding.study_id)
            # A file that was replaced by another of the same name is shown as it was judged last.
            latest = {(one.finding.path, one.finding.frame): one for one in found}
        return [StudySlice(one, _key_of(item.finding, one)) for one in sorted(latest.values(), key=_anatomical)]

    def record(self, result: str, opinion: Opinion) -> str:
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
            given = replace(opinion, blind=hidden(case, blind=self.blind))
            found = verdict(case.item.finding, result, given, self._sample_of(case.item))
            with AuditLog(self.log, exclusive=False, group=self.group) as log:
                digest = log.reviews([found])[0]
            self._store.add_verdict(found)
            self._done.add(result)
            self.recorded += 1
            if opinion.request:
                self._requests[opinion.request] = digest
            return digest


def hidden(case: Case, *, blind: bool) -> bool:
    """Say whether the tool's opinion is to be kept from the reader for now; on a slice, until its study is judged."""
    return blind and (case.study or case.item).verdict is None


def _key_of(finding: StudyFinding, item: Item) -> int | None:
    """Return the rank of a slice among the key slices of its study; frames of one file are told apart by position."""
    for rank, key in enumerate(finding.key_slices):
        if key.path == item.finding.path and (item.finding.frame is None or key.position == item.finding.position):
            return rank
    return None


def _anatomical(item: Item) -> tuple[object, ...]:
    finding = item.finding
    return (
        natural_key(finding.series_id or ""),
        0.0 if finding.position is None else finding.position,
        natural_key(finding.path),
        finding.frame or 0,
    )


def _shuffled(result: str) -> tuple[float, str]:
    """Order by other digits than those that drew the sample, or sampled cases would all come first."""
    return chance(result[::-1]), result
