"""What ``listen`` and ``watch`` share: set up, serve until a signal, end with an exit code."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from screener.cli.answers import Answers
from screener.cli.configured import provenance_of
from screener.cli.language import checked_language
from screener.cli.niceness import be_nice
from screener.cli.signals import Signals
from screener.errors import ExitCode, NothingFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from screener.domain.study import StudyFinding
    from screener.messages import Language
    from screener.pacs.arrivals import Arrivals
    from screener.pacs.health import Health
    from screener.pacs.receive import Receiver
    from screener.pacs.service import Service
    from screener.pipeline.config import ScanConfig
    from screener.pipeline.run import Provenance, ScanRun

MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The options of a service beside those of a scan."""

    command: str
    quiet: float
    report: Path | None
    lang: Language
    unanswered_after: float
    as_json: bool
    health: int | None
    keep_days: float | None
    answers: Answers
    provenance: Provenance

    @classmethod
    def of(cls, command: str, given: Mapping[str, object]) -> ServiceSettings:
        """Take them from the options of the command, by their names.

        Raises
        ------
        UsageError
            The language is unknown.
        """
        options = cast("dict[str, Any]", given)
        return cls(
            command=command,
            quiet=options["quiet_period"],
            report=options["report"],
            lang=checked_language(options["lang"]),
            unanswered_after=options["unanswered_after"] * MINUTE,
            as_json=options["json"],
            health=options["health"],
            keep_days=options.get("keep_days"),
            answers=Answers.of(given),
            provenance=provenance_of(options["context"]),
        )


def checked_inbox(inbox: Path) -> Path:
    """Make sure that the inbox is a folder that can be listed; it may be empty.

    Raises
    ------
    NothingFoundError
    """
    try:
        os.scandir(inbox).close()
    except OSError as error:
        raise NothingFoundError(
            f"the inbox cannot be used: {inbox} ({error.strerror})", "create the folder, or check that it is mounted"
        ) from None
    return inbox


def serve(
    inbox: Path,
    config: ScanConfig,
    settings: ServiceSettings,
    arrivals: Arrivals,
    begin: Callable[[ExitStack], Receiver | None],
    *,
    lock: AbstractContextManager[object] | None = None,
) -> ExitCode:
    """Serve an inbox until a signal comes.

    Parameters
    ----------
    inbox : Path
    config : ScanConfig
    settings : ServiceSettings
    arrivals : Arrivals
    begin : callable
        Starts what notes arrivals, to be ended with the stack; returns the receiver, where there is one.
    lock : context manager, optional
        Held while a folder is deleted.

    Raises
    ------
    ScreenerError
        Of the class that owns the exit code.
    """
    from screener.pacs.health import Health
    from screener.pipeline.run import ScanRun

    be_nice(config.nice)
    settings.answers.refuse(inbox, config)
    _log_to_stderr()
    with Signals() as signals, ExitStack() as stack:
        run = ScanRun.prepare(inbox, config, settings.provenance)
        service = _service(run, settings, arrivals, lock)
        signals.scan = service
        receiver = begin(stack)
        if settings.health is not None:
            _answer_monitors(stack, settings.health, Health(service, receiver))
        service.serve()
        signals.over = True
    return ExitCode.OK


def _service(
    run: ScanRun, settings: ServiceSettings, arrivals: Arrivals, lock: AbstractContextManager[object] | None
) -> Service:
    from screener.pacs.retention import Retention
    from screener.pacs.service import Service, ServiceOptions

    options = ServiceOptions(
        command=settings.command,
        trusted=settings.command == "listen",
        page=settings.report,
        lang=settings.lang,
        unanswered_after=settings.unanswered_after,
        show=_print_study if settings.as_json else None,
    )
    sender = None
    if settings.answers.wanted:
        sender = settings.answers.sender(run.log, lambda: run.model, settings.lang, run.config.log_group)
    is_sent = None if sender is None else sender.is_sent
    retention = None if settings.keep_days is None else Retention(run, settings.keep_days, is_sent=is_sent, lock=lock)
    return Service(run, arrivals, options, retention, sender)


def _answer_monitors(stack: ExitStack, port: int, health: Health) -> None:
    from screener.pacs.health import HealthServer

    server = stack.enter_context(HealthServer(port, health))
    logging.getLogger("screener.pacs").info("health on http://127.0.0.1:%d/healthz and /metrics", server.port)


def _print_study(finding: StudyFinding) -> None:
    from screener.report.jsonl import line

    sys.stdout.write(line(finding) + "\n")
    sys.stdout.flush()


class _SafeFormatter(logging.Formatter):
    """What a peer says of itself must not steer a terminal, nor look like another line of the journal."""

    def format(self, record: logging.LogRecord) -> str:
        from screener.report.console import safe

        return safe(super().format(record))


def _log_to_stderr() -> None:
    """Tell on stderr what happens, without a time: the journal adds its own."""
    logger = logging.getLogger("screener.pacs")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_SafeFormatter("%(levelname)s: %(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
