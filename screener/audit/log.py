"""The writer of the audit log."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from screener.audit.anchor import refuse_lost, write_anchor
from screener.audit.chain import ChainFile, Written
from screener.audit.events import GENESIS, Event, Kind, hash_in, new_event, result_event, study_event
from screener.audit.files import Access, make_default_folder
from screener.audit.locks import RunLock
from screener.audit.segments import lines
from screener.errors import AuditLogError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from screener.audit.index import History
    from screener.domain.finding import Finding
    from screener.domain.slice import SliceMeasurements
    from screener.domain.study import StudyFinding
    from screener.domain.verdict import Verdict

ROTATE_BYTES = 256 << 20
"""Bytes at which a segment is sealed unless told otherwise: about 250,000 events."""
_ANCHOR_EVERY = 1.0
"""Seconds between two anchors of a run: each costs the disk as much as a batch does."""
_RESULT_MARKS = (b'"event":"RESULT"', b'"event":"STUDY"')


class AuditLog:
    """A log open for writing; use it as a context manager.

    Parameters
    ----------
    path : Path
        Created when missing; its folder must exist, except for that of `default_log`.
    exclusive : bool
        True for a scan, of which there is one at a time. False for who only adds verdicts, which may fall
        between the batches of a scan.
    group : str or None
        Let this group read and write too (0660); by default only the owner may (0600).
    wait : float or None
        Seconds to wait for another scan to end; 0 or None gives up at once.
    fsync_every : float
        Seconds of work that a power cut may take; 0 asks the disk to confirm each batch.
    rotate_bytes : int or None
        Size at which a segment is sealed; None never seals.
    anchor : Path or None
        Where to write down the head once the disk has confirmed it: at most once a second, and at the end.

    Raises
    ------
    AuditLogError
        On entry, when the log cannot be written, another scan is using it, or it lost the anchored event.
    """

    def __init__(
        self,
        path: Path,
        *,
        exclusive: bool = True,
        group: str | None = None,
        wait: float | None = 0,
        fsync_every: float = 0.0,
        rotate_bytes: int | None = ROTATE_BYTES,
        anchor: Path | None = None,
    ) -> None:
        self.path = path
        self.run_id = os.urandom(8).hex()
        self._access = Access.for_group(group)
        self._wait = wait or 0.0
        self._anchor = anchor
        self._run_lock = RunLock(path, self._access) if exclusive else None
        self._chain = ChainFile(
            path, self._access, run_id=self.run_id, fsync_every=fsync_every, rotate_bytes=rotate_bytes
        )
        self._history: History | None = None
        self._anchored = ""
        self._anchored_at = 0.0

    def __enter__(self) -> Self:
        make_default_folder(self.path)
        if self._run_lock is not None:
            self._run_lock.acquire(self._wait)
        try:
            self._chain.open()
            if self._anchor is not None:
                refuse_lost(self._anchor, self.path)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self._chain.sync()
            self._write_anchor()
        except AuditLogError:
            # The failure that ended the block tells more than the one that follows from it.
            if kind is None:
                raise
        finally:
            self._close()

    @property
    def head(self) -> str:
        """Hash of the last event as this writer knows it."""
        return self._chain.head

    def start(self, details: Mapping[str, object]) -> str:
        """Record that a run begins.

        Parameters
        ----------
        details : mapping
            Tool, model, preprocessing, threshold and its origin, options; the host is filled in.

        Returns
        -------
        str
            The run's id.
        """
        self._scan_only()
        self._append([new_event(Kind.START, self.run_id, {"host": os.uname().nodename, **details})])
        return self.run_id

    def results(
        self,
        findings: Sequence[Finding],
        *,
        doctor_id: str | None,
        preprocessing: str,
        measurements: Sequence[SliceMeasurements | None] | None = None,
    ) -> list[str]:
        """Record a batch as one write.

        Parameters
        ----------
        findings : sequence of Finding
        doctor_id : str or None
            Who ordered the scan.
        preprocessing : str
            Version or fingerprint of what turned the image into the model's input.
        measurements : sequence of (SliceMeasurements or None), optional
            One a finding: what is kept of its pixels.

        Returns
        -------
        list of str
            Hash of each event, in the order given.

        Raises
        ------
        AuditLogError
            If the batch cannot be written; none of it then is.
        """
        self._scan_only()
        events = [
            result_event(finding, self.run_id, doctor_id=doctor_id, preprocessing=preprocessing, measurements=measured)
            for finding, measured in zip(findings, measurements or [None] * len(findings), strict=True)
        ]
        return list(self._append(events).hashes) if events else []

    def study(
        self,
        finding: StudyFinding,
        *,
        preprocessing: str,
        results_sha256: str,
        earlier_results: Sequence[tuple[str, str]] = (),
    ) -> str:
        """Record what was found about a study whose slices are all in the log.

        Parameters
        ----------
        finding : StudyFinding
        preprocessing : str
            As for `results`.
        results_sha256 : str
            See `screener.audit.schemas.StudyV2`.
        earlier_results : sequence of tuple of (str, str)
            Run and hash of each RESULT event from before, oldest first: of earlier runs, or of this one where it
            answered the study already.

        Returns
        -------
        str
            Hash of the event.

        Raises
        ------
        AuditLogError
            It cannot be written, or an earlier result is not in the log.
        """
        self._scan_only()
        event = study_event(
            finding,
            self.run_id,
            preprocessing=preprocessing,
            results_sha256=results_sha256,
            earlier_results=self._lookup().numbers(earlier_results) if earlier_results else (),
        )
        return self._append([event]).hashes[0]

    def study_seen(self, study_id: str, results_sha256: str, threshold: float, reason: str | None = None) -> bool:
        """Say whether the last STUDY event of this study on these very results has a threshold, and one gives a reason.

        A reason is only looked for if it is asked for.
        """
        return self._lookup().study_seen(study_id, results_sha256, threshold, reason)

    def reviews(self, verdicts: Sequence[Verdict]) -> list[str]:
        """Record verdicts as one write.

        Returns
        -------
        list of str
            Hash of each event, in the order given.

        Raises
        ------
        AuditLogError
            If one refers to no RESULT or STUDY of this log; nothing is then written.
        """
        if not verdicts:
            return []
        self._refuse_unknown({verdict.result for verdict in verdicts})
        return list(self._append([_review_event(verdict, self.run_id) for verdict in verdicts]).hashes)

    def sent(self, content: Mapping[str, object]) -> str:
        """Record that the answer about a study was stored at a destination.

        Parameters
        ----------
        content : mapping
            See `screener.audit.schemas.SentV2`.

        Returns
        -------
        str
            Hash of the event.

        Raises
        ------
        AuditLogError
            There is no such STUDY in this log; nothing is then written.
        """
        self._refuse_unknown({str(content["study"])}, "answers that were sent")
        return self._append([new_event(Kind.SENT, self.run_id, content)]).hashes[0]

    def received(self, content: Mapping[str, object]) -> str:
        """Record what this run is about to screen; see `screener.audit.schemas.ReceivedV2`.

        Returns
        -------
        str
            Hash of the event.
        """
        self._scan_only()
        return self._append([new_event(Kind.RECEIVED, self.run_id, content)]).hashes[0]

    def deleted(self, content: Mapping[str, object]) -> str:
        """Record that received files are about to be deleted, and wait for the disk to confirm it.

        Parameters
        ----------
        content : mapping
            See `screener.audit.schemas.DeletedV2`.

        Returns
        -------
        str
            Hash of the event.
        """
        self._scan_only()
        digest = self._append([new_event(Kind.DELETED, self.run_id, content)]).hashes[0]
        self._chain.sync()
        return digest

    def alerts(self, contents: Sequence[Mapping[str, object]]) -> list[str]:
        """Record alarms of monitoring as one write; see `screener.audit.schemas.AlertV2`.

        Returns
        -------
        list of str
            Hash of each event, in the order given.
        """
        return list(self._append([new_event(Kind.ALERT, self.run_id, one) for one in contents]).hashes)

    def end(self, counts: Mapping[str, object], reason: str) -> None:
        """Record how the run ended, and wait for the disk to confirm it."""
        self._append([new_event(Kind.END, self.run_id, {"counts": counts, "reason": reason})])
        self._chain.sync()
        self._write_anchor()

    def seen(
        self,
        path: str,
        sha256: str,
        *,
        model_sha256: str,
        preprocessing: str,
        threshold: float,
        frame: int | None = None,
    ) -> Event | None:
        """Return the latest RESULT of the same slice by the same model, preprocessing and threshold, or None."""
        return self._lookup().seen(
            path, sha256, model_sha256=model_sha256, preprocessing=preprocessing, threshold=threshold, frame=frame
        )

    def score_of(self, sha256: str, *, model_sha256: str, preprocessing: str, frame: int | None = None) -> Event | None:
        """Return a RESULT with a probability for the same bytes, under whatever path and threshold, or None."""
        return self._lookup().score_of(sha256, model_sha256=model_sha256, preprocessing=preprocessing, frame=frame)

    def _scan_only(self) -> None:
        if self._run_lock is None:
            raise RuntimeError("a log opened for verdicts only does not hold the lock that a scan needs")

    def _lookup(self) -> History:
        if self._history is None:
            from screener.audit.index import History

            # One process writes the index, the one that holds the run lock.
            self._history = History(self.path, keep=self._run_lock is not None, access=self._access)
        return self._history

    def elsewhere(self, event: Event) -> bool:
        """Say whether what `seen` found is the result of another inbox, of which this one has none."""
        return self._lookup().elsewhere(event, self.run_id)

    def _append(self, events: list[Event]) -> Written:
        written = self._chain.append(events)
        if self._run_lock is not None:
            self._lookup().add(events, written)
        if written.synced and time.monotonic() - self._anchored_at >= _ANCHOR_EVERY:
            self._write_anchor()
        return written

    def _write_anchor(self) -> None:
        position = self._chain.position()
        # Nothing to hold on to before the first event, nor after a write that failed.
        if self._anchor is not None and position is not None and self._chain.head not in {GENESIS, self._anchored}:
            write_anchor(self._anchor, self.path, self._chain.head, position, self._access)
            self._anchored, self._anchored_at = self._chain.head, time.monotonic()

    def _refuse_unknown(self, expected: set[str], what: str = "verdicts") -> None:
        unknown = set(expected)
        for line in lines(self.path):
            if any(mark in line.raw for mark in _RESULT_MARKS) and (found := hash_in(line.raw)) in unknown:
                unknown.discard(found)
                if not unknown:
                    return
        raise AuditLogError(
            f"{len(unknown)} of {len(expected)} {what} refer to no result in {self.path}, first {min(unknown)[:64]!a}",
            f"Check that the {what} belong to this log; nothing was recorded.",
        )

    def _close(self) -> None:
        if self._history is not None:
            self._history.close()
            self._history = None
        with suppress(OSError):
            self._chain.close()
        if self._run_lock is not None:
            self._run_lock.close()


def _review_event(verdict: Verdict, run_id: str) -> Event:
    content = {
        **verdict.details,
        "result": verdict.result,
        "doctor_id": verdict.doctor_id,
        "final_diagnosis": verdict.final_diagnosis,
        "agreement": verdict.agreement,
    }
    return new_event(Kind.REVIEW, run_id, content)
