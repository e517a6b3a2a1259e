"""The worklist on the terminal."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING

from screener.domain.finding import Urgency
from screener.domain.study import StudyFinding
from screener.messages import NOTICE, RECOMMENDATION, TEXT, URGENCY_WORD
from screener.report.console import against_threshold, console, safe
from screener.report.messages import REASON, WORKLIST
from screener.study_store import StudyItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.table import Table

    from screener.domain.finding import Finding
    from screener.finding_store import Item
    from screener.messages import Language

_STYLE = {Urgency.HIGH: "bold red", Urgency.MEDIUM: "yellow", Urgency.REVIEW: "magenta", Urgency.LOW: "dim"}
_MINUTE = 16
"""Letters of a timestamp up to its minute."""
_NONE = "\N{EN DASH}"
_COLUMNS = {
    "slice": ("urgency", "patient", "probability", "file", "recommendation", "judged"),
    "study": (
        *("urgency", "patient", "study", "probability", "series_slices", "key_slice", "recommendation", "judged"),
        "verdict",
    ),
}
_FOLDED = frozenset({"file", "study", "key_slice", "recommendation", "verdict"})


@dataclass(frozen=True, slots=True)
class Worklist:
    """What waits to be read.

    Attributes
    ----------
    items : iterable of StudyItem or Item
        In reading order.
    studies, slices : mapping of Urgency to int
        How many studies there are, and slices beside them.
    """

    items: Iterable[StudyItem | Item]
    studies: Mapping[Urgency, int]
    slices: Mapping[Urgency, int]


def show(worklist: Worklist, top: int, lang: Language, *, color: bool = True) -> None:
    """Print what waits, in reading order, and what belongs to it.

    Parameters
    ----------
    worklist : Worklist
    top : int
        Rows shown; 0 shows all.
    lang : {"en", "fr"}
    color : bool
    """
    out = console(sys.stdout, color=color)
    total = sum(worklist.studies.values()) + sum(worklist.slices.values())
    if total:
        out.print(_table(worklist, top, lang))
    for text in _lines(worklist, total, top, lang):
        out.print(text, soft_wrap=True)


def show_json(worklist: Worklist) -> None:
    """Print what waits as JSON, one finding a line, in reading order; a study without the curves of its series."""
    for item in worklist.items:
        content = asdict(item.finding)
        for series in content.get("series", ()):
            del series["curve"]
        sys.stdout.write(f"{json.dumps(content, allow_nan=False)}\n")


def _table(worklist: Worklist, top: int, lang: Language) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    words = TEXT[lang] | WORKLIST[lang]
    columns = _COLUMNS["study" if sum(worklist.studies.values()) else "slice"]
    table = Table(title=words["title"], title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(
            words[name],
            justify="right" if name == "probability" else "left",
            overflow="fold" if name in _FOLDED else "ellipsis",
            no_wrap=name in {"urgency", "probability", "judged"},
        )
    for item in islice(worklist.items, top or None):
        cells, style = _cells(item, lang), _STYLE[item.finding.urgency]
        table.add_row(*(Text(safe(cells[name]), style=style if name == "urgency" else "") for name in columns))
    return table


def _cells(item: StudyItem | Item, lang: Language) -> dict[str, str]:
    """Return what each column shows of a study or a slice."""
    finding = item.finding
    cells = {
        "urgency": URGENCY_WORD[lang][finding.urgency],
        "patient": finding.patient_id or _NONE,
        "probability": against_threshold(finding, lang),
        "recommendation": _advice(finding, lang),
        "judged": item.judged[:_MINUTE].replace("T", " "),
    }
    if isinstance(finding, StudyFinding):
        return cells | _study_cells(item, finding, lang)
    file = _located(item.inbox, finding.path)
    return cells | {"file": file, "key_slice": file, "study": _NONE, "series_slices": _NONE, "verdict": _NONE}


def _study_cells(item: StudyItem | Item, finding: StudyFinding, lang: Language) -> dict[str, str]:
    earlier = item.earlier_verdict if isinstance(item, StudyItem) else None
    words = WORKLIST[lang]
    return {
        "study": _located(item.inbox, finding.study_id),
        "series_slices": f"{len(finding.series)} · {finding.slices.assessed}/{finding.slices.total}",
        "key_slice": finding.key_slices[0].path if finding.key_slices else _NONE,
        "verdict": _NONE
        if earlier is None
        else words["earlier"].format(diagnosis=earlier.final_diagnosis, doctor=earlier.doctor_id),
    }


def _located(inbox: str, path: str) -> str:
    """Show the whole path: what several inboxes hold stands in one list."""
    return f"{inbox.rstrip('/')}/{path}" if inbox else path


def _advice(finding: Finding | StudyFinding, lang: Language) -> str:
    advice = RECOMMENDATION[lang][finding.urgency]
    return advice if finding.reason is None else f"{advice} · {REASON[lang][finding.reason]}"


def _lines(worklist: Worklist, total: int, top: int, lang: Language) -> list[str]:
    """Return what stands below the table."""
    words = WORKLIST[lang]
    if not total:
        return [words["empty"], NOTICE[lang]]
    output = []
    if top and total > top:
        output.append(words["hidden"].format(count=total - top))
    for name, found in (("study_counts", worklist.studies), ("counts", worklist.slices)):
        if sum(found.values()):
            by_urgency = {urgency.value.lower(): count for urgency, count in found.items()}
            output.append(words[name].format(total=sum(found.values()), **by_urgency))
    return [*output, NOTICE[lang]]
