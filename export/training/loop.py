"""Train a recipe on the fit set, pick its best epoch on the tune set, survive interruptions.

Early stopping, the plateau and the averaged weights are kept in ``progress.json`` and the checkpoints. Keras' own
callbacks keep theirs in memory, and ``BackupAndRestore`` restores the weights and the epoch alone: a run that goes on
would not end as if it had never been interrupted.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
import zipfile
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from msgspec import structs
from sklearn.metrics import roc_auc_score

from export.architectures import Recipe, recipe
from export.data.cache import load_views
from export.data.dataset import read_dataset
from export.data.duplicates import GROUPING, TURNED, remembered_pairs, thumbnails
from export.data.groups import places, read_groups, sets_of
from export.data.sources import is_named
from export.data.splits import WITHHELD, split, write_groups
from export.errors import DataError
from export.files import atomically
from export.training.batches import Sampler, TrainingBatches, plain, slice_weights
from export.training.options import AFRESH, Options, Progress
from export.training.pretrain import labelled_part, pretrain
from screener.evaluate.levels import tenth_of
from screener.evaluate.within_head import covariate_adjusted_auc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from export.data.cache import Views
    from export.data.dataset import Dataset
    from export.data.splits import Split
    from export.training.options import Loss
    from screener.evaluate.labelled import Record

_HEATMAP_WEIGHT = 2.0
CLIP_NORM = 1.0
_SETTLING_MOMENTUM = 0.9
_PLATEAU_PATIENCE, _PLATEAU_FACTOR, _LEAST_RATE = 5, 0.5, 1e-7


@dataclass(frozen=True)
class TrainingSetup:
    """A data set, decoded and divided, ready for a recipe."""

    dataset: Dataset
    views: Views
    exact: NDArray[np.uint8]
    split: Split
    labels: NDArray[np.int64]


def prepare_training(
    data: Path, chosen: Recipe, options: Options, cache: Path, unseen: NDArray[np.uint8] | None = None
) -> TrainingSetup:
    """Read, decode, group and divide.

    Raises
    ------
    DataError
        See `read_dataset` and `split`.
    """
    dataset = read_dataset(data)
    for warning in dataset.warnings:
        print(f"warning: {warning}")
    views = load_views(dataset, chosen.preprocessing, chosen.view_side, cache)
    for record, readable in zip(dataset.records, views.readable, strict=True):
        if not readable:
            print(f"warning: {record.path} cannot be decoded and is left out")
    framed = load_views(dataset, GROUPING, GROUPING.size, cache).images
    found = (
        _given(dataset, framed, options, unseen, cache)
        if options.groups
        else split(
            dataset,
            framed,
            test_sources=options.test_sources,
            unseen=unseen,
            seed=options.seed,
            # For the warning figure only: what a plain comparison misses stays on both sides of the split.
            turned=2.0 if options.ignore_flips else TURNED,
            cache=cache,
        )
    )
    found = leave_out(found, dataset, options.left_out)
    found.sets[~views.readable] = "unreadable"
    exact = load_views(dataset, chosen.preprocessing, chosen.preprocessing.size, cache).images
    return TrainingSetup(dataset, views, exact, found, np.array([record.label for record in dataset.records]))


def _given(
    dataset: Dataset, framed: NDArray[np.uint8], options: Options, unseen: NDArray[np.uint8] | None, cache: Path
) -> Split:
    """Take the sets from the file that was named, once nothing leaks between them."""
    if unseen is not None:
        raise DataError(
            "--groups says what is withheld, so --unseen cannot",
            "leave it out: give it to python -m export audit, which writes the file",
        )
    given = read_groups(Path(options.groups), dataset)
    given.refuse_leaks(dataset, remembered_pairs(thumbnails(framed), cache))
    return given.split


def as_trained(setup: TrainingSetup, run: Path) -> TrainingSetup:
    """Take the sets from the run's own ``groups.csv``, which also knows what had to stay unseen."""
    known = places(run)
    paths = [record.path for record in setup.dataset.records]
    sets = np.array([known[path].set if path in known else WITHHELD for path in paths])
    return replace(setup, split=replace(setup.split, sets=sets))


def leave_out(split: Split, dataset: Dataset, sources: tuple[str, ...]) -> Split:
    """Withhold whole sources (or ``source:site``) together with every unit that touches them."""
    if not sources:
        return split
    away = np.array([is_named(sources, record.source, record.site) for record in dataset.records])
    touched = np.isin(split.units, split.units[away])
    return replace(split, sets=np.where(touched & (split.sets != "test"), "withheld", split.sets).astype("<U10"))


