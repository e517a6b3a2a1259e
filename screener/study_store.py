"""Keeps the latest answer about every study on disk, with its verdicts; part of `screener.finding_store`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from screener.audit.events import study_finding_of
from screener.domain.finding import Urgency
from screener.domain.verdict import Verdict
from screener.errors import AuditLogError
from screener.triage import reading_order

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from screener.audit import Event
    from screener.audit.reader import EventReader
    from screener.domain.study import StudyFinding

RANK = {urgency: rank for rank, urgency in enumerate(Urgency)}
LOW_RANK = RANK[Urgency.LOW]
_TABLES = """
CREATE TABLE study (
    id INTEGER PRIMARY KEY, inbox BLOB, study BLOB, patient BLOB, rank INTEGER, minus_p REAL, finding TEXT, result TEXT,
    judged BLOB, verdict TEXT, earlier_verdict TEXT, covers INTEGER, UNIQUE (inbox, study)
);
CREATE INDEX study_in_order ON study (rank, minus_p, study, inbox);
CREATE INDEX study_by_result ON study (result);
CREATE TABLE study_result (result TEXT PRIMARY KEY, inbox BLOB, study BLOB) WITHOUT ROWID;
"""
_COLUMNS = "inbox, finding, result, judged, verdict, earlier_verdict"
_WAITING = f"rank != {LOW_RANK} AND verdict IS NULL"


@dataclass(frozen=True, slots=True)
class StudyItem:
    """One study of a list.

    Attributes
    ----------
    finding : StudyFinding
        Without the curves of its series where it was read from a log.
    inbox : str
        As the START event of its run records it.
    result : str
        Hash of its STUDY event.
    judged : str
        Timestamp of that event.
    verdict : Verdict or None
        The last one given on this answer.
    earlier_verdict : Verdict or None
        The last one given on another answer about the same study.
    """

    finding: StudyFinding
    inbox: str = ""
    result: str = ""
    judged: str = ""
    verdict: Verdict | None = None
    earlier_verdict: Verdict | None = None

    @property
    def waiting(self) -> bool:
        """Whether a person must still read it: flagged or not assessable, and without a verdict."""
        return self.finding.urgency is not Urgency.LOW and self.verdict is None


class StudyStore:
    """Studies in any order in, reading order out; the latest answer about the same study of an inbox counts.

    Parameters
    ----------
    base : sqlite3.Connection
        Of the `FindingStore` that it is part of, with a table ``slice``.
    """

    def __init__(self, base: sqlite3.Connection) -> None:
        self._base = base
        base.executescript(_TABLES)

    def add(self, item: StudyItem) -> None:
        """Take an answer in; it replaces an earlier one about the same study and keeps the verdict given on that."""
        rank, minus_p, _ = reading_order(item.finding)
        former = self.find(item.inbox, item.finding.study_id)
        earlier = None if former is None else former.verdict or former.earlier_verdict
        names = stored_text(item.inbox), stored_text(item.finding.study_id)
        patient = None if item.finding.patient_id is None else stored_text(item.finding.patient_id)
        self._base.execute(
            "INSERT OR REPLACE INTO study VALUES "
            "(NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT COALESCE(MAX(id), 0) FROM slice))",
            (
                *(*names, patient, rank, minus_p, json.dumps(asdict(item.finding)), item.result),
                *(stored_text(item.judged), verdict_text(item.verdict), verdict_text(item.earlier_verdict or earlier)),
            ),
        )
        self.note(item)

    def note(self, item: StudyItem) -> None:
        """Remember which study an answer is about without listing it: a verdict on it is one on the study."""
        self._base.execute(
            "INSERT OR REPLACE INTO study_result VALUES (?, ?, ?)",
            (item.result, stored_text(item.inbox), stored_text(item.finding.study_id)),
        )

    def add_verdict(self, verdict: Verdict) -> StudyItem | None:
        """Note a verdict on the study that it is about.

        Returns
        -------
        StudyItem or None
            The study, where the verdict is about its latest answer.
        """
        text = verdict_text(verdict)
        self._base.execute(
            "UPDATE study SET earlier_verdict = ? WHERE result != ? "
            "AND (inbox, study) = (SELECT inbox, study FROM study_result WHERE result = ?)",
            (text, verdict.result, verdict.result),
        )
        self._base.execute("UPDATE study SET verdict = ? WHERE result = ?", (text, verdict.result))
        return self.by_result(verdict.result)

    def find(self, inbox: str, study_id: str) -> StudyItem | None:
        """Return the latest answer about a study, or None."""
        query = f"SELECT {_COLUMNS} FROM study WHERE inbox = ? AND study = ?"  # noqa: S608 - built from constants
        return _item(self._base.execute(query, (stored_text(inbox), stored_text(study_id))).fetchone())

    def by_result(self, result: str) -> StudyItem | None:
        """Return the study whose latest STUDY event has that hash, or None."""
        query = f"SELECT {_COLUMNS} FROM study WHERE result = ?"  # noqa: S608 - built from constants
        return _item(self._base.execute(query, (result,)).fetchone())

    def items(self, *, waiting: bool = False) -> Iterator[StudyItem]:
        """Yield studies in reading order.

        Parameters
        ----------
        waiting : bool
            Only those that a person must still read.
        """
        chosen = _WAITING if waiting else "1"
        keys = self._base.execute(f"SELECT id FROM study WHERE {chosen} ORDER BY rank, minus_p, study, inbox")  # noqa: S608
        for (key,) in keys:
            query = f"SELECT {_COLUMNS} FROM study WHERE id = ?"  # noqa: S608 - built from constants
            item = _item(self._base.execute(query, (key,)).fetchone())
            if item is not None:
                yield item

    def by_urgency(self, *, waiting: bool = False) -> dict[Urgency, int]:
        """Return how many studies have each urgency."""
        chosen = _WAITING if waiting else "1"
        counts = dict(self._base.execute(f"SELECT rank, COUNT(*) FROM study WHERE {chosen} GROUP BY rank"))  # noqa: S608
        return {urgency: counts.get(rank, 0) for urgency, rank in RANK.items()}


def study_item_of(reader: EventReader, event: Event) -> StudyItem:
    """Return the study that a STUDY event tells of.

    Raises
    ------
    AuditLogError
        Its hash is right and its content is not: a forgery.
    """
    try:
        finding = study_finding_of(event)
    except (KeyError, TypeError, ValueError) as error:
        raise AuditLogError(
            f"{reader.log}: the study {event['hash'][:12]} records no finding ({error})", "Run `screener verify`."
        ) from None
    return StudyItem(finding, reader.inbox(event), event["hash"], event["timestamp"])


def stored_text(text: str) -> bytes:
    """Return text as SQLite stores it whatever it holds, in the order in which Python compares it."""
    return text.encode("utf-8", "surrogatepass")


def read_text(stored: bytes) -> str:
    """Return the text that `stored_text` stored."""
    return stored.decode("utf-8", "surrogatepass")


def verdict_text(verdict: Verdict | None) -> str | None:
    """Return a verdict as the store keeps it."""
    return None if verdict is None else json.dumps(asdict(verdict))


def read_verdict(text: str | None) -> Verdict | None:
    """Return the verdict that `verdict_text` wrote."""
    return None if text is None else Verdict(**json.loads(text))


def _item(row: tuple[bytes, str, str, bytes, str | None, str | None] | None) -> StudyItem | None:
    if row is None:
        return None
    inbox, finding, result, judged, verdict, earlier = row
    return StudyItem(
        study_finding_of(json.loads(finding)),
        read_text(inbox),
        result,
        read_text(judged),
        read_verdict(verdict),
        read_verdict(earlier),
    )
