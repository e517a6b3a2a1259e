"""Make the worklist page anew from the audit log, and find the pictures of a list in its inbox."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from screener.audit import Kind, finding_of
from screener.audit.events import BadLineError, hash_in, parse, study_finding_of
from screener.audit.reader import EventReader, last_inbox, last_run, marked, recorded, target_of, verdict_of
from screener.audit.segments import lines
from screener.errors import UsageError
from screener.latest_results import latest_results
from screener.messages import TEXT
from screener.report.html import ReportWriter
from screener.report.page import About

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from screener.audit import AuditLog, Event
    from screener.domain.slice import Slice
    from screener.domain.study import StudyFinding
    from screener.domain.verdict import Verdict
    from screener.errors import AuditLogError
    from screener.finding_store import Item
    from screener.inbox import FileBytes
    from screener.inbox.isolation import SafeDecoder
    from screener.messages import Language
    from screener.model.session import Model
    from screener.pipeline.scan import Scan

_RESULT_MARK = b'"event":"RESULT"'
_STUDY_MARK = b'"event":"STUDY"'
_BATCH = 16
"""Slices whose heatmaps are computed at once."""


def write_report(
    log: Path,
    inbox: Path | None,
    out: Path,
    lang: Language = "en",
    *,
    images: Path | None = None,
    model: Model | None = None,
) -> AuditLogError | None:
    """Write the worklist page of an inbox from the log.

    Parameters
    ----------
    log : Path
    inbox : Path or None
        Which inbox; by default that of the last run.
    out : Path
        The page; see `ReportWriter`.
    lang : {"en", "fr"}
    images : Path, optional
        Where the inbox lies now, when it has moved.
    model : Model, optional
        Draws heatmaps for what this very model judged.

    Returns
    -------
    AuditLogError or None
        What made the log untrustworthy at some point: the page then shows what came before, and says so.

    Raises
    ------
    AuditLogError
        There is no such log.
    UsageError
        The page may not be written, or no run screened that inbox.
    """
    requested = recorded(inbox) if inbox is not None else last_inbox(log)
    log_reader = EventReader(log)
    if not requested:
        # A log that cannot be read is another failure than one without a scan.
        next(log_reader.events(), None)
        raise UsageError(f"no run in {log} tells of an inbox", "name another log with --log")
    with ReportWriter(out, About(requested, "", "", 0.0, "", ""), lang, images=images) as report:
        latest_results(log_reader, report.store, requested)
        report.model = model
        start = last_run(log_reader, requested)
        report.about = about(log_reader, start)
        if unlisted := _counted(log_reader, start, "seen_elsewhere"):
            text = TEXT[lang]["unlisted"].format(count=unlisted)
            report.about = replace(report.about, warnings=(*report.about.warnings, text))
        illustrate(report, model)
    return log_reader.problem


def _counted(log_reader: EventReader, start: Event, name: str) -> int:
    """Return what the END of a run counted; 0 where it does not tell."""
    counts = log_reader.ends.get(start["run_id"], {}).get("counts")
    count = counts.get(name) if isinstance(counts, dict) else 0
    return count if isinstance(count, int) else 0


def about(log_reader: EventReader, start: Event) -> About:
    """Return what a START event tells of its run."""

    def text(name: str) -> str:
        return str(start.get(name) or "")

    threshold = 0.0
    with suppress(ValueError):
        threshold = float(text("threshold"))
    return About(
        inbox=text("inbox"),
        model=text("model"),
        model_sha256=text("model_sha256"),
        threshold=threshold,
        operating_point=text("operating_point"),
        tool_version=text("tool_version"),
        log=str(log_reader.log),
        head=log_reader.head,
        deferred=_counted(log_reader, start, "deferred"),
        skipped=_counted(log_reader, start, "skipped"),
        warnings=() if log_reader.problem is None else (str(log_reader.problem),),
    )


def finish(report: ReportWriter, scan: Scan, log: AuditLog) -> None:
    """Complete the page of a scan that has ended: the log's head, earlier verdicts, and what pictures it lacks."""
    log_reader = EventReader(log.path)
    warnings = (TEXT[report.lang]["stopped"],) if scan.stopped else ()
    deferred, skipped = scan.counts["deferred"], scan.counts["skipped"]
    report.about = replace(
        report.about, head=log.head, log=str(log_reader.log), deferred=deferred, skipped=skipped, warnings=warnings
    )
    report.model = scan.model
    recall(report, log.path)
    illustrate(report, scan.model)


def recall(report: ReportWriter, log: Path) -> None:
    """Note the verdicts that slices and studies shown again were given before."""
    verdicts = {
        target: verdict_of(event) for event in marked(log, Kind.REVIEW) if (target := target_of(event)) is not None
    }
    if not verdicts:
        return
    for line in lines(log):
        if _RESULT_MARK in line.raw and (digest := hash_in(line.raw)) in verdicts:
            with suppress(BadLineError, KeyError, TypeError, ValueError):
                report.store.judge_again(finding_of(parse(line.raw)), verdicts[digest])
        elif _STUDY_MARK in line.raw and (digest := hash_in(line.raw)) in verdicts:
            with suppress(BadLineError, KeyError, TypeError, ValueError):
                _recall_study(report, parse(line.raw), verdicts[digest])


