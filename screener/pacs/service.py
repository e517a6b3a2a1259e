"""The loop that `screener listen` and `screener watch` share: wait, screen what is complete, renew the page, delete."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from screener.audit.events import COMPLETE
from screener.domain.study import StudyFinding
from screener.errors import ModelError, ScreenerError
from screener.pacs.answers import LoggedAnswers
from screener.pacs.contents import Contents, contents, logged_name, names, studies_in
from screener.pipeline.scan import Scan, summary_counts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from screener.audit import AuditLog
    from screener.messages import Language
    from screener.pacs.arrivals import Arrival, Arrivals
    from screener.pacs.retention import Retention
    from screener.pacs.sending import AnswerSender
    from screener.pipeline.run import ScanRun

LOGGER = logging.getLogger("screener.pacs")
_POLL = 0.5
"""Seconds after which a signal is noticed at the latest."""


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """How an inbox is served.

    Attributes
    ----------
    command : {"listen", "watch"}
    trusted : bool
        Files appear below the inbox whole, so that a folder that was quiet needs no second look.
    page : Path or None
        The worklist page, renewed after each answer.
    lang : {"en", "fr"}
        Of the page.
    unanswered_after : float
        Seconds after which a folder without an answer raises an alarm.
    relist : float
        Seconds between two looks at the whole inbox, for arrivals that nobody told of.
    show : callable or None
        Is given each answer.
    """

    command: str
    trusted: bool
    page: Path | None = None
    lang: Language = "en"
    unanswered_after: float = 900.0
    relist: float = 300.0
    show: Callable[[StudyFinding], None] | None = None


@dataclass(slots=True)
class Activity:
    """What the service has done and met since it began, for its health.

    Attributes
    ----------
    answered, studies, failures : int
        Folders, studies, and attempts that failed.
    problem : str
        Why the last attempt failed; empty after one that did not.
    alarms : set of str
        Folders, as the log names them, that wait for too long.
    """

    answered: int = 0
    studies: int = 0
    failures: int = 0
    problem: str = ""
    alarms: set[str] = field(default_factory=set)


class Service:
    """Screens what arrives below an inbox, one folder a run, until it is stopped.

    Parameters
    ----------
    run : ScanRun
    arrivals : Arrivals
    options : ServiceOptions
    retention : Retention, optional
        Deletes what was answered long ago.
    sender : AnswerSender, optional
        Makes and sends the answers as DICOM.
    """

    def __init__(
        self,
        run: ScanRun,
        arrivals: Arrivals,
        options: ServiceOptions,
        retention: Retention | None = None,
        sender: AnswerSender | None = None,
    ) -> None:
        self.run, self.arrivals, self.options = run, arrivals, options
        self.answers = LoggedAnswers(run.log, run.shown_inbox)
        self.activity = Activity()
        self._retention = retention
        self._sender = sender
        self._walk = run.config.walk_options()
        self._scan: Scan | None = None
        self._stopped = False
        self._page_is_old = options.page is not None
        self._listed_at = 0.0

    @property
    def unsent(self) -> int:
        """Answers that the last attempt could not send."""
        return 0 if self._sender is None else self._sender.waiting

    def stop(self) -> None:
        """End after the batch in hand; safe to call from a signal handler."""
        self._stopped = True
        if self._scan is not None:
            self._scan.stop()

    def serve(self) -> None:
        """Work until `stop` is called.

        Raises
        ------
        ModelError
            The model failed or was replaced; nothing received is lost.
        """
        if self._sender is not None:
            self._guard("answers cannot be made", self._sender.recover)
        while not self._stopped:
            self._list_again()
            for name in self.arrivals.due():
                if self._stopped:
                    return
                self.answer(name)
                self._send()
            self._send()
            if not self.arrivals.due():
                self._renew_page()
                self._delete()
            self._raise_alarms()
            self.arrivals.wait(_POLL)

    def list_all(self) -> None:
        """Note everything below the inbox that the log holds no answer about.

        Raises
        ------
        AuditLogError
            The log cannot be read.
        OSError
            The inbox cannot be listed.
        """
        self.answers.refresh()
        waiting = self.arrivals.ages()
        for name in names(self.run.inbox):
            if name in waiting:
                continue
            found = contents(self.run.inbox, name, self._walk)
            if found is not None and not self._is_settled(self.logged(name), found):
                self.arrivals.note(name, age=time.time() - found.newest)

    def logged(self, name: str) -> str:
        """Return a name below the inbox as the log has it."""
        return logged_name(self.run.inbox, name, self.run.pseudonyms)

    def answer(self, name: str) -> bool:
        """Screen what lies below a name, if it is complete and not answered yet.

        Returns
        -------
        bool
            Whether the log now holds the answer.

        Raises
        ------
        ModelError
            The model failed or was replaced.
        """
        arrival = self.arrivals.take(name)
        if arrival is None:
            return False
        try:
            return self._answered(name, arrival)
        except ModelError:
            raise
        except Exception as error:  # noqa: BLE001 - one folder must not end the reception of all others
            self.activity.failures += 1
            # The text of an unforeseen error may hold a name.
            why = str(error) if isinstance(error, ScreenerError) else f"{type(error).__name__} (a defect in screener)"
            self.activity.problem = why
            LOGGER.error("%s is not answered yet: %s", self.logged(name), why)  # noqa: TRY400 - no names of files
            self.arrivals.try_again(name, arrival)
            return False

    def _answered(self, name: str, arrival: Arrival) -> bool:
        found = contents(self.run.inbox, name, self._walk)
        self.answers.refresh()
        if found is None or self._is_settled(self.logged(name), found):
            return True
        if not self._is_complete(found, arrival):
            self.arrivals.look_again(name, arrival, found.sha256)
            return False
        related = {other: contents(self.run.inbox, other, self._walk) for other in self._related(name)}
        everything = {name: found} | {other: more for other, more in related.items() if more is not None}
        studies, complete = self._screen(everything, arrival)
        self._page_is_old = self.options.page is not None
        if not complete:
            if not self._stopped:
                self.arrivals.try_again(name, arrival)
            return False
        self.activity.answered += 1
        self.activity.studies += studies
        self.activity.problem = ""
        LOGGER.info("%s: %d files, %d studies answered", self.logged(name), found.files, studies)
        return True

    def _is_settled(self, folder: str, found: Contents) -> bool:
        """Say whether nothing is left to do about these contents: answered, or to be deleted in a moment."""
        return self.answers.is_answered(folder, found.sha256) or self.answers.deleted.get(folder) == found.sha256

    def _is_complete(self, found: Contents, arrival: Arrival) -> bool:
        """Say whether a folder that was quiet is complete: old enough by the clock, or the same at two looks."""
        unchanged = found.sha256 == arrival.looked
        return self.options.trusted or unchanged or 0 <= self.arrivals.quiet <= time.time() - found.newest

    def _related(self, name: str) -> set[str]:
        """Return the other names below which slices of the same studies lie: a study is answered as a whole."""
        if self.options.trusted:
            return set()
        own = self.logged(name)
        folders = self.answers.folders_of(studies_in(self.run.inbox, name, self._walk, self.run.pseudonyms)) - {own}
        return {other for other in names(self.run.inbox) if self.logged(other) in folders} if folders else set()

    def _screen(self, found: dict[str, Contents], arrival: Arrival) -> tuple[int, bool]:
        """Screen some names in one run; return the number of studies, and whether nothing was left over."""
        with self.run.audit_log() as log:
            scan = self._scan = Scan(
                self.run.inbox, self.run.model, self.run.policy, log, self.run.config, only=tuple(found)
            )
            if self._stopped:
                scan.stop()
            log.start({**self.run.details(), "command": self.options.command})
            for name, one in found.items():
                log.received(self._received(name, one, arrival))
            studies = self._follow(scan, log)
        self._scan = None
        return studies, not scan.stopped and not scan.counts["deferred"]

    def _follow(self, scan: Scan, log: AuditLog) -> int:
        studies, reason = 0, "failed"
        try:
            for result in scan.results():
                if isinstance(result, StudyFinding):
                    studies += 1
                    if self._sender is not None:
                        self._sender.note(result)
                    if self.options.show is not None:
                        self.options.show(result)
            reason = "interrupted" if scan.stopped else COMPLETE
        except Exception as error:
            reason = f"failed: {type(error).__name__}"
            raise
        finally:
            # Where the log cannot take END, the failure before it tells more.
            with suppress(*(ScreenerError,) * reason.startswith("failed")):
                log.end(summary_counts(scan.counts), reason)
        return studies

    def _received(self, name: str, found: Contents, arrival: Arrival) -> dict[str, object]:
        newest = datetime.fromtimestamp(found.newest, UTC).isoformat(timespec="microseconds")
        return {
            "inbox": self.run.shown_inbox,
            "folder": self.logged(name),
            "files": found.files,
            "bytes": found.bytes,
            "contents_sha256": found.sha256,
            "last_arrival": newest.replace("+00:00", "Z"),
            "senders": sorted(arrival.senders),
        }

    def _list_again(self) -> None:
        now = time.monotonic()
        if self._listed_at and now - self._listed_at < self.options.relist:
            return
        self._listed_at = now
        self._guard("the inbox cannot be listed", self.list_all)

    def _renew_page(self) -> None:
        if not self._page_is_old or self._stopped:
            return
        self._page_is_old = False
        self._guard("the page cannot be written", self._write_page)

    def _write_page(self) -> None:
        from screener.report.from_log import write_report

        run, page = self.run, self.options.page
        self.answers.refresh()
        if page is None or not self.answers.answered:
            return
        # Under a pseudonym the inbox is found as that of the last run.
        inbox = None if run.config.redact_paths else run.inbox
        write_report(run.log, inbox, page, self.options.lang, images=run.inbox, model=run.model)

    def _send(self) -> None:
        if self._sender is not None and not self._stopped:
            self._guard("answers are not sent", self._sender.work)

    def _delete(self) -> None:
        retention = self._retention
        if retention is not None and not self._stopped:
            self._guard("nothing is deleted", lambda: retention.apply(self.answers))

    def _guard(self, what: str, work: Callable[[], object]) -> None:
        """Do what the service can go on without; a failure is told of, and shows in its health."""
        try:
            work()
        except (ScreenerError, OSError) as error:
            why = str(error) if isinstance(error, ScreenerError) else str(error.strerror)
            self.activity.failures += 1
            self.activity.problem = f"{what}: {why}"
            LOGGER.error("%s: %s", what, why)  # noqa: TRY400 - no names of files

    def _raise_alarms(self) -> None:
        limit = self.options.unanswered_after
        late = {self.logged(name) for name, age in self.arrivals.ages().items() if age > limit}
        for folder in sorted(late - self.activity.alarms):
            LOGGER.error("ALARM: %s was received more than %.0f minutes ago and is not answered", folder, limit / 60)
        self.activity.alarms = late
