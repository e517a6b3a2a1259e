"""The table on the screen: reading order, what was found, what the threshold is worth."""

from __future__ import annotations

import heapq
import re
import sys
import unicodedata
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from screener.domain.finding import Urgency
from screener.domain.study import StudyFinding
from screener.messages import NOTICE, RECOMMENDATION, TEXT, URGENCY_WORD
from screener.triage import reading_order

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.table import Table

    from screener.domain.estimate import Rate
    from screener.domain.finding import Finding
    from screener.messages import Language
    from screener.model.card import OperatingPoint
    from screener.model.certificate import Certificate
    from screener.pipeline.study import Aggregation

_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories: control, format, surrogate, private, unassigned, line and paragraph separator."""
_DIGITS = 10
"""Beyond that, a probability is shown as it is stored."""
_UNWATCHED = 100_000
"""Columns where nobody watches: a table takes what it needs, and no name is cut or folded."""
_STYLE = {Urgency.HIGH: "bold red", Urgency.MEDIUM: "yellow", Urgency.REVIEW: "magenta", Urgency.LOW: "dim"}
_UID = re.compile(r"[0-9.]+")
_LONG, _TAIL = 20, 12
"""Characters from which on a DICOM identifier is shortened, and those that are left of it."""


@dataclass(order=True)
class _Last:
    """A finding in a heap whose root is the one to be read last."""

    key: tuple[int, float, tuple[int, ...]]
    finding: Finding | StudyFinding = field(compare=False)


class TopFindings:
    """Keeps the findings to be read first, in bounded memory.

    Parameters
    ----------
    top : int
        How many to keep; 0 keeps all.
    """

    def __init__(self, top: int) -> None:
        self.top = top
        self.count = 0
        self._heap: list[_Last] = []

    def add(self, finding: Finding | StudyFinding) -> None:
        """Take a finding in, and let go of the one to be read last when there are too many."""
        self.count += 1
        order = reading_order(finding)
        full = 0 < self.top <= len(self._heap)
        # Most of a large inbox is let go here, before its path is looked at letter by letter.
        if full and order >= reading_order(self._heap[0].finding):
            return
        rank, probability, path = order
        # heapq keeps the smallest at its root: turn the reading order round; the path ends in 1 so that of two paths
        # of which one begins the other, the shorter one still comes first.
        key = (-rank, -probability, (*(-ord(letter) for letter in path), 1))
        if full:
            heapq.heappushpop(self._heap, _Last(key, finding))
        else:
            heapq.heappush(self._heap, _Last(key, finding))

    def ordered(self) -> list[Finding | StudyFinding]:
        """Return what was kept, in reading order."""
        return sorted((item.finding for item in self._heap), key=reading_order)

    @property
    def hidden(self) -> int:
        """How many findings were let go."""
        return self.count - len(self._heap)


@dataclass(frozen=True, slots=True)
class Summary:
    """What stands below the table."""

    counts: Counter[str]
    point: OperatingPoint
    model: str
    log: str
    aggregation: Aggregation | None = None
    stopped: bool = False


def safe(text: str) -> str:
    r"""Make text from a file name harmless: what steers a terminal or breaks a line becomes ``\xNN`` or ``\uNNNN``."""
    # All of these are unprintable; most text has none, and pictures are long.
    if text.isprintable():
        return text
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) in _HARMFUL else letter
        for letter in text
    )


def console(stream: IO[str], *, color: bool = True) -> Console:
    """Return a rich console; where nobody watches, it is as wide as its content."""
    from rich.console import Console

    return Console(
        file=stream,
        no_color=not color,
        highlight=False,
        markup=False,
        emoji=False,
        width=None if stream.isatty() else _UNWATCHED,
    )


def print_parts(out: Console, parts: Iterable[Table | str]) -> None:
    """Print tables, and texts between them that are wrapped by the terminal alone."""
    for part in parts:
        out.print(part, soft_wrap=isinstance(part, str), markup=False, highlight=False)


def show(found: TopFindings, summary: Summary, lang: Language, *, color: bool = True) -> None:
    """Print the table and what belongs to it on stdout."""
    out = console(sys.stdout, color=color)
    if found.count:
        out.print(_table(found.ordered(), lang))
    for text in lines(found, summary, lang):
        out.print(text, soft_wrap=True)


_COLUMNS = {
    "slice": ("urgency", "patient", "probability", "file", "recommendation"),
    "study": ("urgency", "patient", "study", "probability", "series_slices", "key_slice", "recommendation"),
    "both": ("urgency", "patient", "study", "probability", "series_slices", "file", "recommendation"),
}
"""Columns of the table where it lists slices, studies, or both."""


def _table(findings: list[Finding | StudyFinding], lang: Language) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    words = TEXT[lang]
    levels = {finding.level for finding in findings}
    columns = _COLUMNS["both" if len(levels) > 1 else levels.pop()]
    table = Table(title=words["title"], title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        fold = "fold" if column in ("study", "file", "key_slice", "recommendation") else "ellipsis"
        table.add_column(
            words[column],
            justify="right" if column == "probability" else "left",
            overflow=fold,  # type: ignore[arg-type]
            no_wrap=column in ("urgency", "probability"),
        )
    for finding in findings:
        cells, style = _cells(finding, lang), _STYLE[finding.urgency]
        table.add_row(*(Text(cells[column], style=style if column == "urgency" else "") for column in columns))
    return table


def _cells(finding: Finding | StudyFinding, lang: Language) -> dict[str, str]:
    """Return what each column shows of a slice or a study."""
    key, content = finding.path, "–"
    if isinstance(finding, StudyFinding):
        key = finding.key_slices[0].path if finding.key_slices else "–"
        content = f"{len(finding.series)} · {finding.slices.assessed}/{finding.slices.total}"
    return {
        "urgency": URGENCY_WORD[lang][finding.urgency],
        "patient": safe(finding.patient_id or "–"),
        "study": safe(study_title(finding) or "–"),
        "probability": against_threshold(finding, lang),
        "series_slices": content,
        "file": safe(key),
        "key_slice": safe(key),
        "recommendation": _advice(finding, lang),
    }


def rich_table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table of plain cells, made harmless."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in head:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*(Text(safe(str(cell))) for cell in row))
    return made


def study_title(finding: Finding | StudyFinding) -> str:
    """Name a study for a person: its folder, or of DICOM its accession number and date instead of a long identifier."""
    study_id = finding.study_id or ""
    if len(study_id) < _LONG or not _UID.fullmatch(study_id):
        return study_id
    number = getattr(finding, "accession_number", None)
    return " · ".join(filter(None, (number or f"…{study_id[-_TAIL:]}", study_date(finding))))


def study_date(finding: Finding | StudyFinding) -> str:
    """Show the date of a study as year, month, day; empty without one."""
    date = getattr(finding, "study_date", None)
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if date else ""


def against_threshold(finding: Finding | StudyFinding, lang: Language = "en") -> str:
    """Show the probability against the threshold; confidence would mislead beside "flagged"."""
    return "–" if finding.probability is None else " ".join(compared(finding.probability, finding.threshold, lang))


def compared(probability: float, threshold: float, lang: Language) -> tuple[str, str, str]:
    """Return a probability, ``≥`` or ``<``, and the threshold, as they are shown wherever they are.

    The probability has as many digits as it takes for the comparison to hold as printed: no "0.155 < 0.1547".
    """
    above = probability >= threshold
    tries = (f"{probability:.{digits}f}" for digits in range(3, _DIGITS))
    shown = next((text for text in tries if (float(text) >= threshold) == above), repr(probability))
    return comma(shown, lang), "≥" if above else "<", comma(exact(threshold), lang)


def exact(value: float) -> str:
    """Show a threshold as it is, however many digits that takes."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def number(value: float, lang: Language) -> str:
    """Show a share or another figure in [0, 1] with three decimals."""
    return comma(f"{value:.3f}", lang)


