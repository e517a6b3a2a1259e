"""What the log says is still to be read: the one place that turns events back into lists of slices."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from screener.audit import Kind, finding_of
from screener.audit.reader import EventReader, last_inbox
from screener.domain.finding import Decision, Finding
from screener.errors import AuditLogError
from screener.finding_store import FindingStore, Item, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from screener.audit import Event

_KINDS: dict[str, Any] = {item.name: item.type for item in fields(Finding)}


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


def judged(reader: EventReader, store: FindingStore, inbox: str | None = None) -> str:
    """Collect the result of every slice of an inbox, with its last verdict.

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
    wanted = inbox if inbox is not None else last_inbox(reader.log)
    met = set()
    for event in reader.events():
        if event["event"] == Kind.RESULT and reader.inbox(event) == wanted:
            met.add(_means(event))
            _take(reader, event, store)
        elif event["event"] == Kind.REVIEW:
            store.judge(target_of(event), verdict_of(event))
    reader.refuse_unscreened(wanted)
    if len(met) > 1:
        _prefer(_means(last_run(reader, wanted)), reader, store, wanted)
    return wanted


def _prefer(means: tuple[str, str], reader: EventReader, store: FindingStore, inbox: str) -> None:
    """Go through the sound events again, and let the results of one model and threshold take the place of others."""
    for event in EventReader(reader.log).events():
        if event["event"] == Kind.RESULT and reader.inbox(event) == inbox and _means(event) == means:
            _take(reader, event, store)
        elif event["event"] == Kind.REVIEW:
            store.judge(target_of(event), verdict_of(event))
        # Others may be writing: what comes after the first reading belongs to the next page.
        if event["hash"] == reader.head:
            return


def last_run(reader: EventReader, inbox: str) -> Event:
    """Return the START of the last run over an inbox."""
    return [run for run in reader.runs.values() if run.get("inbox") == inbox][-1]


def recorded(inbox: Path) -> str:
    """Return an inbox as START events record it."""
    return str(inbox.absolute())


def target_of(event: Event) -> str | None:
    """Return the hash of the RESULT that a REVIEW event refers to; None when it is none, as a forger may write it."""
    result = event["result"]
    return result if isinstance(result, str) else None


def verdict_of(event: Event) -> Verdict:
    """Return what a REVIEW event says."""
    agreement = event["agreement"]
    return Verdict(
        str(event["doctor_id"]), str(event["final_diagnosis"]), agreement if isinstance(agreement, bool) else None
    )


def _means(event: Event) -> tuple[str, str]:
    """Return by which model and threshold a run or a result judged."""
    return str(event.get("model_sha256")), str(event.get("threshold"))


def _take(reader: EventReader, event: Event, store: FindingStore) -> None:
    """Put a result on the list; one that makes no sense is told of and does not hide the others."""
    try:
        store.add(item_of(reader, event))
    except AuditLogError as error:
        reader.problem = error


def item_of(reader: EventReader, event: Event) -> Item:
    """Return the slice that a RESULT event tells of.

    Raises
    ------
    AuditLogError
        Its hash is right and its content is not: a forgery.
    """
    try:
        finding = finding_of(event)
        _refuse_nonsense(finding)
    except (KeyError, TypeError, ValueError) as error:
        raise AuditLogError(
            f"{reader.log}: the result {event['hash'][:12]} records no finding ({error})", "Run `screener verify`."
        ) from None
    return Item(finding, reader.inbox(event), event["hash"], event["timestamp"])


def _refuse_nonsense(finding: Finding) -> None:
    """Make sure that what is to be text is text."""
    for name, kind in _KINDS.items():
        value = getattr(finding, name)
        if kind == "str" and not isinstance(value, str):
            raise TypeError(f"{name} is no text")
        if kind == "str | None" and not isinstance(value, str | None):
            raise TypeError(f"{name} is no text")
