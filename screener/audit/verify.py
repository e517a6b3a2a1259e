"""Read a log back, and say whether it is still what was written."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from screener.audit.anchor import read_anchor
from screener.audit.events import GENESIS, MAX_LINE, BadLineError, Event, Kind, digest_of, parse, run_answered
from screener.audit.schemas import EVENTS, EarlierResultsV2
from screener.audit.segments import Line, lines, lines_of
from screener.errors import AuditLogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_Key: TypeAlias = "tuple[str, str | None]"
"""Run and study of a RESULT."""
_RESULT_MARK = b'"event":"RESULT"'
_TOLD = 120
"""Letters of a message that may quote the line."""
_UNFOUNDED = "the study does not rest on the results that the log holds for it"


@dataclass(frozen=True, slots=True)
class BadLine:
    """The first line that is not what was written.

    Attributes
    ----------
    file : Path
    line : int
        1 for the first of its file.
    why : str
        Pure ASCII, whatever the line holds.
    """

    file: Path
    line: int
    why: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying a log found.

    Attributes
    ----------
    ok : bool
        Every line is what was written, in its place, and the anchored event, if asked for, is among them.
    events : int
        Sound events, up to the first bad line.
    first_bad : BadLine or None
    runs_without_end : tuple of str
        Runs that never said how they ended: crashed, killed, or still at work.
    head : str
        Hash of the last sound event.
    """

    ok: bool
    events: int
    first_bad: BadLine | None
    runs_without_end: tuple[str, ...]
    head: str


def read(path: Path) -> Iterator[Event]:
    """Stream the events of a log, oldest first, over all its segments.

    An incomplete last line is not yet an event and is left out. The chain is `verify`'s business.

    Raises
    ------
    AuditLogError
        If there is no such log, or a line is not a sound event.
    """
    for line in lines(path):
        try:
            yield parse(line.raw)
        except BadLineError as error:
            if line.path == path and not line.raw.endswith(b"\n") and len(line.raw) <= MAX_LINE:
                return
            raise AuditLogError(
                f"{line.path}, line {line.number}: {error}", "Run `screener verify` and restore the log from a backup."
            ) from None


def verify(log: Path | Sequence[Path], *, anchor: Path | None = None) -> Verification:
    """Check every line of a log, in memory that does not grow with it.

    Parameters
    ----------
    log : Path or sequence of Path
        A log with all its segments; or the very files named, as one chain in that order.
    anchor : Path or None
        Where the head was written down: shows a cut tail, which a chain alone cannot.

    Returns
    -------
    Verification

    Raises
    ------
    AuditLogError
        If the log or the anchor cannot be read at all.
    """
    expected = None if anchor is None else read_anchor(anchor).hash
    paths = (log,) if isinstance(log, Path) else tuple(log)

    def source() -> Iterator[Line]:
        return lines(log) if isinstance(log, Path) else lines_of(paths)

    check = _Check(expected, last=Line(1, paths[-1], 0, 0, b""))
    # A study that does not rest on its results comes before the first line that is bad by itself.
    bad = check.first_bad(source())
    bad = check.first_unfounded(source) or bad
    if bad is None and expected is not None and not check.anchored:
        why = "the anchored event is not in the log: its end was cut off, or it was written anew"
        bad = BadLine(check.last.path, check.last.number + 1, why)
    return Verification(bad is None, check.events, bad, tuple(check.open_runs), check.head)


