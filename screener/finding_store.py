"""Keeps findings of slices and studies on disk until all are known, since the last one may have to be read first.

A temporary SQLite database without a name: it spills to the temporary folder, is gone when closed, and sorts in
bounded memory.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, fields
from types import NoneType
from typing import TYPE_CHECKING, Self

from screener.audit.events import finding_of
from screener.domain.finding import Decision, Finding, Urgency
from screener.domain.slice import Reason
from screener.errors import AuditLogError
from screener.study_store import RANK, StudyStore, read_text, read_verdict, stored_text, verdict_text
from screener.triage import reading_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from screener.audit import Event
    from screener.audit.reader import EventReader
    from screener.domain.verdict import Verdict

_CACHE_KIB = 16 << 10
_TABLES = """
CREATE TABLE slice (
    id INTEGER PRIMARY KEY AUTOINCREMENT, inbox BLOB, path BLOB, sha256 BLOB, frame INTEGER, patient BLOB, study BLOB,
    rank INTEGER, minus_p REAL, finding TEXT, result TEXT, judged BLOB, verdict TEXT,
    model BLOB, threshold REAL, UNIQUE (inbox, path, sha256, frame)
);
CREATE INDEX in_order ON slice (rank, minus_p, path, sha256, frame);
CREATE INDEX by_result ON slice (result);
CREATE INDEX by_study ON slice (inbox, study);
"""
_ORDER = "rank, minus_p, path, sha256, frame"
_NO_FRAME = -1
_ANSWERED = (
    "EXISTS (SELECT 1 FROM study WHERE (study.inbox, study.study) = (slice.inbox, slice.study) AND slice.id <= covers)"
)
"""That the latest answer about its study came after a slice."""
_NAMES = tuple(item.name for item in fields(Finding))
_TEXT = tuple(item.name for item in fields(Finding) if item.type == "str")
_TEXT_OR_NONE = tuple(item.name for item in fields(Finding) if item.type == "str | None")


@dataclass(frozen=True, slots=True)
class Item:
    """One slice of a list.

    Attributes
    ----------
    finding : Finding
    inbox : str
        As the START event of its run records it.
    result : str
        Hash of its RESULT event; empty when not known.
    judged : str
        Timestamp of that event; empty when not known.
    verdict : Verdict or None
        The last one given.
    """

    finding: Finding
    inbox: str = ""
    result: str = ""
    judged: str = ""
    verdict: Verdict | None = None


class FindingStore:
    """Findings in any order in, reading order out; the latest of the same slice counts.

    Attributes
    ----------
    studies : StudyStore
        The studies that the slices belong to.
    """

    def __init__(self) -> None:
        # Whoever shares a store between threads takes turns by a lock of her own.
        self._base = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._base.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._base.executescript(_TABLES)
        self.studies = StudyStore(self._base)
        self._base.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def add(self, item: Item) -> None:
        """Take a finding in; it replaces an earlier one about the same slice."""
        rank, minus_p, _ = reading_order(item.finding)
        finding = item.finding
        patient, study = (
            None if name is None else stored_text(name) for name in (finding.patient_id, finding.study_id)
        )
        self._base.execute(
            "INSERT OR REPLACE INTO slice VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(stored_text(text) for text in (item.inbox, finding.path, finding.sha256)),
                *(_NO_FRAME if finding.frame is None else finding.frame, patient, study, rank, minus_p),
                *(_finding_text(finding), item.result, stored_text(item.judged), verdict_text(item.verdict)),
                *(stored_text(finding.model_sha256), finding.threshold),
            ),
        )

    def add_verdict(self, verdict: Verdict) -> None:
        """Note a verdict on the slice or the study that it is about."""
        if not verdict.result:
            return
        self.studies.add_verdict(verdict)
        self._base.execute("UPDATE slice SET verdict = ? WHERE result = ?", (verdict_text(verdict), verdict.result))

    def judge_again(self, finding: Finding, verdict: Verdict) -> None:
        """Note a verdict on a slice that this list shows again: same bytes, same path, same model, same threshold."""
        self._base.execute(
            "UPDATE slice SET verdict = ? WHERE path = ? AND sha256 = ? AND model = ? AND threshold = ? "
            "AND json_extract(finding, '$.seen_before')",
            (
                *(verdict_text(verdict), stored_text(finding.path), stored_text(finding.sha256)),
                *(stored_text(finding.model_sha256), finding.threshold),
            ),
        )

    def first(self, count: int | None, *, unanswered: bool = False) -> Iterator[Item]:
        """Yield slices in reading order.

        Parameters
        ----------
        count : int or None
            None yields all.
        unanswered : bool
            Only those that no answer about a study rests on: of logs without studies, or of a run that was interrupted.
        """
        chosen = f"NOT {_ANSWERED}" if unanswered else "1"
        query = f"SELECT id FROM slice WHERE {chosen} ORDER BY {_ORDER} LIMIT ?"  # noqa: S608 - built from constants
        for (key,) in self._base.execute(query, (count or -1,)):
            yield self._item(key)

    def of_study(self, inbox: str, study_id: str) -> Iterator[Item]:
        """Yield the slices of a study, in the order in which they were added."""
        query = "SELECT id FROM slice WHERE inbox = ? AND study = ? ORDER BY id"
        for (key,) in self._base.execute(query, (stored_text(inbox), stored_text(study_id))).fetchall():
            yield self._item(key)

    def find(self, result: str) -> Item | None:
        """Return the slice whose RESULT has that hash, or None."""
        row = self._base.execute("SELECT id FROM slice WHERE result = ?", (result,)).fetchone()
        return None if row is None else self._item(row[0])

    def same_slice(self, item: Item) -> Item | None:
        """Return what is kept about the same slice of the same inbox, or None."""
        finding = item.finding
        row = self._base.execute(
            "SELECT id FROM slice WHERE inbox = ? AND path = ? AND sha256 = ? AND frame = ?",
            (
                *(stored_text(text) for text in (item.inbox, finding.path, finding.sha256)),
                _NO_FRAME if finding.frame is None else finding.frame,
            ),
        ).fetchone()
        return None if row is None else self._item(row[0])

    def answered(self, item: Item) -> bool:
        """Say whether the latest answer about its study came after a slice."""
        query = f"SELECT {_ANSWERED} FROM slice WHERE result = ?"  # noqa: S608 - built from constants
        row = self._base.execute(query, (item.result,)).fetchone()
        return row is not None and bool(row[0])

    def count(self) -> int:
        """Return how many slices there are."""
        return int(self._base.execute("SELECT COUNT(*) FROM slice").fetchone()[0])

    def by_urgency(self, *, unanswered: bool = False) -> dict[Urgency, int]:
        """Return how many slices have each urgency; `unanswered`: see `first`."""
        chosen = f"NOT {_ANSWERED}" if unanswered else "1"
        counts = dict(self._base.execute(f"SELECT rank, COUNT(*) FROM slice WHERE {chosen} GROUP BY rank"))  # noqa: S608
        return {urgency: counts.get(rank, 0) for urgency, rank in RANK.items()}

    def others(self, model_sha256: str, threshold: float) -> bool:
        """Say whether a slice was judged with another model or threshold of slices."""
        query = "SELECT EXISTS (SELECT 1 FROM slice WHERE model IS NOT ? OR threshold IS NOT ?)"
        return bool(self._base.execute(query, (stored_text(model_sha256), threshold)).fetchone()[0])

    def settle(self, verdict: Verdict) -> None:
        """Take off the list the slice that a verdict is about, unless it was judged again since.

        A verdict on the latest answer about a study settles the slices that this rests on too.
        """
        if not verdict.result:
            return
        self._base.execute("DELETE FROM slice WHERE result = ?", (verdict.result,))
        study = self.studies.add_verdict(verdict)
        if study is not None:
            self._base.execute(
                f"DELETE FROM slice WHERE inbox = ? AND study = ? AND {_ANSWERED}",  # noqa: S608 - built from constants
                (stored_text(study.inbox), stored_text(study.finding.study_id)),
            )

    def _item(self, key: int) -> Item:
        columns = "inbox, finding, result, judged, verdict"
        row = self._base.execute(f"SELECT {columns} FROM slice WHERE id = ?", (key,)).fetchone()  # noqa: S608
        return Item(_finding(row[1]), read_text(row[0]), row[2], read_text(row[3]), read_verdict(row[4]))


def _finding_text(finding: Finding) -> str:
    # All values are plain; dataclasses.asdict would copy each of them, which takes longer than everything else here.
    return json.dumps({name: getattr(finding, name) for name in _NAMES})


def _finding(text: str) -> Finding:
    content = json.loads(text)
    content["decision"] = Decision(content["decision"])
    content["urgency"] = Urgency(content["urgency"])
    content["reason"] = None if content["reason"] is None else Reason(content["reason"])
    return Finding(**content)


def item_of(reader: EventReader, event: Event) -> Item:
    """Return the slice that a RESULT event tells of.

    Raises
    ------
    AuditLogError
        Its hash is right and its content is not: a forgery.
    """
    try:
        finding = finding_of(event)
        _refuse_nonsense(finding)
    except (KeyError, TypeError, ValueError) as error:
        raise AuditLogError(
            f"{reader.log}: the result {event['hash'][:12]} records no finding ({error})", "Run `screener verify`."
        ) from None
    return Item(finding, reader.inbox(event), event["hash"], event["timestamp"])


def _refuse_nonsense(finding: Finding) -> None:
    """Make sure that what is to be text is text."""
    for names, allowed in ((_TEXT, str), (_TEXT_OR_NONE, (str, NoneType))):
        for name in names:
            if not isinstance(getattr(finding, name), allowed):
                raise TypeError(f"{name} is no text")
