"""Keeps findings of slices and studies on disk until all are known, since the last one may have to be read first.

A temporary SQLite database without a name: it spills to the temporary folder, is gone when closed, and sorts in
bounded memory.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from screener.audit.events import finding_of
from screener.domain.finding import Decision, Finding, Urgency
from screener.domain.slice import Reason
from screener.errors import AuditLogError
from screener.study_store import LOW_RANK, RANK, StudyStore, read_text, read_verdict, stored_text, verdict_text
from screener.triage import reading_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from screener.audit import Event
    from screener.audit.reader import EventReader
    from screener.domain.verdict import Verdict

_CACHE_KIB = 16 << 10
_SLACK = 100
"""Pictures kept beyond twice those wanted before any is let go: trimming looks at every slice."""
_TABLES = """
CREATE TABLE slice (
    id INTEGER PRIMARY KEY AUTOINCREMENT, inbox BLOB, path BLOB, sha256 BLOB, frame INTEGER, patient BLOB, study BLOB,
    rank INTEGER, minus_p REAL, finding TEXT, result TEXT, judged BLOB, verdict TEXT, picture TEXT, missing TEXT,
    model BLOB, threshold REAL, UNIQUE (inbox, path, sha256, frame)
);
CREATE INDEX in_order ON slice (rank, minus_p, path, sha256, frame);
CREATE INDEX by_result ON slice (result);
CREATE INDEX by_patient ON slice (inbox, patient);
CREATE INDEX by_study ON slice (inbox, study);
"""
_ORDER = "rank, minus_p, path, sha256, frame"
_NO_FRAME = -1
_ANSWERED = (
    "EXISTS (SELECT 1 FROM study WHERE (study.inbox, study.study) = (slice.inbox, slice.study) AND slice.id <= covers)"
)
"""That the latest answer about its study came after a slice."""
_KINDS: dict[str, Any] = {item.name: item.type for item in fields(Finding)}


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


class Row(NamedTuple):
    """An item on its way to the page: its number in reading order, its group's, and its picture.

    Attributes
    ----------
    key : int
        Names the row in `FindingStore.illustrate`.
    number : int
        1 for the slice to be read first.
    group : int
        Number of the first slice of the same patient.
    picture : str or None
        Markup.
    missing : str or None
        Why there is no picture, as a key of the page's words.
    """

    key: int
    number: int
    group: int
    item: Item
    picture: str | None
    missing: str | None


class FindingStore:
    """Findings in any order in, reading order out; the latest of the same slice counts.

    Parameters
    ----------
    urgent, low : int
        Pictures kept of flagged or not assessable slices, and of those not flagged: the first in reading order.

    Attributes
    ----------
    studies : StudyStore
        The studies that the slices belong to.
    """

    def __init__(self, urgent: int = 0, low: int = 0) -> None:
        # Whoever shares a store between threads takes turns by a lock of her own.
        self._base = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._base.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._base.executescript(_TABLES)
        self.studies = StudyStore(self._base)
        self._base.execute("BEGIN")
        self.keep = {False: urgent, True: low}
        self._pictures = {False: 0, True: 0}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def add(self, item: Item, picture: str | None = None) -> None:
        """Take a finding in; it replaces an earlier one about the same slice."""
        rank, minus_p, _ = reading_order(item.finding)
        finding = item.finding
        patient, study = (
            None if name is None else stored_text(name) for name in (finding.patient_id, finding.study_id)
        )
        self._base.execute(
            "INSERT OR REPLACE INTO slice VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, ?)",
            (
                *(stored_text(text) for text in (item.inbox, finding.path, finding.sha256)),
                *(_NO_FRAME if finding.frame is None else finding.frame, patient, study, rank, minus_p),
                *(json.dumps(asdict(finding)), item.result, stored_text(item.judged), verdict_text(item.verdict)),
                *(picture, stored_text(finding.model_sha256), finding.threshold),
            ),
        )
        if picture is not None:
            self._count_picture(low=rank == LOW_RANK)

    def judge(self, verdict: Verdict) -> None:
        """Note a verdict on the slice or the study that it is about."""
        if not verdict.result:
            return
        self.studies.judge(verdict)
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

    def illustrate(self, key: int, picture: str | None, missing: str | None = None) -> None:
        """Give a row its picture, or say why it has none."""
        self._base.execute("UPDATE slice SET picture = ?, missing = ? WHERE id = ?", (picture, missing, key))

    def bare(self) -> Iterator[tuple[int, Item]]:
        """Yield what may have a picture and has none, in reading order, with the key for `illustrate`."""
        for low in (False, True):
            keys = self._base.execute(
                f"SELECT id, picture IS NULL AND missing IS NULL FROM slice WHERE (rank = {LOW_RANK}) = ? "  # noqa: S608
                f"ORDER BY {_ORDER} LIMIT ?",
                (low, self.keep[low]),
            ).fetchall()
            for key in (key for key, is_bare in keys if is_bare):
                yield key, self._item(key)

    def rows(self, *, low: int | None = None) -> Iterator[Row]:
        """Yield slices by patient: patients in the order of their first slice, its slices in reading order.

        Parameters
        ----------
        low : int or None
            How many of those not flagged to yield, the first in reading order; None yields all.
        """
        query = f"""
        WITH numbered AS (
            SELECT *, ROW_NUMBER() OVER (ORDER BY {_ORDER}) AS number,
                ROW_NUMBER() OVER (PARTITION BY rank = {LOW_RANK} ORDER BY {_ORDER}) AS of_kind FROM
                (SELECT id, inbox, patient, rank, minus_p, path, sha256, frame FROM slice)
        )
        SELECT id, number, MIN(number) OVER (PARTITION BY inbox, patient) AS first FROM numbered
        WHERE rank != {LOW_RANK} OR of_kind <= ? ORDER BY first, number
        """  # noqa: S608 - built from constants
        for key, number, group in self._base.execute(query, (self.count() if low is None else low,)):
            picture, missing = self._base.execute("SELECT picture, missing FROM slice WHERE id = ?", (key,)).fetchone()
            yield Row(key, number, group, self._item(key), picture, missing)

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

    def patients(self) -> int:
        """Return how many patients there are; slices without one count as one."""
        return int(self._base.execute("SELECT COUNT(*) FROM (SELECT DISTINCT inbox, patient FROM slice)").fetchone()[0])

    def of_patient(self, item: Item) -> dict[Urgency, int]:
        """Return how many slices the patient of an item has of each urgency."""
        patient = None if item.finding.patient_id is None else stored_text(item.finding.patient_id)
        query = "SELECT rank, COUNT(*) FROM slice WHERE inbox = ? AND patient IS ? GROUP BY rank"
        counts = dict(self._base.execute(query, (stored_text(item.inbox), patient)))
        return {urgency: counts.get(rank, 0) for urgency, rank in RANK.items()}

    def others(self, model_sha256: str, threshold: float) -> bool:
        """Say whether a slice was judged with another model or threshold."""
        query = "SELECT EXISTS (SELECT 1 FROM slice WHERE model IS NOT ? OR threshold IS NOT ?)"
        return bool(self._base.execute(query, (stored_text(model_sha256), threshold)).fetchone()[0])

    def settle(self, verdict: Verdict) -> None:
        """Take off the list the slice that a verdict is about, unless it was judged again since.

        A verdict on the latest answer about a study settles the slices that this rests on too.
        """
        if not verdict.result:
            return
        self._base.execute("DELETE FROM slice WHERE result = ?", (verdict.result,))
        study = self.studies.judge(verdict)
        if study is not None:
            self._base.execute(
                f"DELETE FROM slice WHERE inbox = ? AND study = ? AND {_ANSWERED}",  # noqa: S608 - built from constants
                (stored_text(study.inbox), stored_text(study.finding.study_id)),
            )

    def _item(self, key: int) -> Item:
        columns = "inbox, finding, result, judged, verdict"
        row = self._base.execute(f"SELECT {columns} FROM slice WHERE id = ?", (key,)).fetchone()  # noqa: S608
        return Item(_finding(row[1]), read_text(row[0]), row[2], read_text(row[3]), read_verdict(row[4]))

    def _count_picture(self, *, low: bool) -> None:
        """Let go of pictures that cannot make it into the page, before they fill the disk."""
        self._pictures[low] += 1
        if self._pictures[low] > 2 * self.keep[low] + _SLACK:
            self._trim(low=low)

    def trim(self) -> None:
        """Keep the pictures that the page shows and no other."""
        for low in (False, True):
            self._trim(low=low)

    def _trim(self, *, low: bool) -> None:
        self._base.execute(
            f"UPDATE slice SET picture = NULL WHERE picture IS NOT NULL "  # noqa: S608 - built from constants
            f"AND (rank = {LOW_RANK}) = ? AND id NOT IN "
            f"(SELECT id FROM slice WHERE (rank = {LOW_RANK}) = ? ORDER BY {_ORDER} LIMIT ?)",
            (low, low, self.keep[low]),
        )
        self._pictures[low] = self.keep[low]


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
    for name, kind in _KINDS.items():
        value = getattr(finding, name)
        if kind == "str" and not isinstance(value, str):
            raise TypeError(f"{name} is no text")
        if kind == "str | None" and not isinstance(value, str | None):
            raise TypeError(f"{name} is no text")
