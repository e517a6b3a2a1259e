"""Recipes on equal terms: the same slices, frames, augmentation, size, epochs and folds, every cell measured."""

from __future__ import annotations

import json
import math
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import keras
import msgspec
import numpy as np
from msgspec import Meta
from sklearn.model_selection import StratifiedGroupKFold

from export.architectures import Start, names, recipe
from export.errors import DataError
from export.training.batches import Sampler, TrainingBatches, plain, stratum_of, stratum_weights
from export.training.loop import compile_model, prepare_training, resized
from export.training.options import Options, hold_to_ranges
from export.training.pretrain import labelled_part, pretrain
from screener.domain.estimate import Count
from screener.preprocess import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from export.architectures import Recipe
    from export.training.batches import Stratum
    from export.training.loop import TrainingSetup
    from export.training.options import Loss
    from screener.evaluate.labelled import Record

FOLDS = 5
_BATCH = 32
_SHARES = (0.1, 0.3, 1.0)


class Terms(msgspec.Struct, frozen=True):
    """What is the same for every recipe; the bounds keep the comparison small."""

    slices: Annotated[int, Meta(ge=1, le=3000, description="Size of the sample.")] = 1000
    size: Annotated[int, Meta(ge=64, le=112, description="Side of the input in pixels.")] = 96
    epochs: Annotated[int, Meta(ge=1, le=12, description="Epochs of every training.")] = 8
    seed: Annotated[Count, Meta(description="Of the sample, the folds and the weights.")] = 1
    test_sources: Annotated[
        tuple[str, ...], Meta(description="Sources from which no recipe learns; all their slices are scored.")
    ] = ()


@dataclass(frozen=True)
class Variant:
    """A recipe, and what is changed about it.

    Attributes
    ----------
    drawn : bool
        Whether it first learns to draw slices without labels.
    share : float, in (0, 1]
        Of the labels.
    """

    recipe: str
    loss: Loss = "cross-entropy"
    drawn: bool = False
    share: float = 1.0

    @property
    def key(self) -> str:
        """Return a name that can be part of a file's."""
        name = self.recipe.replace(":", ".")
        return f"{name}-{self.loss}-{'drawn' if self.drawn else 'plain'}-{round(100 * self.share)}"


@dataclass(frozen=True)
class Cell:
    """One training: a variant, and the part of the sample that it does not see and is scored on."""

    variant: Variant
    part: str

    @property
    def name(self) -> str:
        """Return the name of its result."""
        return f"{self.variant.key}@{self.part}"


@dataclass(frozen=True)
class Course:
    """The sample and its division.

    Attributes
    ----------
    setup : TrainingSetup
    chosen : ndarray of shape (n,), int
        Indices of the sampled records.
    folds : ndarray of shape (n,), int
    parts : dict of str to tuple of two arrays
        For every part the records to learn from and those to score.
    """

    setup: TrainingSetup
    chosen: NDArray[np.int64]
    folds: NDArray[np.int64]
    parts: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=dict)


def main_variants() -> list[Variant]:
    """Return every recipe once, as it is meant."""
    return [Variant(name, drawn=recipe(name).decoder is not None) for name in names()]


def cells(sources: Sequence[str]) -> list[Cell]:
    """Return everything that is trained: recipes over folds and sources, then losses, then shares of the labels."""
    folds = [f"fold{number}" for number in range(FOLDS)]
    held = [f"without-{source}" for source in sources]
    requested = [Cell(variant, part) for variant in main_variants() for part in (*folds, *held)]
    losses: tuple[Loss, ...] = ("class-weighted", "focal")
    requested += [Cell(Variant("baseline", loss), part) for loss in losses for part in folds]
    shares = [Variant("autoencoder", drawn=drawn, share=share) for drawn in (True, False) for share in _SHARES]
    # Part by part: what was drawn for one share of the labels serves the others.
    return list(dict.fromkeys([*requested, *(Cell(variant, part) for part in folds for variant in shares)]))


def equal(name: str, terms: Terms, steps: int) -> Recipe:
    """Return a recipe under the terms: only architecture, start and learning rate remain its own."""
    framed = replace(
        recipe(name),
        preprocessing=Preprocessing(192, crop="head", pad="square", intensity="percentile"),
        view_side=224,
        augment="hospital",
        schedule="cosine",
        averaging=0.0,
        label_smoothing=0.0,
        shares={},
        epochs=terms.epochs,
        steps=steps,
    )
    return resized(framed, terms.size)


