"""``screener config``: what is configured, where, and a file to begin with."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from screener import __version__
from screener.cli.config_file import SYSTEM, kind_of, quoted, user_file
from screener.cli.option_tree import COMMON, CommandOption, leaves, options_of
from screener.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import typer

    from screener.cli.config_file import ConfigFile

_WIDTH = 110


class Value(NamedTuple):
    """The value of an option as a command would get it now, and where it comes from."""

    option: CommandOption
    value: Any
    origin: str


def show(context: typer.Context, command: str | None, *, changed: bool, as_json: bool) -> None:
    """Print every value with its origin: TOML that can be read back, or one JSON object a line.

    Raises
    ------
    UsageError
        A variable cannot be used, or there is no such command.
    """
    root = context.find_root()
    file: ConfigFile | None = root.obj
    found = [one for one in values(root, file) if one.origin != "default" or not changed]
    if command is not None:
        name = command.replace(" ", ".")
        tables = {option.table for option in options_of(root.command)}
        if not any(table == name or table.startswith(f"{name}.") for table in tables):
            raise UsageError(f"no command is called {command!r}", f"choose from {', '.join(sorted(tables))}")
        found = [one for one in found if one.option.table == name or one.option.table.startswith(f"{name}.")]
    sys.stdout.write("".join(_json(found) if as_json else _toml(found, file)))


def values(root: Any, file: ConfigFile | None) -> Iterator[Value]:  # noqa: ANN401 - Typer's private copy of click
    """Yield every option of every command as the command itself would read it, without a command line.

    Raises
    ------
    UsageError
        A variable holds what its option does not take.
    """
    options = options_of(root.command)
    for path, _ in leaves(root.command):
        context = root
        above = root.command
        for name in path:
            above = above.commands[name]
            context = type(root)(above, parent=context, info_name=name)
        for option in (one for one in options if one.command == path):
            raw, source = option.param.consume_value(context, {})
            name = next((one for one in option.variables if os.environ.get(one)), "")
            try:
                value = option.param.process_value(context, raw)
            except Exception as error:  # the exception classes of Typer's copy of click are private
                if not hasattr(error, "format_message"):
                    raise
                raise UsageError(f"the variable {name}: {error}", f"its meaning: {option.param.help}") from None
            origins = {"ENVIRONMENT": name, "DEFAULT_MAP": (file and file.origin(option)) or ""}
            yield Value(option, value, origins.get(source.name, "default"))


def _toml(found: list[Value], file: ConfigFile | None) -> Iterator[str]:
    """Yield lines of TOML; the origin stands behind each value."""
    yield f"# configuration file: {'none' if file is None else f'{file.path}, sha256 {file.sha256}'}\n"
    table = ""
    for option, value, origin in found:
        if option.table != table:
            table = option.table
            yield f"\n[{table}]\n"
        text = f"# {option.key} is not set" if _unset(value) else f"{option.key} = {quoted(value)}"
        yield f"{text:<40}  # {_printable(origin)}\n"


def _json(found: list[Value]) -> Iterator[str]:
    for option, value, origin in found:
        plain = value if isinstance(value, bool | int | float | list | None) else str(value)
        yield json.dumps({"command": " ".join(option.command), "option": option.key, "value": plain, "origin": origin})
        yield "\n"


def _unset(value: object) -> bool:
    return value is None or value == []


def _printable(text: str) -> str:
    from screener.report.console import safe

    return safe(text)


def template(context: typer.Context) -> None:
    """Print a configuration file in which every option stands, commented out, with its meaning and default."""
    sys.stdout.write("\n".join(_template(options_of(context.find_root().command))) + "\n")


def _template(options: list[CommandOption]) -> Iterator[str]:
    yield f"# Configuration of screener {__version__}. Save it as"
    yield f"#   {user_file() or '~/.config/screener/screener.toml'}"
    yield f"# or, for every user of this machine, as {SYSTEM}."
    yield "# Take away the # before a key to set it. The command line and SCREENER_* variables win over this file."
    yield ""
    yield "# Options that several commands share. A command's own table below wins over this one."
    yield f"[{COMMON}]"
    shared = {option.key: option for option in options if _shared(option, options)}
    for option in shared.values():
        yield from _entry(option)
    table = ""
    for option in options:
        if option.key not in shared:
            if option.table != table:
                table = option.table
                yield from ("", f"[{table}]")
            yield from _entry(option)


def _shared(option: CommandOption, options: list[CommandOption]) -> bool:
    """Say whether several commands have this very option."""
    same = [one for one in options if one.key == option.key]
    return option.common and len(same) > 1 and all(one.param.help == option.param.help for one in same)


def _entry(option: CommandOption) -> Iterator[str]:
    """Yield the meaning of an option, and the option set to its default or to an example."""
    import textwrap

    default = option.param.default
    shown = _example(option) if default is None or callable(default) else default
    yield from (f"# {line}" for line in textwrap.wrap(option.param.help or "", _WIDTH))
    yield f"#{option.key} = {quoted(shown)}"


def _example(option: CommandOption) -> object:
    """Return a value of the right type for an option that has no default."""
    if option.param.multiple:
        return []
    kind = option.param.type
    if kind.name in {"int", "int range", "float", "float range"}:
        return getattr(kind, "min", None) or 1
    return "..." if kind_of(option) is not bool else False
