"""One run over an inbox: find, read, decode, check, score, log, and answer each study. Bounded memory."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import islice, repeat
from typing import TYPE_CHECKING, Protocol

from screener.audit import finding_of, measurements_of
from screener.domain.finding import Decision, Finding
from screener.domain.slice import Prediction, Reason, Refused
from screener.errors import AuditLogError, NothingFoundError
from screener.inbox import Entry, FileBytes, Limits, find, sniff
from screener.inbox.walk import WalkOutcome
from screener.pipeline.config import ScanConfig
from screener.pipeline.executor import Remembered, local_executor
from screener.pipeline.open_studies import OpenStudies
from screener.pipeline.slice import PipelineSettings, ScoredSlice, SeenSlice, build_finding
from screener.pipeline.study import Logged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from screener.audit import AuditLog
    from screener.domain.slice import Identity
    from screener.domain.study import StudyFinding
    from screener.model.session import Model
    from screener.pipeline.executor import Executor, Item, Outcome
    from screener.pipeline.slice import AnsweredFile, FileSlices
    from screener.preprocess import Frame
    from screener.triage import TriagePolicy

_LONGEST_WAIT = 1.0
"""Seconds for which a result waits, at most, for others that are logged with it."""


class ScanObserver(Protocol):
    """Someone who wants to see the slices go by, such as a report with pictures."""

    def thumbnail(self, pixels: NDArray[np.float32], where: Frame) -> object:
        """Keep what is wanted of a slice's pixels, of which the model sees a part; called from worker threads."""

    def see(self, finding: Finding, thumbnail: object, heatmap: NDArray[np.float32] | None) -> None:
        """Take a finding that is in the log; no thumbnail and no heatmap for what was refused or judged before."""

    def see_study(self, finding: StudyFinding) -> None:
        """Take the answer about a study, after the last of its slices."""


_UNREAD = frozenset(
    {
        Reason.EMPTY_FILE,
        Reason.UNREADABLE,
        Reason.UNSUPPORTED_TYPE,
        Reason.CORRUPT,
        Reason.TOO_LARGE,
        Reason.DECODER_CRASHED,
        Reason.DECODER_TIMEOUT,
    }
)
"""Reasons that are about the file, not about what it shows."""


