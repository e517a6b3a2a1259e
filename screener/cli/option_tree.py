"""Every option of every command, with its key in a configuration file and its variables.

The declarations of the commands are the only list of options; this reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMON = "common"
"""Table of a configuration file for the options that several commands share."""
PREFIX = "SCREENER"
"""First word of every variable."""


class CommandOption(NamedTuple):
    """One option of one command.

    Attributes
    ----------
    command : tuple of str
        Names that lead to the command, such as ``("model", "compare")``.
    key : str
        Its key in a configuration file: the long name, with ``_`` for ``-``.
    param : object
        Typer's declaration: type, default and meaning.
    common : bool
        Whether one value can be meant for every command that has an option of this name: all take the same type.
    """

    command: tuple[str, ...]
    key: str
    param: Any
    common: bool = True

    @property
    def table(self) -> str:
        """Name of the command's table in a configuration file."""
        return ".".join(self.command)

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables that set it: for this command, and for every command that has such an option."""
        own = variable(*self.command, self.key)
        return (own, variable(self.key)) if self.common else (own,)


def variable(*words: str) -> str:
    """Return the name of a variable: ``SCREENER`` and the words, in capitals, joined by ``_``."""
    return "_".join((PREFIX, *words)).upper().replace("-", "_")


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401 - Typer's private copy of click
    """Yield every command that does something, with the names that lead to it, in the order of the help."""
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
        return
    for name, one in below.items():
        yield from leaves(one, (*path, name))


def options_of(root: Any) -> list[CommandOption]:  # noqa: ANN401
    """Return the options of all commands.

    Parameters
    ----------
    root : object
        The group of all commands, as Typer builds it.
    """
    found = [
        CommandOption(names, key_of(param), param)
        for names, leaf in leaves(root)
        for param in leaf.params
        if param.param_type_name == "option"
    ]
    kinds: dict[str, set[tuple[str, bool]]] = {}
    for option in found:
        # A range does not make another type.
        kind = option.param.type.name.removesuffix(" range")
        kinds.setdefault(option.key, set()).add((kind, option.param.multiple))
    return [option._replace(common=len(kinds[option.key]) == 1) for option in found]


def key_of(param: Any) -> str:  # noqa: ANN401
    """Return the key of an option: its long name with ``_`` for ``-``."""
    name: str = max(param.opts, key=len)
    return name.lstrip("-").replace("-", "_")