def train(
    data: Path, run: Path, options: Options, *, unseen: NDArray[np.uint8] | None = None, max_minutes: float = math.inf
) -> Progress:
    """Train until the recipe is done, stops improving, or the time is up; start again where the last call ended.

    Parameters
    ----------
    data : Path
        See `read_dataset`.
    run : Path
        Folder of the run: options, ``groups.csv``, history, checkpoints.
    options : Options
    unseen : ndarray of shape (M, 192, 192), uint8, optional
        Pictures that training must not resemble, framed as `GROUPING` says.
    max_minutes : float
        Stop after the epoch in which this is exceeded; the same call goes on from there.

    Raises
    ------
    DataError
        The data cannot be used, or `run` holds a run with other options.
    """
    chosen = configured(options)
    run.mkdir(parents=True, exist_ok=True)
    _claim(run, options)
    keras.utils.set_random_seed(options.seed)
    setup = prepare_training(data, chosen, options, run.parent / "cache", unseen)
    _keep_sets(run, setup)
    fit = labelled_part(
        setup.dataset.records, setup.split.units, setup.split.where("fit"), options.label_share, options.seed
    )
    sampler = Sampler.over(setup.dataset.records, setup.split.groups, fit, chosen.shares, levels=options.levels)
    model, progress, average = _restore(run, chosen, options, setup)
    batches = TrainingBatches(
        chosen,
        setup.views,
        setup.labels,
        sampler,
        locate="heatmap" in model.output_names,
        seed=options.seed,
        batch_size=options.batch_size,
    )
    if chosen.settling and not progress.history:
        settle(model, batches, chosen.settling)
        average = model.get_weights()
    start = time.monotonic()
    while not finished(progress, chosen):
        _one_epoch(model, batches, progress, average, setup=setup, chosen=chosen, run=run)
        if time.monotonic() - start > 60 * max_minutes:
            print(f"{max_minutes:g} minutes are up; the same command goes on from epoch {len(progress.history) + 1}")
            break
    _warn_all_positive(progress, chosen)
    return progress


def configured(options: Options) -> Recipe:
    """Return the recipe as the options change it.

    Raises
    ------
    DataError
        There is no such recipe, or it cannot do what is asked of it.
    """
    options.check()
    chosen = recipe(options.recipe)
    if options.pretrain_epochs and chosen.decoder is None:
        raise DataError(f"{options.recipe} has no decoder to learn from unlabelled slices with", "choose autoencoder")
    if options.groups and (options.test_sources or options.ignore_flips):
        raise DataError("--groups says who tests, so --test-source and --ignore-flips cannot", "leave one of them out")
    chosen = replace(
        chosen,
        epochs=options.epochs or chosen.epochs,
        steps=options.steps or chosen.steps,
        augmentation=chosen.augmentation.with_changes(options.augmentation),
    )
    if chosen.steps and chosen.averaging:
        # Over a short run, the recipe's long memory would still hold what the first epoch left.
        reach = 1 - 8 / (chosen.epochs * chosen.steps)
        chosen = replace(chosen, averaging=min(chosen.averaging, max(0.5, reach)))
    return chosen if options.size is None else resized(chosen, options.size)


def resized(chosen: Recipe, size: int) -> Recipe:
    """Return a recipe for inputs of another side, in pixels.

    Raises
    ------
    DataError
        The networks halve their maps five times.
    """
    if size % 32 or size < 64:  # noqa: PLR2004 - five halvings, and two places left to compare
        raise DataError(f"an input of {size} pixels does not suit the networks", "choose a multiple of 32, from 64 on")
    side = 4 * round(chosen.view_side * size / chosen.preprocessing.size / 4)
    return replace(chosen, preprocessing=structs.replace(chosen.preprocessing, size=size), view_side=side)


def _claim(run: Path, options: Options) -> None:
    """Write the options down, or check that they are the ones that the run was started with."""
    path = run / "options.json"
    if path.exists() and Options.of(run) != options:
        raise DataError(f"{run} holds a run with other options", AFRESH)
    atomically(path, lambda partial: partial.write_text(options.text()))


def _keep_sets(run: Path, setup: TrainingSetup) -> None:
    """Write ``groups.csv``; a run that goes on must go on with the sets that it has learnt from."""
    path, now = run / "groups.csv", run / "groups-now.csv"
    going_on = path.exists() and (run / "progress.json").exists()
    write_groups(now, setup.dataset, setup.split)
    if going_on and sets_of(now) != sets_of(path):
        raise DataError(f"the data or sets are not those that the run began with: compare {path} and {now}", AFRESH)
    now.replace(path)


