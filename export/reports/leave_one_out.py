"""The tables of `export.evaluation.leave_one_out`, as JSON and Markdown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from export.errors import DataError
from export.reports.render import write_results

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from export.evaluation.leave_one_out import LeaveOneOut, Terms


def gather(folder: Path, experiments: Sequence[LeaveOneOut], terms: Terms) -> dict[str, Any]:
    """Read the figures of every experiment.

    Returns
    -------
    dict
        ``terms`` of the table; ``without_promise``: sequences of which nothing is promised; ``experiments`` by name.

    Raises
    ------
    DataError
        An experiment has no figures yet.
    """
    from export.evaluation.sample import WITHOUT_PROMISE

    missing = [one.name for one in experiments if not (folder / one.name / "leave_one_out.json").exists()]
    if missing:
        raise DataError(f"not evaluated yet: {', '.join(missing)}", "run the same command again; it goes on")
    return {
        "terms": msgspec.to_builtins(terms),
        "without_promise": list(WITHOUT_PROMISE),
        "experiments": {
            one.name: json.loads((folder / one.name / "leave_one_out.json").read_text()) for one in experiments
        },
    }


def write_leave_one_out(out: Path, result: Mapping[str, Any]) -> None:
    """Write ``<out>.json`` and ``<out>.md``: what the recipe is worth on each source or site that it never saw."""
    write_results(out, "leave_one_out", result)
