"""Verdicts on the terminal: one slice after the other, read elsewhere or looked at with ``screener explain``."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from screener.domain.verdict import Opinion
from screener.messages import NOTICE, RECOMMENDATION
from screener.report.console import against_threshold, safe
from screener.report.messages import REASON
from screener.review.page import DIAGNOSIS, KEYS
from screener.review.queue import hidden
from screener.review.verdicts import NOTE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from screener.domain.verdict import Diagnosis
    from screener.messages import Language
    from screener.review.queue import Case, ReviewQueue

_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "place": "{done} of {total} read",
        "ask": "{choices}, s skip, q quit: ",
        "note": "Note (Enter for none): ",
        "again": "Type one of these letters.",
        "recorded": "Recorded: {verdict}",
        "nothing": "Nothing is waiting. Slices that were not flagged keep their usual reading.",
        "end": "{count} verdicts recorded.",
        "not_scored": "not scored",
    },
    "fr": {
        "place": "{done} lues sur {total}",
        "ask": "{choices}, s passer, q quitter : ",
        "note": "Note (Entrée : aucune) : ",
        "again": "Tapez une de ces lettres.",
        "recorded": "Enregistré : {verdict}",
        "nothing": "Rien n'attend. Les coupes non signalées gardent leur lecture habituelle.",
        "end": "{count} verdicts enregistrés.",
        "not_scored": "sans score",
    },
}
_LETTERS = {key: diagnosis for diagnosis, key in KEYS.items()}


class _EndOfSession(Exception):  # noqa: N818 - leaving is no error
    """The reader has had enough."""


@dataclass(frozen=True, slots=True)
class TerminalReview:
    """A sitting on the terminal.

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
        """Ask about one slice after the other until none is left or the reader quits.

        Raises
        ------
        AuditLogError
            A verdict cannot be written; those before it are in the log.
        """
        words = _WORDS[self.lang]
        case = self.queue.following()
        if case is None:
            self._tell(words["nothing"])
        try:
            while case is not None:
                self._ask(case)
                case = self.queue.after(case.item.result)
        except _EndOfSession:
            self._tell("")
        self._tell(words["end"].format(count=self.queue.recorded), NOTICE[self.lang])

    def _ask(self, case: Case) -> None:
        """Show one slice in words and take the answer."""
        words = _WORDS[self.lang]
        self._tell("", words["place"].format(**asdict(self.queue.standing())), *_lines(self.queue, case, self.lang))
        start = time.monotonic()
        diagnosis = self._diagnosis()
        if diagnosis is None:
            return
        note = self._answer(words["note"])[:NOTE_LIMIT]
        seconds = time.monotonic() - start
        self.queue.give(case.item.result, Opinion(diagnosis, self.doctor, note, seconds, source="terminal"))
        self._tell(words["recorded"].format(verdict=DIAGNOSIS[self.lang][diagnosis]))
        if self.queue.blind:
            self._tell(*_said(case, self.lang))

    def _diagnosis(self) -> Diagnosis | None:
        """Return the verdict, or None to skip the slice."""
        words = _WORDS[self.lang]
        choices = ", ".join(f"{key} {DIAGNOSIS[self.lang][diagnosis].lower()}" for diagnosis, key in KEYS.items())
        while True:
            answer = self._answer(words["ask"].format(choices=choices)).lower()
            if answer == "q":
                raise _EndOfSession
            if answer == "s":
                return None
            if answer in _LETTERS:
                return _LETTERS[answer]
            self._tell(words["again"])

    def _answer(self, question: str) -> str:
        self.out.write(question)
        self.out.flush()
        line = self.source.readline()
        if not line:
            raise _EndOfSession
        return line.strip()

    def _tell(self, *lines: str) -> None:
        self.out.write("".join(f"{line}\n" for line in lines))


def _lines(queue: ReviewQueue, case: Case, lang: Language) -> Iterator[str]:
    """Yield what is told of a slice before the answer."""
    item = case.item
    if item.finding.patient_id is not None:
        yield safe(item.finding.patient_id)
    yield safe(f"{item.inbox.rstrip('/')}/{item.finding.path}" if item.inbox else item.finding.path)
    if not hidden(case, blind=queue.blind):
        yield from _said(case, lang)


def _said(case: Case, lang: Language) -> Iterator[str]:
    """Yield what the tool said of a slice."""
    finding = case.item.finding
    yield RECOMMENDATION[lang][finding.urgency]
    if finding.reason is not None:
        yield REASON[lang][finding.reason]
    if finding.probability is None:
        yield _WORDS[lang]["not_scored"]
    else:
        yield against_threshold(finding, lang)
