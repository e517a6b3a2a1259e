"""One run over an inbox: find, read, decode, check, score, log, and answer each study. Bounded memory."""

from __future__ import annotations

from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice, repeat
from typing import TYPE_CHECKING, Protocol, TypeVar

from screener.audit import finding_of
from screener.cores import workers
from screener.domain.finding import Decision, Finding
from screener.domain.slice import Prediction, Reason, Refused, Slice
from screener.errors import NothingFoundError
from screener.inbox import Entry, FileBytes, Limits, WalkOptions, decode_slice, fetch, find, sniff
from screener.inbox.isolation import SafeDecoder
from screener.inbox.walk import WalkOutcome
from screener.model.session import AT_ONCE
from screener.pipeline.open_studies import OpenStudies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Literal

    import numpy as np
    from numpy.typing import NDArray

    from screener.audit import AuditLog
    from screener.domain.slice import Identity
    from screener.domain.study import StudyFinding
    from screener.model.session import Model
    from screener.preprocess import Frame
    from screener.privacy import Pseudonyms
    from screener.triage import TriagePolicy

BATCH = 16
"""Slices logged at once: few waits for the disk, and little is lost in a crash."""
_AHEAD = 16
"""Handfuls of files given to the worker threads, so that none of them waits while the log is being written."""
_FETCHED = 2 * AT_ONCE
"""Files read ahead of the workers; with `_AHEAD` and the largest file that is read, the bound on memory."""


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """How an inbox is screened.

    Attributes
    ----------
    walk : WalkOptions
    limits : Limits
    limit : int or None
        Files to look at, at most.
    rescan : bool
        Score again what this model, preprocessing and threshold already judged.
    doctor_id : str or None
        Who ordered the scan; goes into the log.
    pseudonyms : Pseudonyms or None
        Names under which folders, patients and files appear everywhere but on the disk.
    isolation : {"risky", "always", "never"}
        Which files are decoded in a process of their own.
    jobs : int or None
        Threads, each of which decodes and scores; None, and at most: the cores that this process may use.
    """

    walk: WalkOptions = field(default_factory=WalkOptions)
    limits: Limits = field(default_factory=Limits)
    limit: int | None = None
    rescan: bool = False
    doctor_id: str | None = None
    pseudonyms: Pseudonyms | None = None
    isolation: Literal["risky", "always", "never"] = "risky"
    jobs: int | None = None


@dataclass(frozen=True, slots=True)
class PreparedSlice:
    """A decoded slice that passed the gate: its tensor of shape (size, size, 1), float32, in [0, 1]."""

    identity: Identity
    tensor: NDArray[np.float32]
    thumbnail: object = None


class ScanObserver(Protocol):
    """Someone who wants to see the slices go by, such as a report with pictures."""

    def thumbnail(self, pixels: NDArray[np.float32], where: Frame) -> object:
        """Keep what is wanted of a slice's pixels, of which the model sees a part; called from worker threads."""

    def see(self, finding: Finding, thumbnail: object, heatmap: NDArray[np.float32] | None) -> None:
        """Take a finding that is in the log; no thumbnail and no heatmap for what was refused or judged before."""

    def see_study(self, finding: StudyFinding) -> None:
        """Take the answer about a study, after the last of its slices."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A slice with the model's raw answer."""

    identity: Identity
    prediction: Prediction
    thumbnail: object = None
    reused: bool = False
    """The score is that of the same bytes under another path or threshold."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A finding of an earlier run, with the hash and time of its RESULT event."""

    finding: Finding
    result: str
    timestamp: str


@dataclass(frozen=True, slots=True)
class FileSlices:
    """What one file holds.

    Attributes
    ----------
    items : list of FileBytes or Refused
        One a slice.
    folder : str or None
        The study that its folder names.
    warning : Reason or None
        What a reader of the study should know.
    """

    items: list[FileBytes | Refused]
    folder: str | None
    warning: Reason | None = None


