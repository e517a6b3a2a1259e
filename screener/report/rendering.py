"""HTML and Markdown from the templates beside this module; whatever comes from a file name, a note or a log is text.

Templates escape by themselves, and control characters are spelt out. ``base.html`` is the layout of every page: it
takes its one style sheet and its one script in, and allows the browser to use exactly these.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from screener.messages import NOTICE
from screener.report.console import safe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from jinja2 import Environment
    from markupsafe import Markup

    from screener.messages import Language


@cache
def asset(name: str) -> str:
    """Return a style sheet or script that lies in ``assets``."""
    return (files("screener.report") / "assets" / name).read_text(encoding="utf-8")


def source(content: str) -> str:
    """Return the one source that a policy allows: exactly this content."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def render(template: str, lang: Language, **values: object) -> str:
    """Return a page, or a part of one, as text.

    Parameters
    ----------
    template : str
        File name in ``templates``.
    lang : {"en", "fr"}
    values
        What the template shows.
    """
    return environment().get_template(template).render(lang=lang, notice=NOTICE[lang], **values)


def stream(template: str, lang: Language, **values: object) -> Iterator[str]:
    """Yield a page in parts, so that one with many pictures is never held as a whole; see `render`."""
    return environment().get_template(template).generate(lang=lang, notice=NOTICE[lang], **values)


@cache
def environment() -> Environment:
    """Return the environment of all templates; `lang` and `notice` are known in each."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(str(files("screener.report") / "templates")),
        autoescape=_escapes,  # noqa: S701 - everywhere but in Markdown
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.globals.update(asset=asset, source=source, one_style=_style, one_script=_script)
    made.filters.update(breakable=_breakable, script_data=_script_data)
    return made


def _escapes(name: str | None) -> bool:
    """Escape everywhere but in Markdown."""
    return name is None or not name.endswith(".md")


def _plain(value: object) -> object:
    """Spell out what steers a terminal, a browser or the direction of writing; markup of our own stays."""
    return safe(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _style() -> Markup:
    from markupsafe import Markup

    return Markup(asset("report.css"))  # noqa: S704 - ours


def _script() -> Markup:
    from markupsafe import Markup

    return Markup(asset("report.js"))  # noqa: S704 - ours


def _breakable(path: str) -> Markup:
    """Return a path that may be broken behind each folder rather than inside a name."""
    from markupsafe import Markup, escape

    return Markup("/<wbr>").join(escape(safe(part)) for part in path.split("/"))


def _script_data(value: Any) -> Markup:  # noqa: ANN401 - whatever JSON can hold
    """Return JSON for a script element: "<" is the only letter by which text could leave it."""
    from markupsafe import Markup

    return Markup(json.dumps(value).replace("<", "\\u003c"))  # noqa: S704 - no letter of it is markup