class Scan:
    """One run over an inbox.

    Parameters
    ----------
    inbox : Path
    model : Model
    policy : TriagePolicy
    log : AuditLog or None
        Open for writing, with its START written; None screens without a record.
    config : ScanConfig
        Of which model, threshold and log are given apart.
    executor : callable
        Makes the `Executor` that reads and scores, from the settings, the model and the jobs that are wanted.
    only : tuple of str or None
        Names directly below the inbox that are screened; None screens all of it.

    Attributes
    ----------
    counts : Counter of str
        Slices by decision and urgency; studies by both, under ``studies_``; ``unread``, files that could not be read;
        ``seen_before``, and of these ``seen_elsewhere``, in another inbox;
        ``deferred``, ``files``; ``own_answers``, objects that this tool made; ``skipped``, links and special files that
        the walk left out.
    observer : ScanObserver or None
        Is shown each finding with what was kept of its pixels; the heatmap costs nothing, the graph computes it anyway.
    """

    def __init__(
        self,
        inbox: Path,
        model: Model,
        policy: TriagePolicy,
        log: AuditLog | None = None,
        config: ScanConfig | None = None,
        *,
        executor: Callable[[PipelineSettings, Model, int | None], Executor] = local_executor,
        only: tuple[str, ...] | None = None,
    ) -> None:
        self.inbox, self.model, self.policy, self.log = inbox, model, policy, log
        self.config = config or ScanConfig()
        self.walk = replace(self.config.walk_options(), only=only)
        self.pseudonyms, self.limits = self.config.pseudonyms(), Limits()
        self.counts: Counter[str] = Counter()
        self.observer: ScanObserver | None = None
        self._stopped = False
        self._gone = False
        self._folder = _folder(inbox)
        self._fates: Counter[WalkOutcome] = Counter()
        self._studies = OpenStudies(self)
        self._make_executor = executor

    def stop(self) -> None:
        """Finish the batch in hand and end; safe to call from a signal handler."""
        self._stopped = True

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def findings(self) -> Iterator[Finding]:
        """Screen the inbox and yield what is found about each slice; see `results`."""
        return (result for result in self.results() if isinstance(result, Finding))

    def results(self) -> Iterator[Finding | StudyFinding]:
        """Screen the inbox; a finding is in the log before it is yielded, a study after the last of its slices.

        Raises
        ------
        AuditLogError, ModelError, NothingFoundError
            The run cannot go on; what was yielded is in the log.
        """
        for batch in self._batches():
            yield from self._answered(batch)
        if not (self._stopped or self._gone or self._cut()):
            yield from self._studies.close_all()
        self.counts["skipped"] = self._fates[WalkOutcome.SKIPPED]
        self._refuse_vanished()

    def _cut(self) -> bool:
        """Say whether the limit ended the walk: the studies in hand may then lack slices."""
        return self.config.limit is not None and self.counts["files"] >= self.config.limit

    def _batches(self) -> Iterator[list[Outcome]]:
        """Yield what is to be logged at once: as many as the executor says, or what came within a second."""
        batch: list[Outcome] = []
        began = 0.0
        settings = settings_of(self.model, self.config, self.observer, logged=self.log is not None)
        with self._make_executor(settings, self.model, self.config.jobs) as executor:
            for outcome in self._outcomes(executor):
                late = batch and time.monotonic() - began > _LONGEST_WAIT
                # The log must hold the first answer of a study before further results of it.
                if late or (batch and self._studies.comes_back(_study_of(outcome), map(_study_of, batch))):
                    yield batch
                    batch = []
                if outcome is None:
                    continue
                began = began if batch else time.monotonic()
                batch.append(outcome)
                if len(batch) >= executor.log_batch:
                    yield batch
                    batch = []
        yield batch

    def _outcomes(self, executor: Executor) -> Iterator[Outcome | None]:
        """Yield what became of each file while the executor works ahead; None where nothing came for a while."""
        for outcomes in executor.screen(self._wanted(), self._examine):
            for outcome in outcomes:
                if (settled := self._settled(outcome)) is not None:
                    yield settled
            if self._gone:
                return
            if not outcomes:
                yield None

    def _examine(self, file: FileSlices | AnsweredFile) -> Iterator[Item]:
        """Relate the slices of a file to their studies, and look each up in the log."""
        return (self._known(item) for item in self._studies.relate(self._foreign(file)))

    def _wanted(self) -> Iterator[Entry | Refused]:
        """Yield what the walk finds until the scan is stopped."""
        found = self._found()
        while not self._stopped and (item := next(found, None)) is not None:
            self.counts["files"] += 1
            yield item

    def _found(self) -> Iterator[Entry | Refused]:
        """Walk the inbox, under pseudonyms where they are wanted."""
        walk = find(self.inbox, options=self.walk, counts=self._fates, arriving=self._studies.arrive)
        for item in self._studies.ordered(islice(walk, self.config.limit)):
            renamed = item if self.pseudonyms is None else self.pseudonyms.rename(item)
            if isinstance(item, Entry) and isinstance(renamed, Entry):
                self._studies.note(item, renamed)
            yield renamed

    def _foreign(self, file: FileSlices | AnsweredFile) -> FileSlices | AnsweredFile:
        """Leave out what this tool made: an answer that comes back must not change the study that it is about."""
        items = [item for item in file.items if not (isinstance(item, Refused) and item.reason is Reason.OWN_ANSWER)]
        self.counts["own_answers"] += len(file.items) - len(items)
        return replace(file, items=items)  # type: ignore[arg-type] # they are the file's own

    def _known(self, item: FileBytes | ScoredSlice | SeenSlice | Refused) -> Item:
        """Return what the log knows of an item, else the item itself."""
        if isinstance(item, Refused) and not item.identity.sha256:
            return item
        known = self._remembered(item.identity)
        if isinstance(item, SeenSlice):
            return _found_again(item, known)
        if known is None or (isinstance(known, ScoredSlice) and not isinstance(item, FileBytes)):
            return item
        if isinstance(known, Remembered):
            return item if _judged_otherwise(known.finding.reason, item) else known
        return known

    def _remembered(self, identity: Identity) -> Remembered | ScoredSlice | None:
        """Return the earlier finding about this slice, or the earlier score of the same bytes."""
        if self.log is None or self.config.rescan:
            return None
        about = {
            "model_sha256": self.model.sha256,
            "preprocessing": self.model.card.preprocessing.fingerprint(),
        }
        event = self.log.seen(
            identity.path, identity.sha256, threshold=self.policy.point.threshold, frame=identity.frame, **about
        )
        # What another version of this tool recorded in words unknown to this one is judged anew.
        with suppress(KeyError, TypeError, ValueError):
            if event is not None:
                found = replace(
                    finding_of(event, seen_before=True),
                    patient_id=identity.patient_id,
                    study_id=identity.study_id,
                    series_id=identity.series_id,
                    position=identity.position,
                    sequence=identity.sequence,
                    plane=identity.plane,
                )
                self.counts["seen_elsewhere"] += self.log.elsewhere(event)
                return Remembered(found, Logged(event["hash"], event["timestamp"], event["run_id"]))
        event = self.log.score_of(identity.sha256, frame=identity.frame, **about)
        if event is None:
            return None
        measurements = measurements_of(event) if self.config.measurements else None
        return ScoredSlice(identity, Prediction(float(event["probability"])), reused=True, measurements=measurements)

    def _settled(self, outcome: Outcome) -> Outcome | None:
        """Leave files that are still being written to the next run: no verdict, no event.

        So is what cannot be read because the whole inbox is gone: one error instead of a night of refusals.
        """
        if not isinstance(outcome, Refused):
            return outcome
        if outcome.reason is Reason.UNREADABLE and _folder(self.inbox) != self._folder:
            self._gone = True
            return None
        if outcome.reason is Reason.STILL_BEING_WRITTEN:
            self.counts["deferred"] += 1
            self._studies.defer(outcome.identity)
            return None
        # Whoever stopped this run may have stopped the decoder with it: the file is not to blame.
        return None if self._stopped and outcome.reason is Reason.DECODER_CRASHED else outcome

    def _refuse_vanished(self) -> None:
        """Tell an inbox that was screened from one that went away, or was gone before its first file."""
        found_nothing = not self.counts["files"] and not self._stopped
        if self._gone or found_nothing or _folder(self.inbox) != self._folder:
            raise NothingFoundError(
                f"the inbox vanished while it was being screened: {self.inbox}",
                "mount the share again, then run the same command: it goes on where this run ended",
            )

    def _answered(self, batch: list[Outcome]) -> Iterator[Finding | StudyFinding]:
        """Yield the findings of a batch, each study before the first slice of the next folder."""
        for finding, logged in self._decide(batch):
            yield from self._studies.close_before(finding)
            self._studies.take(finding, logged)
            yield finding

    def _decide(self, batch: list[Outcome]) -> list[tuple[Finding, Logged]]:
        """Judge everything and log what is new, in the order of the walk."""
        if any(isinstance(item, ScoredSlice) and not item.reused for item in batch):
            self.model.refuse_replaced()
        findings = [self._finding(item) for item in batch]
        written: Iterator[str] = repeat("")
        if self.log is not None:
            new = [(finding, one) for finding, one in zip(findings, batch, strict=True) if not finding.seen_before]
            hashes = self.log.results(
                [finding for finding, _ in new],
                measurements=[None if isinstance(one, Remembered) else one.measurements for _, one in new],
                doctor_id=self.config.doctor,
                preprocessing=self.model.card.preprocessing.fingerprint(),
            )
            written = iter(hashes)
        for finding in findings:
            self.counts.update((finding.decision.value, finding.urgency.value))
            self.counts["seen_before"] += finding.seen_before
            self.counts["unread"] += finding.reason in _UNREAD
        self._show(batch, findings)
        return [
            (finding, item.logged if isinstance(item, Remembered) else Logged(next(written)))
            for item, finding in zip(batch, findings, strict=True)
        ]

    def _show(self, batch: list[Outcome], findings: list[Finding]) -> None:
        if self.observer is None:
            return
        for item, finding in zip(batch, findings, strict=True):
            if isinstance(item, ScoredSlice) and not item.reused:
                self.observer.see(finding, item.kept, item.prediction.heatmap)
            else:
                self.observer.see(finding, None, None)

    def _finding(self, item: Outcome) -> Finding:
        return item.finding if isinstance(item, Remembered) else build_finding(item, self.policy)


