"""``screener send``: answers to the PACS, from the log and the images, or from the outbox."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.cli.answers import default_outbox, tell_missing
from screener.cli.language import checked_language
from screener.errors import ExitCode, NothingFoundError, NotSentError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from screener.pacs.sending import AnswerSender, Delivery


@dataclass(frozen=True, slots=True)
class SendCommand:
    """What to send and where to, as the options say."""

    studies: tuple[str, ...]
    everything: bool
    destinations: tuple[str, ...]
    folder: Path | None
    ae_title: str
    outbox: Path | None
    tries: int
    log: Path | None
    log_group: str | None
    images: Path | None
    model: str | None
    lang: str | None


def run(command: SendCommand) -> ExitCode:
    """Make what is asked for, send what waits, and say on stdout what was sent.

    Raises
    ------
    NotSentError
        Some answers wait in the outbox.
    ScreenerError
        Of the class that owns the exit code.
    """
    _check(command)
    sender = _sender(command)
    if command.studies or command.everything:
        made = sender.make(None if command.everything else command.studies)
        tell_missing(made.missing)
        if not (made.answers or made.settled or made.missing.total()):
            raise NothingFoundError(
                "the log has no answer about such a study",
                "give the StudyInstanceUID as screener scan --json tells it, or the hash of a STUDY event",
            )
    delivery = _deliver(sender, command.tries)
    if delivery.waiting:
        why = "; ".join(delivery.problems.values())
        raise NotSentError(
            f"{delivery.waiting} answers wait in the outbox: {why}", "run screener send again once the PACS answers"
        )
    return ExitCode.OK


def _check(command: SendCommand) -> None:
    """Refuse what contradicts itself.

    Raises
    ------
    UsageError
    """
    chosen = bool(command.studies) + command.everything
    if chosen > 1:
        raise UsageError("--all and names of studies exclude each other", "leave one of them out")
    if chosen and not (command.destinations or command.folder):
        raise UsageError("no destination is named", "add --send AET@host:port, or --dicom-out FOLDER")
    if not chosen and (command.destinations or command.folder):
        raise UsageError("no study is named", "name studies, or add --all; without both, what waits is sent")


def _sender(command: SendCommand) -> AnswerSender:
    from screener.audit import default_log
    from screener.pacs.destination import checked_title, read_destinations
    from screener.pacs.sending import AnswerSender, SendOptions
    from screener.pacs.storage_scu import refuse_without_network
    from screener.report.dicom_answer import judging_model

    refuse_without_network()
    log = command.log or default_log()
    only_files = command.folder is not None and not command.destinations
    options = SendOptions(
        destinations=read_destinations(command.destinations),
        folder=command.folder,
        outbox=None if only_files else command.outbox or default_outbox(log),
        lang=checked_language(command.lang),
        calling=checked_title(command.ae_title),
        group=command.log_group,
    )
    if not log.exists():
        from screener.audit import read

        # Before the outbox is made beside a log that is not there.
        next(read(log), None)
    return AnswerSender(log, judging_model(command.model), options, images=command.images)


def _deliver(sender: AnswerSender, tries: int) -> Delivery:
    """Send what waits; try again what a destination did not take."""
    pause = 1.0
    for attempt in range(1, tries + 1):
        delivery = sender.deliver()
        for event, destination, count in delivery.sent:
            sys.stdout.write(f"{event[:12]}: {count} objects sent to {destination}\n")
        sys.stdout.flush()
        if not delivery.waiting or attempt == tries:
            break
        time.sleep(pause)
        pause *= 2
    return delivery
