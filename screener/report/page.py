"""The worklist page as markup. Everything that comes from a file name, a note or a log goes through `text`."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from screener.domain.finding import Urgency
from screener.messages import NOTICE, RECOMMENDATION, URGENCY_WORD
from screener.report.console import comma, compared, exact, safe
from screener.report.messages import EVIDENCE, PAGE, REASON

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from screener.domain.finding import Finding
    from screener.domain.verdict import Verdict
    from screener.finding_store import Item, Row
    from screener.messages import Language

MARK = "<!-- screener worklist -->"
"""Tells our own pages from a file that must not be replaced."""
_WIDTHS = {1: "one", 2: "two"}
"""Patients with few slices share a row."""
_STEPS = 17
"""Colours of the map that the page interpolates between: no eye sees the difference from 256."""
_DIALOG_WORDS = (
    *("file", "patient", "probability", "threshold", "recommendation", "reason", "judged", "model", "sha256"),
    *("reviewed", "shown", "strongest"),
)


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
    """How many slices there are, and how many of them the page leaves out or shows without a picture."""

    by_urgency: Mapping[Urgency, int]
    hidden_low: int = 0
    urgent_pictures: int = 0
    low_pictures: int = 0
    capped: bool = False
    older: bool = False


def text(value: str) -> str:
    """Return text that cannot be anything but text, in content and in attributes; control characters are spelt out."""
    return escape(safe(value), quote=True)


@cache
def asset(name: str) -> str:
    """Return a file that lies beside this module."""
    return (files("screener.report") / "assets" / name).read_text(encoding="utf-8")


def opening(about: About, totals: Totals, lang: Language) -> Iterator[str]:
    """Yield everything before the first slice."""
    words = PAGE[lang]
    style, script = asset("worklist.css"), asset("worklist.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {source(style)}; script-src {source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    yield (
        f'<!doctype html>\n{MARK}\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{text(words['title'])}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#slices">{text(words["skip"])}</a>\n{_colours()}\n<div class="sheet">\n'
    )
    yield f"<header>\n<h1>{text(words['title'])}</h1>\n{_identity(about, lang)}"
    yield from (f'<p class="warning" role="alert">{text(warning)}</p>\n' for warning in about.warnings)
    yield from _remarks(about, totals, lang)
    yield f"</header>\n{_tools(totals, lang)}"
    yield '<main id="slices" tabindex="-1">\n'
    if not sum(totals.by_urgency.values()):
        yield f'<p class="nothing">{text(words["nothing"])}</p>\n'


def closing(lang: Language) -> str:
    """Return everything after the last slice."""
    words = PAGE[lang]
    spoken = {name: words[name] for name in _DIALOG_WORDS}
    # "<" is the only letter by which text could leave a script element.
    data = json.dumps(spoken).replace("<", "\\u003c")
    return (
        f'<p class="nothing" id="none" hidden>{text(words["none"])}</p>\n</main>\n'
        f'<footer class="notice"><div><strong>{text(NOTICE[lang])}</strong> {text(EVIDENCE[lang])}</div></footer>\n'
        f'</div>\n<dialog id="viewer" aria-labelledby="viewer-title" tabindex="-1" autofocus>\n<div class="viewer">\n'
        f'<div class="stage"></div>\n<div class="details">\n<h2 id="viewer-title"></h2>\n<dl></dl>\n'
        f'<p class="hint">{text(EVIDENCE[lang])}</p>\n<p class="actions">'
        f'<a class="original" target="_blank" rel="noreferrer" hidden>{text(words["open_file"])}</a>'
        f'<button type="button" class="heatmap" aria-pressed="false">{text(words["heatmap"])} '
        f"<kbd>{text(words['space'])}</kbd></button>"
        f'<button type="button" class="close">{text(words["close"])} <kbd>Esc</kbd></button></p>\n'
        f'</div>\n</div>\n</dialog>\n<script type="application/json" id="words">{data}</script>\n'
        f"<script>{asset('worklist.js')}</script>\n</body>\n</html>\n"
    )


def patient(item: Item, counts: Mapping[Urgency, int], lang: Language, identifier: str) -> str:
    """Return the opening of a patient's section."""
    words = PAGE[lang]
    name = words["no_patient"] if item.finding.patient_id is None else item.finding.patient_id
    total = sum(counts.values())
    tallies = " ".join(
        f'<span class="tally {urgency.value.lower()}">{count} {text(URGENCY_WORD[lang][urgency])}</span>'
        for urgency, count in counts.items()
        if count
    )
    return (
        f'<section class="patient {_WIDTHS.get(total, "many")}" aria-labelledby="{identifier}">\n'
        f'<h2 id="{identifier}"><bdi>{text(name)}</bdi> '
        f'<span class="tallies">{total} {text(words["slice" if total == 1 else "slices"])} · {tallies}</span></h2>\n'
        '<div class="slices">\n'
    )


