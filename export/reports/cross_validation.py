"""The table of recipes on equal terms: figures with intervals by leak-free unit, as JSON, Markdown and the sample."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from export.errors import DataError
from export.reports.render import write_results
from screener.evaluate.metrics import Scored, auc, brier, confusion_figures, interval, operating_figures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from export.evaluation.cross_validation import Cell, Course, Terms, Variant

_CUT = 0.5


NAMES = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "f1": "F1",
    "brier": "Brier",
}
"""Columns of the tables, by the name of the figure."""


def figures(scored: Scored) -> dict[str, dict[str, float | None]]:
    """Return every figure with its 95 % interval over units; decisions at 0.5.

    Parameters
    ----------
    scored : Scored
        Without refusals.
    """
    result = {"auc": _with_interval(auc, scored), "brier": _with_interval(brier, scored)}
    result |= {name: found for name, found in confusion_figures(scored, _CUT).items() if name in NAMES}
    return {
        name: {key: None if value is None else round(value, 4) for key, value in result[name].items()} for name in NAMES
    }


def _with_interval(
    statistic: Callable[[NDArray[np.int64], NDArray[np.float64]], float], scored: Scored
) -> dict[str, float | None]:
    low, high = interval(lambda drawn: statistic(scored.labels[drawn], scored.scores[drawn]), scored.units)
    return {"value": _rounded(statistic(scored.labels, scored.scores)), "low": _rounded(low), "high": _rounded(high)}


def _rounded(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def write_report(out: Path, course: Course, folder: Path, terms: Terms) -> None:
    """Write ``<out>.json``, ``<out>.md`` and ``<out>-sample.csv`` from the measured cells.

    Raises
    ------
    DataError
        A cell has not been measured.
    """
    result = collect(course, folder, terms)
    write_results(out, "recipes", result, **main_rows(result))
    with out.with_name(f"{out.name}-sample.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "source", "unit", "fold"])
        for index, fold in zip(course.chosen.tolist(), course.folds.tolist(), strict=True):
            record = course.setup.dataset.records[index]
            label = "yes" if record.label else "no"
            writer.writerow([record.path, label, record.source, int(course.setup.split.units[index]), fold])


def collect(course: Course, folder: Path, terms: Terms) -> dict[str, Any]:
    """Return everything that was measured, as JSON has it."""
    from export.evaluation.cross_validation import FOLDS, Cell, cells, counts, main_variants

    sources = [part.removeprefix("without-") for part in course.parts if part.startswith("without-")]
    measured = {cell.name: _read(folder, cell) for cell in cells(sources)}
    place = {record.path: index for index, record in enumerate(course.setup.dataset.records)}

    def scored(variant: Variant, parts: Iterable[str]) -> Scored:
        rows = [measured[Cell(variant, part).name] for part in parts]
        indices = np.array([place[path] for row in rows for path in row["paths"]])
        scores = np.array([score for row in rows for score in row["scores"]])
        return Scored(course.setup.labels[indices], scores, course.setup.split.units[indices])

    folds = [f"fold{number}" for number in range(FOLDS)]
    pooled = list(dict.fromkeys(cell.variant for cell in cells(sources)))
    records = course.setup.dataset.records
    return {
        "terms": msgspec.to_builtins(terms),
        "sample": counts(records, course.chosen),
        "units": len(np.unique(course.setup.split.units[course.chosen])),
        "hours": round(sum(row["seconds"] for row in measured.values()) / 3600, 2),
        "variants": {
            variant.key: {
                **asdict(variant),
                "out_of_fold": figures(scored(variant, folds)),
                "parameters": measured[Cell(variant, folds[0]).name]["parameters"],
                "slices_per_second": float(
                    np.median([measured[Cell(variant, part).name]["slices_per_second"] for part in folds])
                ),
            }
            for variant in pooled
        },
        "sources": {
            source: {variant.key: _unseen_source(scored(variant, [f"without-{source}"])) for variant in main_variants()}
            for source in sources
        },
    }


def _read(folder: Path, cell: Cell) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / f"{cell.name}.json").read_text())
    except FileNotFoundError:
        raise DataError(f"{cell.name} has not been measured", "run the same command again: it goes on") from None
    return found


def _unseen_source(scored: Scored) -> dict[str, Any]:
    """Return the figures of a source that was left out; a source of one label has no AUC."""
    at_half = operating_figures(scored, _CUT)
    result: dict[str, Any] = {
        "slices": len(scored.labels),
        "positives": int(scored.labels.sum()),
        "units": len(np.unique(scored.units)),
        "sensitivity": at_half["sensitivity"],
        "specificity": at_half["specificity"],
    }
    if 0 < result["positives"] < result["slices"]:
        result["auc"] = _with_interval(auc, scored)
    return result


def main_rows(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``main``, the rows of every recipe as it is meant, and ``names``, the columns."""
    keys = next(iter(result["sources"].values()))
    return {"main": {key: result["variants"][key] for key in keys}, "names": NAMES}
