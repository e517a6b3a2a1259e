"""Verdicts on the terminal: one study after the other, read elsewhere or looked at with ``screener explain``."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from screener.catalogue import Catalogue
from screener.domain.study import StudyFinding
from screener.domain.verdict import Opinion
from screener.messages import NOTICE, RECOMMENDATION
from screener.report.console import against_threshold, safe
from screener.report.messages import REASON
from screener.review.page import DIAGNOSIS, KEYS
from screener.review.queue import hidden
from screener.review.verdicts import NOTE_LIMIT
from screener.study_store import StudyItem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

    from screener.domain.verdict import Diagnosis
    from screener.messages import Language
    from screener.review.queue import Case, ReviewQueue, StudySlice

_WORDS = Catalogue(
    "review terminal",
    {
        "progress": "{done} of {total} read",
        "question": "{choices}, s skip, q quit: ",
        "question_study": "{choices}, l one slice only, s skip, q quit: ",
        "question_slice": "This slice only: {choices}, s skip, q quit: ",
        "which": "Number of the slice (Enter for none): ",
        "no_slice": "No slice has this number.",
        "numbers": "slices {first}–{last}: {series}",
        "number": "slice {number}: {path}",
        "note": "Note (Enter for none): ",
        "again": "Type one of these letters.",
        "recorded": "Recorded: {verdict}",
        "nothing": "Nothing is waiting. Studies that were not flagged keep their usual reading.",
        "end": "{count} verdicts recorded.",
        "not_scored": "not scored",
        "slices": "{series} series, {slices} slices",
        "key": "key slice: {path}",
        "earlier": "earlier verdict: {diagnosis} ({doctor})",
    },
)
_DIGITS = 9
"""Of a slice's number: more than any study has slices."""
_LETTERS = {key: diagnosis for diagnosis, key in KEYS.items()}


class _EndOfSession(Exception):  # noqa: N818 - leaving is no error
    """The reader has had enough."""


@dataclass(frozen=True, slots=True)
class TerminalReview:
    """A session on the terminal.

    Attributes
    ----------
    queue : ReviewQueue
    doctor : str
    lang : {"en", "fr"}
    source, out : text streams
        Where answers come from and questions go.
    """

    queue: ReviewQueue
    doctor: str
    lang: Language
    source: IO[str]
    out: IO[str]

    def run(self) -> None:
        """Show one study after the other until none is left or the reader quits.

        Raises
        ------
        AuditLogError
            A verdict cannot be written; those before it are in the log.
        """
        words = _WORDS[self.lang]
        case = self.queue.next_unread()
        if case is None:
            self._write(words["nothing"])
        try:
            while case is not None:
                self._review(case)
                case = self.queue.next_unread_after(case.item.result)
        except _EndOfSession:
            self._write("")
        self._write(words["end"].format(count=self.queue.recorded), NOTICE[self.lang])

    def _review(self, case: Case) -> None:
        """Show one study or slice in words and record the answer."""
        words = _WORDS[self.lang]
        progress = words["progress"].format(**asdict(self.queue.progress()))
        self._write("", progress, *_description(self.queue, case, self.lang))
        start = time.monotonic()
        if self._record(case, start, "question_study" if isinstance(case.item, StudyItem) else "question") and (
            self.queue.blind
        ):
            self._write(*_finding_lines(case, self.lang))

    def _record(self, case: Case, start: float, question: str) -> bool:
        """Ask about a study or slice and record the answer; say whether there was one."""
        words = _WORDS[self.lang]
        diagnosis = self._diagnosis(case, question)
        if diagnosis is None:
            return False
        note = self._answer(words["note"])[:NOTE_LIMIT]
        seconds = time.monotonic() - start
        self.queue.record(case.item.result, Opinion(diagnosis, self.doctor, note, seconds, source="terminal"))
        self._write(words["recorded"].format(verdict=DIAGNOSIS[self.lang][diagnosis]))
        return True

    def _diagnosis(self, case: Case, question: str) -> Diagnosis | None:
        """Return the verdict, or None to skip the case."""
        words = _WORDS[self.lang]
        choices = ", ".join(f"{key} {DIAGNOSIS[self.lang][diagnosis].lower()}" for diagnosis, key in KEYS.items())
        while True:
            answer = self._answer(words[question].format(choices=choices)).lower()
            if answer == "q":
                raise _EndOfSession
            if answer == "s":
                return None
            if answer == "l" and question == "question_study":
                self._review_slice(case)
            elif answer in _LETTERS:
                return _LETTERS[answer]
            else:
                self._write(words["again"])

    def _review_slice(self, case: Case) -> None:
        """Ask for one slice of a study and record the verdict on it; the study waits for its own."""
        words, slices = _WORDS[self.lang], self.queue.slices(case)
        self._write(*_numbered(slices, self.lang, keys=not hidden(case, blind=self.queue.blind)))
        answer = self._answer(words["which"])
        if not answer:
            return
        if not (answer.isascii() and answer.isdecimal() and 1 <= int(answer[:_DIGITS]) <= len(slices)):
            self._write(words["no_slice"])
            return
        chosen = slices[int(answer[:_DIGITS]) - 1].item
        self._write(safe(words["number"].format(number=answer, path=chosen.finding.path)))
        self._record(self.queue.case(chosen.result), time.monotonic(), "question_slice")

    def _answer(self, question: str) -> str:
        self.out.write(question)
        self.out.flush()
        line = self.source.readline()
        if not line:
            raise _EndOfSession
        return line.strip()

    def _write(self, *lines: str) -> None:
        self.out.write("".join(f"{line}\n" for line in lines))