def restart(run: Path, *, keep: str = "") -> None:
    """Delete what a run has written into its folder, and nothing else.

    Parameters
    ----------
    run : Path
    keep : str
        A ``groups.csv`` to train with, should it be the run's own.
    """
    if not (run / "options.json").exists():
        return
    epochs = [path for path in run.iterdir() if re.fullmatch(r"(partial-)?epoch-\d{3,}\.(keras|npz)", path.name)]
    names = ("progress.json", "best.weights.h5", "groups.csv", "groups-now.csv", "options.json")
    # The options go last: they mark the folder as a run's, should this be interrupted.
    for path in (*epochs, *(run / f"{start}{name}" for name in names for start in ("partial-", ""))):
        if not keep or path.resolve() != Path(keep).resolve():
            path.unlink(missing_ok=True)


def compile_model(
    model: keras.Model,
    chosen: Recipe,
    loss: Loss,
    labels: NDArray[np.int64],
    optimizer: keras.optimizers.Optimizer | None = None,
) -> None:
    """Give the model its losses, weights and optimiser; without one, Adam at the recipe's rate.

    `labels` are those of the fit set; class weights come from their counts.
    """
    losses: dict[str, Any] = {"probability": _loss(loss, labels, chosen.label_smoothing)}
    weights = {"probability": 1.0}
    if "heatmap" in model.output_names:
        losses["heatmap"] = "binary_crossentropy"
        weights["heatmap"] = _HEATMAP_WEIGHT
    model.compile(
        # With frozen normalisation one steep batch can kill what the next would need (Pascanu et al., ICML 2013).
        optimizer or keras.optimizers.Adam(chosen.learning_rate, global_clipnorm=CLIP_NORM),
        loss=losses,
        loss_weights=weights,
        metrics={
            "probability": ["accuracy", keras.metrics.Recall(name="recall"), keras.metrics.Precision(name="precision")]
        },
    )


def _loss(name: Loss, labels: NDArray[np.int64], smoothing: float) -> Any:  # noqa: ANN401 - Keras losses
    """Return the loss of that name (focal: γ 2, α 0.25; Lin et al., ICCV 2017)."""
    if name == "focal":
        return keras.losses.BinaryFocalCrossentropy(
            apply_class_balancing=True, alpha=0.25, gamma=2.0, label_smoothing=smoothing
        )
    if name == "class-weighted":
        share = float(labels.mean())
        return ClassWeighted(0.5 / share, 0.5 / (1 - share), smoothing)
    return keras.losses.BinaryCrossentropy(label_smoothing=smoothing)


@keras.saving.register_keras_serializable("screener")
class ClassWeighted(keras.losses.Loss):  # type: ignore[misc]  # Keras ships no types
    """Cross-entropy in which both classes weigh the same however many slices they have."""

    def __init__(self, positive: float, negative: float, smoothing: float = 0.0, **rest: Any) -> None:  # noqa: ANN401
        super().__init__(**rest)
        self.positive, self.negative, self.smoothing = positive, negative, smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:  # noqa: ANN401 - Keras tensors
        """Weigh each slice by its class."""
        weight = y_true * self.positive + (1 - y_true) * self.negative
        crossed = keras.losses.binary_crossentropy(y_true, y_pred, label_smoothing=self.smoothing)
        return weight[..., 0] * crossed

    def get_config(self) -> dict[str, Any]:
        """Return what a checkpoint needs to build the loss again."""
        own = {"positive": self.positive, "negative": self.negative, "smoothing": self.smoothing}
        return {**super().get_config(), **own}


def _restore(
    run: Path, chosen: Recipe, options: Options, setup: TrainingSetup
) -> tuple[keras.Model, Progress, list[NDArray[Any]]]:
    """Build the model, or load it as the last finished epoch left it."""
    state = run / "progress.json"
    if state.exists():
        progress, model, average = _last_epoch(run)
        print(f"going on after epoch {len(progress.history)}")
        return model, progress, average
    model = chosen.build(options.start(chosen.preprocessing.size))
    if options.pretrain_epochs:
        # Every slice of the fit set, those whose labels are forgotten included.
        fit = setup.split.where("fit")
        pretrain(model, chosen, setup.views, fit, epochs=options.pretrain_epochs, seed=options.seed)
    compile_model(model, chosen, options.loss, setup.labels[setup.split.where("fit")])
    return model, Progress([], chosen.learning_rate), model.get_weights()