def card(row: Row, lang: Language, link: str | None, beyond: int) -> str:
    """Return one slice: a card, or a single line for what was not flagged and has no picture.

    Parameters
    ----------
    row : Row
    lang : {"en", "fr"}
    link : str or None
        URL of the original file, relative to the page.
    beyond : int
        Number of pictures after which there are none.
    """
    finding = row.item.finding
    attributes = _attributes(row, link)
    advice = f'<p class="advice">{text(RECOMMENDATION[lang][finding.urgency])}</p>'
    if finding.urgency is Urgency.LOW and row.picture is None:
        return (
            f'<article class="slice row low" {attributes}>{_badge(finding.urgency, lang)} {_score(finding, lang)}'
            f"{_file(finding)}{advice}{_verdict(row.item.verdict, lang)}</article>\n"
        )
    if finding.reason is not None:
        advice += f'<p class="reason">{text(REASON[lang][finding.reason])} <code>{finding.reason.value}</code></p>'
    return (
        f'<article class="slice {finding.urgency.value.lower()}" {attributes}>{_picture(row, lang, beyond)}'
        f'<div class="told"><p class="head">{_badge(finding.urgency, lang)} {_score(finding, lang)}</p>'
        f"{_scale(finding)}{advice}{_file(finding)}{_seen(finding, lang)}{_verdict(row.item.verdict, lang)}"
        "</div></article>\n"
    )


def _attributes(row: Row, link: str | None) -> str:
    finding = row.item.finding
    folder, slash, _ = finding.path.partition("/")
    told = {
        "id": f"s{row.number}",
        "data-n": str(row.number),
        "data-urgency": finding.urgency.value,
        "data-reviewed": "yes" if row.item.verdict else "no",
        "data-folder": folder if slash else "",
        "data-patient": finding.patient_id or "",
        "data-sha": finding.sha256,
        "data-model": finding.model,
        "data-judged": row.item.judged,
        "data-file": link or "",
    }
    return " ".join(f'{name}="{text(value)}"' for name, value in told.items() if value) + ' tabindex="-1"'


def _picture(row: Row, lang: Language, beyond: int) -> str:
    if row.picture is not None:
        return row.picture
    why = PAGE[lang][row.missing or "beyond"].format(count=beyond)
    return f'<div class="picture none">{text(why)}</div>'


def _badge(urgency: Urgency, lang: Language) -> str:
    return f'<span class="badge">{text(URGENCY_WORD[lang][urgency])}</span>'


def _score(finding: Finding, lang: Language) -> str:
    """Show the probability against the threshold."""
    words = PAGE[lang]
    if finding.probability is None:
        return f'<span class="score">{text(words["not_scored"])}</span>'
    probability, sign, threshold = map(text, compared(finding.probability, finding.threshold, lang))
    return f'<span class="score"><b>{probability}</b> {sign} <span class="limit">{threshold}</span></span>'


def _scale(finding: Finding) -> str:
    """Draw the probability as a bar and the threshold as a tick across it; the numbers stand beside it as text."""
    if finding.probability is None:
        return ""
    value, tick = 100 * finding.probability, 100 * finding.threshold
    return (
        '<svg class="scale" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" y="3" width="100" height="4"/>'
        f'<rect class="value" y="3" width="{value:.1f}" height="4"/>'
        f'<path class="tick" d="M{tick:.1f} 0V10"/></svg>'
    )


def _file(finding: Finding) -> str:
    folder, slash, name = finding.path.rpartition("/")
    # A long path may be broken behind each folder rather than inside a name.
    way = text(folder + slash).replace("/", "/<wbr>")
    return f'<p class="file"><bdi>{way}<b>{text(name)}</b></bdi></p>'


def _seen(finding: Finding, lang: Language) -> str:
    return f'<p class="seen">{text(PAGE[lang]["seen_before"])}</p>' if finding.seen_before else ""


def _verdict(verdict: Verdict | None, lang: Language) -> str:
    if verdict is None:
        return ""
    words = PAGE[lang]
    told = words["verdict"].format(diagnosis=safe(verdict.final_diagnosis), doctor=safe(verdict.doctor_id))
    if verdict.agreement is not None:
        told += f" · {words['agrees' if verdict.agreement else 'disagrees']}"
    return f'<p class="verdict"><bdi>{escape(told, quote=True)}</bdi></p>'


def _identity(about: About, lang: Language) -> str:
    """Say what judged these slices, where they lie, and which state of the log the list shows."""
    words = PAGE[lang]
    model = f"{about.model} ({about.model_sha256[:12]})"
    rows = (
        ("inbox", about.inbox),
        ("model", model),
        ("threshold", f"{comma(exact(about.threshold), lang)} ({about.operating_point})"),
        ("written", about.written),
        ("log", about.log),
        ("head", about.head),
        ("tool", f"screener {about.tool_version}"),
    )
    told = "".join(f"<div><dt>{text(words[name])}</dt><dd>{text(value)}</dd></div>" for name, value in rows if value)
    return f'<dl class="identity">{told}</dl>\n'


