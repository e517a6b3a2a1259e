"""What the log says is still to be read: the one place that turns events back into lists of slices."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from screener.audit import GENESIS, Kind, finding_of, read
from screener.audit.events import BadLineError, parse
from screener.audit.segments import lines
from screener.domain.finding import Decision, Finding
from screener.errors import AuditLogError, UsageError
from screener.finding_store import FindingStore, Item, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from screener.audit import Event

_KINDS: dict[str, Any] = {item.name: item.type for item in fields(Finding)}


@dataclass(slots=True)
class EventReader:
    """The events of a log up to the first that cannot be trusted.

    Attributes
    ----------
    log : Path
    runs : dict of str to Event
        START events by run, filled as the story is told.
    ends : dict of str to Event
        END events by run.
    head : str
        Hash of the last sound event.
    problem : AuditLogError or None
        What stopped it before the end of the log; what came before is sound.
    """

    log: Path
    runs: dict[str, Event] = field(default_factory=dict)
    ends: dict[str, Event] = field(default_factory=dict)
    head: str = GENESIS
    problem: AuditLogError | None = None

    def events(self) -> Iterator[Event]:
        """Yield sound events, oldest first.

        Raises
        ------
        AuditLogError
            There is no such log.
        """
        try:
            for event in read(self.log):
                if event["prev"] != self.head:
                    raise _broken(self.log, self.head)
                self.head = event["hash"]
                self._note(event)
                yield event
        except AuditLogError as error:
            if self.head == GENESIS:
                raise
            self.problem = error

    def inbox(self, event: Event) -> str:
        """Return the inbox of the run that an event belongs to; empty when no START tells."""
        found = self.runs.get(event["run_id"], {}).get("inbox")
        return found if isinstance(found, str) else ""

    def refuse_unscreened(self, inbox: str) -> None:
        """Make sure, once the story is told, that some run screened an inbox.

        Raises
        ------
        UsageError
            None did.
        """
        known = dict.fromkeys(str(run.get("inbox")) for run in self.runs.values())
        if inbox not in known:
            raise UsageError(
                f"no run in {self.log} screened {inbox or 'an inbox'}", f"the log knows: {', '.join(known) or 'none'}"
            )

    def _note(self, event: Event) -> None:
        if event["event"] == Kind.START:
            self.runs[event["run_id"]] = event
        elif event["event"] == Kind.END:
            self.ends[event["run_id"]] = event


def _broken(log: Path, head: str) -> AuditLogError:
    return AuditLogError(
        f"{log}: the chain breaks after the event {head[:12]}: lines were removed, inserted or moved",
        "Run `screener verify` and restore the log from a backup.",
    )


def waiting(story: EventReader, spool: FindingStore) -> None:
    """Collect what is flagged or not assessable and has no verdict yet, over all runs of a log.

    A verdict settles the slice as it stood: results recorded later, of another model or threshold, wait anew. A later
    result that is not flagged takes nothing off the list: only a person does.
    """
    for event in story.events():
        if event["event"] == Kind.RESULT and event["decision"] != Decision.NOT_FLAGGED:
            _take(story, event, spool)
        elif event["event"] == Kind.REVIEW:
            spool.settle(target_of(event))


def judged(story: EventReader, spool: FindingStore, inbox: str | None = None) -> str:
    """Collect the result of every slice of an inbox, with its last verdict.

    The latest by the model and threshold of the last run, which may be of an earlier run: what was judged so before is
    shown again without a new event. Where there is none, the latest of all.

    Parameters
    ----------
    story : EventReader
    spool : FindingStore
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
    wanted = inbox if inbox is not None else last_inbox(story.log)
    met = set()
    for event in story.events():
        if event["event"] == Kind.RESULT and story.inbox(event) == wanted:
            met.add(_means(event))
            _take(story, event, spool)
        elif event["event"] == Kind.REVIEW:
            spool.judge(target_of(event), verdict_of(event))
    story.refuse_unscreened(wanted)
    if len(met) > 1:
        _prefer(_means(last_run(story, wanted)), story, spool, wanted)
    return wanted


def _prefer(means: tuple[str, str], story: EventReader, spool: FindingStore, inbox: str) -> None:
    """Go through the sound events again, and let the results of one model and threshold take the place of others."""
    for event in EventReader(story.log).events():
        if event["event"] == Kind.RESULT and story.inbox(event) == inbox and _means(event) == means:
            _take(story, event, spool)
        elif event["event"] == Kind.REVIEW:
            spool.judge(target_of(event), verdict_of(event))
        # Others may be writing: what comes after the first reading belongs to the next page.
        if event["hash"] == story.head:
            return


def last_run(story: EventReader, inbox: str) -> Event:
    """Return the START of the last run over an inbox."""
    return [run for run in story.runs.values() if run.get("inbox") == inbox][-1]


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


def _take(story: EventReader, event: Event, spool: FindingStore) -> None:
    """Put a result on the list; one that makes no sense is told of and does not hide the others."""
    try:
        spool.add(item_of(story, event))
    except AuditLogError as error:
        story.problem = error


def item_of(story: EventReader, event: Event) -> Item:
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
            f"{story.log}: the result {event['hash'][:12]} records no finding ({error})", "Run `screener verify`."
        ) from None
    return Item(finding, story.inbox(event), event["hash"], event["timestamp"])


def _refuse_nonsense(finding: Finding) -> None:
    """Make sure that what is to be text is text."""
    for name, kind in _KINDS.items():
        value = getattr(finding, name)
        if kind == "str" and not isinstance(value, str):
            raise TypeError(f"{name} is no text")
        if kind == "str | None" and not isinstance(value, str | None):
            raise TypeError(f"{name} is no text")


def last_inbox(log: Path) -> str:
    """Return the inbox of the last run in a log; empty when there is none.

    Raises
    ------
    AuditLogError
        There is no such log.
    """
    found = ""
    for event in marked(log, Kind.START):
        inbox = event.get("inbox")
        found = inbox if isinstance(inbox, str) else found
    return found


def marked(log: Path, kind: Kind) -> Iterator[Event]:
    """Yield the sound events of one kind; reading every event to find a few would cost as much as a list of all.

    Raises
    ------
    AuditLogError
        There is no such log.
    """
    mark = f'"event":"{kind}"'.encode("ascii")
    for line in lines(log):
        if mark in line.raw:
            with suppress(BadLineError):
                event = parse(line.raw)
                # Options or details may hold an object that has the mark.
                if event["event"] == kind:
                    yield event
