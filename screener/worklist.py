"""What the log says is still to be read: studies, and slices that no answer about a study rests on."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from screener.audit import Kind
from screener.audit.reader import verdict_of
from screener.domain.finding import Decision, Urgency
from screener.errors import AuditLogError
from screener.finding_store import FindingStore, Item, item_of
from screener.study_store import StudyItem, StudyStore, study_item_of
from screener.triage import CUSTOM, reading_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from screener.audit import Event
    from screener.audit.reader import EventReader


def waiting(reader: EventReader, store: FindingStore) -> None:
    """Collect what is flagged or not assessable and has no verdict yet, over all runs of a log.

    The last STUDY event of a study counts. A verdict settles the study, or the slice, as it stood: results recorded
    later wait anew. Another model or threshold takes no unread study off the list, and no later result takes a slice
    off: only a person does.
    """
    for event in reader.events():
        try:
            _take(reader, event, store)
        except AuditLogError as error:
            # What makes no sense is reported and does not hide the rest.
            reader.problem = error


def _take(reader: EventReader, event: Event, store: FindingStore) -> None:
    if event["event"] == Kind.RESULT and event["decision"] != Decision.NOT_FLAGGED:
        store.add(item_of(reader, event))
    elif event["event"] == Kind.STUDY:
        add_study(store.studies, study_item_of(reader, event))
    elif event["event"] == Kind.REVIEW:
        store.settle(verdict_of(event))


def add_study(studies: StudyStore, item: StudyItem) -> None:
    """Take in the latest answer about a study, unless it would take the study off the list without a person.

    More slices judged by the same model and threshold do replace the former answer. A study that is not flagged by
    another model or threshold leaves an unread one where it is.
    """
    former = studies.find(item.inbox, item.finding.study_id)
    kept = former is not None and former.waiting and not item.waiting and not _same_test(former, item)
    if kept:
        studies.note(item)
    else:
        studies.add(item)


def _same_test(one: StudyItem, other: StudyItem) -> bool:
    """Say whether the same model and operating point judged both.

    A study too small for the aggregation is judged by the threshold of a slice of the same operating point.
    """
    first, second = one.finding, other.finding
    same = (first.model_sha256, first.operating_point) == (second.model_sha256, second.operating_point)
    return same and (first.operating_point != CUSTOM or first.threshold == second.threshold)


def entries(store: FindingStore, level: str) -> Iterator[StudyItem | Item]:
    """Yield what waits, in reading order.

    Parameters
    ----------
    store : FindingStore
        As `waiting` filled it.
    level : {"study", "slice"}
        ``study``: studies, and the slices that no answer about a study rests on. ``slice``: slices only.
    """
    if level == "slice":
        return store.first(None)
    studies: Iterator[StudyItem | Item] = store.studies.items(waiting=True)
    return heapq.merge(studies, store.first(None, unanswered=True), key=lambda item: reading_order(item.finding))


def counts(store: FindingStore, level: str) -> tuple[dict[Urgency, int], dict[Urgency, int]]:
    """Return how many studies, and how many slices beside them, wait by urgency."""
    slices = store.by_urgency(unanswered=level == "study")
    studies = store.studies.by_urgency(waiting=True) if level == "study" else dict.fromkeys(Urgency, 0)
    return studies, slices
