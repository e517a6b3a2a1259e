"""Leave-one-out evaluation: a recipe trained without a source or site, evaluated there."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, structs

from export.data.sources import KNOWN, is_named
from export.errors import DataError
from export.evaluation.sample import WITHOUT_PROMISE
from export.files import save_json
from export.training.batches import plain
from export.training.loop import as_trained, best_model, configured, finished, prepare_training
from export.training.loop import train as run_training
from export.training.options import Options, Side
from screener.domain.estimate import Count
from screener.evaluate.metrics import Scored, confusion_figures, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import keras
    from numpy.typing import NDArray

    from export.training.loop import TrainingSetup


@dataclass(frozen=True)
class LeaveOneOut:
    """One training without a part of the data.

    Attributes
    ----------
    name : str
        Of its folder and its row.
    left_out : tuple of str
        Sources, or ``source:site``.
    augmentation : tuple of str
        Changes to the recipe's augmentation.
    levels : bool
        Whether tumour-free slices are balanced by their level in the head.
    again : int
        Added to the seed of the table: the same training with other luck, which shows how much of a difference is that.
    """

    name: str
    left_out: tuple[str, ...]
    augmentation: tuple[str, ...] = ()
    levels: bool = True
    again: int = 0


RESTRICTED = LeaveOneOut("restricted", tuple(name for name, known in KNOWN.items() if not known.commercial))
"""Everything whose licence does not plainly allow commercial use; the test source is scored, and chooses nothing."""
EXPERIMENTS = (
    *(
        LeaveOneOut(name.replace(":", "-"), (name,))
        for name in ("tcga_lgg:DU", "tcga_lgg:HT", "nickparvar", "br35h", "tcga_lgg")
    ),
    RESTRICTED,
)
"""Every source that has both labels, the two sites of one, and last all that is restricted at once."""


class Terms(msgspec.Struct, frozen=True):
    """What is the same for every experiment of one table; see `export.training.options.Options`."""

    recipe: str = "lite"
    epochs: Annotated[int, Meta(ge=1)] = 4
    steps: Annotated[int, Meta(ge=1)] = 90
    size: Side | None = None
    seed: Count = 1
    test_sources: tuple[str, ...] = ()

    def options(self, experiment: LeaveOneOut) -> Options:
        """Return what the training is asked for."""
        shared = structs.asdict(self) | {"seed": self.seed + experiment.again}
        return Options(
            **shared, left_out=experiment.left_out, augmentation=experiment.augmentation, levels=experiment.levels
        )


def run(
    data: Path,
    folder: Path,
    experiments: Sequence[LeaveOneOut],
    terms: Terms,
    *,
    unseen: NDArray[np.uint8] | None = None,
    max_minutes: float = math.inf,
) -> bool:
    """Train and evaluate what has not been evaluated; the same call goes on where the last one ended.

    Returns
    -------
    bool
        Whether every experiment is evaluated.

    Raises
    ------
    DataError
        See `export.training.loop.train`; or an experiment was evaluated under other terms.
    """

    def measure(place: Path, experiment: LeaveOneOut) -> dict[str, Any]:
        result = evaluate(data, place, experiment)
        print(f"{experiment.name}: {result['parts']}", flush=True)
        return result

    return run_each(
        data,
        folder,
        experiments,
        terms,
        file="leave_one_out.json",
        measure=measure,
        unseen=unseen,
        max_minutes=max_minutes,
    )


def run_each(
    data: Path,
    folder: Path,
    experiments: Sequence[LeaveOneOut],
    terms: Terms,
    *,
    file: str,
    measure: Callable[[Path, LeaveOneOut], dict[str, Any]],
    unseen: NDArray[np.uint8] | None,
    max_minutes: float,
) -> bool:
    """Train each experiment in a folder of its own and write what `measure` returns into `file` there; see `run`."""
    end = time.monotonic() + 60 * max_minutes
    for experiment in experiments:
        place = folder / experiment.name
        options = terms.options(experiment)
        if (place / file).exists():
            if Options.of(place) != options:
                raise DataError(f"{place} was evaluated under other terms", "delete it, or choose another --run")
            continue
        left = (end - time.monotonic()) / 60
        if left <= 0:
            return False
        progress = run_training(data, place, options, unseen=unseen, max_minutes=left)
        if not finished(progress, configured(options)):
            return False
        save_json(place / file, measure(place, experiment))
    return True


def evaluate(data: Path, run_folder: Path, experiment: LeaveOneOut) -> dict[str, Any]:
    """Evaluate a finished training on what it was kept from.

    Returns
    -------
    dict
        ``seconds`` of training; its ``seed``; what was ``left_out``; the changes to the ``augmentation``; the
        ``threshold``; ``parts``: figures by part, see `_parts`.
    """
    model, chosen, options = best_model(run_folder)
    # Divided anew, without the pictures that had to stay unseen, tune could hold what the run was fitted on.
    setup = as_trained(prepare_training(data, chosen, options, run_folder.parent / "cache"), run_folder)
    held_out = _held_out(setup, experiment)
    if not len(held_out):
        raise DataError(f"nothing comes from {', '.join(experiment.left_out)}", "name a source, or source:site")
    size = chosen.preprocessing.size
    scores = probabilities(model, plain(setup.exact[held_out], size))
    threshold = tune_threshold(model, setup, size)
    history = json.loads((run_folder / "progress.json").read_text())["history"]
    return {
        "seconds": sum(epoch["seconds"] for epoch in history),
        "seed": options.seed,
        "left_out": list(experiment.left_out),
        "augmentation": list(experiment.augmentation),
        "threshold": threshold,
        "parts": {
            name: _figures(setup, held_out[chosen], scores[chosen], threshold)
            for name, chosen in _parts(setup, held_out)
        },
    }


def _held_out(setup: TrainingSetup, experiment: LeaveOneOut) -> NDArray[np.int64]:
    """Return the slices that the training was kept from."""
    records = setup.dataset.records
    outside = np.array([is_named(experiment.left_out, one.source, one.site) for one in records])
    return np.flatnonzero(outside & setup.views.readable)


def _parts(setup: TrainingSetup, held_out: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield every source, and within a source that names sequences each of them: name, places in `held_out`."""
    records = [setup.dataset.records[index] for index in held_out.tolist()]
    for source in sorted({one.source for one in records}):
        inside = np.array([one.source == source for one in records])
        sequences = sorted({one.sequence for one in records if one.source == source and one.sequence})
        if len(sequences) < 2:  # noqa: PLR2004 - nothing to tell apart
            yield source, np.flatnonzero(inside)
            continue
        for sequence in sequences:
            yield f"{source} {sequence}", np.flatnonzero(inside & [one.sequence == sequence for one in records])