def comma(shown: str, lang: Language) -> str:
    """Write a number as the language does."""
    return shown.replace(".", ",") if lang == "fr" else shown


def _advice(finding: Finding | StudyFinding, lang: Language) -> str:
    advice = RECOMMENDATION[lang][finding.urgency]
    if finding.reason is not None:
        advice += f" ({finding.reason.value})"
    return f"{advice} · {TEXT[lang]['seen_before']}" if finding.seen_before else advice


def lines(found: TopFindings, summary: Summary, lang: Language) -> list[str]:
    """Return the lines below the table."""
    words, counts = TEXT[lang], summary.counts
    output = []
    if found.hidden:
        output.append(words["hidden"].format(count=found.hidden))
    by_urgency = {urgency.value.lower(): counts[urgency.value] for urgency in Urgency}
    if counts["studies"]:
        studies = {urgency.value.lower(): counts[f"studies_{urgency.value}"] for urgency in Urgency}
        output.append(words["study_counts"].format(total=counts["studies"], **studies))
    output.append(words["counts"].format(total=sum(by_urgency.values()), **by_urgency))
    output += [
        words[name].format(count=counts[key])
        for name, key in (
            ("seen", "seen_before"),
            ("deferred", "deferred"),
            ("studies_deferred", "studies_deferred"),
            ("skipped", "skipped"),
        )
        if counts[key]
    ]
    if summary.stopped:
        output.append(words["stopped"])
    output.append(
        words["point"].format(
            threshold=comma(exact(summary.point.threshold), lang), name=summary.point.name, model=summary.model
        )
    )
    output += point_lines(summary.point, lang)
    if counts["studies"] and summary.aggregation is not None:
        output += study_lines(summary.aggregation, summary.point, lang)
    if summary.log:
        output.append(words["log"].format(path=safe(summary.log)))
    return [*output, NOTICE[lang]]