def _remarks(about: About, totals: Totals, lang: Language) -> Iterator[str]:
    """Say what the list leaves out."""
    words = PAGE[lang]
    told = []
    if totals.capped:
        told.append(words["caps"].format(urgent=totals.urgent_pictures, low=totals.low_pictures))
    if totals.hidden_low:
        told.append(words["hidden_low"].format(count=totals.hidden_low))
    for name, count in (("deferred", about.deferred), ("skipped", about.skipped)):
        if count:
            told.append(words[name].format(count=count))
    if totals.older:
        told.append(words["older"])
    yield from (f'<p class="remark">{text(remark)}</p>\n' for remark in told)


def _tools(totals: Totals, lang: Language) -> str:
    """Return filters, search and switches; the script shows what needs it."""
    words = PAGE[lang]
    chips = "".join(
        f'<button type="button" class="chip {urgency.value.lower()}" data-urgency="{urgency.value}" '
        f'aria-pressed="true"><b>{totals.by_urgency[urgency]}</b> {text(URGENCY_WORD[lang][urgency])}</button>'
        for urgency in Urgency
    )
    return (
        f'<div class="tools" role="region" aria-label="{text(words["run"])}">\n'
        f'<div class="chips" role="group" aria-label="{text(words["urgency"])}">{chips}</div>\n'
        f'<div class="controls" hidden>{_select("reviewed", ("all", "open", "done"), words)}'
        f'<select id="folder" aria-label="{text(words["folder"])}"><option value="">{text(words["any_folder"])}'
        f'</option></select><input id="search" type="search" autocomplete="off" spellcheck="false" '
        f'aria-label="{text(words["search"])}" placeholder="{text(words["search_hint"])}">'
        f"{_select('view', ('by_patient', 'one_list'), words)}"
        f'<button type="button" id="heatmaps" aria-pressed="false">{text(words["heatmaps"])}</button>'
        f"{_select('theme', ('theme_auto', 'theme_light', 'theme_dark'), words)}"
        f'<button type="button" id="print">{text(words["print"])}</button></div>\n'
        f'<div class="status"><span id="shown" role="status"></span>{_legend(lang)}{_keys(lang)}</div>\n'
        f"<noscript><p>{text(words['noscript'])}</p></noscript>\n</div>\n"
    )


def _select(name: str, choices: tuple[str, ...], words: Mapping[str, str]) -> str:
    options = "".join(f'<option value="{choice}">{text(words[choice])}</option>' for choice in choices)
    return f'<select id="{name}" aria-label="{text(words[name])}">{options}</select>'


def _keys(lang: Language) -> str:
    """Say which keys do what."""
    words = PAGE[lang]
    keys = (
        *(("j k", "key_move"), (words["space"], "key_overlay"), ("↵", "key_open"), ("/", "key_search")),
        ("Esc", "key_close"),
    )
    return '<span class="keys">' + "".join(f"<kbd>{key}</kbd> {text(words[name])} " for key, name in keys) + "</span>"


def _legend(lang: Language) -> str:
    """Draw the colour map with its ends."""
    words = PAGE[lang]
    stops = "".join(
        f'<stop offset="{index / (_STEPS - 1):.4f}" stop-color="rgb({red},{green},{blue})"/>'
        for index, (red, green, blue) in enumerate(_table())
    )
    return (
        f'<span class="legend">{text(words["legend_none"])} <svg viewBox="0 0 100 8" preserveAspectRatio="none" '
        f'aria-hidden="true"><linearGradient id="ramp">{stops}</linearGradient>'
        f'<rect width="100" height="8" fill="url(#ramp)"/></svg> {text(words["legend_most"])}</span>'
    )


def _colours() -> str:
    """Return the filter by which the page gives grey evidence the colours of the default map."""
    channels = zip(("R", "G", "B"), zip(*_table(), strict=True), strict=True)
    functions = "".join(
        f'<feFunc{name} type="table" tableValues="{" ".join(f"{value / 255:.3f}" for value in values)}"/>'
        for name, values in channels
    )
    return (
        '<svg class="filters" width="0" height="0" aria-hidden="true"><filter id="colours" '
        f'color-interpolation-filters="sRGB"><feComponentTransfer>{functions}</feComponentTransfer></filter></svg>'
    )


@cache
def _table() -> tuple[tuple[int, int, int], ...]:
    """Return the default colour map as red, green and blue at equal steps from 0 to 1."""
    import numpy as np

    from screener.report.overlay import colour

    ramp = np.linspace(0, 1, _STEPS, dtype=np.float32)[None]
    return tuple((int(red), int(green), int(blue)) for blue, green, red in colour(ramp)[0])


def source(content: str) -> str:
    """Return the one source that a policy allows: exactly this content."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
