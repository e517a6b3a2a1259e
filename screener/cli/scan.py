"""``screener scan``: check everything, then run, then tell."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import nullcontext, suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

from screener.cli.language import checked_language
from screener.cli.niceness import be_nice
from screener.cli.progress import progress
from screener.cli.signals import Signals
from screener.domain.finding import Decision
from screener.domain.study import StudyFinding
from screener.errors import ExitCode, ModelError, ScreenerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from screener.audit import AuditLog
    from screener.domain.finding import Finding
    from screener.messages import Language
    from screener.model.session import Model
    from screener.pipeline.config import ScanConfig
    from screener.pipeline.scan import Scan
    from screener.privacy import Pseudonyms
    from screener.report.console import TopFindings
    from screener.report.html import ReportWriter
    from screener.triage import TriagePolicy

_LEVELS = (None, "study", "slice", "both")


@dataclass(frozen=True, slots=True)
class Output:
    """How to tell."""

    json: bool
    top: int
    lang: str | None
    quiet: bool
    no_color: bool
    report: Path | None
    level: str | None
    dry_run: bool

    @property
    def color(self) -> bool:
        """Whether colours are wanted; NO_COLOR counts when it is not empty (no-color.org)."""
        return not (self.no_color or os.environ.get("NO_COLOR"))

    def shows(self, result: Finding | StudyFinding) -> bool:
        """Say whether a result is of the level asked for: by default both as JSON, studies in the table."""
        level = self.level or ("both" if self.json else "study")
        return level in ("both", "study" if isinstance(result, StudyFinding) else "slice")


def run_command(given: Mapping[str, object]) -> ExitCode:
    """Screen an inbox as the options of the command say, by their names."""
    from screener.pipeline.config import ScanConfig

    config = ScanConfig.of(**{name: given[name] for name in ScanConfig.__struct_fields__})
    output = Output(**{field.name: cast("Any", given[field.name]) for field in fields(Output)})
    return run(cast("Path", given["inbox"]), config, output)


def run(inbox: Path, config: ScanConfig, output: Output) -> ExitCode:
    """Screen an inbox.

    Everything that can be wrong is looked at before the log is touched.

    Raises
    ------
    ScreenerError
        Of the class that owns the exit code.
    """
    from screener.model.session import Model

    lang = checked_language(output.lang)
    if output.level not in _LEVELS:
        raise UsageError(f"--level {output.level!r}", "choose one of study, slice, both")
    if output.dry_run:
        from screener.cli.dry_run import run as explain_all

        return explain_all(inbox, config)
    be_nice(config.nice)
    with Signals() as signals:
        path = _checked_log(inbox, config)
        pseudonyms = config.pseudonyms()
        _refuse_precision(config.precision)
        _import_ahead()
        model = Model.load(config.model, threads=config.jobs)
        run = _Run(inbox, config, pseudonyms, model, _policy(model, config), path)
        return _screen(run, output, lang, signals)


@dataclass(frozen=True, slots=True)
class _Run:
    """What is known of a run before its log is opened."""

    inbox: Path
    config: ScanConfig
    pseudonyms: Pseudonyms | None
    model: Model
    policy: TriagePolicy
    log: Path

    @property
    def shown_inbox(self) -> str:
        """The inbox as the log and the page name it: two inboxes of one log must not look like one."""
        place = str(self.inbox.absolute())
        return place if self.pseudonyms is None or not self.config.redact_paths else self.pseudonyms.name(place)


def _screen(run: _Run, output: Output, lang: Language, signals: Signals) -> ExitCode:
    from screener.pipeline.scan import Scan

    found = None
    try:
        with _reporting(run, output) as report, _audit_log(run) as log:
            scan = signals.scan = Scan(run.inbox, run.model, run.policy, log, run.config)
            scan.observer = report
            log.start(_details(run))
            found = _follow(scan, log, output, lang)
            signals.over = True
            _complete(report, scan, log)
    finally:
        # Though the page may have met a full disk: the night's result is seen all the same.
        if found is not None and not output.quiet and not output.json:
            _show(found, scan, str(run.log), output, lang)
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


def _refuse_precision(requested: str) -> None:
    """Make sure that the model exists in the precision asked for: other arithmetic gives other scores."""
    if requested == "int8":
        raise ModelError("no int8 variant of this model was released", "leave --precision out: fp32 runs everywhere")


def _checked_log(inbox: Path, config: ScanConfig) -> Path:
    """Look at everything that can be wrong with inbox, log and anchor, and return the log."""
    from screener.audit import default_log, refuse_inside
    from screener.inbox import check

    check(inbox, config.walk_options())
    path = config.log or default_log()
    refuse_inside(path, inbox)
    if config.anchor is not None:
        refuse_inside(config.anchor, inbox)
        if config.anchor.absolute() == path.absolute():
            raise UsageError("--anchor names the log itself", "name another file, out of the log's reach")
    return path


def _audit_log(run: _Run) -> AuditLog:
    from screener.audit import AuditLog

    config = run.config
    return AuditLog(
        run.log, wait=config.wait, group=config.log_group, anchor=config.anchor, fsync_every=config.fsync_every
    )


def _policy(model: Model, config: ScanConfig) -> TriagePolicy:
    from screener.triage import TriagePolicy, screening_point

    points = model.card.operating_points
    return TriagePolicy(
        point=screening_point(config.threshold, points, accept_uncertified=config.accept_uncertified),
        confirmation=points["confirmation"].threshold,
        model=model.card.title,
        model_sha256=model.sha256,
    )


def _reporting(run: _Run, output: Output) -> AbstractContextManager[ReportWriter | None]:
    """Return the writer of the worklist page, or a stand-in when none is wanted."""
    if output.report is None:
        return nullcontext()
    from screener import __version__
    from screener.report.html import ReportWriter
    from screener.report.page import About

    policy, point = run.policy, run.policy.point
    about = About(run.shown_inbox, policy.model, policy.model_sha256, point.threshold, point.name, __version__)
    return ReportWriter(output.report, about, checked_language(output.lang), images=run.inbox)


def _complete(report: ReportWriter | None, scan: Scan, log: AuditLog) -> None:
    if report is not None:
        from screener.report.from_log import finish

        finish(report, scan, log)


def _details(run: _Run) -> dict[str, object]:
    """Return what the START event records of this run."""
    from screener import __version__

    point = run.policy.point
    return {
        "tool_version": __version__,
        "inbox": run.shown_inbox,
        "model": run.model.card.title,
        "model_sha256": run.model.sha256,
        "preprocessing": run.model.card.preprocessing.fingerprint(),
        "threshold": point.threshold,
        "operating_point": point.name,
        "certified": point.certified,
        "options": run.config.recorded(),
    }


def _follow(scan: Scan, log: Any, output: Output, lang: Language) -> TopFindings:  # noqa: ANN401 - AuditLog, lazily
    """Run the scan to its end, passing each finding on, and write END with the reason."""
    from screener.pipeline.scan import summary_counts
    from screener.report.console import TopFindings

    found = TopFindings(output.top)
    reason = "failed"
    try:
        with progress(scan, lang, quiet=output.quiet, color=output.color) as advance:
            for result in scan.results():
                if output.shows(result):
                    _print_result(result, found, output)
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


def _print_result(finding: Finding | StudyFinding, found: TopFindings, output: Output) -> None:
    if output.json:
        from screener.report.jsonl import line

        sys.stdout.write(line(finding) + "\n")
        sys.stdout.flush()
    elif not output.quiet:
        found.add(finding)


def _show(found: TopFindings, scan: Scan, log: str, output: Output, lang: Language) -> None:
    from screener.pipeline.study import Aggregation
    from screener.report.console import Summary, show

    aggregation = Aggregation.of(scan.model.card)
    summary = Summary(scan.counts, scan.policy.point, scan.policy.model, log, aggregation, stopped=scan.stopped)
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
