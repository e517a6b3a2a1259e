"""Read the events of a log up to the first that cannot be trusted."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from screener.audit.events import GENESIS, MAX_LINE, BadLineError, Kind, parse, skim
from screener.audit.segments import lines
from screener.audit.verify import read
from screener.domain.verdict import Verdict
from screener.errors import AuditLogError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from screener.audit.events import Event
    from screener.audit.segments import Line


@dataclass(slots=True)
class EventReader:
    """The events of a log up to the first that cannot be trusted.

    Attributes
    ----------
    log : Path
    runs : dict of str to Event
        START events by run, filled as events are read.
    ends : dict of str to Event
        END events by run.
    head : str
        Hash of the last sound event.
    problem : AuditLogError or None
        What stopped it before the end of the log; what came before is sound.
    shadow : bool
        Whether the log may be that of shadow runs: what a candidate said there is no answer that anybody acts on.
    """

    log: Path
    runs: dict[str, Event] = field(default_factory=dict)
    ends: dict[str, Event] = field(default_factory=dict)
    head: str = GENESIS
    problem: AuditLogError | None = None
    shadow: bool = False

    def events(self) -> Iterator[Event]:
        """Yield sound events, oldest first.

        Raises
        ------
        AuditLogError
            There is no such log.
        UsageError
            It is the log of shadow runs, and that was not asked for.
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
        """Make sure, once all events are read, that some run screened an inbox.

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
            if event.get("shadow_of") is not None and not self.shadow:
                raise UsageError(
                    f"{self.log} holds what a candidate said in shadow runs: nobody acts on it",
                    "see screener model compare --from-log, with the log of the model in use",
                )
            self.runs[event["run_id"]] = event
        elif event["event"] == Kind.END:
            self.ends[event["run_id"]] = event


class PartialReader(EventReader):
    """Reads events of one kind as lines only: held to their hash and their place in the chain, not taken apart.

    A million results are read in a third of the time. What `EventReader` checks beyond that, such as the one canonical
    spelling, only a forger who hashes anew gets around, and `screener verify` checks it.

    Parameters
    ----------
    log : Path
    skimmed : Kind or None
        The kind; None reads all events whole.
    take : callable
        Is given each line of that kind, with its newline.
    """

    def __init__(self, log: Path, *, skimmed: Kind | None, take: Callable[[bytes], object]) -> None:
        super().__init__(log)
        self._skimmed, self._take = skimmed, take
        self._mark = b"" if skimmed is None else f'"event":"{skimmed}"'.encode("ascii")

    def events(self) -> Iterator[Event]:
        """Yield sound events of the other kinds, oldest first; see `EventReader.events`."""
        if self._skimmed is None:
            yield from super().events()
            return
        try:
            for line in lines(self.log):
                event = self._event(line)
                if event is not None:
                    yield event
        except AuditLogError as error:
            if self.head == GENESIS:
                raise
            self.problem = error

    def _event(self, line: Line) -> Event | None:
        """Return the event of a line, or None of one that was only skimmed or is not complete."""
        raw = line.raw
        if not raw.endswith(b"\n") and line.path == self.log and len(raw) <= MAX_LINE:
            return None
        try:
            if self._mark in raw and (digest := skim(raw, self.head)) is not None:
                self.head = digest
                self._take(raw)
                return None
            event = parse(raw)
        except BadLineError as error:
            raise AuditLogError(
                f"{line.path}, line {line.number}: {error}", "Run `screener verify` and restore the log from a backup."
            ) from None
        if event["prev"] != self.head:
            raise _broken(self.log, self.head)
        self.head = event["hash"]
        self._note(event)
        return event


def _broken(log: Path, head: str) -> AuditLogError:
    return AuditLogError(
        f"{log}: the chain breaks after the event {head[:12]}: lines were removed, inserted or moved",
        "Run `screener verify` and restore the log from a backup.",
    )


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


def recorded(inbox: Path) -> str:
    """Return an inbox as START events record it."""
    return str(inbox.absolute())


def last_run(reader: EventReader, inbox: str) -> Event:
    """Return the START of the last run over an inbox, once all events are read."""
    return [run for run in reader.runs.values() if run.get("inbox") == inbox][-1]


def target_of(event: Event) -> str | None:
    """Return the hash that a REVIEW event refers to; None when it is none, as a forger may write it."""
    result = event["result"]
    return result if isinstance(result, str) else None


def verdict_of(event: Event) -> Verdict:
    """Return what a REVIEW event says, without its details."""
    agreement = event["agreement"]
    return Verdict(
        target_of(event) or "",
        str(event["doctor_id"]),
        str(event["final_diagnosis"]),
        agreement if isinstance(agreement, bool) else None,
    )