class _Check:
    """What has to be remembered from line to line."""

    def __init__(self, expected: str | None, last: Line) -> None:
        self._wanted = expected
        self.last = last
        self.head = GENESIS
        self.events = 0
        self.anchored = False
        self.open_runs: dict[str, None] = {}
        self._results: dict[_Key, list[str]] = {}
        self._claims: list[_Claim] = []
        self._received = _ReceivedFolders()

    def first_bad(self, source: Iterator[Line]) -> BadLine | None:
        """Take lines until one is bad."""
        for line in source:
            try:
                self._take(parse(line.raw), line)
            except BadLineError as error:
                return BadLine(line.path, line.number, str(error))
            self.last = line
        return None

    def first_unfounded(self, source: Callable[[], Iterator[Line]]) -> BadLine | None:
        """Return the first study that does not rest on the earlier results it names; they are read again for that."""
        if not self._claims:
            return None
        found: dict[_Key, list[str]] = {(row.run_id, row.study_id): [] for one in self._claims for row in one.rows}
        marks = {run_id: f'"run_id":{json.dumps(run_id)}'.encode("ascii") for run_id, _ in found}
        for line in source():
            if _RESULT_MARK in line.raw and any(mark in line.raw for mark in marks.values()):
                with suppress(BadLineError):
                    event = parse(line.raw)
                    if event["event"] == Kind.RESULT and (own := found.get(_key_of(event))) is not None:
                        own.append(event["hash"])
            if (line.segment, line.offset) == (self.last.segment, self.last.offset):
                break
        for one in self._claims:
            if why := one.flaw(found):
                return BadLine(one.line.path, one.line.number, why)
        return None

    def _take(self, event: Event, line: Line) -> None:
        if event["prev"] != self.head:
            raise BadLineError(
                "does not follow the line before it: lines were removed, inserted or moved"
                if self.events
                else "the chain does not begin here: what came before is missing"
            )
        _refuse_wrong_types(event)
        self.head = event["hash"]
        self.events += 1
        if self.head == self._wanted:
            self.anchored = True
        if event["event"] == Kind.RESULT:
            self._take_result(event)
        elif event["event"] == Kind.STUDY:
            self._check_study(event, line)
        elif event["event"] in {Kind.RECEIVED, Kind.DELETED}:
            self._received.take(event)
        elif event["event"] == Kind.START:
            self.open_runs[event["run_id"]] = None
            # One scan at a time writes a log: what an earlier one did not come to answer rests on nothing.
            self._results.clear()
        elif event["event"] == Kind.END:
            self.open_runs.pop(event["run_id"], None)
            self._received.end(event)

    def _take_result(self, event: Event) -> None:
        if isinstance(event.get("study_id"), str):
            self._results.setdefault(_key_of(event), []).append(event["hash"])

    def _check_study(self, event: Event, line: Line) -> None:
        """Compare a study with the results that the log holds for it; what it names of earlier ones is compared later.

        Keeping the hash of every result until a study may name it would take memory that grows with the log.
        """
        own = self._results.pop(_key_of(event), [])
        if rows := msgspec.convert(event["earlier_results"], tuple[EarlierResultsV2, ...]):
            place = line._replace(raw=b"")
            self._claims.append(_Claim(place, rows, own, str(event["results_sha256"])))
        elif digest_of(own) != event["results_sha256"]:
            raise BadLineError(_UNFOUNDED)


class _ReceivedFolders:
    """Which received folders were answered: only these may be deleted."""

    def __init__(self) -> None:
        self._unanswered: dict[str, list[Event]] = {}
        self._answered: dict[str, tuple[object, ...]] = {}

    def take(self, event: Event) -> None:
        """Take a RECEIVED event, or hold a DELETED event to the one that it names."""
        if event["event"] == Kind.RECEIVED:
            self._unanswered.setdefault(event["run_id"], []).append(event)
        elif self._answered.get(event["received"]) != self._about(event):
            raise BadLineError("files were deleted whose result the log does not hold")

    def end(self, event: Event) -> None:
        """Take the END of a run."""
        found = self._unanswered.pop(event["run_id"], [])
        if run_answered(event):
            self._answered.update((one["hash"], self._about(one)) for one in found)

    @staticmethod
    def _about(event: Event) -> tuple[object, ...]:
        return event["inbox"], event["folder"], event["contents_sha256"]


@dataclass(frozen=True, slots=True)
class _Claim:
    """A study that rests on earlier results.

    Attributes
    ----------
    line : Line
        Where its event lies.
    rows : tuple of EarlierResultsV2
    own : list of str
        Hashes of the results of its own run, since the run's last answer.
    results_sha256 : str
        What it claims.
    """

    line: Line
    rows: tuple[EarlierResultsV2, ...]
    own: list[str]
    results_sha256: str

    def flaw(self, results: Mapping[_Key, Sequence[str]]) -> str:
        """Say what is wrong, given all results of the runs and studies that are named; empty when nothing is."""
        hashes: list[str] = []
        for row in self.rows:
            known = results[row.run_id, row.study_id]
            for first, last in row.numbers:
                if not first <= last <= len(known):
                    return "the study rests on results that the log does not hold"
                hashes += known[first - 1 : last]
        return "" if digest_of([*hashes, *self.own]) == self.results_sha256 else _UNFOUNDED


def _refuse_wrong_types(event: Event) -> None:
    """Hold an event to the struct of its version; what the first schema wrote was never held to types.

    Only verification does: a reader shows what it understands, so that one forged event does not hide all after it.
    """
    if event["schema"] > 1:
        try:
            msgspec.convert(event, EVENTS[event["schema"]][event["event"]])
        except msgspec.ValidationError as error:
            told = str(error).encode("ascii", "backslashreplace").decode()
            raise BadLineError(f"{event['event']} of a wrong type: {told[:_TOLD]}") from None


def _key_of(event: Event) -> _Key:
    return event["run_id"], event.get("study_id")