def settle(model: keras.Model, batches: TrainingBatches, count: int) -> None:
    """Take the statistics of frozen normalisation layers over `count` batches (Li et al., AdaBN, 2018).

    They came from photographs. Settled on slices and then left alone, they cost nothing while training, and are in
    training what they will be in use.
    """
    frozen = [
        layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization) and not layer.trainable
    ]
    momenta = [layer.momentum for layer in frozen]
    for layer in frozen:
        layer.trainable, layer.momentum = True, _SETTLING_MOMENTUM
    for step in range(count):
        model(batches[step % len(batches)][0], training=True)
    for layer, momentum in zip(frozen, momenta, strict=True):
        layer.trainable, layer.momentum = False, momentum


def _last_epoch(run: Path) -> tuple[Progress, keras.Model, list[NDArray[Any]]]:
    """Load progress, model and average as the last finished epoch left them."""
    try:
        progress = Progress.of(run)
        name = f"epoch-{len(progress.history):03d}"
        with np.load(run / f"{name}.npz") as stored:
            average = [stored[f"w{index}"] for index in range(len(stored.files))]
        return progress, keras.models.load_model(run / f"{name}.keras"), average
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"the checkpoint in {run} cannot be read: {error}", AFRESH) from None


def _one_epoch(
    model: keras.Model,
    batches: TrainingBatches,
    progress: Progress,
    average: list[NDArray[Any]],
    *,
    setup: TrainingSetup,
    chosen: Recipe,
    run: Path,
) -> None:
    """Fit, average, measure on the tune set, checkpoint."""
    epoch, started = len(progress.history), time.monotonic()
    model.optimizer.learning_rate.assign(_rate(progress, chosen, epoch))
    batches.start_epoch(epoch)
    averaging = _Averaging(average, chosen.averaging, epoch)
    # Batches are random already; shuffled by Keras, an interrupted run would go on with other ones.
    logs = model.fit(
        batches, epochs=1, shuffle=False, verbose="auto" if sys.stdout.isatty() else 2, callbacks=[averaging]
    )
    current = model.get_weights()
    if chosen.averaging:
        model.set_weights(average)
    figures = measure_tune_set(lambda images: _probabilities(model, images), setup, chosen)
    progress.history.append(
        {
            "epoch": epoch + 1,
            "rate": float(model.optimizer.learning_rate.numpy()),
            "seconds": round(time.monotonic() - started, 1),
            **{name.removeprefix("probability_"): float(values[-1]) for name, values in logs.history.items()},
            **{f"val_{name}": value for name, value in figures.items()},
        }
    )
    _follow_plateau(progress, figures["loss"])
    if progress.best(chosen.monitor) == epoch:
        atomically(run / "best.weights.h5", model.save_weights)
    model.set_weights(current)
    _checkpoint(run, model, progress, average)
    print(json.dumps(progress.history[-1]), flush=True)


