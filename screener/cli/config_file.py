"""The configuration file: where it lies, what it may hold, and which of its lines is wrong.

One file is read; files are not merged, so that START can name the one that counted.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from screener.cli.option_tree import COMMON, CommandOption
from screener.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NAME = "screener.toml"
SYSTEM = Path("/etc/screener") / NAME
"""Read where the user has no file of their own, as the user of a service has none."""
_MAX_BYTES = 1 << 20
_KINDS: dict[str, Any] = {
    "str": str,
    "path": str,
    "int": int,
    "int range": int,
    "float": float,
    "float range": float,
    "boolean": bool,
}
"""What a file holds for an option, by the name of its type on the command line."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A configuration file that was read and checked.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of its bytes.
    text : str
    tables : dict of str to dict
        Values by table and key: one table a command, and `COMMON`.
    """

    path: Path
    sha256: str
    text: str
    tables: dict[str, dict[str, object]]

    def origin(self, option: CommandOption) -> str | None:
        """Say where the file sets an option, as ``PATH:LINE``; None where it does not."""
        places = (option.table, COMMON) if option.common else (option.table,)
        table = next((one for one in places if option.key in self.tables.get(one, {})), None)
        return None if table is None else f"{self.path}:{line_of(self.text, [*table.split('.'), option.key])}"

    def default_map(self, options: Sequence[CommandOption]) -> dict[str, Any]:
        """Return the values by command and parameter, as Typer takes them; a command's own table wins."""
        found: dict[str, Any] = {}
        for option in options:
            values = {**(self.tables.get(COMMON, {}) if option.common else {}), **self.tables.get(option.table, {})}
            if option.key in values:
                inner = found
                for name in option.command:
                    inner = inner.setdefault(name, {})
                inner[option.param.name] = _expanded(option, values[option.key])
        return found


def user_file() -> Path | None:
    """Return the user's own file, ``screener/screener.toml`` in the XDG configuration folder; None without a home."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG rule: a relative value is to be ignored.
    try:
        folder = Path(home) if Path(home).is_absolute() else Path.home() / ".config"
    except RuntimeError:
        return None
    return folder / "screener" / NAME


def find(named: str | Path | None) -> Path | None:
    """Return the file that counts: the one that is named, else the user's own, else that of the system.

    A file in the working folder does not count: whoever may drop pictures there would set the threshold.
    """
    if named is not None:
        return Path(named)
    return next((path for path in (user_file(), SYSTEM) if path is not None and path.is_file()), None)


def read(path: Path, options: Sequence[CommandOption]) -> ConfigFile:
    """Read a configuration file and check every value against the option that it sets.

    Raises
    ------
    UsageError
        It cannot be read, is no TOML, or a key or value in it cannot be used; the message names file, line and key.
    """
    data = _bytes(path)
    try:
        text = data.decode("utf-8")
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: not UTF-8", "save the file as UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not TOML: {error}", "correct that line; text needs quotation marks") from None
    found = ConfigFile(path, hashlib.sha256(data).hexdigest(), text, {})
    _Check(found, options).document(document)
    return found


def _bytes(path: Path) -> bytes:
    hint = "name another file with --config, or create it: screener config template"
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the configuration {path} cannot be read: {error.strerror}", hint) from None
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{path} is larger than {_MAX_BYTES >> 20} MiB: this is no configuration", hint)
    return data


class _Check:
    """Holds a document to the options that there are, and fills the tables of the file."""

    def __init__(self, file: ConfigFile, options: Sequence[CommandOption]) -> None:
        self.file = file
        self.by_table: dict[str, list[CommandOption]] = {COMMON: [option for option in options if option.common]}
        for option in options:
            self.by_table.setdefault(option.table, []).append(option)

    def document(self, document: Mapping[str, Any], path: tuple[str, ...] = ()) -> None:
        """Go through tables, which may hold tables of commands below them."""
        for name, value in document.items():
            below = (*path, name)
            table = ".".join(below)
            inside = [one for one in self.by_table if one == table or one.startswith(f"{table}.")]
            if not inside:
                self._refuse_unknown(path, name, value)
            elif not isinstance(value, dict):
                raise self._error(below, "is a command; its options stand below it", f"write [{table}] above them")
            else:
                groups = {key: value[key] for key in value if f"{table}.{key}" in _above(inside)}
                self._table(below, {key: one for key, one in value.items() if key not in groups})
                self.document(groups, below)

    def _table(self, path: tuple[str, ...], values: Mapping[str, Any]) -> None:
        """Check the options of one table."""
        for key, value in values.items():
            meant = [option for option in self.by_table.get(".".join(path), []) if option.key == key]
            if not meant:
                self._refuse_unknown(path, key, value)
            for option in meant:
                self._value((*path, key), value, option)
            self.file.tables.setdefault(".".join(path), {})[key] = value

    def _value(self, path: tuple[str, ...], value: object, option: CommandOption) -> None:
        import msgspec

        from screener.pipeline.config import as_path

        try:
            msgspec.convert(value, kind_of(option), dec_hook=as_path)
        except msgspec.ValidationError as error:
            raise self._error(path, f"{value!r}: {error}", f"its meaning: {option.param.help}") from None

    def _refuse_unknown(self, path: tuple[str, ...], key: str, value: object) -> None:
        """Say that there is no such key, and which one may be meant."""
        table = ".".join(path)
        if not path and not isinstance(value, dict):
            what = "stands above the first table"
            raise self._error((key,), what, f"write it below [{COMMON}], or below the table of a command")
        known = (
            sorted({option.key for option in self.by_table.get(table, [])}) if path else sorted(_above(self.by_table))
        )
        close = get_close_matches(key.replace("-", "_") if path else key, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
        where = f"[{table}] has no option of this name" if path else "no command has this name"
        raise self._error((*path, key), where, hint)

    def _error(self, path: tuple[str, ...], what: str, hint: str) -> UsageError:
        line = line_of(self.file.text, path)
        return UsageError(f"{self.file.path}:{line}: {'.'.join(path)}: {what}", hint)


def _above(tables: Any) -> set[str]:  # noqa: ANN401 - any iterable of names
    """Return the names of tables and of the groups that hold them."""
    return {".".join(parts[: count + 1]) for parts in (one.split(".") for one in tables) for count in range(len(parts))}


def kind_of(option: CommandOption) -> Any:  # noqa: ANN401 - a type that msgspec knows
    """Return what a file may hold for an option: the type and range of the scan's field, or of its declaration."""
    from screener.pipeline.config import field_types

    param = option.param
    field = field_types().get(option.key)
    # The option of another command that has the same name may mean something else.
    if field is not None and field.__metadata__[0].description == param.help:
        return field
    return list[_declared(param)] if param.multiple else _declared(param)  # type: ignore[misc]


