"""What the log says is still to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from screener.audit import Kind
from screener.audit.reader import target_of
from screener.domain.finding import Decision
from screener.errors import AuditLogError
from screener.finding_store import item_of

if TYPE_CHECKING:
    from screener.audit import Event
    from screener.audit.reader import EventReader
    from screener.finding_store import FindingStore


def waiting(reader: EventReader, store: FindingStore) -> None:
    """Collect what is flagged or not assessable and has no verdict yet, over all runs of a log.

    A verdict settles the slice as it stood: results recorded later, of another model or threshold, wait anew. A later
    result that is not flagged takes nothing off the list: only a person does.
    """
    for event in reader.events():
        if event["event"] == Kind.RESULT and event["decision"] != Decision.NOT_FLAGGED:
            _take(reader, event, store)
        elif event["event"] == Kind.REVIEW:
            store.settle(target_of(event))


def _take(reader: EventReader, event: Event, store: FindingStore) -> None:
    """Put a result on the list; one that makes no sense is told of and does not hide the others."""
    try:
        store.add(item_of(reader, event))
    except AuditLogError as error:
        reader.problem = error
