"""Whether the tool was right by a verdict, how likely its study was to be asked about, and who may give one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.domain.finding import Decision
from screener.domain.verdict import Diagnosis, SelectionReason, Verdict
from screener.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from screener.domain.finding import Finding
    from screener.domain.study import StudyFinding
    from screener.domain.verdict import Opinion

NOTE_LIMIT = 2000
"""Letters of a note."""
_DOCTOR_LIMIT = 200
_DIGITS = 13


def agreement(decision: Decision, diagnosis: Diagnosis) -> bool | None:
    """Say whether the tool was right; None where either of the two did not decide."""
    if decision is Decision.NOT_ASSESSABLE or diagnosis not in {Diagnosis.TUMOUR, Diagnosis.NO_TUMOUR}:
        return None
    return (decision is Decision.FLAGGED) == (diagnosis is Diagnosis.TUMOUR)


def chance(result: str) -> float:
    """Return a number in [0, 1) that belongs to a STUDY or RESULT: its hash, which nobody can choose, decides the draw.

    A session that is interrupted, or a second reader, so gets the same sample.
    """
    return int(result[:_DIGITS], 16) / float(1 << 4 * _DIGITS)


def selection_reason(finding: Finding | StudyFinding, result: str, sample: float) -> SelectionReason:
    """Say why a study or slice is asked about, given the share of unflagged ones to read, in [0, 1]."""
    if finding.decision is Decision.FLAGGED:
        return SelectionReason.FLAGGED
    if finding.decision is Decision.NOT_ASSESSABLE:
        return SelectionReason.NOT_ASSESSABLE
    return SelectionReason.SAMPLE if chance(result) < sample else SelectionReason.ASKED


def verdict(finding: Finding | StudyFinding, result: str, opinion: Opinion, sample: float) -> Verdict:
    """Return what the log records of an opinion.

    Parameters
    ----------
    finding : Finding or StudyFinding
    result : str
        Hash of its RESULT or STUDY event.
    opinion : Opinion
    sample : float, in [0, 1]
        Probability with which what was not flagged got into the reading sample.
    """
    why = selection_reason(finding, result, sample)
    details: dict[str, object] = {
        "seconds": None if opinion.seconds is None else round(opinion.seconds, 1),
        "note": opinion.note[:NOTE_LIMIT],
        "blind": opinion.blind,
        "drawn": why.value,
        "source": opinion.source,
    }
    if why is SelectionReason.SAMPLE:
        details["sampling"] = sample
    if opinion.request:
        details["request"] = opinion.request
    return Verdict(
        result, opinion.doctor_id, opinion.diagnosis.value, agreement(finding.decision, opinion.diagnosis), details
    )


@dataclass(frozen=True, slots=True)
class Doctors:
    """Who may give verdicts.

    Attributes
    ----------
    known : frozenset of str or None
        None: whoever names herself.
    """

    known: frozenset[str] | None = None

    @classmethod
    def read(cls, path: Path | None) -> Doctors:
        """Read a list, one id a line; ``#`` begins a remark.

        Raises
        ------
        UsageError
            The file cannot be read, or names nobody.
        """
        if path is None:
            return cls()
        try:
            lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read: {error}", "name a text file with one doctor a line") from None
        if not any(lines):
            raise UsageError(f"{path} names no doctor", "write one id a line")
        return cls(frozenset(filter(None, lines)))

    def check(self, doctor: str | None) -> str:
        """Return the doctor's id.

        Raises
        ------
        UsageError
            It is missing, unknown, or no id.
        """
        if not doctor or not doctor.strip():
            raise UsageError("nobody is named who gives the verdicts", "add --doctor ID, or set SCREENER_DOCTOR")
        name = doctor.strip()
        if len(name) > _DOCTOR_LIMIT or not name.isprintable():
            raise UsageError(f"{name[:40]!a} is no id of a doctor", "use a short name in one line")
        if self.known is not None and name not in self.known:
            raise UsageError(f"{name!r} is not among the doctors who may give verdicts", "see the --doctors file")
        return name
