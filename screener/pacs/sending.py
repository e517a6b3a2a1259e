"""From answered studies to the PACS: make the objects, keep them in the outbox, send them, record it.

`AnswerSender` is what `screener scan`, `screener send`, `screener listen` and `screener watch` use. An object is sent
at least once, and because its identifiers are always the same, stored once.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from screener.audit import AuditLog, Kind
from screener.audit.reader import marked
from screener.audit.segments import segments
from screener.pacs.destination import Destination
from screener.pacs.outbox import Outbox
from screener.pacs.storage_scu import TransferError, connect
from screener.report.answered_studies import latest_answers
from screener.report.dicom_answer import Missing, NoAnswer, dicom_answers, is_written, write_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    from screener.audit import Event
    from screener.domain.study import StudyFinding
    from screener.messages import Language
    from screener.model.session import Model
    from screener.pacs.outbox import Waiting

LOGGER = logging.getLogger("screener.pacs")
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 300.0
"""Seconds between two attempts of a service: doubled after each that fails."""


@dataclass(frozen=True, slots=True)
class SendOptions:
    """Where answers go.

    Attributes
    ----------
    destinations : tuple of Destination
    folder : Path or None
        Where they are written as files too.
    outbox : Path or None
        Where they wait; None only without destinations.
    lang : {"en", "fr"}
        Of their texts.
    calling : str
        Own AE title.
    group : str or None
        As of ``--log-group``.
    """

    destinations: tuple[Destination, ...] = ()
    folder: Path | None = None
    outbox: Path | None = None
    lang: Language = "en"
    calling: str = "SCREENER"
    group: str | None = None


@dataclass(slots=True)
class Made:
    """What became of the studies whose answers were to be made.

    Attributes
    ----------
    answers : int
        Made now.
    missing : Counter of Missing
        Studies without an answer in DICOM, by reason.
    settled : int
        Studies whose answer was sent or written before, or waits already.
    """

    answers: int = 0
    missing: Counter[Missing] = field(default_factory=Counter)
    settled: int = 0


@dataclass(slots=True)
class Delivery:
    """What one attempt to send everything came to.

    Attributes
    ----------
    sent : list of tuple of (str, str, int)
        Hash of the STUDY event, destination, number of objects.
    waiting : int
        Entries that are left.
    problems : dict of str to str
        Why, by destination.
    """

    sent: list[tuple[str, str, int]] = field(default_factory=list)
    waiting: int = 0
    problems: dict[str, str] = field(default_factory=dict)


class AnswerSender:
    """Makes, keeps and sends answers.

    Parameters
    ----------
    log : Path
    model : callable
        Loads the model that judged.
    options : SendOptions
    images : Path, optional
        Where the inbox lies now, when it has moved.

    Attributes
    ----------
    waiting : int
        Answers that the last attempt of `work` left in the outbox.

    Raises
    ------
    UsageError
        The outbox cannot be used.
    """

    def __init__(
        self, log: Path, model: Callable[[], Model], options: SendOptions, *, images: Path | None = None
    ) -> None:
        self._log, self._model, self._options, self._images = log, model, options, images
        self.outbox = None if options.outbox is None else Outbox(options.outbox)
        self._noted: dict[str, None] = {}
        self._sent = SentAnswers(log)
        self.waiting = 0
        self._pause, self._next = 0.0, 0.0

    def make(self, wanted: Collection[str] | None = None, *, since: str = "") -> Made:
        """Make answers: write them to the folder, and put into the outbox what was not sent yet.

        Parameters
        ----------
        wanted : collection of str, optional
            Study identifiers or hashes of STUDY events; by default all studies.
        since : str
            Only what was answered from this time on, UTC, ISO 8601.

        Raises
        ------
        ScreenerError
            There is no log or no model, or a file cannot be written.
        """
        found = Made()

        entries = () if self.outbox is None else self.outbox.entries()
        waiting = {(one.entry.event, one.entry.destination) for one in entries}
        folder, lang = self._options.folder, self._options.lang

        def skip(event: Event) -> bool:
            settled = (folder is None or is_written(folder, event, lang)) and all(
                (event["hash"], one.name) in waiting for one in self._open(event["hash"])
            )
            found.settled += settled
            return settled or event["timestamp"] < since

        for made in dicom_answers(
            self._log, self._model, self._options.lang, wanted=wanted, skip=skip, images=self._images
        ):
            if isinstance(made, NoAnswer):
                found.missing[made.why] += 1
                continue
            found.answers += 1
            if self._options.folder is not None:
                write_answer(self._options.folder, made)
            if self.outbox is not None:
                with self.outbox.locked():
                    for destination in self._open(made.line.event):
                        self.outbox.add(made, destination)
        return found

    def _open(self, event: str) -> list[Destination]:
        """Return the destinations to which the answer of a STUDY event was not sent yet."""
        sent = self._sent.destinations(event)
        return [one for one in self._options.destinations if one.name not in sent]

    def deliver(self) -> Delivery:
        """Try to send all that waits, and record in the log what was sent.

        Raises
        ------
        AuditLogError
            The log cannot take the SENT event: the entry stays, and is sent again.
        UsageError
            The outbox cannot be used.
        """
        found = Delivery()
        if self.outbox is None:
            return found
        with self.outbox.locked():
            waiting: dict[str, list[Waiting]] = {}
            for one in self.outbox.entries():
                waiting.setdefault(one.entry.destination, []).append(one)
            for name, entries in waiting.items():
                self._deliver_to(Destination.read(name), entries, found)
            found.waiting = len(self.outbox)
        return found

    def _deliver_to(self, destination: Destination, entries: list[Waiting], found: Delivery) -> None:
        left = [one for one in entries if not self._settle(one)]
        if not left:
            return
        try:
            with connect(destination, self._options.calling) as connection:
                for one in left:
                    try:
                        connection.store(one.read())
                    except TransferError as error:
                        if error.gone:
                            raise
                        found.problems[destination.name] = str(error)
                    except (OSError, ValueError):
                        self._drop(one, found)
                    else:
                        self._record(one)
                        found.sent.append((one.entry.event, destination.name, len(one.entry.objects)))
        except TransferError as error:
            found.problems[destination.name] = str(error)

    def _settle(self, waiting: Waiting) -> bool:
        """Take out what was sent before a crash came between the log and the outbox."""
        if self.outbox is None or waiting.entry.destination not in self._sent.destinations(waiting.entry.event):
            return False
        self.outbox.remove(waiting)
        return True

    def _drop(self, waiting: Waiting, found: Delivery) -> None:
        """Take out an entry that the disk has damaged; the log still tells that it was not sent."""
        if self.outbox is not None:
            self.outbox.remove(waiting)
        why = "an entry of the outbox was damaged and is gone: screener send --all makes it again"
        found.problems[waiting.entry.destination] = why

    def _record(self, waiting: Waiting) -> None:
        entry = waiting.entry
        objects = [{"sop_instance_uid": one.sop_instance_uid, "sha256": one.sha256} for one in entry.objects]
        with AuditLog(self._log, exclusive=False, group=self._options.group) as log:
            log.sent(
                {
                    "study": entry.event,
                    "destination": entry.destination,
                    "language": entry.language,
                    "objects": objects,
                }
            )
        if self.outbox is not None:
            self.outbox.remove(waiting)

    def note(self, finding: StudyFinding) -> None:
        """Remember a study whose answer is to be made by `work`."""
        self._noted[finding.study_id] = None

    def recover(self) -> None:
        """Note what a crash came between: answered since the outbox was made, and neither sent nor waiting."""
        if self.outbox is not None and segments(self._log):
            self._tell(self.make(since=self.outbox.created))

    def work(self) -> None:
        """Make the answers that were noted, and send what waits unless the last attempt failed a moment ago.

        For services, which call it over and over.

        Raises
        ------
        ScreenerError
            As of `make` and `deliver`.
        """
        if self._noted:
            noted, self._noted = self._noted, {}
            try:
                self._tell(self.make(noted))
            except BaseException:
                self._noted = noted | self._noted
                raise
            self._next = min(self._next, time.monotonic() + _FIRST_PAUSE) if self._pause else 0.0
        if self.outbox is None or time.monotonic() < self._next:
            return
        if not self.outbox.occupied:
            self._next = time.monotonic() + _FIRST_PAUSE
            return
        found = self.deliver()
        self.waiting = found.waiting
        for event, destination, count in found.sent:
            LOGGER.info("answer %s: %d objects sent to %s", event[:12], count, destination)
        self._pause = min(max(_FIRST_PAUSE, 2 * self._pause), _LONGEST_PAUSE) if found.waiting else 0.0
        self._next = time.monotonic() + (self._pause or _FIRST_PAUSE)
        for why in found.problems.values():
            LOGGER.warning("%s; %d answers wait, next attempt in %.0f s", why, found.waiting, self._pause)

    def _tell(self, made: Made) -> None:
        from screener.report.dicom_answer import WHY

        for why, count in made.missing.items():
            LOGGER.warning("no answer in DICOM about %d of the studies: %s", count, WHY[why])

    def is_sent(self, events: Iterable[str]) -> bool:
        """Say whether the answers of STUDY events were sent everywhere; of several about a study, the latest counts."""
        latest = set(latest_answers(self._log))
        return not any(self._open(event) for event in events if event in latest)


class SentAnswers:
    """What the log says was sent.

    Parameters
    ----------
    log : Path
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read: tuple[tuple[Path, int], ...] = ()
        self._sent: dict[str, set[str]] = {}

    def destinations(self, event: str) -> set[str]:
        """Return where the answer of a STUDY event was sent."""
        self._refresh()
        return self._sent.get(event, set())

    def _refresh(self) -> None:
        state = tuple((path, path.stat().st_size) for path in segments(self._log) if path.exists())
        if state == self._read:
            return
        self._sent = {}
        for event in marked(self._log, Kind.SENT):
            self._sent.setdefault(str(event["study"]), set()).add(str(event["destination"]))
        self._read = state
