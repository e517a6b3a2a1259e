"""Before any label is looked at: let a network's first layers learn to draw slices again from spoilt copies."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import cv2
import keras
import numpy as np

from export.training.augmentation import hospital

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from export.architectures import Recipe
    from export.data.cache import Views
    from screener.evaluate.labelled import Record

_NOISE = 0.08
_HOLES, _HOLE_SHARE = 4, 0.2


class SpoiltSlices(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """Batches of (spoilt, intact) slices; batch `i` of epoch `e` is the same in every run with the same seed."""

    def __init__(
        self, recipe: Recipe, views: Views, chosen: NDArray[np.int64], *, seed: int, epoch: int, batch_size: int
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self.recipe, self.views, self.seed, self.epoch, self.batch_size = recipe, views, seed, epoch, batch_size
        self.order = np.random.default_rng([seed, epoch, 1]).permutation(chosen)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, step: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Make one batch: two arrays of shape (n, size, size, 1), float32, in [0, 1]."""
        rng = np.random.default_rng([self.seed, self.epoch, step, 1])
        size = self.recipe.preprocessing.size
        chosen = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        views, augmentation = self.views, self.recipe.augmentation
        intact = [hospital(views.images[index], views.tumours[index], size, rng, augmentation)[0] for index in chosen]
        spoilt = [spoil(image, rng) for image in intact]
        return np.stack(spoilt)[..., None], np.stack(intact)[..., None]


def spoil(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Add noise and cut holes, so that copying is no way to draw: (S, S) → (S, S), float32, in [0, 1]."""
    size = image.shape[0]
    spoilt = image + rng.standard_normal(image.shape, dtype=np.float32) * _NOISE
    side = max(1, round(size * _HOLE_SHARE))
    for top, left in rng.integers(0, size - side + 1, (_HOLES, 2)):
        cv2.rectangle(spoilt, (int(left), int(top)), (int(left) + side, int(top) + side), 0.0, cv2.FILLED)
    return np.clip(spoilt, 0, 1)


def pretrain(
    model: keras.Model,
    recipe: Recipe,
    views: Views,
    chosen: NDArray[np.int64],
    *,
    epochs: int,
    seed: int,
    batch_size: int = 32,
) -> list[float]:
    """Train the layers that a model shares with its recipe's decoder, on slices without labels.

    Parameters
    ----------
    model : keras.Model
        Trained in place.
    recipe : Recipe
        With a decoder.
    views : Views
    chosen : ndarray of shape (N,), int
        Which slices to learn from; those of the fit set and no other.
    epochs, seed, batch_size : int

    Returns
    -------
    list of float
        Mean squared error of every epoch, in squared shares of full brightness.
    """
    if recipe.decoder is None:
        raise ValueError(f"the recipe {recipe.name} has nothing to draw slices with")
    drawer = recipe.decoder(model)
    drawer.compile(keras.optimizers.Adam(1e-3), "mse")
    errors: list[float] = []
    for epoch in range(epochs):
        batches = SpoiltSlices(recipe, views, chosen, seed=seed, epoch=epoch, batch_size=batch_size)
        history: Any = drawer.fit(batches, epochs=1, shuffle=False, verbose=0)
        errors.append(float(history.history["loss"][-1]))
        print(f"drawing slices, epoch {epoch + 1}/{epochs}: squared error {errors[-1]:.4f}", flush=True)
    return errors


def labelled_part(
    records: Sequence[Record], units: NDArray[np.int64], chosen: NDArray[np.int64], share: float, seed: int
) -> NDArray[np.int64]:
    """Keep the labels of a share of the units and forget the others; a smaller share lies within a larger one.

    Parameters
    ----------
    records : sequence of Record
    units : ndarray of shape (N,), int
        Leak-free unit of every record.
    chosen : ndarray of int
        Indices of records to choose from.
    share : float, in (0, 1]
        Of the units of every source and label; at least one of each is kept.
    seed : int
    """
    strata: dict[tuple[str, int], set[int]] = defaultdict(set)
    for index in chosen.tolist():
        strata[records[index].source, records[index].label].add(int(units[index]))
    rng = np.random.default_rng(seed)
    kept: set[tuple[str, int, int]] = set()
    for (source, label), members in sorted(strata.items()):
        shuffled = rng.permutation(sorted(members))[: max(1, round(share * len(members)))]
        kept |= {(source, label, int(unit)) for unit in shuffled}
    return np.array([i for i in chosen.tolist() if (records[i].source, records[i].label, int(units[i])) in kept])