def prepare(data: Path, cache: Path, terms: Terms, unseen: NDArray[np.uint8] | None = None) -> Course:
    """Decode, group, sample and divide.

    The sample comes from the fit and tune sets: what certifies a model is not looked at here.

    Raises
    ------
    DataError
        The terms reach beyond their bounds, or the data cannot be divided so.
    """
    hold_to_ranges(terms, "the comparison is to stay small")
    options = Options("lite", seed=terms.seed, test_sources=terms.test_sources)
    setup = prepare_training(data, equal("lite", terms, 1), options, cache, unseen)
    chosen = sample(setup, terms)
    folds = divide(setup, chosen, terms.seed)
    return Course(setup, chosen, folds, dict(_parts(setup, chosen, folds, terms)))


def sample(setup: TrainingSetup, terms: Terms) -> NDArray[np.int64]:
    """Draw the sample: balanced over label, source and sequence, as many near-duplicate groups as possible."""
    rng = np.random.default_rng(terms.seed)
    strata: dict[Stratum, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index in np.flatnonzero(np.isin(setup.split.sets, ("fit", "tune"))).tolist():
        strata[stratum_of(setup.dataset.records[index])][int(setup.split.groups[index])].append(index)
    weights = stratum_weights(sorted(strata), {})
    drawn: list[int] = []
    for key, groups in sorted(strata.items()):
        drawn += _one_of_each(list(groups.values()), round(terms.slices * weights[key]), rng)
    return np.sort(np.array(drawn))


def _one_of_each(groups: list[list[int]], count: int, rng: np.random.Generator) -> list[int]:
    """Draw without repeats: one of every group, then a second one, and so on."""
    turns = [
        (turn, rng.random(), index) for group in groups for turn, index in enumerate(rng.permutation(group).tolist())
    ]
    return [index for _, _, index in sorted(turns)[:count]]


def divide(setup: TrainingSetup, chosen: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Deal the sample into folds by leak-free unit, stratified by source and label: (n,), int.

    Raises
    ------
    DataError
        There are fewer units than folds.
    """
    units = setup.split.units[chosen]
    if len(np.unique(units)) < FOLDS:
        raise DataError(f"{len(np.unique(units))} leak-free units cannot fill {FOLDS} folds", "add patients")
    strata = [f"{setup.dataset.records[index].source}:{setup.labels[index]}" for index in chosen.tolist()]
    folds = np.full(len(chosen), -1, np.int64)
    dealer = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for number, (_, held) in enumerate(dealer.split(chosen, strata, units)):
        folds[held] = number
    return folds


def _parts(
    setup: TrainingSetup, chosen: NDArray[np.int64], folds: NDArray[np.int64], terms: Terms
) -> Iterator[tuple[str, tuple[NDArray[np.int64], NDArray[np.int64]]]]:
    """Yield what each part learns from and is scored on; a source takes every unit that it touches with it."""
    for number in range(FOLDS):
        yield f"fold{number}", (chosen[folds != number], chosen[folds == number])
    sources = np.array([record.source for record in setup.dataset.records])
    readable = setup.split.sets != "unreadable"
    for source in sorted(set(sources[chosen].tolist()) | set(terms.test_sources)):
        touched = np.isin(setup.split.units, setup.split.units[sources == source])
        held = chosen[sources[chosen] == source]
        if source in terms.test_sources:
            held = np.flatnonzero((sources == source) & readable)
        yield f"without-{source}", (chosen[~touched[chosen]], held)


def run(course: Course, folder: Path, terms: Terms, *, max_minutes: float = math.inf) -> bool:
    """Measure every cell that has not been measured; the same call goes on where the last one ended.

    Returns
    -------
    bool
        Whether all cells are measured.

    Raises
    ------
    DataError
        The folder holds a comparison on other terms.
    """
    _claim(folder, course, terms)
    start, bench = time.monotonic(), Bench(terms)
    requested = cells([part.removeprefix("without-") for part in course.parts if part.startswith("without-")])
    for number, cell in enumerate(requested, start=1):
        path = folder / f"{cell.name}.json"
        if path.exists():
            continue
        if time.monotonic() - start > 60 * max_minutes:
            print(f"{max_minutes:g} minutes are up at cell {number} of {len(requested)}; the same command goes on")
            return False
        measured = _measure(course, cell, bench)
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(measured))
        partial.replace(path)
        print(f"{number}/{len(requested)} {cell.name}: {measured['seconds']:.0f} s", flush=True)
    return True


def _claim(folder: Path, course: Course, terms: Terms) -> None:
    """Write the terms down, or check that they are the ones that the comparison was started on."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "terms.json"
    # As JSON has it: what is compared with a file must have lists where the terms have tuples.
    requested = {**json.loads(msgspec.json.encode(terms)), "data": course.setup.dataset.fingerprint()}
    if path.exists() and json.loads(path.read_text()) != requested:
        raise DataError(f"{folder} holds a comparison on other terms or data", "name another folder with --run")
    path.write_text(json.dumps(requested, indent=1) + "\n")


class Bench:
    """Holds one network at a time: building and tracing a deep one takes as long as training it on so few slices."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self._built: tuple[str, keras.Model, list[NDArray[Any]]] | None = None
        self._drawn: tuple[str, bytes, list[NDArray[Any]]] | None = None

    def fit(self, setup: TrainingSetup, variant: Variant, learn: NDArray[np.int64]) -> tuple[keras.Model, Recipe]:
        """Train a variant on the records `learn`, without any look at others, and keep its last weights."""
        chosen = equal(variant.recipe, self.terms, math.ceil(len(learn) / _BATCH))
        keras.utils.set_random_seed(self.terms.seed)
        model = self._fresh(variant.recipe, chosen)
        seed = self.terms.seed
        if variant.drawn:
            self._draw(model, variant.recipe, chosen, setup, learn)
        labelled = labelled_part(setup.dataset.records, setup.split.units, learn, variant.share, seed)
        if variant.loss != "cross-entropy" or not model.compiled:
            compile_model(model, chosen, variant.loss, setup.labels[labelled])
        batches = TrainingBatches(
            chosen,
            setup.views,
            setup.labels,
            Sampler.over(setup.dataset.records, setup.split.groups, labelled, chosen.shares),
            locate="heatmap" in model.output_names,
            seed=seed,
            batch_size=_BATCH,
        )
        for epoch in range(chosen.epochs):
            slowing = 0.5 * (1 + math.cos(math.pi * epoch / chosen.epochs))
            model.optimizer.learning_rate.assign(chosen.learning_rate * slowing)
            batches.start_epoch(epoch)
            model.fit(batches, epochs=1, shuffle=False, verbose=0)
        if variant.loss != "cross-entropy":
            self._built = None
        return model, chosen

    def _draw(
        self, model: keras.Model, name: str, chosen: Recipe, setup: TrainingSetup, learn: NDArray[np.int64]
    ) -> None:
        """Train without labels, unless that was just done on the same slices."""
        if self._drawn is None or self._drawn[:2] != (name, learn.tobytes()):
            pretrain(model, chosen, setup.views, learn, epochs=chosen.epochs, seed=self.terms.seed, batch_size=_BATCH)
            self._drawn = name, learn.tobytes(), model.get_weights()
        model.set_weights(self._drawn[2])

    def _fresh(self, name: str, chosen: Recipe) -> keras.Model:
        """Return the network as it was before it saw a slice."""
        if self._built is None or self._built[0] != name:
            self._built = None
            keras.backend.clear_session()
            keras.utils.set_random_seed(self.terms.seed)
            model = chosen.build(Start(chosen.preprocessing.size))
            self._built = name, model, model.get_weights()
        _, model, weights = self._built
        model.set_weights(weights)
        if model.compiled:
            for variable in model.optimizer.variables:
                variable.assign(keras.ops.zeros_like(variable))
        return model


def _measure(course: Course, cell: Cell, bench: Bench) -> dict[str, Any]:
    """Train one cell and score what it did not see."""
    learn, held = course.parts[cell.part]
    start = time.monotonic()
    model, chosen = bench.fit(course.setup, cell.variant, learn)
    seconds = time.monotonic() - start
    answer = model.predict(plain(course.setup.exact[held], chosen.preprocessing.size), batch_size=64, verbose=0)
    scores = np.asarray(answer["probability"], np.float64)[:, 0]
    if not np.isfinite(scores).all():
        raise DataError(f"{cell.name} gives scores that are no numbers", "lower its learning rate")
    return {
        "cell": cell.name,
        "seconds": round(seconds, 1),
        "slices_per_second": round(chosen.epochs * (chosen.steps or 0) * _BATCH / seconds, 1),
        "parameters": model.count_params(),
        "learnt_from": len(learn),
        "paths": [course.setup.dataset.records[index].path for index in held.tolist()],
        "scores": [round(float(value), 6) for value in scores],
    }


def counts(records: Sequence[Record], chosen: NDArray[np.int64]) -> dict[str, int]:
    """Count a sample by source and label: ``tcga_lgg yes`` and so on."""
    found = Counter(f"{records[index].source} {'yes' if records[index].label else 'no'}" for index in chosen.tolist())
    return dict(sorted(found.items()))
