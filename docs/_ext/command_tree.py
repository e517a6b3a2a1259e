"""Write the commands of screener as Markdown, for the reference page and the man page, from their declarations."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

PAGE = "reference/cli"
PLACEHOLDER = "<!-- commands -->"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _insert)
    return {"parallel_read_safe": True}


def _insert(_app: Sphinx, docname: str, source: list[str]) -> None:
    if docname == PAGE:
        source[0] = source[0].replace(PLACEHOLDER, markdown())


def markdown() -> str:
    """Return a section a command: usage, help, arguments and options."""
    import typer.main

    from screener.cli.main import app
    from screener.cli.option_tree import leaves

    # Typer carries its own copy of click, whose classes the ready-made Sphinx extensions do not accept.
    commands = leaves(typer.main.get_command(app))
    return "\n".join(line for path, command in commands for line in _section(" ".join(path), command))


def _section(path: str, command: Any) -> Iterator[str]:  # noqa: ANN401 - a command of Typer's private copy of click
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option"]
    names = " ".join(_argument(param) for param in arguments)
    yield from (f"### {path}", "", "```", f"screener {path} [OPTIONS] {names}".rstrip(), "```", "")
    yield from (_text(inspect.cleandoc(command.help or "")), "")
    for param in arguments:
        yield from (f"`{_argument(param)}`", f": {_text(param.help or '')}", "")
    for param in options:
        yield from (f"`{_option(param)}`", f": {_text(param.help or '')}{_default(param)}", "")


def _argument(param: Any) -> str:  # noqa: ANN401
    name = param.name.upper() + ("..." if param.nargs != 1 else "")
    return name if param.required else f"[{name}]"


def _option(param: Any) -> str:  # noqa: ANN401
    names = ", ".join(sorted(param.opts, key=len))
    return names if param.is_flag else f"{names} {param.type.name.upper()}"


def _default(param: Any) -> str:  # noqa: ANN401
    shown = param.default
    return "" if param.is_flag or shown is None or shown == [] or callable(shown) else f" Default: `{shown}`."


def _text(text: str) -> str:
    """Escape what Markdown or MyST would take for markup."""
    return text.replace("*", r"\*").replace("[", r"\[").replace("]", r"\]").replace("<", r"\<")
