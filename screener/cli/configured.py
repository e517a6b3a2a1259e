"""Give every option its variables and its value in the configuration file, before a command is read.

Precedence: command line, the command's variable, the common variable, the command's table, the common table, default.
"""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from typer.core import TyperGroup

from screener.cli.config_file import ConfigFile, find, read
from screener.cli.option_tree import PREFIX, CommandOption, options_of, variable
from screener.errors import ScreenerError

if TYPE_CHECKING:
    import typer

    from screener.pipeline.run import Provenance

_OTHER_VARIABLES = frozenset({"SCREENER_CONFIG", "SCREENER_DEBUG", "SCREENER_DICOMWEB_TOKEN"})
"""Variables that set no option of a command."""
_REPAIR = ["config", "template"]
"""The command that must run although the file is wrong."""


def provenance_of(context: typer.Context) -> Provenance:
    """Return where the options of a command come from, once Typer has read them."""
    from screener.pipeline.run import Provenance

    names = {"COMMANDLINE": "command line", "ENVIRONMENT": "environment", "DEFAULT_MAP": "configuration"}
    origins = {}
    for param in context.command.params:
        source = context.get_parameter_source(str(param.name))
        if param.param_type_name == "option" and source is not None and source.name in names:
            origins[str(param.name)] = names[source.name]
    file: ConfigFile | None = context.obj
    return Provenance(None, "", origins) if file is None else Provenance(file.path, file.sha256, origins)


class ConfiguredGroup(TyperGroup):
    """The commands of screener: options that are not on the command line come from variables and the file."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - Typer's private copy of click
        """Find the command, and prepare where its options come from."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            give_variables(self)
            warn_of_unknown_variables(self)
            # Whoever asks how something is used must get an answer, whatever the file holds.
            if args[:2] != _REPAIR and "--help" not in rest:
                apply_file(ctx)
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        """Run the command; an option that it cannot use is named with the place that sets it."""
        try:
            return super().invoke(ctx)
        except ScreenerError as error:
            if places := origins_in(str(error), self, ctx):
                error.hint = f"{error.hint} ({'; '.join(places)})"
            raise
        except Exception as error:  # the exception classes of Typer's copy of click are private
            _name_variable(error)
            raise


def _name_variable(error: Any) -> None:  # noqa: ANN401 - an exception of Typer's private copy of click
    """Let the message about a value name the variable that holds it; Typer names the option only."""
    param, context = getattr(error, "param", None), getattr(error, "ctx", None)
    if param is None or context is None or not param.envvar:
        return
    source = context.get_parameter_source(param.name)
    if source is not None and source.name == "ENVIRONMENT":
        name = next(one for one in param.envvar if os.environ.get(one))
        error.message = f"{error.message.rstrip('.')}, in the variable {name}."


def give_variables(group: Any) -> None:  # noqa: ANN401
    """Let each option read its two variables; the help does not list them, since their names follow a rule."""
    for option in options_of(group):
        option.param.envvar = list(option.variables)
        option.param.show_envvar = False


def apply_file(ctx: Any) -> ConfigFile | None:  # noqa: ANN401
    """Read the configuration file that counts, if there is one, and let its values be the defaults.

    Raises
    ------
    UsageError
        The file that was named does not exist, or something in the file cannot be used.
    """
    path = find(ctx.params.get("config"))
    if path is None:
        return None
    options = options_of(ctx.command)
    file = read(path, options)
    ctx.obj = file
    ctx.default_map = file.default_map(options)
    return file


def warn_of_unknown_variables(group: Any) -> None:  # noqa: ANN401
    """Say on stderr that a variable sets nothing: a threshold that is misspelt must not pass for set."""
    given = {name for name in os.environ if name.startswith(f"{PREFIX}_")} - _OTHER_VARIABLES
    if not given:
        return
    known = {name for option in options_of(group) for name in option.variables}
    for name in sorted(given - known):
        close = get_close_matches(name, known, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        sys.stderr.write(f"warning: the variable {name!a} sets no option{hint}\n")


def origins_in(message: str, group: Any, ctx: Any) -> list[str]:  # noqa: ANN401
    """Return where the values come from that a message about the command in hand quotes."""
    found = []
    for option in options_of(group):
        value, origin = _configured(option, ctx.obj if isinstance(ctx.obj, ConfigFile) else None)
        quoted = isinstance(value, str) and repr(value) in message
        named = quoted or f"--{option.key.replace('_', '-')} " in message
        if option.command[0] == ctx.invoked_subcommand and origin is not None and named:
            found.append(f"--{option.key.replace('_', '-')} comes from {origin}")
    return found


def _configured(option: CommandOption, file: ConfigFile | None) -> tuple[object, str | None]:
    """Return what sets an option outside the command line, and where."""
    for name in option.variables:
        if value := os.environ.get(name):
            return value, f"the variable {name}"
    if file is None or (origin := file.origin(option)) is None:
        return None, None
    values = file.default_map([option])
    for name in option.command:
        values = values[name]
    return values[option.param.name], origin


def model_of_configuration(ctx: Any) -> str | None:  # noqa: ANN401
    """Return the model that variables or the file make the default of every command; None: the one that came along.

    Raises
    ------
    UsageError
        The configuration file cannot be used.
    """
    if value := os.environ.get(variable("model")):
        return value
    path = find(ctx.params.get("config"))
    if path is None:
        return None
    model = read(path, options_of(ctx.command)).tables.get("common", {}).get("model")
    return None if model is None else str(model)
