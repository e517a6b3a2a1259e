"""A self-contained HTML document: headings, tables, figures. Everything that comes from outside goes through `text`."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING

from screener.messages import NOTICE
from screener.report import output
from screener.report.page import asset, source, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from screener.messages import Language

MARK = "<!-- screener document -->"
"""Tells our own documents from a file that must not be replaced."""


def document(title: str, parts: Iterable[str], lang: Language = "en") -> str:
    """Return a whole page that asks no other machine for anything and runs no script.

    Parameters
    ----------
    title : str
    parts : iterable of str
        Markup, such as the other functions here return.
    lang : {"en", "fr"}
    """
    style = asset("document.css")
    policy = f"default-src 'none'; img-src data:; style-src {source(style)}; base-uri 'none'; form-action 'none'"
    return (
        f'<!doctype html>\n{MARK}\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{text(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n<h1>{text(title)}</h1>\n"
        f'{"".join(parts)}</main>\n<footer class="notice">{text(NOTICE[lang])}</footer>\n</body>\n</html>\n'
    )


def heading(words: str, level: int = 2) -> str:
    """Return a heading of level 2 to 4."""
    return f"<h{level}>{text(words)}</h{level}>\n"


def paragraph(words: str, kind: str = "") -> str:
    """Return a paragraph; `kind` is empty, "remark" or "warning"."""
    marked = f' class="{kind}"' if kind else ""
    return f"<p{marked}>{text(words)}</p>\n"


def listing(items: Iterable[str]) -> str:
    """Return an unordered list of texts."""
    return "<ul>" + "".join(f"<li>{text(item)}</li>" for item in items) + "</ul>\n"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """Return a table; cells are shown as their text, numbers aligned to the right, the first column as row headers."""
    told = f"<caption>{text(caption)}</caption>" if caption else ""
    names = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    body = "".join(f"<tr>{''.join(_cell(value, first=not i) for i, value in enumerate(row))}</tr>\n" for row in rows)
    # Wide tables scroll by themselves, and so must be reachable by keyboard.
    label = text(caption or ", ".join(head))
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{label}"><table>{told}'
        f"<thead><tr>{names}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )


def _cell(value: object, *, first: bool) -> str:
    shown = text(str(value))
    if first:
        return f'<th scope="row">{shown}</th>'
    return f'<td class="number">{shown}</td>' if isinstance(value, int | float) else f"<td>{shown}</td>"


def picture(data: bytes, label: str, kind: str = "png") -> str:
    """Return an image; `data` is its file, `label` what a screen reader says."""
    return f'<img alt="{text(label)}" src="data:image/{kind};base64,{b64encode(data).decode("ascii")}">'


def figure(markup: str, caption: str, tone: str = "") -> str:
    """Return a figure around markup such as `picture` returns; `tone` is empty, "good" or "bad"."""
    marked = f' class="{tone}"' if tone else ""
    return f"<figure{marked}>{markup}<figcaption>{text(caption)}</figcaption></figure>\n"


def gallery(figures: Iterable[str]) -> str:
    """Return small figures side by side."""
    return f'<div class="gallery">{"".join(figures)}</div>\n'


def save(out: Path, markup: str) -> None:
    """Write a document as a whole, readable by its owner only.

    Raises
    ------
    UsageError
        Something else than one of our documents has that name.
    ScreenerError
        The file cannot be written.
    """
    refuse(out)
    with output.whole(out) as file:
        file.write(markup)


def refuse(out: Path) -> None:
    """Make sure that a document may be written, before any work is done for it.

    Raises
    ------
    UsageError
        Something else than one of our documents has that name, or its folder is missing.
    """
    output.refuse(out, MARK, "document of screener")