def settings_of(
    model: Model, config: ScanConfig, observer: ScanObserver | None = None, *, logged: bool = True
) -> PipelineSettings:
    """Return what an executor needs to know of a scan; what nobody logs is not measured."""
    walk = config.walk_options()
    return PipelineSettings(
        model=str(model.location.onnx),
        model_sha256=model.sha256,
        limits=Limits(),
        isolation=config.isolate,
        own_study=walk.grouping.by == "folder",
        own_patient=walk.patient_pattern is None,
        pseudonyms=config.pseudonyms(),
        heatmaps=observer is not None,
        measure=logged and config.measurements,
        keep=None if observer is None else observer.thumbnail,
    )


def _found_again(item: SeenSlice, known: Remembered | ScoredSlice | None) -> Remembered | ScoredSlice:
    """Return what the log knows of a slice that was not scored because of it."""
    if known is None:
        raise AuditLogError(
            f"the log no longer knows the result of {item.identity.path} for which the slice was not scored",
            "Run `screener verify`, then scan again.",
        )
    return known


def _judged_otherwise(earlier: Reason | None, item: FileBytes | ScoredSlice | Refused) -> bool:
    """Say whether an item deserves another answer than its earlier reason, though its bytes are the same.

    What could not be read then, for want of an extra, may be readable now; what was judged then may be refused.
    """
    if isinstance(item, Refused):
        return earlier != item.reason
    if isinstance(item, ScoredSlice):
        return earlier is Reason.UNSUPPORTED_TYPE
    return earlier is Reason.UNSUPPORTED_TYPE and sniff.kind(item.data) in {sniff.DICOM, sniff.NIFTI}


def _study_of(outcome: Outcome | None) -> str | None:
    if outcome is None:
        return None
    return outcome.finding.study_id if isinstance(outcome, Remembered) else outcome.identity.study_id


def _folder(path: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another of the same name, such as a mount point left empty; None when gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def summary_counts(counts: Counter[str]) -> dict[str, int]:
    """Return what an END event records."""
    names = (
        "HIGH",
        "MEDIUM",
        "REVIEW",
        "LOW",
        "seen_before",
        "seen_elsewhere",
        "deferred",
        "skipped",
        "own_answers",
        "studies",
    )
    studies = [f"studies_{name}" for name in (*Decision, "seen_before", "deferred")]
    return {name: counts[name] for name in ("files", *map(str, Decision), *names, *studies)}
