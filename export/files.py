"""Files that are whole or not there at all, and tables whose lines can be named."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

from export.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def atomically(path: Path, save: Callable[[Path], object]) -> None:
    """Save beside, then rename: a full disk or a kill leaves the former file, and no half of the new one.

    Parameters
    ----------
    path : Path
    save : callable
        Writes the file that it is given, whose name ends as that of `path` does.

    Raises
    ------
    OSError
        It cannot be written.
    """
    partial = path.with_name(f"partial-{path.name}")
    try:
        save(partial)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # most libraries leave out which
        raise


def save_json(path: Path, result: Any) -> None:  # noqa: ANN401 - JSON
    """Write JSON, whole or not at all.

    Raises
    ------
    OSError
        It cannot be written.
    """
    atomically(path, lambda partial: partial.write_text(json.dumps(result, indent=1) + "\n"))


def read_rows(path: Path, columns: Sequence[str], hint: str) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV in UTF-8.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        Those that it must have.
    hint : str
        What to do when it has not, or cannot be read.

    Returns
    -------
    list of (int, dict)
        The line on which each row ends, as an editor counts, and its cells by column; one that is not there is empty.

    Raises
    ------
    DataError
        It cannot be read, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path}:1: no column {', '.join(missing)}", hint)
            return [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}", hint) from None
