"""A self-contained HTML document: headings, tables, figures, from ``templates/parts.html``. All text is escaped."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from screener.report import output
from screener.report.rendering import environment, render

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from markupsafe import Markup

    from screener.messages import Language

MARK = "<!-- screener document -->"
"""Tells our own documents from a file that must not be replaced."""


def document(title: str, parts: Iterable[str], lang: Language = "en") -> str:
    """Return a whole page that asks no other machine for anything and runs no script.

    Parameters
    ----------
    title : str
    parts : iterable of str
        What the other functions here return; any other text is escaped.
    lang : {"en", "fr"}
    """
    return render("document.html", lang, title=title, mark=MARK, parts=parts)


def heading(words: str, level: int = 2) -> Markup:
    """Return a heading of level 2 to 4."""
    return _part("heading", words, level)


def paragraph(words: str, kind: str = "") -> Markup:
    """Return a paragraph; `kind` is empty, "remark" or "warning"."""
    return _part("paragraph", words, kind)


def listing(items: Iterable[str]) -> Markup:
    """Return an unordered list of texts."""
    return _part("listing", items)


def table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> Markup:
    """Return a table; cells are shown as their text, numbers aligned to the right, the first column as row headers."""
    return _part("table", head, rows, caption)


def picture(data: bytes, label: str, kind: str = "png") -> Markup:
    """Return an image; `data` is its file, `label` what a screen reader says."""
    from screener.report.pictures import uri

    return _part("picture", label, uri(kind, data))


def figure(content: Markup | str, caption: str, tone: str = "") -> Markup:
    """Return a figure around what `picture` returns; `tone` is empty, "good" or "bad"."""
    return _part("figure", content, caption, tone)


def gallery(figures: Iterable[str]) -> Markup:
    """Return small figures side by side."""
    return _part("gallery", figures)


@cache
def _parts() -> Any:  # noqa: ANN401 - a template's macros have no types
    return environment().get_template("parts.html").module


def _part(name: str, *values: object) -> Markup:
    made: Markup = getattr(_parts(), name)(*values)
    return made


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
