"""``screener scan``: check everything, then run, then tell."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from screener.domain.finding import Decision
from screener.domain.study import StudyFinding
from screener.errors import ExitCode, ModelError, ScreenerError, UsageError
from screener.messages import LANGUAGES, TEXT, Language, language

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from screener.audit import AuditLog
    from screener.domain.finding import Finding
    from screener.model.session import Model
    from screener.pipeline.scan import Scan, ScanOptions
    from screener.privacy import Pseudonyms
    from screener.report.console import TopFindings
    from screener.report.html import ReportWriter
    from screener.triage import TriagePolicy

_ISOLATION = ("risky", "always", "never")
_LEVELS = (None, "study", "slice", "both")
_PRECISIONS = ("auto", "fp32", "int8")
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Request:
    """What to screen and how, as the options say."""

    inbox: Path
    threshold: str
    accept_uncertified: bool
    model: str | None
    log: Path | None
    limit: int | None
    rescan: bool
    doctor: str | None
    patient_regex: str | None
    settle: float
    follow_symlinks: bool
    isolate: str
    jobs: int | None
    precision: str
    wait: float
    log_group: str | None
    anchor: Path | None
    fsync_every: float
    nice: int
    pseudonymise: Path | None
    redact_paths: bool
    group_by: str
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Output:
    """How to tell."""

    json: bool
    top: int
    lang: str | None
    quiet: bool
    color: bool
    report: Path | None = None
    level: str | None = None

    def shows(self, result: Finding | StudyFinding) -> bool:
        """Say whether a result is of the level asked for: by default both as JSON, studies in the table."""
        level = self.level or ("both" if self.json else "study")
        return level in ("both", "study" if isinstance(result, StudyFinding) else "slice")


def checked_language(wanted: str | None) -> Language:
    """Return the language; one that we do not speak is an error when it was asked for."""
    if wanted is not None and wanted not in LANGUAGES:
        raise UsageError(f"no language is called {wanted!r}", f"choose one of {', '.join(LANGUAGES)}")
    return language(wanted)


def run(request: Request, output: Output) -> ExitCode:
    """Screen an inbox.

    Everything that can be wrong is looked at before the log is touched.

    Raises
    ------
    ScreenerError
        Of the class that owns the exit code.
    """
    from screener.model.session import Model
    from screener.pipeline.scan import Scan

    lang = checked_language(output.lang)
    if output.level not in _LEVELS:
        raise UsageError(f"--level {output.level!r}", "choose one of study, slice, both")
    options = _options(request)
    if request.dry_run:
        from screener.cli.dry_run import run as explain_all

        return explain_all(request.inbox, options)
    be_nice(request.nice)
    with _Signals() as signals:
        path = _checked_log(request, options)
        _refuse_precision(request.precision)
        _import_ahead()
        model = Model.load(request.model, threads=request.jobs)
        judge = _judge(model, request)
        found = None
        try:
            with (
                _reporting(request, options, judge, output) as report,
                _audit_log(path, request) as log,
            ):
                scan = signals.scan = Scan(request.inbox, model, judge, log, options)
                scan.observer = report
                log.start(_details(request, options, model, judge))
                found = _follow(scan, log, output, lang)
                signals.over = True
                _complete(report, scan, log)
        finally:
            # Though the page may have met a full disk: the night's result is seen all the same.
            if found is not None and not output.quiet and not output.json:
                _show(found, scan, str(path), output, lang)
        return exit_code(scan)


def _import_ahead() -> None:
    """Import OpenCV while onnxruntime builds its session, which leaves the interpreter free for a tenth of a second.

    onnxruntime is imported first, and numpy with it: numpy does not stand being imported by two threads at once.
    """
    import onnxruntime  # noqa: F401

    threading.Thread(target=_import_opencv).start()


def _import_opencv() -> None:
    from screener.inbox import opencv

    opencv.prepare()
    # Where it cannot be imported, whoever needs it next says so.
    with suppress(ImportError):
        import cv2  # noqa: F401


def be_nice(wanted: int) -> None:
    """Let other programs go first; a priority that cron or systemd already lowered is not lowered twice."""
    os.nice(max(0, wanted - os.nice(0)))


def _refuse_precision(wanted: str) -> None:
    """Make sure that the model exists in the precision asked for: other arithmetic gives other scores."""
    if wanted not in _PRECISIONS:
        raise UsageError(f"--precision {wanted!r}", f"choose one of {', '.join(_PRECISIONS)}")
    if wanted == "int8":
        raise ModelError("no int8 variant of this model was released", "leave --precision out: fp32 runs everywhere")


def _checked_log(request: Request, options: ScanOptions) -> Path:
    """Look at everything that can be wrong with inbox, log and anchor, and return the log."""
    from screener.audit import default_log, refuse_inside
    from screener.inbox import check

    check(request.inbox, options.walk)
    path = request.log or default_log()
    refuse_inside(path, request.inbox)
    if request.anchor is not None:
        refuse_inside(request.anchor, request.inbox)
        if request.anchor.absolute() == path.absolute():
            raise UsageError("--anchor names the log itself", "name another file, out of the log's reach")
    return path


def _audit_log(path: Path, request: Request) -> AuditLog:
    from screener.audit import AuditLog

    return AuditLog(
        path,
        wait=request.wait,
        group=request.log_group,
        anchor=request.anchor,
        fsync_every=request.fsync_every,
    )


def _options(request: Request) -> ScanOptions:
    from screener.inbox import Grouping, WalkOptions, patient_pattern
    from screener.pipeline.scan import ScanOptions

    if request.isolate not in _ISOLATION:
        raise UsageError(f"--isolate {request.isolate!r}", f"choose one of {', '.join(_ISOLATION)}")
    pattern = patient_pattern(request.patient_regex) if request.patient_regex else None
    return ScanOptions(
        walk=WalkOptions(
            settle=request.settle,
            follow_symlinks=request.follow_symlinks,
            patient_pattern=pattern,
            grouping=Grouping.read(request.group_by),
        ),
        limit=request.limit,
        rescan=request.rescan,
        doctor_id=request.doctor,
        isolation=cast("Literal['risky', 'always', 'never']", request.isolate),
        jobs=request.jobs,
        pseudonyms=_pseudonyms(request),
    )


def _pseudonyms(request: Request) -> Pseudonyms | None:
    if request.pseudonymise is None:
        if request.redact_paths:
            raise UsageError("--redact-paths needs a key to rename files with", "add --pseudonymise KEYFILE")
        return None
    from screener.privacy import Pseudonyms

    return Pseudonyms.read(request.pseudonymise, files=request.redact_paths)


def _judge(model: Model, request: Request) -> TriagePolicy:
    from screener.triage import TriagePolicy, screening_point

    points = model.card.operating_points
    return TriagePolicy(
        point=screening_point(request.threshold, points, accept_uncertified=request.accept_uncertified),
        confirmation=points["confirmation"].threshold,
        model=model.card.title,
        model_sha256=model.sha256,
    )


def _reporting(
    request: Request, options: ScanOptions, judge: TriagePolicy, output: Output
) -> AbstractContextManager[ReportWriter | None]:
    """Return the writer of the worklist page, or a stand-in when none is wanted."""
    if output.report is None:
        return nullcontext()
    from screener import __version__
    from screener.report.html import ReportWriter
    from screener.report.page import About

    point = judge.point
    place = _told_inbox(request, options)
    about = About(place, judge.model, judge.model_sha256, point.threshold, point.name, __version__)
    return ReportWriter(output.report, about, checked_language(output.lang), images=request.inbox)


def _told_inbox(request: Request, options: ScanOptions) -> str:
    """Return the inbox as the log and the page name it: two inboxes of one log must not look like one."""
    place = str(request.inbox.absolute())
    if options.pseudonyms is None or not request.redact_paths:
        return place
    return options.pseudonyms.name(place)


def _complete(report: ReportWriter | None, scan: Scan, log: AuditLog) -> None:
    if report is not None:
        from screener.report.from_log import finish

        finish(report, scan, log)


def _details(request: Request, options: ScanOptions, model: Model, judge: TriagePolicy) -> dict[str, object]:
    """Return what the START event records of this run."""
    from screener import __version__

    return {
        "tool_version": __version__,
        "inbox": _told_inbox(request, options),
        "model": model.card.title,
        "model_sha256": model.sha256,
        "preprocessing": model.card.preprocessing.fingerprint(),
        "threshold": repr(judge.point.threshold),
        "operating_point": judge.point.name,
        "certified": judge.point.certified,
        "options": {
            "limit": request.limit,
            "rescan": request.rescan,
            "accept_uncertified": request.accept_uncertified,
            "doctor": request.doctor,
            "patient_regex": request.patient_regex,
            "settle": repr(request.settle),
            "follow_symlinks": request.follow_symlinks,
            "isolate": request.isolate,
            "pseudonymise": request.pseudonymise is not None,
            "redact_paths": request.redact_paths,
            "group_by": request.group_by,
        },
    }


def _follow(scan: Scan, log: Any, output: Output, lang: Language) -> TopFindings:  # noqa: ANN401 - AuditLog, lazily
    """Run the scan to its end, passing each finding on, and write END with the reason."""
    from screener.pipeline.scan import summary_counts
    from screener.report.console import TopFindings

    found = TopFindings(output.top)
    reason = "failed"
    try:
        with _progress(scan, output, lang) as advance:
            for result in scan.results():
                if output.shows(result):
                    _tell(result, found, output)
                if not isinstance(result, StudyFinding):
                    advance()
        reason = "interrupted" if scan.stopped else "complete"
    except Exception as error:
        reason = f"failed: {type(error).__name__}"
        raise
    finally:
        _end(log, summary_counts(scan.counts), reason)
    return found


def _end(log: Any, counts: dict[str, int], reason: str) -> None:  # noqa: ANN401 - AuditLog, lazily
    """Write END; when the run already failed, a log that cannot take it must not hide why."""
    try:
        log.end(counts, reason)
    except ScreenerError:
        if not reason.startswith("failed"):
            raise


def _tell(finding: Finding | StudyFinding, found: TopFindings, output: Output) -> None:
    if output.json:
        from screener.report.jsonl import line

        sys.stdout.write(line(finding) + "\n")
        sys.stdout.flush()
    elif not output.quiet:
        found.add(finding)


class _Signals:
    """What SIGINT, SIGTERM and SIGHUP do within the block: stop after the batch in hand."""

    def __init__(self) -> None:
        self.scan: Scan | None = None
        self.over = False
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _STOPPING:
            # Under nohup, or in a background job, some of them are to be ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._former[number] = signal.signal(number, self)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def __call__(self, *_: object) -> None:
        if self.scan is None:
            # Raised here, an exception would surface inside whatever is being imported; nothing is open that matters.
            os.write(2, b"error: interrupted before anything was screened\nhint: run the same command again\n")
            os._exit(ExitCode.INTERRUPTED)
        if not self.over:
            self.scan.stop()


def _progress(scan: Scan, output: Output, lang: Language) -> AbstractContextManager[Callable[[], None]]:
    """Return a bar with rate and time left on a terminal, nothing in cron."""
    if output.quiet or not sys.stderr.isatty():
        return nullcontext(lambda: None)
    return _bar(scan, lang, color=output.color)


@contextmanager
def _bar(scan: Scan, lang: Language, *, color: bool) -> Iterator[Callable[[], None]]:
    """Draw the bar; the files are counted beside the scan, which does not wait for their number."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from screener.inbox import find
    from screener.report.console import console

    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    # By default rich would carry off to stderr what is written to stdout, and with it the results.
    bar = Progress(
        *columns,
        console=console(sys.stderr, color=color),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with bar as progress:
        task = progress.add_task(TEXT[lang]["scanning"], total=None, rate="")
        started = time.monotonic()

        def count() -> None:
            total = sum(1 for _ in islice(find(scan.inbox, options=scan.options.walk), scan.options.limit))
            progress.update(task, total=total)

        def advance() -> None:
            done = progress.tasks[0].completed + 1
            progress.update(task, advance=1, rate=f"{done / max(time.monotonic() - started, 1e-3):.0f}/s")

        threading.Thread(target=count, daemon=True).start()
        yield advance


def _show(found: TopFindings, scan: Scan, log: str, output: Output, lang: Language) -> None:
    from screener.pipeline.study import Aggregation
    from screener.report.console import Summary, show

    aggregation = Aggregation.of(scan.model.card)
    summary = Summary(scan.counts, scan.judge.point, scan.judge.model, log, aggregation, stopped=scan.stopped)
    show(found, summary, lang, color=output.color)


def exit_code(scan: Scan) -> ExitCode:
    """Return the code of a scan that ran: the first of interrupted, not assessable, deferred, ok that applies."""
    if scan.stopped:
        return ExitCode.INTERRUPTED
    if scan.counts[f"studies_{Decision.NOT_ASSESSABLE}"] or scan.counts["unread"]:
        return ExitCode.NOT_ASSESSABLE
    if scan.counts["deferred"]:
        return ExitCode.DEFERRED
    return ExitCode.OK
