"""Ablation on whole heads: the recipe with one change at a time, trained without a hospital, evaluated there.

The hospital that is left out reports; epoch and threshold come from the sites that were trained on. Patients with a
slice that resembles one of a test source are left aside, since these figures choose what the recipe keeps.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from export.data.sources import is_named
from export.data.volumes import read_volumes
from export.evaluation.leave_one_out import LeaveOneOut, Terms, probabilities, run_each, tune_threshold
from export.training.loop import as_trained, best_model, prepare_training
from screener.domain.slice import Identity, Refused
from screener.evaluate.heads import Row, adjusted, counted, key_slices, parts_compared, series_answer, series_of, share
from screener.evaluate.levels import UNORDERED, level_of
from screener.inbox import FileBytes, decode_slice
from screener.pipeline.slice import prepare_slice
from screener.pipeline.study import Aggregation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import keras
    from numpy.typing import NDArray

    from export.training.loop import TrainingSetup
    from screener.evaluate.labelled import LabelledRow
    from screener.preprocess import Preprocessing

LEFT_OUT = ("tcga_lgg:DU", "nichart")
"""A hospital with tumours in three sequences, and a source of tumour-free heads with skull."""
FILE = "ablation.json"
_SEEDS = 2
_BATCH = 256


@dataclass(frozen=True)
class Change:
    """One row of the table: what differs from the recipe.

    Attributes
    ----------
    name, summary : str
    augmentation : tuple of str
        Changes to the recipe's augmentation.
    levels : bool
        Whether tumour-free slices are balanced by their level in the head.
    """

    name: str
    summary: str
    augmentation: tuple[str, ...] = ()
    levels: bool = True


CHANGES = (
    Change("recipe", "as the recipe has it"),
    Change("acquisition", "with imitated acquisition faults of whole heads", ("acquisition=0.25",)),
    Change("levels", "tumour-free slices not balanced by level", levels=False),
    Change("tones", "without grey tones of other slices", ("tones=0",)),
    Change("paste", "without pasted tumours and decoys", ("paste=0", "decoy=0")),
)
"""Most telling first: a run that is stopped has measured these."""
EXPERIMENTS = tuple(
    LeaveOneOut(f"{change.name}-{seed + 1}", LEFT_OUT, change.augmentation, again=seed, levels=change.levels)
    for change in CHANGES
    for seed in range(_SEEDS)
)


def run(
    data: Path,
    folder: Path,
    terms: Terms,
    *,
    unseen: NDArray[np.uint8] | None = None,
    max_minutes: float = math.inf,
    experiments: Sequence[LeaveOneOut] = EXPERIMENTS,
) -> bool:
    """Train and evaluate the rows that have not been; the same call goes on where the last one ended.

    Returns
    -------
    bool
        Whether every row is evaluated.

    Raises
    ------
    DataError
        See `export.evaluation.leave_one_out.run`.
    """

    def measure(place: Path, experiment: LeaveOneOut) -> dict[str, Any]:
        result = evaluate(data, place, experiment, terms)
        print(f"{experiment.name}: {result['adjusted']}", flush=True)
        return result

    return run_each(
        data, folder, experiments, terms, file=FILE, measure=measure, unseen=unseen, max_minutes=max_minutes
    )


def evaluate(data: Path, run_folder: Path, experiment: LeaveOneOut, terms: Terms) -> dict[str, Any]:
    """Evaluate a finished training on the whole heads that it was kept from.

    Returns
    -------
    dict
        ``seed``; ``threshold`` that flags 95 % of the tune set's positives; ``patients``; ``adjusted``, ``parts`` and
        ``key_slices`` of `screener.evaluate.heads`; ``specificity`` of tumour-free slices by source and level.
    """
    model, chosen, options = best_model(run_folder)
    setup = as_trained(prepare_training(data, chosen, options, run_folder.parent / "cache"), run_folder)
    away = _touching(setup, terms.test_sources)
    kept = [
        row
        for row in read_volumes(data)
        if is_named(experiment.left_out, row.source, row.site) and (row.source, row.patient) not in away
    ]
    rows = _scored(data, kept, model, chosen.preprocessing)
    series = series_of(rows)
    threshold = tune_threshold(model, setup, chosen.preprocessing.size)
    return {
        "seed": options.seed,
        "threshold": threshold,
        "patients": len({(row.source, row.patient) for row in rows}),
        "adjusted": adjusted(series),
        "parts": parts_compared(series, series_answer(Aggregation())),
        "key_slices": key_slices(series),
        "specificity": _specificity(rows, threshold),
    }


def _touching(setup: TrainingSetup, test_sources: Sequence[str]) -> frozenset[tuple[str, str]]:
    """Return source and patient of those with a slice that resembles one of a test source."""
    records = setup.dataset.records
    tested = np.array([record.source in test_sources for record in records])
    touched = np.isin(setup.split.units, setup.split.units[tested])
    return frozenset((records[index].source, records[index].patient) for index in np.flatnonzero(touched).tolist())


def _scored(data: Path, rows: Sequence[LabelledRow], model: keras.Model, how: Preprocessing) -> list[Row]:
    """Score slices with the network as trained, those that quality control refuses left without a score."""
    found: list[Row] = []
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        tensors = [_tensor(data / row.path, how) for row in part]
        known = [tensor for tensor in tensors if tensor is not None]
        answers = iter(probabilities(model, np.stack(known)).tolist() if known else [])
        found += [
            Row.of(row, None if tensor is None else next(answers)) for row, tensor in zip(part, tensors, strict=True)
        ]
    return found


def _tensor(path: Path, how: Preprocessing) -> NDArray[np.float32] | None:
    """Return a slice as the network takes it, (S, S, 1); None where it is refused."""
    decoded = decode_slice(FileBytes(Identity(path.name, "", None), path.read_bytes()))
    prepared = decoded if isinstance(decoded, Refused) else prepare_slice(decoded, how)
    return None if isinstance(prepared, Refused) else prepared.tensor


def _specificity(rows: Iterable[Row], threshold: float) -> dict[str, Any]:
    """Return the specificity by slice, by source and level of the head; a refusal is a false alarm."""
    counts: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if row.label == "no" and row.source not in UNORDERED:
            right = counted(row, row.score) < threshold
            for name in (row.source, f"{row.source} {level_of(row.height)}"):
                counts[name].append(right)
    return {name: share(sum(right), len(right)) for name, right in sorted(counts.items())}
