"""Verdicts in bulk: a CSV to fill in, and the way back into the log, all of it or nothing."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from screener.audit import AuditLog, Kind
from screener.audit.reader import EventReader, target_of
from screener.domain.verdict import Diagnosis, Opinion
from screener.errors import UsageError
from screener.finding_store import item_of
from screener.report.console import safe
from screener.review.verdicts import NOTE_LIMIT, verdict
from screener.study_store import study_item_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from screener.domain.finding import Finding
    from screener.domain.study import StudyFinding
    from screener.domain.verdict import Verdict
    from screener.errors import AuditLogError
    from screener.review.queue import ReviewQueue
    from screener.review.verdicts import Doctors

COLUMNS = ("result", "level", "inbox", "patient_id", "path", "final_diagnosis", "doctor_id", "note")
_NEEDED = ("result", "final_diagnosis")
_SHOWN_FAULTS = 20
_MOST_BYTES = 64 << 20
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Row:
    """One filled-in line."""

    line: int
    result: str
    opinion: Opinion


def template(queue: ReviewQueue) -> Iterator[str]:
    """Yield the lines of a CSV to fill in, one for each case of the queue; the tool's opinion is left out."""
    yield _line(COLUMNS)
    for result in queue.results():
        item = queue.case(result).item
        finding = item.finding
        yield _line((item.result, finding.level, item.inbox, finding.patient_id or "", finding.path, "", "", ""))


def _line(cells: tuple[str, ...]) -> str:
    """Return a CSV line; what a spreadsheet would run as a formula becomes text (OWASP, CSV Injection)."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(
        f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in map(safe, cells)
    )
    return out.getvalue()


def read_rows(path: Path, doctor: str | None, doctors: Doctors) -> list[Row]:
    """Read filled-in lines; lines without a diagnosis are passed over.

    Parameters
    ----------
    path : Path
        CSV, parted by commas or semicolons, with the columns ``result`` and ``final_diagnosis``; ``doctor_id``,
        ``note`` and ``seconds`` where known.
    doctor : str or None
        For lines that name none.
    doctors : Doctors

    Raises
    ------
    UsageError
        Names file and line of everything that cannot be used.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path} is larger than {_MOST_BYTES >> 20} MB", "divide it")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "name a CSV in UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    missing = [column for column in _NEEDED if column not in (reader.fieldnames or ())]
    if missing:
        raise UsageError(f"{path}:1: no column {', '.join(missing)}", "the first line names result,final_diagnosis,…")
    rows, faults = [], []
    try:
        for row in reader:
            # The line on which a record ends: blank lines and notes of several lines count as they do in an editor.
            number = reader.line_num
            try:
                if found := _row(number, row, doctor, doctors):
                    rows.append(found)
            except (ValueError, UsageError) as error:
                faults.append(f"{path}:{number}: {error}")
    except csv.Error as error:
        faults.append(f"{path}:{reader.line_num}: {error}")
    _refuse(faults)
    return rows


def _delimiter(text: str) -> str:
    """Tell by the first line what parts the cells: spreadsheets set to French write semicolons."""
    first = text.partition("\n")[0]
    return ";" if first.count(";") > first.count(",") else ","


def _row(number: int, row: dict[str, str | None], doctor: str | None, doctors: Doctors) -> Row | None:
    # Cells beyond the last column come under no name.
    cells = {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}
    diagnosis = cells.get("final_diagnosis", "").lower().replace(" ", "_")
    if not diagnosis:
        return None
    known = {diagnosis.value: diagnosis for diagnosis in Diagnosis}
    if diagnosis not in known:
        raise ValueError(f"final_diagnosis {diagnosis[:40]!r} is none of {', '.join(known)}")
    note = cells.get("note", "")
    if len(note) > NOTE_LIMIT:
        raise ValueError(f"the note has more than {NOTE_LIMIT} letters")
    name = doctors.check(cells.get("doctor_id") or doctor)
    opinion = Opinion(known[diagnosis], name, note, _seconds(cells.get("seconds", "")), source="import")
    return Row(number, cells.get("result", "").lower(), opinion)


def _seconds(text: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:  # noqa: PLR2004 - a day
        raise ValueError(f"seconds {text[:20]!r} is no number from 0 to a day")
    return seconds


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came of an import.

    Attributes
    ----------
    count : int
        Verdicts appended.
    problem : AuditLogError or None
        What makes the log untrustworthy from some event on; all verdicts are about results before it.
    """

    count: int
    problem: AuditLogError | None


def record(log: Path, rows: list[Row], *, sample: float, source: Path, group: str | None = None) -> Recorded:
    """Append verdicts, all or none; one that says what the same doctor's last one says is passed over.

    Raises
    ------
    UsageError
        A line refers to no result of this log, or to one that stands behind damage; all such lines are named.
    AuditLogError
        There is no such log, or it cannot be written.
    """
    reader = EventReader(log)
    known = _read_known(reader, {row.result for row in rows})
    where = log if reader.problem is None else f"the sound part of the log ({reader.problem})"
    _refuse(
        [
            f"{source}:{row.line}: {safe(row.result[:64]) or 'an empty cell'} is no result of {where}"
            for row in rows
            if row.result not in known.findings
        ]
    )
    verdicts: list[Verdict] = []
    for row in rows:
        key = row.result, row.opinion.doctor_id
        if known.given.get(key) != (row.opinion.diagnosis.value, row.opinion.note):
            share = 0.0 if row.result in known.of_studies else sample
            verdicts.append(verdict(known.findings[row.result], row.result, row.opinion, share))
            known.given[key] = row.opinion.diagnosis.value, row.opinion.note
    with AuditLog(log, exclusive=False, group=group) as writer:
        writer.reviews(verdicts)
    return Recorded(len(verdicts), reader.problem)


@dataclass(slots=True)
class _Known:
    """What the log says about the results that lines refer to.

    Attributes
    ----------
    findings : dict of str to Finding or StudyFinding
        By hash.
    of_studies : set of str
        Hashes of slices that a later answer about their study covers: none of these was drawn at random.
    given : dict of (str, str) to (str, str)
        Diagnosis and note that each doctor gave last, by hash and doctor.
    """

    findings: dict[str, Finding | StudyFinding] = field(default_factory=dict)
    of_studies: set[str] = field(default_factory=set)
    given: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)


def _read_known(reader: EventReader, results: set[str]) -> _Known:
    known = _Known()
    slices: dict[tuple[str, str], set[str]] = {}
    for event in reader.events():
        kind, digest = event["event"], event["hash"]
        if kind == Kind.RESULT and digest in results:
            item = item_of(reader, event)
            known.findings[digest] = item.finding
            slices.setdefault((item.inbox, item.finding.study_id or ""), set()).add(digest)
        elif kind == Kind.STUDY:
            known.of_studies |= slices.pop((reader.inbox(event), event["study_id"]), set())
            if digest in results:
                known.findings[digest] = study_item_of(reader, event).finding
        elif kind == Kind.REVIEW and (target := target_of(event)) in results:
            known.given[target, str(event["doctor_id"])] = str(event["final_diagnosis"]), str(event.get("note", ""))
    return known


def _refuse(faults: list[str]) -> None:
    if faults:
        rest = len(faults) - _SHOWN_FAULTS
        shown = [*faults[:_SHOWN_FAULTS], *([f"… and {rest} more"] if rest > 0 else [])]
        raise UsageError("\n".join(shown), "correct these lines; nothing was recorded")