_Outcome = Scored | Refused | Remembered
T = TypeVar("T")
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
    judge : TriagePolicy
    log : AuditLog or None
        Open for writing, with its START written; None screens without a record.
    options : ScanOptions

    Attributes
    ----------
    counts : Counter of str
        Slices by decision and urgency; studies by both, under ``studies_``; ``unread``, files that could not be read;
        ``seen_before``, and of these ``seen_elsewhere``, in another inbox;
        ``deferred``, ``files``; ``skipped``, links and special files that the walk left out.
    observer : ScanObserver or None
        Is shown each finding with what was kept of its pixels; the heatmap costs nothing, the graph computes it anyway.
    """

    def __init__(
        self,
        inbox: Path,
        model: Model,
        judge: TriagePolicy,
        log: AuditLog | None = None,
        options: ScanOptions | None = None,
    ) -> None:
        self.inbox, self.model, self.judge, self.log = inbox, model, judge, log
        self.options = options or ScanOptions()
        self.counts: Counter[str] = Counter()
        self.observer: ScanObserver | None = None
        self._stopped = False
        self._gone = False
        self._folder = _folder(inbox)
        self._fates: Counter[WalkOutcome] = Counter()
        self._studies = OpenStudies(self)
        self._usable = _usable_series(model)

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
        batch: list[_Outcome] = []
        with SafeDecoder(self.options.isolation) as decoder:
            for outcome in self._outcomes(decoder):
                # The log must hold the first answer of a study before further results of it.
                if batch and self._studies.comes_back(_study_of(outcome), map(_study_of, batch)):
                    yield from self._answered(batch)
                    batch = []
                batch.append(outcome)
                if len(batch) == BATCH:
                    yield from self._answered(batch)
                    batch = []
            yield from self._answered(batch)
            if not (self._stopped or self._gone or self._cut()):
                yield from self._studies.close_all()
        self.counts["skipped"] = self._fates[WalkOutcome.SKIPPED]
        self._refuse_vanished()

    def _cut(self) -> bool:
        """Say whether the limit ended the walk: the studies in hand may then lack slices."""
        return self.options.limit is not None and self.counts["files"] >= self.options.limit

    def _outcomes(self, decoder: SafeDecoder) -> Iterator[_Outcome]:
        """Yield what became of each file, in the order of the walk, while threads work ahead."""
        # Reading has a thread of its own: behind a queue of decoding it would wait for its turn.
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(workers(self.options.jobs)) as pool:
            fetching: deque[Future[FileSlices]] = deque()
            scoring: deque[Future[list[_Outcome]]] = deque()
            items = self._found()
            more = True
            while (more and not self._stopped) or fetching or scoring:
                while more and not self._stopped and len(fetching) < _FETCHED:
                    item = next(items, None)
                    more = item is not None
                    if item is not None:
                        fetching.append(self._fetch(reader, item))
                while fetching and len(scoring) < _AHEAD:
                    files = [fetching.popleft().result() for _ in range(min(AT_ONCE, len(fetching)))]
                    found = [item for file in files for item in self._studies.relate(file)]
                    for start in range(0, len(found), AT_ONCE):
                        scoring.append(self._work(pool, found[start : start + AT_ONCE], decoder))
                for outcome in scoring.popleft().result() if scoring else ():
                    if (settled := self._settled(outcome)) is not None:
                        yield settled
                if self._gone:
                    return

    def _found(self) -> Iterator[Entry | Refused]:
        """Walk the inbox, under pseudonyms where they are wanted."""
        walk = find(self.inbox, options=self.options.walk, counts=self._fates, arriving=self._studies.arrive)
        for item in self._studies.ordered(islice(walk, self.options.limit)):
            renamed = item if self.options.pseudonyms is None else self.options.pseudonyms.rename(item)
            if isinstance(item, Entry) and isinstance(renamed, Entry):
                self._studies.note(item, renamed)
            yield renamed

    def _fetch(self, reader: ThreadPoolExecutor, item: Entry | Refused) -> Future[FileSlices]:
        self.counts["files"] += 1
        return _done(FileSlices([item], None)) if isinstance(item, Refused) else reader.submit(self._read, item)

    def _read(self, entry: Entry) -> FileSlices:
        """Read a file; a DICOM header names patient, study and series, and each frame or slice of a volume counts."""
        found = fetch(entry, self.options.limits)
        kind = None if isinstance(found, Refused) else sniff.kind(found.data)
        if isinstance(found, Refused) or kind not in {sniff.DICOM, sniff.NIFTI}:
            return FileSlices([found], entry.study_id)
        items = [self._usable_or_refused(item) for item in self._slices(found, kind)]
        if self.options.pseudonyms is not None:
            items = [self.options.pseudonyms.rename_header(item, found.identity) for item in items]
        return FileSlices(items, entry.study_id, None if found.header is None else found.header.warning)

    def _slices(self, found: FileBytes, kind: str | None) -> list[FileBytes | Refused]:
        """Return what a DICOM or NIfTI file holds, one item a slice."""
        if kind == sniff.NIFTI:
            from screener.inbox.nifti import expand_nifti

            return expand_nifti(found, self.options.limits)
        from screener.inbox.dicom import expand

        walk = self.options.walk
        return expand(
            found,
            self.options.limits,
            own_study=walk.grouping.by == "folder",
            own_patient=walk.patient_pattern is None,
        )

    def _usable_or_refused(self, item: FileBytes | Refused) -> FileBytes | Refused:
        """Refuse a slice of a plane or sequence on which the model was not shown to work."""
        if isinstance(item, Refused):
            return item
        from screener.inbox.dicom_rules import DETAIL
        from screener.quality import refuse_series

        reason = refuse_series(item.identity.plane, item.identity.sequence, *self._usable)
        return item if reason is None else Refused(item.identity, reason, DETAIL[reason])

    def _work(
        self, pool: ThreadPoolExecutor, found: list[FileBytes | Refused], decoder: SafeDecoder
    ) -> Future[list[_Outcome]]:
        """Show again what was judged before; give the rest to a worker thread."""
        known = [self._known(item) for item in found]
        if any(isinstance(item, FileBytes) for item in known):
            return pool.submit(self._score, known, decoder)
        return _done([item for item in known if not isinstance(item, FileBytes)])

    def _known(self, item: FileBytes | Refused) -> FileBytes | Refused | Remembered | Scored:
        """Return what the log knows of an item, else the item itself."""
        if isinstance(item, Refused) and not item.identity.sha256:
            return item
        known = self._remembered(item.identity)
        if known is None or (isinstance(item, Refused) and isinstance(known, Scored)):
            return item
        if isinstance(known, Remembered):
            earlier = known.finding.reason
            # What could not be read then, for want of an extra, may be readable now; what was judged may be refused.
            changed = earlier != item.reason if isinstance(item, Refused) else earlier is Reason.UNSUPPORTED_TYPE
            return item if changed else known
        return known

    def _remembered(self, identity: Identity) -> Remembered | Scored | None:
        """Return the earlier finding about this slice, or the earlier score of the same bytes."""
        if self.log is None or self.options.rescan:
            return None
        about = {
            "model_sha256": self.model.sha256,
            "preprocessing": self.model.card.preprocessing.fingerprint(),
        }
        event = self.log.seen(
            identity.path, identity.sha256, threshold=self.judge.point.threshold, frame=identity.frame, **about
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
                return Remembered(found, event["hash"], event["timestamp"])
        event = self.log.score_of(identity.sha256, frame=identity.frame, **about)
        return None if event is None else Scored(identity, Prediction(float(event["probability"])), reused=True)

    def _score(self, found: list[FileBytes | Refused | Remembered | Scored], decoder: SafeDecoder) -> list[_Outcome]:
        """Decode, gate, frame and score: what a worker thread does, on one core from the first byte to the answer."""
        import numpy as np

        items = [self._prepare(item, decoder) if isinstance(item, FileBytes) else item for item in found]
        tensors = [item.tensor for item in items if isinstance(item, PreparedSlice)]
        predictions = self.model.predict(np.stack(tensors), heatmaps=self.observer is not None) if tensors else []
        answers = iter(predictions)
        return [
            Scored(item.identity, next(answers), item.thumbnail) if isinstance(item, PreparedSlice) else item
            for item in items
        ]

    def _prepare(self, found: FileBytes, decoder: SafeDecoder) -> PreparedSlice | Refused:
        slice_ = decode_slice(found, self.options.limits, decoder)
        if isinstance(slice_, Refused):
            return slice_
        try:
            return self._framed(slice_)
        except MemoryError:
            return Refused(found.identity, Reason.TOO_LARGE, "not enough memory to look at it")

    def _framed(self, slice_: Slice) -> PreparedSlice | Refused:
        from screener.preprocess import frame, prepare
        from screener.quality import refuse

        refused = refuse(slice_)
        if refused is not None:
            return refused
        how = self.model.card.preprocessing
        where = frame(slice_.pixels, how)
        thumbnail = None if self.observer is None else self.observer.thumbnail(slice_.pixels, where)
        return PreparedSlice(slice_.identity, prepare(slice_.pixels, how, where), thumbnail)

    def _settled(self, outcome: _Outcome) -> _Outcome | None:
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

    def _answered(self, batch: list[_Outcome]) -> Iterator[Finding | StudyFinding]:
        """Yield the findings of a batch, each study before the first slice of the next folder."""
        for finding, result, timestamp in self._decide(batch):
            yield from self._studies.close_before(finding)
            self._studies.take(finding, result, timestamp)
            yield finding

    def _decide(self, batch: list[_Outcome]) -> list[tuple[Finding, str, str]]:
        """Judge everything and log what is new, in the order of the walk: finding, hash, time if logged earlier."""
        if any(isinstance(item, Scored) and not item.reused for item in batch):
            self.model.refuse_replaced()
        findings = [self._finding(item) for item in batch]
        written: Iterator[str] = repeat("")
        if self.log is not None:
            hashes = self.log.results(
                [finding for finding in findings if not finding.seen_before],
                doctor_id=self.options.doctor_id,
                preprocessing=self.model.card.preprocessing.fingerprint(),
            )
            written = iter(hashes)
        for finding in findings:
            self.counts.update((finding.decision.value, finding.urgency.value))
            self.counts["seen_before"] += finding.seen_before
            self.counts["unread"] += finding.reason in _UNREAD
        self._show(batch, findings)
        return [
            (finding, item.result, item.timestamp) if isinstance(item, Remembered) else (finding, next(written), "")
            for item, finding in zip(batch, findings, strict=True)
        ]

    def _show(self, batch: list[_Outcome], findings: list[Finding]) -> None:
        if self.observer is None:
            return
        for item, finding in zip(batch, findings, strict=True):
            if isinstance(item, Scored) and not item.reused:
                self.observer.see(finding, item.thumbnail, item.prediction.heatmap)
            else:
                self.observer.see(finding, None, None)

    def _finding(self, item: _Outcome) -> Finding:
        if isinstance(item, Remembered):
            return item.finding
        if isinstance(item, Refused):
            return self.judge.refusal(item)
        refused = None if item.reused else self.model.refuse(item.prediction)
        return self.judge.finding(item.identity, item.prediction, refused)


def _study_of(outcome: _Outcome) -> str | None:
    return outcome.finding.study_id if isinstance(outcome, Remembered) else outcome.identity.study_id


def _usable_series(model: Model) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Return the planes and the sequences on which a model was shown to work, for `refuse_series`."""
    study = model.card.study
    return (("axial",), None) if study is None else (study.planes, study.sequences)


def _folder(path: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another of the same name, such as a mount point left empty; None when gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _done(value: T) -> Future[T]:
    """Return a future that needs no waiting for."""
    future: Future[T] = Future()
    future.set_result(value)
    return future


def summary_counts(counts: Counter[str]) -> dict[str, int]:
    """Return what an END event records."""
    names = ("HIGH", "MEDIUM", "REVIEW", "LOW", "seen_before", "seen_elsewhere", "deferred", "skipped", "studies")
    studies = [f"studies_{name}" for name in (*Decision, "seen_before", "deferred")]
    return {name: counts[name] for name in ("files", *map(str, Decision), *names, *studies)}