class _Averaging(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Keeps a running average of the weights (Polyak & Juditsky 1992), updated every few batches."""

    every = 8

    def __init__(self, average: list[NDArray[Any]], decay: float, epoch: int) -> None:
        super().__init__()
        self.average, self.decay, self.epoch = average, decay**self.every, epoch

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:  # noqa: ARG002 - Keras' signature
        """Move the average towards the weights; during the first epoch faster, or ImageNet would linger."""
        if self.decay and batch % self.every == 0:
            decay = min(self.decay, 0.8) if self.epoch == 0 else self.decay
            for mean, new in zip(self.average, self.model.get_weights(), strict=True):
                np.add(mean, (1 - decay) * (new - mean), out=mean)


def _probabilities(model: keras.Model, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the model's probabilities, shape (N,)."""
    answer = model.predict(images, batch_size=64, verbose=0)
    return np.asarray(answer["probability"], dtype=np.float32)[:, 0]


def measure_tune_set(
    predict: Callable[[NDArray[np.float32]], NDArray[np.float32]], setup: TrainingSetup, chosen: Recipe
) -> dict[str, float]:
    """Measure on the tune set, weighing its strata as training does, so that the largest source does not decide."""
    tune = setup.split.where("tune")
    answers = predict(plain(setup.exact[tune], chosen.preprocessing.size))
    records = [setup.dataset.records[index] for index in tune]
    figures = weighted_figures(setup.labels[tune], answers, slice_weights(records, chosen.shares))
    return figures | {"adjusted_auc": adjusted_auc(records, answers, fallback=figures["auc"])}


def adjusted_auc(records: Sequence[Record], answers: NDArray[np.float32], *, fallback: float) -> float:
    """Return the covariate-adjusted AUC, the mean over sources and sequences of whole heads.

    Unlike the pooled AUC it cannot be raised by telling scanners, sequences or levels of the head apart.

    Parameters
    ----------
    records : sequence of N Record
    answers : ndarray of shape (N,), float32, in [0, 1]
    fallback : float
        The answer where no slices of one site, sequence and level have both labels.
    """
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        if record.series:
            members[record.source, record.sequence].append(index)
    areas = []
    for chosen in members.values():
        strata = [(records[index].site, tenth_of(records[index].height)) for index in chosen]
        labels = [records[index].label for index in chosen]
        area = covariate_adjusted_auc(labels, answers[chosen].tolist(), strata).value
        areas += [] if area is None else [area]
    return float(np.mean(areas)) if areas else fallback


def weighted_figures(
    labels: NDArray[np.int64], answers: NDArray[np.float32], weights: NDArray[np.float64]
) -> dict[str, float]:
    """Return loss, accuracy, recall, precision (at 0.5) and AUC of weighted slices, all arrays of shape (N,)."""
    safe = np.clip(answers.astype(np.float64), 1e-7, 1 - 1e-7)
    losses = -np.where(labels == 1, np.log(safe), np.log1p(-safe))
    flagged = answers >= 0.5  # noqa: PLR2004
    caught = float(weights[flagged & (labels == 1)].sum())
    return {
        "loss": float(np.average(losses, weights=weights)),
        "accuracy": float(np.average(flagged == (labels == 1), weights=weights)),
        "recall": caught / float(weights[labels == 1].sum()),
        "precision": caught / max(float(weights[flagged].sum()), 1e-12),
        "auc": float(roc_auc_score(labels, answers, sample_weight=weights)),
        "flagged": float(flagged.mean()),
    }


def _rate(progress: Progress, chosen: Recipe, epoch: int) -> float:
    """Return the learning rate of an epoch: as the plateau left it, or half a cosine after one slower epoch."""
    return progress.rate if chosen.schedule == "plateau" else cosine_rate(chosen, epoch)


def cosine_rate(chosen: Recipe, epoch: int) -> float:
    """Return half a cosine over the epochs, after one slower epoch."""
    if epoch == 0:
        return chosen.learning_rate / 3
    return chosen.learning_rate * max(0.02, 0.5 * (1 + math.cos(math.pi * epoch / chosen.epochs)))


def _follow_plateau(progress: Progress, loss: float) -> None:
    """Halve the rate when the loss on the tune set has not fallen for five epochs."""
    progress.since_best_loss = 0 if loss < progress.best_loss else progress.since_best_loss + 1
    progress.best_loss = min(progress.best_loss, loss)
    if progress.since_best_loss >= _PLATEAU_PATIENCE:
        progress.rate = max(progress.rate * _PLATEAU_FACTOR, _LEAST_RATE)
        progress.since_best_loss = 0


def finished(progress: Progress, chosen: Recipe) -> bool:
    """Say whether the epochs are done, or the monitored figure has stopped improving."""
    done = len(progress.history)
    return done >= chosen.epochs or done - 1 - progress.best(chosen.monitor) >= chosen.patience


def _warn_all_positive(progress: Progress, chosen: Recipe) -> None:
    """Recall alone is perfect for a model that flags everything: say so when that epoch won."""
    best = progress.best(chosen.monitor)
    if best >= 0 and progress.history[best]["val_flagged"] == 1.0:
        print(f"warning: epoch {best + 1} won on {chosen.monitor} by flagging every slice; do not use this model")


def _checkpoint(run: Path, model: keras.Model, progress: Progress, average: list[NDArray[Any]]) -> None:
    """Keep model, optimiser and average; ``progress.json`` is written last and so decides what is valid."""
    name = f"epoch-{len(progress.history):03d}"
    named: dict[str, Any] = {f"w{index}": weight for index, weight in enumerate(average)}
    atomically(run / f"{name}.npz", lambda partial: np.savez(partial, **named))
    atomically(run / f"{name}.keras", model.save)
    atomically(run / "progress.json", lambda partial: partial.write_text(progress.text()))
    for old in run.glob("epoch-*"):
        if old.stem.split(".")[0] != name:
            old.unlink()


def best_model(run: Path) -> tuple[keras.Model, Recipe, Options]:
    """Load the best epoch of a run.

    Raises
    ------
    DataError
        The folder holds no finished epoch.
    """
    if not (run / "best.weights.h5").exists():
        raise DataError(f"{run} holds no trained model", "run: python -m export train")
    options = Options.of(run)
    if options.groups:
        # The file that it was given may be gone or another by now; the run's own copy says the same.
        options = structs.replace(options, groups=str(run / "groups.csv"))
    chosen = configured(options)
    model = chosen.build(options.start(chosen.preprocessing.size, blank=True))
    model.load_weights(run / "best.weights.h5")
    return model, chosen, options
