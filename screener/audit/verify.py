"""Read a log back, and say whether it is still what was written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from screener.audit.anchor import read_anchor
from screener.audit.events import GENESIS, MAX_LINE, BadLineError, Event, Kind, digest_of, parse
from screener.audit.segments import Line, lines, lines_of
from screener.errors import AuditLogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


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
    wanted = None if anchor is None else read_anchor(anchor).hash
    paths = (log,) if isinstance(log, Path) else tuple(log)
    check = _Check(wanted, last=Line(1, paths[-1], 0, 0, b""))
    bad = check.first_bad(lines(log) if isinstance(log, Path) else lines_of(paths))
    if bad is None and wanted is not None and not check.anchored:
        why = "the anchored event is not in the log: its end was cut off, or it was written anew"
        bad = BadLine(check.last.path, check.last.number + 1, why)
    return Verification(bad is None, check.events, bad, tuple(check.open_runs), check.head)


class _Check:
    """What has to be remembered from line to line."""

    def __init__(self, wanted: str | None, last: Line) -> None:
        self._wanted = wanted
        self.last = last
        self.head = GENESIS
        self.events = 0
        self.anchored = False
        self.open_runs: dict[str, None] = {}
        self._results: dict[tuple[str, str], list[str]] = {}

    def first_bad(self, source: Iterator[Line]) -> BadLine | None:
        """Take lines until one is bad."""
        for line in source:
            try:
                self._take(parse(line.raw))
            except BadLineError as error:
                return BadLine(line.path, line.number, str(error))
            self.last = line
        return None

    def _take(self, event: Event) -> None:
        if event["prev"] != self.head:
            raise BadLineError(
                "does not follow the line before it: lines were removed, inserted or moved"
                if self.events
                else "the chain does not begin here: what came before is missing"
            )
        self.head = event["hash"]
        self.events += 1
        if self.head == self._wanted:
            self.anchored = True
        if event["event"] == Kind.RESULT:
            self._take_result(event)
        elif event["event"] == Kind.STUDY:
            self._check_study(event)
        elif event["event"] == Kind.START:
            self.open_runs[event["run_id"]] = None
            # One scan at a time writes a log: what an earlier one did not come to answer rests on nothing.
            self._results.clear()
        elif event["event"] == Kind.END:
            self.open_runs.pop(event["run_id"], None)

    def _take_result(self, event: Event) -> None:
        study = event.get("study_id")
        if isinstance(study, str):
            own = self._results.setdefault((event["run_id"], study), [])
            own.append(event["hash"])

    def _check_study(self, event: Event) -> None:
        """Compare a study with the results that the log holds for it."""
        own = self._results.pop((event["run_id"], str(event["study_id"])), [])
        earlier = event["earlier_results"]
        if not isinstance(earlier, list) or not all(isinstance(one, str) and one.isascii() for one in earlier):
            raise BadLineError("earlier_results is no list of hashes")
        if digest_of([*earlier, *own]) != event["results_sha256"]:
            raise BadLineError("the study does not rest on the results that the log holds for it")