def _recall_study(report: ReportWriter, event: Event, verdict: Verdict) -> None:
    """Note a verdict on a study: on the answer that is shown again, or as one given on an earlier answer."""
    judged = study_finding_of(event)
    item = report.store.studies.find(report.about.inbox, judged.study_id)
    if item is None:
        return
    if item.finding.seen_before and replace(judged, seen_before=True) == without_curves(item.finding):
        report.store.studies.add(replace(item, verdict=verdict, result=event["hash"], judged=event["timestamp"]))
    else:
        report.store.studies.add(replace(item, earlier_verdict=verdict))


def without_curves(finding: StudyFinding) -> StudyFinding:
    """Return a study as the log records it."""
    return replace(finding, series=tuple(replace(one, curve=()) for one in finding.series))


def illustrate(report: ReportWriter, model: Model | None) -> None:
    """Find the pictures that a page may show and does not have yet; what is gone or changed is shown without."""
    from screener.inbox.isolation import SafeDecoder

    with SafeDecoder() as decoder:
        reader = SliceReader(report.images, decoder)
        # Listed before any is added: what the page shows does not depend on the pictures that it finds.
        requested = iter(list(report.requested()))
        while batch := list(islice(requested, _BATCH)):
            _illustrate(report, model, reader, batch)


def _illustrate(report: ReportWriter, model: Model | None, reader: SliceReader, batch: list[tuple[Item, bool]]) -> None:
    from screener.preprocess import frame
    from screener.report.pictures import encode, thumbnail

    found: list[tuple[Item, Slice, bool]] = []
    for item, large in batch:
        slice_ = reader.read(item)
        if isinstance(slice_, str):
            report.pictures.note_missing(item.finding, slice_)
        else:
            found.append((item, slice_, large))
    heatmaps = iter(heatmaps_of(model, [(item, slice_) for item, slice_, large in found if large]))
    for item, slice_, large in found:
        heatmap = next(heatmaps) if large else None
        where = None if model is None or heatmap is None else frame(slice_.pixels, model.card.preprocessing)
        picture = encode(thumbnail(slice_.pixels, where))
        report.pictures.put(item.finding, picture if large else replace(picture, large=b""), heatmap)


class SliceReader:
    """Reads the slices that findings are about; a file of many frames is read and hashed once for all of them.

    Parameters
    ----------
    images : Path
        Where the inbox lies now. A file that is not what was judged counts as moved.
    decoder : SafeDecoder
    """

    def __init__(self, images: Path, decoder: SafeDecoder) -> None:
        self._images, self._decoder = images, decoder
        self._last: FileBytes | None = None

    def read(self, item: Item) -> Slice | str:
        """Return a slice, or why there is none: ``moved`` or ``unreadable``."""
        from screener.domain.slice import Refused
        from screener.inbox import Limits, decode_slice

        file = self.file(item)
        if isinstance(file, str):
            return file
        file = replace(file, identity=replace(file.identity, frame=item.finding.frame))
        slice_ = decode_slice(file, Limits(), self._decoder)
        return "unreadable" if isinstance(slice_, Refused) else slice_

    def file(self, item: Item) -> FileBytes | str:
        """Return the file that a slice is in, or why there is none: ``moved`` or ``unreadable``."""
        from screener.domain.slice import Refused
        from screener.inbox import Entry, fetch, locate

        finding, last = item.finding, self._last
        if last is not None and (last.identity.path, last.identity.sha256) == (finding.path, finding.sha256):
            return last
        self._last = None
        place = locate(self._images, finding.path)
        if place is None:
            return "moved"
        file = fetch(Entry(place, finding.path, finding.patient_id))
        if isinstance(file, Refused):
            return "unreadable"
        if file.identity.sha256 != finding.sha256:
            return "moved"
        self._last = file
        return file


def slice_of(images: Path, item: Item, decoder: SafeDecoder) -> Slice | str:
    """Return the slice that a finding is about, or why there is none; see `SliceReader`."""
    return SliceReader(images, decoder).read(item)


def heatmaps_of(model: Model | None, requested: list[tuple[Item, Slice]]) -> Iterator[NDArray[np.float32] | None]:
    """Yield a heatmap (h, w), float32, in [0, 1], for each slice that this very model scored, None for the others."""
    from screener.pipeline.slice import heatmaps

    def drawn(item: Item) -> bool:
        return model is not None and item.finding.probability is not None and item.finding.model_sha256 == model.sha256

    judged = [slice_.pixels for item, slice_ in requested if drawn(item)]
    found = iter(heatmaps(model, judged) if model is not None else ())
    for item, _ in requested:
        yield next(found) if drawn(item) else None
