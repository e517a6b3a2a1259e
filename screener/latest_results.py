"""The latest result of every study and slice of an inbox, with its last verdict: what a page from the log shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from screener.audit import Kind
from screener.audit.reader import EventReader, last_inbox, last_run, verdict_of
from screener.errors import AuditLogError
from screener.finding_store import item_of
from screener.study_store import study_item_of

if TYPE_CHECKING:
    from screener.audit import Event
    from screener.finding_store import FindingStore

_ANSWERS = frozenset({Kind.RESULT, Kind.STUDY})


def latest_results(reader: EventReader, store: FindingStore, inbox: str | None = None) -> str:
    """Collect the result of every study and slice of an inbox, with its last verdict.

    The latest by the model and threshold of the last run, which may be of an earlier run: what was judged so before is
    shown again without a new event. Where there is none, the latest of all.

    Parameters
    ----------
    reader : EventReader
    store : FindingStore
    inbox : str, optional
        As START events record it; by default that of the last run.

    Returns
    -------
    str
        The inbox.

    Raises
    ------
    UsageError
        No run in the log screened that inbox.
    """
    chosen = inbox if inbox is not None else last_inbox(reader.log)
    met = set()
    for event in reader.events():
        if event["event"] in _ANSWERS and reader.inbox(event) == chosen:
            met.add(_judged_by(reader, event))
            _take(reader, event, store)
        elif event["event"] == Kind.REVIEW:
            store.add_verdict(verdict_of(event))
    reader.refuse_unscreened(chosen)
    if len(met) > 1:
        _prefer(_means(last_run(reader, chosen)), reader, store, chosen)
    return chosen


def _prefer(means: tuple[str, str], reader: EventReader, store: FindingStore, inbox: str) -> None:
    """Go through the sound events again, and let the results of one model and threshold take the place of others."""
    for event in EventReader(reader.log).events():
        if event["event"] in _ANSWERS and reader.inbox(event) == inbox and _judged_by(reader, event) == means:
            _take(reader, event, store)
        elif event["event"] == Kind.REVIEW:
            store.add_verdict(verdict_of(event))
        # Others may be writing: what comes after the first reading belongs to the next page.
        if event["hash"] == reader.head:
            return


def _means(event: Event) -> tuple[str, str]:
    """Return by which model and threshold a run or a result judged."""
    return str(event.get("model_sha256")), str(event.get("threshold"))


def _judged_by(reader: EventReader, event: Event) -> tuple[str, str]:
    """Return by which model and threshold of slices an answer came about; a study has a threshold of its own."""
    return _means(event if event["event"] == Kind.RESULT else reader.runs.get(event["run_id"], {}))


def _take(reader: EventReader, event: Event, store: FindingStore) -> None:
    """Put a result on the list; one that makes no sense is reported and does not hide the others."""
    try:
        if event["event"] == Kind.STUDY:
            store.studies.add(study_item_of(reader, event))
        else:
            store.add(item_of(reader, event))
    except AuditLogError as error:
        reader.problem = error
