"""What flipped copies of the test slices are worth when they are left in the training set: a warning in figures."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from export.errors import DataError
from export.files import save_json
from export.training.batches import plain
from export.training.loop import Options, best_model, prepare_training
from screener import __version__
from screener.evaluate.metrics import Scored, operating_figures, summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def leak(data: Path, leaking: Path, control: Path, source: str) -> dict[str, Any]:
    """Judge a run that kept flipped copies of a test source, and the same run without them.

    Raises
    ------
    DataError
        The runs differ in something else, or in nothing.
    """
    asked = [asdict(Options.of(run)) for run in (leaking, control)]
    differing = sorted(key for key in asked[0] if asked[0][key] != asked[1][key])
    if differing != ["ignore_flips"]:
        raise DataError(
            f"{leaking} and {control} differ in {', '.join(differing) or 'nothing'}, not in --ignore-flips alone",
            "train both with the same options, one of them with --ignore-flips",
        )
    result = {"leaking": _judged(data, leaking, source), "control": _judged(data, control, source)}
    return {"source": source, "recipe": asked[0]["recipe"], "tool_version": __version__, **result}


def _judged(data: Path, run: Path, source: str) -> dict[str, Any]:
    """Judge a run's best epoch straight in Keras, without gate or tuned threshold: neither becomes a model."""
    model, chosen, options = best_model(run)
    setup = prepare_training(data, chosen, options, run.parent / "cache")
    mine = np.array([index for index, record in enumerate(setup.dataset.records) if record.source == source])
    answer = model.predict(plain(setup.exact[mine], chosen.preprocessing.size), batch_size=64, verbose=0)
    scored = Scored(setup.labels[mine], np.asarray(answer["probability"], np.float64)[:, 0], setup.found.units[mine])
    return {"epochs": chosen.epochs, **summary(scored), "at_default": operating_figures(scored, 0.5)}


def write_leak(out: Path, result: Mapping[str, Any]) -> None:
    """Write ``<out>.json`` and ``<out>.md``."""
    out.parent.mkdir(parents=True, exist_ok=True)
    save_json(out.with_suffix(".json"), dict(result))
    out.with_suffix(".md").write_text("\n".join(_lines(result)) + "\n")


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"# {result['source']}: what a leak is worth", "")
    yield (
        f"Written by `make leak`: the recipe `{result['recipe']}` of version {result['tool_version']}, "
        f"{result['control']['epochs']} epochs, with and without flipped copies of the test slices in the training set "
        "(a comparison that looks at upright pictures only does not find them). Intervals: 95 %, over "
        "leak-free units."
    )
    yield from ("", "| training set | AUC | sensitivity at 0.5 | specificity at 0.5 |", "|---|---|---|---|")
    for name, key in (("flipped copies left in", "leaking"), ("leak-free", "control")):
        area, point = result[key]["auc"], result[key]["at_default"]
        yield (
            f"| {name} | {area['value']:.3f} ({area['low']:.3f}–{area['high']:.3f}) | "
            f"{point['sensitivity']['value']:.3f} | {point['specificity']['value']:.3f} |"
        )