def _declared(param: Any) -> Any:  # noqa: ANN401 - Typer's private copy of click
    import msgspec

    kind = param.type
    if getattr(kind, "choices", None):
        return Literal[tuple(kind.choices)]
    found = _KINDS[kind.name]
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    return found if low is None and high is None else Annotated[found, msgspec.Meta(ge=low, le=high)]


def _expanded(option: CommandOption, value: object) -> object:
    """Return a value as the command line would pass it: there, the shell replaces ``~``."""
    is_place = option.param.type.name == "path" and isinstance(value, str)
    return str(Path(str(value)).expanduser()) if is_place else value


def line_of(text: str, path: Sequence[str]) -> int:
    """Return the number of the line where a key of a TOML text is set; 1 for the first.

    Raises
    ------
    KeyError
        The text does not hold the key.
    """
    return _lines(text)[tuple(path)]


@lru_cache(maxsize=2)
def _lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line of every key and table.

    The statement that sets a key is the first with which the text up to there holds it. Reading the text line by line
    in this way knows every way to write a key: headers, dotted keys, inline tables, quotes, strings over lines.
    """
    lines = text.split("\n")
    found: dict[tuple[str, ...], int] = {}
    begun = 0
    for count in range(1, len(lines) + 1):
        try:
            document = tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        for path in _paths(document):
            found.setdefault(path, begun + 1)
        begun = count
    return found


def _paths(document: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in document.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _paths(value, (*above, name))


def with_common(text: str, key: str, value: str) -> str:
    """Return a TOML text in which the common table sets one key; everything else, comments included, stays as it is.

    Parameters
    ----------
    text : str
        Valid TOML.
    key, value : str
        The value becomes a string.

    Raises
    ------
    UsageError
        The file is written in a way that this cannot edit.
    """
    entry = f"{key} = {quoted(value)}"
    before = tomllib.loads(text)
    common = before.get(COMMON, {})
    lines = text.split("\n")
    if key in common:
        lines[line_of(text, [COMMON, key]) - 1] = entry
    elif COMMON in before:
        lines.insert(line_of(text, [COMMON]), entry)
    else:
        lines = (
            [*text.rstrip("\n").split("\n"), "", f"[{COMMON}]", entry, ""]
            if text.strip()
            else [f"[{COMMON}]", entry, ""]
        )
    edited = "\n".join(lines)
    expected = {**before, COMMON: {**common, key: value}}
    try:
        sound = tomllib.loads(edited) == expected
    except tomllib.TOMLDecodeError:
        sound = False
    if not sound:
        raise UsageError(
            "the configuration is written in a way that cannot be edited safely", f"write by hand: {entry}"
        )
    return edited


def quoted(value: object) -> str:
    """Return a value as TOML: text, a number, a truth value, or a list of these."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(quoted, value))}]"
    escaped = "".join(_escaped(letter) for letter in str(value))
    return f'"{escaped}"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"
