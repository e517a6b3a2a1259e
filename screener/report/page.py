"""The worklist page: what it is about, what it leaves out, and its parts in the order in which they are written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from screener.domain.finding import Urgency
from screener.messages import URGENCY_WORD
from screener.report.console import comma, exact
from screener.report.messages import EVIDENCE, PAGE
from screener.report.rendering import stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from screener.messages import Language
    from screener.report.study_card import SliceCard, StudyCard

MARK = "<!-- screener worklist -->"
"""Tells our own pages from a file that must not be replaced."""
_STEPS = 17
"""Colours of the map that the page interpolates between: no eye sees the difference from 256."""
_SCRIPT_WORDS = (
    *("file", "patient", "study", "probability", "threshold", "recommendation", "reason", "judged", "model", "sha256"),
    *("reviewed", "shown", "strongest", "slice_picture"),
)
_HASH = 12
"""Letters of a hash that a person is shown."""


@dataclass(frozen=True, slots=True)
class About:
    """What a list is about: where it comes from, and what judged it.

    Attributes
    ----------
    inbox, model, model_sha256, operating_point, tool_version, log, head, written : str
    threshold : float, in [0, 1]
    deferred, skipped : int
        Files left for the next run; links and special files left out.
    warnings : tuple of str
        What is wrong with the list, in whole sentences.
    """

    inbox: str
    model: str
    model_sha256: str
    threshold: float
    operating_point: str
    tool_version: str
    log: str = ""
    head: str = ""
    written: str = ""
    deferred: int = 0
    skipped: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Totals:
    """How many studies and lone slices there are, and how many the page leaves out or shows without a picture."""

    by_urgency: Mapping[Urgency, int]
    hidden_low: int = 0
    urgent_pictures: int = 0
    low_pictures: int = 0
    capped: bool = False
    older: bool = False


def page(about: About, totals: Totals, cards: Iterator[StudyCard | SliceCard], lang: Language) -> Iterator[str]:
    """Yield the page; cards are asked for as they are written."""
    words = PAGE[lang]
    return stream(
        "worklist.html",
        lang,
        mark=MARK,
        words=words,
        evidence=EVIDENCE[lang],
        about=about,
        identity=_identity(about, lang),
        remarks=_remarks(about, totals, lang),
        urgencies=[(urgency, totals.by_urgency[urgency], URGENCY_WORD[lang][urgency]) for urgency in Urgency],
        total=sum(totals.by_urgency.values()),
        cards=cards,
        script_words={name: words[name] for name in _SCRIPT_WORDS},
        ramp=_ramp(),
        channels=_channels(),
    )


def _identity(about: About, lang: Language) -> list[tuple[str, str]]:
    """Say what judged these slices, where they lie, and which state of the log the list shows."""
    words = PAGE[lang]
    rows = (
        ("inbox", about.inbox),
        ("model", f"{about.model} ({about.model_sha256[:_HASH]})"),
        ("threshold", f"{comma(exact(about.threshold), lang)} ({about.operating_point})"),
        ("written", about.written),
        ("log", about.log),
        ("head", about.head),
        ("tool", f"screener {about.tool_version}"),
    )
    return [(words[name], value) for name, value in rows if value]


def _remarks(about: About, totals: Totals, lang: Language) -> list[str]:
    """Say what the list leaves out."""
    words = PAGE[lang]
    notes = []
    if totals.capped:
        notes.append(words["caps"].format(urgent=totals.urgent_pictures, low=totals.low_pictures))
    if totals.hidden_low:
        notes.append(words["hidden_low"].format(count=totals.hidden_low))
    for name, count in (("deferred", about.deferred), ("skipped", about.skipped)):
        if count:
            notes.append(words[name].format(count=count))
    if totals.older:
        notes.append(words["older"])
    return notes


@cache
def _colours() -> tuple[tuple[int, int, int], ...]:
    """Return the default colour map as red, green and blue at equal steps from 0 to 1."""
    import numpy as np

    from screener.report.overlay import colour

    ramp = np.linspace(0, 1, _STEPS, dtype=np.float32)[None]
    return tuple((int(red), int(green), int(blue)) for blue, green, red in colour(ramp)[0])


def _ramp() -> list[tuple[str, str]]:
    """Return the stops of the colour map's legend."""
    return [
        (f"{index / (_STEPS - 1):.4f}", f"rgb({red},{green},{blue})")
        for index, (red, green, blue) in enumerate(_colours())
    ]


def _channels() -> list[tuple[str, str]]:
    """Return the tables of the filter by which the page gives grey evidence the colours of the default map."""
    channels = zip(("R", "G", "B"), zip(*_colours(), strict=True), strict=True)
    return [(name, " ".join(f"{value / 255:.3f}" for value in values)) for name, values in channels]