def _figures(
    setup: TrainingSetup, chosen: NDArray[np.int64], scores: NDArray[np.float64], threshold: float
) -> dict[str, Any]:
    """Return AUC, and sensitivity and specificity at the threshold that the tune set gave, with intervals."""
    scored = Scored(setup.labels[chosen], scores, setup.split.units[chosen])
    result = summary(scored) | confusion_figures(scored, threshold)
    result["auc"] = {name: value if math.isfinite(value) else None for name, value in result["auc"].items()}
    kept = ("slices", "positives", "units", "auc", "sensitivity", "specificity")
    return {name: result[name] for name in kept}


def probabilities(model: keras.Model, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities, (N, S, S, 1) → (N,)."""
    return np.asarray(model.predict(images, batch_size=64, verbose=0)["probability"], np.float64)[:, 0]


def tune_threshold(model: keras.Model, setup: TrainingSetup, size: int) -> float:
    """Return the threshold that flags 95 % of the tune set's positives, sequences without promise left aside."""
    tune = setup.split.where("tune")
    promised = [setup.dataset.records[index].sequence not in WITHOUT_PROMISE for index in tune.tolist()]
    positive = tune[(setup.labels[tune] == 1) & promised]
    return float(np.quantile(probabilities(model, plain(setup.exact[positive], size)), 0.05))
