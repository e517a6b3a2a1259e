"""Pages and Markdown reports from the templates beside this module."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from export.files import atomically, save_json
from export.reports import figures
from screener.report import output
from screener.report.console import safe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jinja2 import Environment

MARK = "<!-- screener document -->"
"""Tells our own pages from a file that must not be replaced; within the first bytes of each."""


@cache
def environment(package: str = "export.reports") -> Environment:
    """Return the templates of a package: HTML is escaped, Markdown is not, and a missing value is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    made = Environment(
        loader=PackageLoader(package),
        autoescape=select_autoescape(("html.j2",), default=False),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        finalize=_harmless,
    )
    made.filters |= {
        "fmt": format,
        "one_line": one_line,
        "number": figures.number,
        "interval": figures.interval,
        "counted": figures.counted,
        "rate": figures.rate,
        "difference": figures.difference,
        "ordered": figures.ordered,
        "file_name": lambda path: str(path).rsplit("/", 1)[-1],
    }
    return made


def _harmless(value: object) -> object:
    """Spell out the control characters of text that comes from file names; markup and numbers stay as they are."""
    return safe(value) if type(value) is str and not value.isprintable() and "\n" not in value else value


def one_line(text: str) -> str:
    """Join the lines of a paragraph, which a template breaks for its reader, into one that ends like a line."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip()) + "\n"


def markdown(template: str, **values: object) -> str:
    """Return a Markdown report.

    Parameters
    ----------
    template : str
        Name of a file in ``templates/``, without ``.md.j2``.
    **values
        What the template shows.
    """
    return environment().get_template(f"{template}.md.j2").render(values)


def write_results(out: Path, template: str, result: Mapping[str, Any], **derived: object) -> None:
    """Write ``<out>.json`` and ``<out>.md``, each whole or not at all.

    Parameters
    ----------
    out : Path
        Without suffix.
    template : str
    result : mapping
        All figures, as the JSON file has them.
    **derived
        What the template shows beside `result`, made from `result` alone.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    save_json(out.with_suffix(".json"), dict(result))
    text = markdown(template, result=result, **derived)
    atomically(out.with_suffix(".md"), lambda partial: partial.write_text(text, encoding="utf-8"))


def write_page(out: Path, template: str, **values: object) -> None:
    """Write a page that asks no other machine for anything, runs no script, and is readable by its owner only.

    Parameters
    ----------
    out : Path
    template : str
        Name of a file in ``templates/``, without ``.html.j2``.
    **values
        What the template shows.

    Raises
    ------
    UsageError
        Something else than one of our pages has that name.
    ScreenerError
        The file cannot be written.
    """
    output.refuse(out, MARK, "document of screener")
    style = (files("screener.report") / "assets/report.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    text = environment().get_template(f"{template}.html.j2").render(style=style, style_hash=digest, mark=MARK, **values)
    with output.whole(out) as file:
        file.write(text)


def data_uri(data: bytes, kind: str = "png") -> str:
    """Return a picture as an address that holds all of it."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
