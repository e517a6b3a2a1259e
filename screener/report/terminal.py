"""The worklist on the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from screener.domain.finding import Urgency
from screener.messages import NOTICE, RECOMMENDATION, TEXT, URGENCY_WORD
from screener.report.console import against_threshold, console, safe
from screener.report.jsonl import line
from screener.report.messages import REASON, WORKLIST

if TYPE_CHECKING:
    from rich.table import Table

    from screener.domain.finding import Finding
    from screener.finding_store import FindingStore, Item
    from screener.messages import Language

_STYLE = {Urgency.HIGH: "bold red", Urgency.MEDIUM: "yellow", Urgency.REVIEW: "magenta", Urgency.LOW: "dim"}
_MINUTE = 16
"""Letters of a timestamp up to its minute."""
_NONE = "\N{EN DASH}"


def show(spool: FindingStore, top: int, lang: Language, *, color: bool = True) -> None:
    """Print what waits, in reading order, and what belongs to it.

    Parameters
    ----------
    spool : FindingStore
    top : int
        Rows shown; 0 shows all.
    lang : {"en", "fr"}
    color : bool
    """
    out = console(sys.stdout, color=color)
    total = spool.count()
    if total:
        out.print(_table(spool, top, lang))
    for text in _lines(spool, total, top, lang):
        out.print(text, soft_wrap=True)


def show_json(spool: FindingStore) -> None:
    """Print what waits as JSON, one finding a line, in reading order."""
    for item in spool.first(None):
        sys.stdout.write(f"{line(item.finding)}\n")


def _table(spool: FindingStore, top: int, lang: Language) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    words, more = TEXT[lang], WORKLIST[lang]
    table = Table(title=more["title"], title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(words["urgency"], no_wrap=True)
    table.add_column(words["patient"])
    table.add_column(words["probability"], justify="right", no_wrap=True)
    table.add_column(words["file"], overflow="fold")
    table.add_column(words["recommendation"], overflow="fold")
    table.add_column(more["judged"], no_wrap=True)
    for item in spool.first(top or None):
        told = (Text(safe(text)) for text in _cells(item, lang))
        urgency = item.finding.urgency
        table.add_row(Text(URGENCY_WORD[lang][urgency], style=_STYLE[urgency]), *told)
    return table


def _cells(item: Item, lang: Language) -> tuple[str, ...]:
    finding = item.finding
    judged = item.judged[:_MINUTE].replace("T", " ")
    return finding.patient_id or _NONE, against_threshold(finding, lang), _file(item), _advice(finding, lang), judged


def _file(item: Item) -> str:
    """Show the whole path: slices of several inboxes stand in one list."""
    return f"{item.inbox.rstrip('/')}/{item.finding.path}" if item.inbox else item.finding.path


def _advice(finding: Finding, lang: Language) -> str:
    advice = RECOMMENDATION[lang][finding.urgency]
    return advice if finding.reason is None else f"{advice} · {REASON[lang][finding.reason]}"


def _lines(spool: FindingStore, total: int, top: int, lang: Language) -> list[str]:
    """Return what stands below the table."""
    words = WORKLIST[lang]
    if not total:
        return [words["empty"], NOTICE[lang]]
    counts = {urgency.value.lower(): count for urgency, count in spool.by_urgency().items()}
    told = [words["counts"].format(total=total, patients=spool.patients(), **counts)]
    if top and total > top:
        told.insert(0, words["hidden"].format(count=total - top))
    return [*told, NOTICE[lang]]
