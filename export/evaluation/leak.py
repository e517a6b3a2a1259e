"""What flipped copies of the test slices are worth when they are left in the training set: a warning in figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import structs

from export.errors import DataError
from export.training.batches import plain
from export.training.loop import best_model, prepare_training
from export.training.options import Options
from screener import __version__
from screener.evaluate.metrics import Scored, operating_figures, summary

if TYPE_CHECKING:
    from pathlib import Path


def leak(data: Path, leaking: Path, control: Path, source: str) -> dict[str, Any]:
    """Compare a run that kept flipped copies of a test source with the same run without them.

    Raises
    ------
    DataError
        The runs differ in something else, or in nothing.
    """
    options = [structs.asdict(Options.of(run)) for run in (leaking, control)]
    differing = sorted(key for key in options[0] if options[0][key] != options[1][key])
    if differing != ["ignore_flips"]:
        raise DataError(
            f"{leaking} and {control} differ in {', '.join(differing) or 'nothing'}, not in --ignore-flips alone",
            "train both with the same options, one of them with --ignore-flips",
        )
    result = {"leaking": _figures(data, leaking, source), "control": _figures(data, control, source)}
    return {"source": source, "recipe": options[0]["recipe"], "tool_version": __version__, **result}


def _figures(data: Path, run: Path, source: str) -> dict[str, Any]:
    """Return figures of a run's best epoch straight from Keras, without quality control or tuned threshold."""
    model, chosen, options = best_model(run)
    setup = prepare_training(data, chosen, options, run.parent / "cache")
    mine = np.array([index for index, record in enumerate(setup.dataset.records) if record.source == source])
    answer = model.predict(plain(setup.exact[mine], chosen.preprocessing.size), batch_size=64, verbose=0)
    scored = Scored(setup.labels[mine], np.asarray(answer["probability"], np.float64)[:, 0], setup.split.units[mine])
    return {"epochs": chosen.epochs, **summary(scored), "at_default": operating_figures(scored, 0.5)}