def study_lines(aggregation: Aggregation, point: OperatingPoint, lang: Language) -> list[str]:
    """Say how slices make a study, and what the threshold of studies was measured to do by patient.

    Parameters
    ----------
    aggregation : Aggregation
    point : OperatingPoint
        Of slices: that of studies has its name.
    lang : {"en", "fr"}
    """
    words, known = TEXT[lang], aggregation.points.get(point.name)
    if known is None:
        return [words["aggregation"].format(window=aggregation.window)]
    threshold = comma(exact(known.threshold), lang)
    output = words["study_point"].format(window=aggregation.window, threshold=threshold, name=known.name)
    return [output, *study_point_lines(known, lang)]


def study_point_lines(point: OperatingPoint, lang: Language) -> list[str]:
    """Say what a threshold of studies was measured to do by patient, and whether that is certified."""
    words, output = TEXT[lang], _measured(point, lang, "study_rate")
    if point.certificate is None:
        return [*output, words["study_uncertified"].format(name=point.name)]
    output.append(_certified(point.name, point.certificate, lang, "study_certified"))
    return [*output, words["study_recipe"]] if point.certificate.certifies == "recipe" else output


def point_lines(point: OperatingPoint, lang: Language) -> list[str]:
    """Say what a threshold was measured to do, and whether that is certified."""
    words = TEXT[lang]
    output = _measured(point, lang, "rate") or [words["unmeasured"].format(name=point.name)]
    if point.certificate is None:
        return [*output, words["uncertified"].format(name=point.name)]
    return [*output, _certified(point.name, point.certificate, lang, "certified")]


def _measured(point: OperatingPoint, lang: Language, form: str) -> list[str]:
    """Return the line with sensitivity and specificity; none where either was not measured."""
    if point.sensitivity is None or point.specificity is None:
        return []
    sensitivity, specificity = rate(point.sensitivity, lang, form), rate(point.specificity, lang, form)
    return [TEXT[lang]["measured"].format(sensitivity=sensitivity, specificity=specificity, where=point.measured_on)]


def _certified(name: str, shown: Certificate, lang: Language, form: str) -> str:
    return TEXT[lang][form].format(
        name=name,
        target=comma(f"{shown.target:g}", lang),
        level=comma(f"{100 * shown.level:g} %", lang),
        missed=shown.missed,
        units=shown.units,
    )


def rate(share: Rate, lang: Language, form: str = "rate") -> str:
    """Show a share with its interval and the counts behind it; `form` names the text that holds them."""
    value, low, high = ("?" if one is None else number(one, lang) for one in (share.value, share.low, share.high))
    return TEXT[lang][form].format(
        value=value, low=low, high=high, hits=share.hits, count=share.count, units=share.units
    )