def _description(queue: ReviewQueue, case: Case, lang: Language) -> Iterator[str]:
    """Yield what is shown of a study or slice before the answer."""
    item = case.item
    words = _WORDS[lang]
    if item.finding.patient_id is not None:
        yield safe(item.finding.patient_id)
    yield safe(f"{item.inbox.rstrip('/')}/{item.finding.path}" if item.inbox else item.finding.path)
    if isinstance(item, StudyItem):
        yield words["slices"].format(series=len(item.finding.series), slices=item.finding.slices.total)
        if item.earlier_verdict is not None:
            earlier = item.earlier_verdict
            yield safe(words["earlier"].format(diagnosis=earlier.final_diagnosis, doctor=earlier.doctor_id))
    if not hidden(case, blind=queue.blind):
        yield from _finding_lines(case, lang)


def _numbered(slices: Sequence[StudySlice], lang: Language, *, keys: bool) -> Iterator[str]:
    """Yield which slices each series has, by number in anatomical order, and the key slices where they may be known."""
    words, first = _WORDS[lang], 1
    for series, members in groupby(slices, key=lambda one: (one.item.finding.sequence, one.item.finding.series_id)):
        last = first + len(list(members)) - 1
        yield safe(words["numbers"].format(first=first, last=last, series=" ".join(filter(None, series)) or "–"))
        first = last + 1
    ranked = [(one.key, number, one.item.finding.path) for number, one in enumerate(slices, 1) if one.key is not None]
    for _, number, path in sorted(ranked) if keys else ():
        yield safe(words["key"].format(path=f"{number}: {path}"))


def _finding_lines(case: Case, lang: Language) -> Iterator[str]:
    """Yield what the tool found."""
    finding, words = case.item.finding, _WORDS[lang]
    yield RECOMMENDATION[lang][finding.urgency]
    if finding.reason is not None:
        yield REASON[lang][finding.reason]
    yield words["not_scored"] if finding.probability is None else against_threshold(finding, lang)
    if isinstance(finding, StudyFinding):
        yield from (safe(words["key"].format(path=key.path)) for key in finding.key_slices)
