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


def write_ablation(out: Path, result: Mapping[str, Any]) -> None:
    """Write ``<out>.json`` and ``<out>.md``: what is lost on sources never seen without each setting."""
    write_results(out, "ablation", result, **ablation_table(result))


def ablation_table(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``columns``, ``rows`` and ``means`` of the AUCs; a source with one label has none, and no column."""
    rows = {name: _areas(experiment) for name, experiment in result["experiments"].items()}
    left_out = result["without_promise"]
    columns = [part for part in next(iter(rows.values())) if part.rsplit(" ", 1)[-1] not in left_out]
    means = {name: sum(areas[column] for column in columns) / len(columns) for name, areas in rows.items()}
    return {"columns": columns, "rows": rows, "means": means}


def _areas(experiment: Mapping[str, Any]) -> dict[str, float]:
    """Return every AUC of an experiment that exists."""
    whole = {part: figures["auc"]["value"] for part, figures in experiment["parts"].items()}
    return {part: area for part, area in (whole | experiment["stripped"]).items() if area is not None}
