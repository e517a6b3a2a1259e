"""Batches for training: repeatable, balanced over sources, augmented on the fly."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import keras
import numpy as np

from export.training.augmentation import classic, hospital, toned
from export.training.lesion_pasting import paste_tumour
from screener.evaluate.levels import level_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from export.architectures import Recipe
    from export.data.cache import Views
    from screener.evaluate.labelled import Record

Stratum = tuple[str, int, str, str]
"""Source, label, sequence, and of tumour-free slices the level of the head (`level_of`)."""
Batch = tuple[Any, dict[str, Any], dict[str, Any]]
"""Images, targets by output, weights by output: what Keras' ``fit`` wants."""


@dataclass(frozen=True)
class Sampler:
    """Draws slices so that no source, label, sequence or much-copied picture dominates.

    Uniform draws over a union of public sets teach the source: there, the source tells the label. Within a head most
    tumour-free slices lie below the brain or at the vertex, so that they are balanced by level too.

    Attributes
    ----------
    strata : list of lists of arrays
        For every `Stratum` the near-duplicate groups, each an array of indices.
    chances : ndarray of shape (len(strata),)
    """

    strata: list[list[NDArray[np.int64]]]
    chances: NDArray[np.float64]

    @classmethod
    def over(
        cls,
        records: Sequence[Record],
        groups: NDArray[np.int64],
        chosen: NDArray[np.int64],
        shares: Mapping[str, float],
        *,
        levels: bool = True,
    ) -> Sampler:
        """Build the strata of `chosen` indices; `shares` gives named sources their part of every batch.

        Without `levels`, tumour-free slices are not divided by their level in the head.
        """
        members: dict[Stratum, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for index in chosen.tolist():
            stratum = stratum_of(records[index])
            members[stratum if levels else (*stratum[:3], "")][int(groups[index])].append(index)
        weights = stratum_weights(list(members), shares)
        strata = [[np.array(found) for found in stratum.values()] for stratum in members.values()]
        return cls(strata, np.array([weights[key] for key in members]))

    def draw(self, count: int, rng: np.random.Generator) -> list[int]:
        """Draw `count` indices: a stratum, then a group in it, then a slice of the group."""
        drawn = []
        for number in rng.choice(len(self.strata), count, p=self.chances):
            stratum = self.strata[number]
            group = stratum[rng.integers(len(stratum))]
            drawn.append(int(group[rng.integers(len(group))]))
        return drawn


def stratum_of(record: Record) -> Stratum:
    """Return the stratum of a slice; slices with a tumour are not divided by level."""
    return record.source, record.label, record.sequence, "" if record.label else level_of(record.height)


def stratum_weights(keys: Sequence[Stratum], shares: Mapping[str, float]) -> dict[Stratum, float]:
    """Weigh strata: labels equal, sources within a label too but for `shares`, then sequences, then levels."""
    named = {source: share for source, share in shares.items() if any(key[0] == source for key in keys)}
    pools = [([key for key in keys if key[0] == source], share) for source, share in named.items()]
    pools.append(([key for key in keys if key[0] not in named], 1 - sum(named.values())))
    weights: dict[Stratum, float] = {}
    for pool, share in pools:
        labels = {key[1] for key in pool}
        for key in pool:
            sources = {other[0] for other in pool if other[1] == key[1]}
            sequences = {other[2] for other in pool if other[:2] == key[:2]}
            levels = [other for other in pool if other[:3] == key[:3]]
            weights[key] = share / len(labels) / len(sources) / len(sequences) / len(levels)
    total = sum(weights.values())
    return {key: weight / total for key, weight in weights.items()}


def slice_weights(records: Sequence[Record], shares: Mapping[str, float]) -> NDArray[np.float64]:
    """Weigh strata as training does, and slices of one the same, whatever their near-duplicates. (N,), sum 1."""
    keys = [stratum_of(record) for record in records]
    counts = Counter(keys)
    weights = stratum_weights(sorted(counts), shares)
    return np.array([weights[key] / counts[key] for key in keys])


class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """Augmented batches; batch `i` of epoch `e` is the same in every run with the same seed.

    Parameters
    ----------
    recipe : Recipe
    views : Views
    labels : ndarray of shape (N,), int
    sampler : Sampler
    locate : bool
        Whether the network also says where, and so wants tumour maps.
    seed, batch_size : int
    """

    def __init__(
        self,
        recipe: Recipe,
        views: Views,
        labels: NDArray[np.int64],
        sampler: Sampler,
        *,
        locate: bool,
        seed: int,
        batch_size: int,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self.recipe, self.views, self.labels, self.sampler, self.locate = recipe, views, labels, sampler, locate
        self.seed, self.batch_size = seed, batch_size
        every = np.array(sorted(index for stratum in sampler.strata for group in stratum for index in group.tolist()))
        drawn = (labels[every] == 1) & views.located[every] & views.tumours[every].any(axis=(1, 2))
        self.donors, self.tumour_free = every[drawn], every[labels[every] == 0]
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Say which epoch the next batches belong to."""
        self.epoch = epoch
        every = np.sort(np.concatenate([group for stratum in self.sampler.strata for group in stratum]))
        self.order = np.random.default_rng([self.seed, epoch]).permutation(every)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.recipe.steps or -(-len(self.order) // self.batch_size)

    def __getitem__(self, step: int) -> Batch:
        """Make one batch."""
        rng = np.random.default_rng([self.seed, self.epoch, step])
        if self.recipe.steps is None:
            chosen = self.order[step * self.batch_size : (step + 1) * self.batch_size].tolist()
        else:
            chosen = self.sampler.draw(self.batch_size, rng)
        images, maps, labels = zip(*(self._augment(index, rng) for index in chosen), strict=True)
        targets = {"probability": np.array(labels, np.float32)[:, None]}
        weights = {"probability": np.ones(len(chosen), np.float32)}
        if self.locate:
            targets["heatmap"] = np.stack(maps)
            # Keras averages cross-entropy over the last axis and wants a weight for each of the others.
            located = self.views.located[chosen].astype(np.float32)
            weights["heatmap"] = np.repeat(located[:, None], targets["heatmap"].shape[1], axis=1)
        return np.stack(images)[..., None], targets, weights

    def _augment(
        self, index: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, int]:
        """Return one augmented slice, its tumour map, and its label: a tumour laid in makes a positive."""
        size, augmentation = self.recipe.preprocessing.size, self.recipe.augmentation
        view, tumour, label = self.views.images[index], self.views.tumours[index], int(self.labels[index])
        if self.recipe.augment == "classic":
            return classic(view, size, rng), None, label
        if label == 0 and len(self.donors):
            view, tumour, label = self._laid_in(view, tumour, rng)
        if augmentation.tones and rng.random() < augmentation.tones:
            view = toned(view, self.views.images[self.sampler.draw(1, rng)[0]], rng)
        return *hospital(view, tumour, size, rng, augmentation), label

    def _laid_in(
        self, view: NDArray[np.uint8], tumour: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
        """Sometimes lay a tumour, or tissue that is none, into a tumour-free slice: view, tumour map, label.

        The tissue is cut in a tumour's shape, so that the seam of a pasted piece tells nothing.
        """
        augmentation, donor = self.recipe.augmentation, self.donors[rng.integers(len(self.donors))]
        chance, images, drawn = rng.random(), self.views.images, self.views.tumours[donor]
        if chance < augmentation.paste:
            made = paste_tumour(view, images[donor], drawn, rng)
            if made is not None:
                return *made, 1
        elif chance < augmentation.paste + augmentation.decoy:
            other = self.tumour_free[rng.integers(len(self.tumour_free))]
            made = paste_tumour(view, images[other], drawn, rng)
            if made is not None:
                return made[0], tumour, 0
        return view, tumour, 0


def plain(images: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Turn stored views of the model's own size into its input: (N, S, S) uint8 → (N, S, S, 1) float32 in [0, 1]."""
    if images.shape[1] != size:
        images = np.stack([cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) for image in images])
    return images[..., None].astype(np.float32) / np.float32(255)
