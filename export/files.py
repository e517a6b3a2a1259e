"""Files that are whole or not there at all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
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


def save_json(path: Path, told: Any) -> None:  # noqa: ANN401 - JSON
    """Write JSON, whole or not at all.

    Raises
    ------
    OSError
        It cannot be written.
    """
    atomically(path, lambda partial: partial.write_text(json.dumps(told, indent=1) + "\n"))
