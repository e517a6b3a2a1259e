"""``screener scan``: check everything, then run, then tell."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, cast

from screener.cli import cluster
from screener.cli.answers import Answers
from screener.cli.language import checked_language
from screener.cli.niceness import be_nice
from screener.cli.progress import progress
from screener.cli.signals import Signals
from screener.domain.finding import Decision
from screener.domain.study import StudyFinding
from screener.errors import ExitCode, ScreenerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    import typer

    from screener.audit import AuditLog
    from screener.cluster.dask_workers import DaskWorkers
    from screener.domain.finding import Finding
    from screener.messages import Language
    from screener.pipeline.config import ScanConfig
    from screener.pipeline.run import Provenance, ScanRun
    from screener.pipeline.scan import Scan
    from screener.report.console import TopFindings
    from screener.report.html import ReportWriter

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
    dicom_out: Path | None
    send: list[str] | None
    ae_title: str
    outbox: Path | None
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
    from screener.cli.configured import provenance_of
    from screener.pipeline.config import ScanConfig

    config = ScanConfig.from_options(given)
    output = Output(**{field.name: cast("Any", given[field.name]) for field in fields(Output)})
    return run(cast("Path", given["inbox"]), config, output, provenance_of(cast("typer.Context", given["context"])))


def run(inbox: Path, config: ScanConfig, output: Output, provenance: Provenance | None = None) -> ExitCode:
    """Screen an inbox.

    Everything that can be wrong is looked at before the log is touched. `provenance` says where the options come from.

    Raises
    ------
    ScreenerError
        Of the class that owns the exit code.
    """
    from screener.inbox import check
    from screener.pipeline.run import ScanRun
    from screener.pipeline.shadow import with_shadow

    lang = checked_language(output.lang)
    if output.level not in _LEVELS:
        raise UsageError(f"--level {output.level!r}", "choose one of study, slice, both")
    if output.dry_run:
        from screener.cli.dry_run import run as explain_all

        return explain_all(inbox, config)
    be_nice(config.nice)
    answers = Answers(output.dicom_out, tuple(output.send or ()), output.ae_title, output.outbox)
    answers.refuse(inbox, config)
    with Signals() as signals:
        check(inbox, config.walk_options())
        run, shadow = with_shadow(ScanRun.prepare(inbox, config, provenance))
        with cluster.connected(run, lang, pictures=output.report is not None) as workers:
            scan = _screen(run, output, answers, lang, signals, workers=workers)
        _screen_shadow(shadow, scan, signals)
        return exit_code(scan)


def _screen(
    run: ScanRun, output: Output, answers: Answers, lang: Language, signals: Signals, *, workers: DaskWorkers | None
) -> Scan:
    from screener.pipeline.scan import Scan

    found = None
    try:
        with _reporting(run, output) as report, run.audit_log() as log:
            executor = cluster.executor(run, workers)
            scan = signals.scan = Scan(run.inbox, run.model, run.policy, log, run.config, executor=executor)
            scan.observer = report
            log.start(run.details())
            found = _follow(scan, log, output, answers, lang, workers=workers)
            signals.over = True
            _complete(report, scan, log)
        answers.make(run.log, run.model, lang, run.config.log_group)
    finally:
        # Though the page may have met a full disk: the night's result is seen all the same.
        if found is not None and not output.quiet and not output.json:
            _show(found, scan, str(run.log), output, lang)
    return scan


def _screen_shadow(shadow: ScanRun | None, done: Scan, signals: Signals) -> None:
    """Let the candidate judge too; what goes wrong with it changes neither the answers nor the exit code."""
    from screener.pipeline.shadow import screen_shadow

    if shadow is None or done.log is None or done.stopped:
        return

    def follow(scan: Scan) -> None:
        signals.scan, signals.over = scan, False

    if problem := screen_shadow(shadow, done.log.run_id, follow):
        sys.stderr.write(f"warning: the shadow run of {shadow.model.card.title} did not complete: {problem}\n")
    signals.over = True


def _reporting(run: ScanRun, output: Output) -> AbstractContextManager[ReportWriter | None]:
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


def _follow(
    scan: Scan,
    log: Any,  # noqa: ANN401 - AuditLog, lazily
    output: Output,
    answers: Answers,
    lang: Language,
    *,
    workers: DaskWorkers | None,
) -> TopFindings:
    """Run the scan to its end, passing each finding on, and write END with the reason."""
    from screener.pipeline.scan import summary_counts
    from screener.report.console import TopFindings

    found = TopFindings(output.top)
    reason = "failed"
    try:
        below = cluster.health(workers, lang, quiet=output.quiet)
        with progress(scan, lang, quiet=output.quiet, color=output.color, below=below) as advance:
            for result in scan.results():
                if output.shows(result):
                    _print_result(result, found, output)
                if isinstance(result, StudyFinding):
                    answers.note(result)
                else:
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
    if scan.policy.study_point is not None:
        points = {**aggregation.points, scan.policy.point.name: scan.policy.study_point}
        aggregation = replace(aggregation, points=points)
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
