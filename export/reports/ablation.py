"""The table of `export.evaluation.ablation`, as JSON and Markdown."""

from __future__ import annotations

import json
from statistics import mean
from typing import TYPE_CHECKING, Any

import msgspec

from export.evaluation.ablation import CHANGES, EXPERIMENTS, FILE, LEFT_OUT
from export.reports.render import write_results

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from export.evaluation.leave_one_out import Terms

_LEVELS = ("lower", "middle", "top")


def gather(folder: Path, terms: Terms) -> dict[str, Any]:
    """Read the figures of every row that is evaluated.

    Returns
    -------
    dict
        ``terms``; ``left_out``; ``changes``: what each row means; ``rows``: figures by name and seed; ``missing``.
    """
    found = {
        one.name: json.loads((folder / one.name / FILE).read_text())
        for one in EXPERIMENTS
        if (folder / one.name / FILE).exists()
    }
    return {
        "terms": msgspec.to_builtins(terms),
        "left_out": list(LEFT_OUT),
        "changes": {change.name: change.summary for change in CHANGES},
        "rows": found,
        "missing": [one.name for one in EXPERIMENTS if one.name not in found],
    }


def write_ablation(out: Path, result: Mapping[str, Any]) -> None:
    """Write ``<out>.json`` and ``<out>.md``: what each change does at a hospital that training never saw."""
    write_results(out, "ablation", result, **ablation_table(result))


def ablation_table(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``table``: for each change the figures of its seeds, by column; ``columns``, in order."""
    table: dict[str, dict[str, list[float]]] = {}
    for name, row in result["rows"].items():
        figures = _figures(row)
        columns = table.setdefault(name.rsplit("-", 1)[0], {column: [] for column in figures})
        for column, value in figures.items():
            columns[column].append(value)
    first = next(iter(table.values()), {})
    means = {name: {column: mean(values) for column, values in row.items()} for name, row in table.items()}
    return {"table": table, "means": means, "columns": list(first)}


def _figures(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the columns of one training."""
    found = {f"{name}, in context": part["in_context"] for name, part in row["adjusted"].items()}
    if row["parts"]:
        found["parts, AUC"] = row["parts"]["auc"]
        found["parts, specificity"] = row["parts"]["specificity"]["value"]
    for name, part in row["key_slices"].items():
        found[f"key slice, {name}"] = part["value"]
    for name, part in row["specificity"].items():
        if name.rsplit(" ", 1)[-1] in _LEVELS:
            found[f"specificity, {name}"] = part["value"]
    return found
