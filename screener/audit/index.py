"""What was judged before: look-ups in the log through an index that may vanish, lag or lie."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections import Counter, OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from screener.audit.events import (
    MAX_LINE,
    BadLineError,
    Event,
    Kind,
    ResultNumber,
    clean_text,
    hash_in,
    parse,
    scored,
    text_of,
)
from screener.audit.files import Access, open_private
from screener.audit.segments import Line, holds, lines, open_segment, sealed_segments
from screener.errors import AuditLogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import IO

    from screener.audit.chain import Written

T = TypeVar("T")

_VERSION = 4
_BATCH = 4096
"""Events between two commits. What a crash takes from the index is read again from the log."""
_CACHE_KIB = 16_384
_USUAL_LINE = 2048
_OPEN_FILES = 8
_RESULT_MARK = b'"event":"RESULT"'
_STUDY_MARK = b'"event":"STUDY"'
_START_MARK = b'"event":"START"'
_STUDY_ID = re.compile(rb',"study_id":(null|"(?:[^"\\]|\\.)*")[,}]')
"""The study of a RESULT without parsing the line: inside a text of canonical JSON no quote stands bare."""
_TABLES = """
CREATE TABLE result (
    bytes_key INTEGER NOT NULL, scored INTEGER NOT NULL, slice_key INTEGER NOT NULL,
    segment INTEGER NOT NULL, offset INTEGER NOT NULL,
    PRIMARY KEY (bytes_key, scored, slice_key, segment, offset)
) WITHOUT ROWID;
CREATE TABLE study (
    study_key INTEGER NOT NULL, segment INTEGER NOT NULL, offset INTEGER NOT NULL,
    PRIMARY KEY (study_key, segment, offset)
) WITHOUT ROWID;
CREATE TABLE run (
    run_id TEXT PRIMARY KEY, inbox TEXT NOT NULL, segment INTEGER NOT NULL, offset INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE position (segment INTEGER NOT NULL, offset INTEGER NOT NULL, hash TEXT NOT NULL);
INSERT INTO position VALUES (0, 0, '');
"""


class _Position(NamedTuple):
    """Up to where the log is indexed, and the hash of the last event before that point."""

    segment: int
    offset: int
    hash: str


_NOWHERE = _Position(0, 0, "")


class _Run(NamedTuple):
    """A run, its inbox, and where its START lies."""

    run_id: str
    inbox: str
    segment: int
    offset: int


def index_path(log: Path) -> Path:
    """Return where the index of a log lies; it may be removed at any time."""
    return log.with_name(f"{log.name}.index.sqlite")


class History:
    """Look-ups of earlier results.

    The index only says where to look: every answer is read from the log and checked, and an index that
    turns out to be wrong is built anew.

    Parameters
    ----------
    log : Path
        Need not exist yet.
    keep : bool
        Store the index beside the log. Otherwise, or when that is impossible, a temporary one is built.
    access : Access
        For the index file.

    Raises
    ------
    AuditLogError
        If the log exists but cannot be read.
    """

    def __init__(self, log: Path, *, keep: bool = True, access: Access | None = None) -> None:
        self._log = log
        self._access = access or Access()
        self._files: OrderedDict[int, IO[bytes]] = OrderedDict()
        self._pending = 0
        self._rebuilt = False
        self._position = _NOWHERE
        self._base = self._open_kept() if keep else self._open_temporary()
        self._guarded(self.catch_up)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        """Return the latest RESULT of the same slice by the same model, preprocessing and threshold.

        Parameters
        ----------
        path : str
            Relative to the inbox.
        sha256, model_sha256 : str
            Lower-case hex digests.
        preprocessing : str
            As given to `AuditLog.results`.
        threshold : float, in [0, 1]
        frame : int, optional
            Of a multi-frame file, from 1.
        """
        expected = {
            "path": clean_text(path),
            "sha256": sha256,
            "model_sha256": model_sha256,
            "preprocessing": preprocessing,
            "threshold": text_of(threshold),
            "frame": frame,
        }
        return self._guarded(lambda: self._find(expected, _SAME_SLICE, (_bytes_key(expected), _slice_key(expected))))

    def score_of(self, sha256: str, *, model_sha256: str, preprocessing: str, frame: int | None = None) -> Event | None:
        """Return a RESULT with a probability for the same bytes, under whatever path and threshold."""
        expected = {"sha256": sha256, "frame": frame, "model_sha256": model_sha256, "preprocessing": preprocessing}
        return self._guarded(lambda: self._find(expected, _SAME_BYTES, (_bytes_key(expected),)))

    def elsewhere(self, event: Event, run_id: str) -> bool:
        """Say whether no run over the inbox of this one has a result such as `seen` found."""
        return self._guarded(lambda: self._elsewhere(event, self._inbox_of(run_id)))

    def study_seen(self, study_id: str, results_sha256: str, threshold: float, reason: str | None = None) -> bool:
        """Say whether the last STUDY event of this study on these very results has a threshold, and one gives a reason.

        A reason is only looked for if it is asked for.
        """
        asked = text_of(threshold)
        return self._guarded(lambda: self._study_seen(clean_text(study_id), results_sha256, asked, reason))

    def numbers(self, results: Sequence[tuple[str, str]]) -> list[ResultNumber]:
        """Say of RESULT events where each stands among those of its run and study.

        They are counted in the log itself, from the START of the run on: a number that an index got wrong would be
        evidence for ever.

        Parameters
        ----------
        results : sequence of tuple of (str, str)
            Run and hash of each.

        Raises
        ------
        AuditLogError
            One is not in the log.
        """
        expected: dict[str, set[str]] = {}
        for run_id, result in results:
            expected.setdefault(run_id, set()).add(result)
        found = {}
        for run_id, hashes in expected.items():
            found.update(self._numbers(run_id, hashes))
        return [found[result] for _, result in results]

    def add(self, events: Sequence[Event], written: Written) -> None:
        """Index a batch just appended, or catch up when others wrote in between."""
        self._guarded(lambda: self._add(events, written))

    def catch_up(self) -> None:
        """Index what was appended since."""
        rows: list[tuple[int, ...]] = []
        studies: list[tuple[int, ...]] = []
        runs: list[_Run] = []
        position = self._position
        for line in self._new_lines():
            if not line.raw.endswith(b"\n"):
                continue
            if _RESULT_MARK in line.raw and (row := _row_of(line.raw, line.segment, line.offset)):
                rows.append(row)
            elif _STUDY_MARK in line.raw:
                studies += _studies_of(line.raw, line.segment, line.offset)
            elif _START_MARK in line.raw:
                runs += _runs_of(line.raw, line.segment, line.offset)
            # Any complete line moves the position, sound or not: it will not get better by reading it again.
            position = _Position(line.segment, line.offset + len(line.raw), line.raw[-67:-3].decode("latin-1"))
            if len(rows) >= _BATCH:
                self._store(rows, studies, runs, position)
                rows, studies, runs = [], [], []
        self._store(rows, studies, runs, position)
        self._commit()

    def close(self) -> None:
        """Keep what was indexed and let go of the files."""
        with suppress(sqlite3.Error):
            self._commit()
        self._close_files()
        self._base.close()

    def _new_lines(self) -> Iterator[Line]:
        if not (self._log.exists() or (self._log.parent.exists() and sealed_segments(self._log))):
            return iter(())
        return lines(self._log, segment=self._position.segment, offset=self._position.offset)

    def _add(self, events: Sequence[Event], written: Written) -> None:
        if (self._position.segment, self._position.offset) != (written.segment, written.offsets[0]):
            self.catch_up()
            return
        rows = [
            _row(event, written.segment, offset)
            for event, offset in zip(events, written.offsets, strict=False)
            if event["event"] == Kind.RESULT
        ]
        runs = [
            _run_row(event, written.segment, offset)
            for event, offset in zip(events, written.offsets, strict=False)
            if event["event"] == Kind.START
        ]
        studies = [
            _study_row(event, written.segment, offset)
            for event, offset in zip(events, written.offsets, strict=False)
            if event["event"] == Kind.STUDY
        ]
        self._store(rows, studies, runs, _Position(written.segment, written.offsets[-1], written.hashes[-1]))

    def _store(
        self,
        rows: list[tuple[int, ...]],
        studies: list[tuple[int, ...]],
        runs: list[_Run],
        position: _Position,
    ) -> None:
        if position == self._position:
            return
        if not self._base.in_transaction:
            self._base.execute("BEGIN IMMEDIATE")
        # Sorted, so that neighbours in the tree are written together.
        self._base.executemany("INSERT OR IGNORE INTO result VALUES (?, ?, ?, ?, ?)", sorted(rows))
        self._base.executemany("INSERT OR IGNORE INTO study VALUES (?, ?, ?)", sorted(studies))
        self._base.executemany("INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?)", runs)
        self._position = position
        self._pending += len(rows)
        if self._pending >= _BATCH:
            self._commit()

    def _commit(self) -> None:
        if self._base.in_transaction:
            self._base.execute("UPDATE position SET segment = ?, offset = ?, hash = ?", self._position)
            self._base.execute("COMMIT")
        self._pending = 0

    def _find(self, expected: Event, query: str, keys: tuple[int, ...]) -> Event | None:
        lied = False
        for segment, offset in self._base.execute(query, keys):
            event = self._event_at(segment, offset)
            if event is not None and all(event.get(name) == value for name, value in expected.items()):
                return event
            lied = True
        if lied and not self._rebuilt:
            self._rebuilt = True
            self._start_over()
            return self._find(expected, query, keys)
        return None

    def _study_seen(self, study_id: str, results_sha256: str, threshold: str, reason: str | None) -> bool:
        places = self._base.execute(_SAME_STUDY, (_key(study_id, results_sha256),)).fetchall()
        events = (self._event_at(segment, offset, Kind.STUDY) for segment, offset in places)
        same = [
            event
            for event in events
            if event is not None and (event["study_id"], event["results_sha256"]) == (study_id, results_sha256)
        ]
        reasons = {None, *(event["reason"] for event in same)}
        return bool(same) and same[0]["threshold"] == threshold and reason in reasons

    def _elsewhere(self, event: Event, inbox: str) -> bool:
        if self._inbox_of(event["run_id"]) == inbox:
            return False
        others = self._base.execute(_SAME_SLICE, (_bytes_key(event), _slice_key(event))).fetchall()
        found = (self._event_at(segment, offset) for segment, offset in others)
        return not any(other is not None and self._inbox_of(other["run_id"]) == inbox for other in found)

    def _numbers(self, run_id: str, expected: set[str]) -> dict[str, ResultNumber]:
        query = "SELECT segment, offset FROM run WHERE run_id = ?"
        row = self._guarded(lambda: self._base.execute(query, (run_id,)).fetchone())
        segment, offset = row or (0, 0)
        mark = f'"run_id":{json.dumps(run_id)}'.encode("ascii")
        counts: Counter[bytes] = Counter()
        found: dict[str, ResultNumber] = {}
        for line in lines(self._log, segment=segment, offset=offset):
            if _RESULT_MARK not in line.raw or mark not in line.raw:
                continue
            match = _STUDY_ID.search(line.raw)
            study = b"null" if match is None else match[1]
            counts[study] += 1
            if (result := hash_in(line.raw)) in expected:
                found[result] = ResultNumber(run_id, json.loads(study), counts[study])
                if len(found) == len(expected):
                    return found
        raise AuditLogError(
            f"{self._log} lacks {len(expected) - len(found)} results of the run {run_id} that a study rests on",
            "Run `screener verify` and restore the log from a backup.",
        )

    def _inbox_of(self, run_id: str) -> str:
        """Return the inbox that a run's START tells of; empty where none does."""
        row = self._base.execute("SELECT inbox FROM run WHERE run_id = ?", (run_id,)).fetchone()
        return "" if row is None else str(row[0])

    def _event_at(self, segment: int, offset: int, kind: Kind = Kind.RESULT) -> Event | None:
        try:
            fd = self._file(segment).fileno()
            line = os.pread(fd, _USUAL_LINE, offset)
            if b"\n" not in line:
                line = os.pread(fd, MAX_LINE + 1, offset)
            event = parse(line[: line.find(b"\n") + 1])
        except (OSError, BadLineError, AuditLogError):
            return None
        return event if event["event"] == kind else None

    def _file(self, segment: int) -> IO[bytes]:
        if segment in self._files:
            self._files.move_to_end(segment)
            return self._files[segment]
        if len(self._files) >= _OPEN_FILES:
            self._files.popitem(last=False)[1].close()
        file = self._files[segment] = open_segment(self._log, segment)
        return file

    def _close_files(self) -> None:
        while self._files:
            self._files.popitem()[1].close()

    def _guarded(self, work: Callable[[], T]) -> T:
        """Do something with the index; when that fails, do it with a temporary one made from the log."""
        try:
            return work()
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._base.close()
            if _spoilt(error):
                with suppress(OSError):
                    index_path(self._log).unlink(missing_ok=True)
        try:
            self._base = self._open_temporary()
            self.catch_up()
            return work()
        except sqlite3.Error as error:
            raise AuditLogError(
                f"no index of {self._log} can be built: {error}", "Free some space in the temporary folder."
            ) from error

    def _open_temporary(self) -> sqlite3.Connection:
        # An empty name is SQLite's own temporary file: what does not fit its cache goes to disk, not to memory.
        base = _connect("")
        base.executescript(_TABLES)
        self._position = _NOWHERE
        return base

    def _open_kept(self) -> sqlite3.Connection:
        path = index_path(self._log)
        for _ in range(2):
            try:
                os.close(open_private(path, self._access, os.O_RDWR))
                return self._loaded(path)
            except sqlite3.DatabaseError as error:
                if not _spoilt(error):
                    break
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            except (OSError, AuditLogError):
                break
        return self._open_temporary()

    def _loaded(self, path: Path) -> sqlite3.Connection:
        base = _connect(str(path))
        try:
            base.execute("BEGIN IMMEDIATE")
            version = base.execute("PRAGMA user_version").fetchone()[0]
            position = _stored_position(base) if version == _VERSION else None
            if position is None or (position != _NOWHERE and not holds(self._log, *position)):
                _clear(base)
                position = _NOWHERE
            base.execute("COMMIT")
        except BaseException:
            base.close()
            raise
        self._position = position
        return base

    def _start_over(self) -> None:
        self._close_files()
        if not self._base.in_transaction:
            self._base.execute("BEGIN IMMEDIATE")
        _clear(self._base)
        self._position = _NOWHERE
        self.catch_up()


_SAME_SLICE = """
SELECT segment, offset FROM result WHERE bytes_key = ? AND scored IN (0, 1) AND slice_key = ?
ORDER BY segment DESC, offset DESC
"""
_SAME_STUDY = "SELECT segment, offset FROM study WHERE study_key = ? ORDER BY segment DESC, offset DESC LIMIT 100"
_SAME_BYTES = "SELECT segment, offset FROM result WHERE bytes_key = ? AND scored = 1"


def _connect(name: str) -> sqlite3.Connection:
    base = sqlite3.connect(name, timeout=0, isolation_level=None)
    base.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return base


def _spoilt(error: sqlite3.Error) -> bool:
    """Say whether the file itself is wrong, rather than busy, read-only or on a full disk."""
    # The code is missing on errors of the Python module; its upper bits only say more about the same kind.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _clear(base: sqlite3.Connection) -> None:
    """Make the tables anew inside the transaction that is open."""
    for (table,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        quoted = table.replace('"', '""')
        base.execute(f'DROP TABLE "{quoted}"')
    for statement in _TABLES.split(";"):
        base.execute(statement)
    base.execute(f"PRAGMA user_version = {_VERSION}")


def _stored_position(base: sqlite3.Connection) -> _Position | None:
    row = base.execute("SELECT segment, offset, hash FROM position").fetchone()
    return None if row is None else _Position(*row)


def _key(*parts: str) -> int:
    """Return 64 bits of a digest: what shares them by chance is told apart by reading the log."""
    text = "\n".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


def _bytes_key(event: Event) -> int:
    return _key(event["sha256"], str(event.get("frame")), event["model_sha256"], event["preprocessing"])


def _slice_key(event: Event) -> int:
    return _key(event["threshold"], event["path"])


def _row(event: Event, segment: int, offset: int) -> tuple[int, ...]:
    return _bytes_key(event), int(scored(event)), _slice_key(event), segment, offset


def _study_row(event: Event, segment: int, offset: int) -> tuple[int, ...]:
    return _key(event["study_id"], event["results_sha256"]), segment, offset


def _studies_of(line: bytes, segment: int, offset: int) -> list[tuple[int, ...]]:
    """Return the row of a STUDY, as a list that is empty for anything else."""
    with suppress(BadLineError, TypeError, ValueError, AttributeError):
        event = parse(line)
        if event["event"] == Kind.STUDY:
            return [_study_row(event, segment, offset)]
    return []


def _run_row(event: Event, segment: int, offset: int) -> _Run:
    return _Run(str(event["run_id"]), str(event.get("inbox")), segment, offset)


def _runs_of(line: bytes, segment: int, offset: int) -> list[_Run]:
    """Return the row of a START, as a list that is empty for anything else."""
    with suppress(BadLineError, TypeError, ValueError, AttributeError):
        event = parse(line)
        if event["event"] == Kind.START:
            return [_run_row(event, segment, offset)]
    return []


def _row_of(line: bytes, segment: int, offset: int) -> tuple[int, ...] | None:
    try:
        event = parse(line)
        return _row(event, segment, offset) if event["event"] == Kind.RESULT else None
    except (BadLineError, TypeError, ValueError, AttributeError):
        # Nothing that a look-up could return; telling of it is the business of `verify`.
        return None
