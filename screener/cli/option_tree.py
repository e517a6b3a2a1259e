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
    """

    command: tuple[str, ...]
    key: str
    param: Any

    @property
    def table(self) -> str:
        """Name of the command's table in a configuration file."""
        return ".".join(self.command)

    @property
    def variables(self) -> tuple[str, str]:
        """Names of the two variables that set it: for this command, and for every command that has such an option."""
        return variable(*self.command, self.key), variable(self.key)


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


def options_of(command: Any, path: tuple[str, ...] = ()) -> Iterator[CommandOption]:  # noqa: ANN401
    """Yield the options of a command and of the commands below it.

    Parameters
    ----------
    command : object
        As Typer builds it: a command, or a group of them.
    path : tuple of str
        Names that lead to `command`.
    """
    for names, leaf in leaves(command, path):
        for param in leaf.params:
            if param.param_type_name == "option":
                yield CommandOption(names, key_of(param), param)


def key_of(param: Any) -> str:  # noqa: ANN401
    """Return the key of an option: its long name with ``_`` for ``-``."""
    name: str = max(param.opts, key=len)
    return name.lstrip("-").replace("-", "_")
