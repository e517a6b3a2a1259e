"""The table of recipes on equal terms: figures with intervals by leak-free unit, as JSON, Markdown and the sample."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from export.errors import DataError
from export.evaluation.cross_validation import FOLDS, Cell, Variant, cells, counts, main_variants
from screener.evaluate.metrics import Scored, auc, brier, confusion_figures, interval, operating_figures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from export.evaluation.cross_validation import Course, Terms

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
    return {"value": _told(statistic(scored.labels, scored.scores)), "low": _told(low), "high": _told(high)}


def _told(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def write_report(out: Path, course: Course, folder: Path, terms: Terms) -> None:
    """Write ``<out>.json``, ``<out>.md`` and ``<out>-sample.csv`` from the measured cells.

    Raises
    ------
    DataError
        A cell has not been measured.
    """
    found = collect(course, folder, terms)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    out.with_suffix(".md").write_text("\n".join(_lines(found)) + "\n")
    with out.with_name(f"{out.name}-sample.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "source", "unit", "fold"])
        for index, fold in zip(course.chosen.tolist(), course.folds.tolist(), strict=True):
            record = course.setup.dataset.records[index]
            label = "yes" if record.label else "no"
            writer.writerow([record.path, label, record.source, int(course.setup.found.units[index]), fold])


def collect(course: Course, folder: Path, terms: Terms) -> dict[str, Any]:
    """Return everything that was measured, as JSON has it."""
    sources = [part.removeprefix("without-") for part in course.parts if part.startswith("without-")]
    measured = {cell.name: _read(folder, cell) for cell in cells(sources)}
    place = {record.path: index for index, record in enumerate(course.setup.dataset.records)}

    def scored(variant: Variant, parts: Iterable[str]) -> Scored:
        rows = [measured[Cell(variant, part).name] for part in parts]
        indices = np.array([place[path] for row in rows for path in row["paths"]])
        scores = np.array([score for row in rows for score in row["scores"]])
        return Scored(course.setup.labels[indices], scores, course.setup.found.units[indices])

    folds = [f"fold{number}" for number in range(FOLDS)]
    pooled = list(dict.fromkeys(cell.variant for cell in cells(sources)))
    records = course.setup.dataset.records
    return {
        "terms": asdict(terms),
        "sample": counts(records, course.chosen),
        "units": len(np.unique(course.setup.found.units[course.chosen])),
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
            source: {variant.key: _abroad(scored(variant, [f"without-{source}"])) for variant in main_variants()}
            for source in sources
        },
    }


def _read(folder: Path, cell: Cell) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / f"{cell.name}.json").read_text())
    except FileNotFoundError:
        raise DataError(f"{cell.name} has not been measured", "run the same command again: it goes on") from None
    return found


def _abroad(scored: Scored) -> dict[str, Any]:
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


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the report, line by line."""
    terms, main = found["terms"], {variant.key: variant for variant in main_variants()}
    kept = ", ".join(terms["test_sources"]) or "none"
    yield "# Recipes on equal terms"
    yield ""
    yield (
        f"Written by `make setup`. {sum(found['sample'].values())} slices ({found['units']} leak-free units; listed in "
        f"`recipes-sample.csv`), {terms['size']}×{terms['size']} pixels, head-cropped and padded, the same "
        f"augmentation, {terms['epochs']} epochs of as many draws as there are slices, batches of 32, last weights, "
        "threshold 0.5; each recipe keeps its architecture, its start and its learning rate. Stratified group 5-fold, "
        "predictions pooled out of fold; intervals: 95 %, bootstrap over units. No recipe learnt from: "
        f"{kept}. Nothing that certifies a model is in the sample. {found['hours']} hours of training on 2 cores."
    )
    yield ""
    yield (
        "So small and so short a training shows which recipe gets on with little, not what any of them can reach; "
        "figures out of fold come from the same sources as the training, the table below them does not."
    )
    yield from ("", "## Five folds", "")
    yield from _table(found, main)
    yield from ("", "## A source that training never saw", "", "Every unit that touches the source was removed.", "")
    yield from _sources(found, main)
    yield from ("", "## Losses (`baseline`)", "")
    yield from _table(found, _wanted(found, lambda row: row["recipe"] == "baseline"))
    yield from ("", "## Fewer labels (`autoencoder`)", "")
    yield (
        "As many steps whatever the share of the labels; *drawn first*: the encoder learnt to draw spoilt slices of "
        "the fold's training part before, without labels."
    )
    yield ""
    yield from _table(found, _wanted(found, lambda row: row["recipe"] == "autoencoder"))


def _wanted(found: Mapping[str, Any], keep: Callable[[Mapping[str, Any]], bool]) -> dict[str, Variant]:
    names = ("recipe", "loss", "drawn", "share")
    return {key: Variant(**{name: row[name] for name in names}) for key, row in found["variants"].items() if keep(row)}


def _table(found: Mapping[str, Any], requested: Mapping[str, Variant]) -> Iterator[str]:
    yield f"| recipe | {' | '.join(NAMES.values())} | parameters | slices/s |"
    yield f"|---|{'---|' * (len(NAMES) + 2)}"
    for key, variant in requested.items():
        row = found["variants"][key]
        result = " | ".join(_shown(row["out_of_fold"][name]) for name in NAMES)
        yield f"| {_name(variant)} | {result} | {row['parameters']:,} | {row['slices_per_second']:.0f} |"


def _name(variant: Variant) -> str:
    result = [f"`{variant.recipe}`"]
    if variant.loss != "cross-entropy":
        result.append(variant.loss)
    if variant.drawn:
        result.append("drawn first")
    if variant.share < 1:
        result.append(f"{variant.share:.0%} of the labels")
    return ", ".join(result)


def _sources(found: Mapping[str, Any], main: Mapping[str, Variant]) -> Iterator[str]:
    yield f"| left out | slices (positive; units) | {' | '.join(_name(variant) for variant in main.values())} |"
    yield f"|---|---|{'---|' * len(main)}"
    for source, rows in found["sources"].items():
        first = next(iter(rows.values()))
        result = " | ".join(_abroad_cell(rows[key]) for key in main)
        yield f"| {source} | {first['slices']} ({first['positives']}; {first['units']}) | {result} |"


def _abroad_cell(row: Mapping[str, Any]) -> str:
    """Show the AUC, or for a source of one label the rate that it has."""
    if "auc" in row:
        return f"AUC {_shown(row['auc'])}"
    name = "sensitivity" if row["positives"] else "specificity"
    return f"{name} {_shown(row[name])}"


def _shown(found: Mapping[str, float | None]) -> str:
    if found["value"] is None:
        return "–"
    low, high = found["low"], found["high"]
    return f"{found['value']:.3f}" + ("" if low is None or high is None else f" ({low:.3f}–{high:.3f})")
