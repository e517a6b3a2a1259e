"""``screener review``: the clinician's verdict, in a browser, on the terminal, or in bulk."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.cli.language import checked_language
from screener.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from screener.messages import Language
    from screener.review.queue import ReviewQueue
    from screener.review.verdicts import Doctors


@dataclass(frozen=True, slots=True)
class ReviewOptions:
    """What the options say."""

    log: Path | None
    doctor: str | None
    doctors: Path | None
    sample: float
    blind: bool
    port: int
    terminal: bool
    table: Path | None
    template: bool
    images: Path | None
    model: str | None
    log_group: str | None
    lang: str | None


def run(options: ReviewOptions) -> ExitCode:
    """Take verdicts until the reader has had enough.

    Raises
    ------
    ScreenerError
        Nothing can be asked; or the log is damaged, and what stands before the damage was read.
    """
    from screener.audit import default_log
    from screener.review.queue import ReviewQueue
    from screener.review.verdicts import Doctors

    if sum((options.terminal, options.table is not None, options.template)) > 1:
        raise UsageError("--terminal, --import and --template exclude each other", "choose one")
    lang = checked_language(options.lang)
    log = options.log or default_log()
    doctors = Doctors.read(options.doctors)
    if options.table is not None:
        return _import(log, options.table, options, doctors)
    with ReviewQueue(log, sample=options.sample, blind=options.blind, group=options.log_group) as queue:
        if options.template:
            _template(queue)
        else:
            doctor = doctors.check(options.doctor)
            _read(queue, doctor, options, lang)
        if queue.problem is not None:
            raise queue.problem
    return ExitCode.OK


def _import(log: Path, table: Path, options: ReviewOptions, doctors: Doctors) -> ExitCode:
    from screener.review.table import read_rows, record

    rows = read_rows(table, options.doctor, doctors)
    done = record(log, rows, sample=options.sample, source=table, group=options.log_group)
    sys.stdout.write(f"{done.count} verdicts recorded, {len(rows) - done.count} were in the log already\n")
    if done.problem is not None:
        raise done.problem
    return ExitCode.OK


def _template(queue: ReviewQueue) -> None:
    from screener.review.table import template

    for line in template(queue):
        sys.stdout.write(line)


def _read(queue: ReviewQueue, doctor: str, options: ReviewOptions, lang: Language) -> None:
    """Ask on the terminal or in a browser."""
    if options.terminal:
        from screener.review.terminal import TerminalReview

        return TerminalReview(queue, doctor, lang, sys.stdin, sys.stdout).run()
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise UsageError(
            "the review page needs more than the base install", "run: pip install 'screener[review]', or add --terminal"
        ) from None
    return _serve(queue, doctor, options, lang)


def _serve(queue: ReviewQueue, doctor: str, options: ReviewOptions, lang: Language) -> None:
    """Serve the page until interrupted."""
    import uvicorn

    from screener.cli.report import model_or_none
    from screener.review.server import HOST, Server, listen, new_token
    from screener.review.viewer import Viewer

    with listen(options.port) as port, Viewer(model_or_none(options.model), options.images) as viewer:
        token = new_token()
        app = Server(queue, viewer, doctor=doctor, lang=lang, token=token).app()
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
        # What stands behind "#" is sent to nobody and written to no log.
        sys.stdout.write(f"http://{HOST}:{port.getsockname()[1]}/#{token}\n")
        sys.stdout.flush()
        sys.stderr.write("Open this address in a browser on this machine; Ctrl+C ends the session.\n")
        with _ending_quietly():
            uvicorn.Server(config).run(sockets=[port])
    sys.stderr.write(f"{queue.recorded} verdicts recorded in {queue.log}\n")


@contextmanager
def _ending_quietly() -> Iterator[None]:
    """Let Ctrl+C and SIGTERM be the usual end: the server shuts down on them and then raises them again."""
    former = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
