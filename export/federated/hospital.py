"""What one hospital holds, and training on it: the same code in a federation, at one alone, and on all."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np

from export.architectures import Start
from export.data.cache import load_views
from export.data.dataset import Dataset, read_dataset
from export.data.sources import is_named
from export.errors import DataError
from export.training.batches import Sampler, TrainingBatches, plain
from export.training.loop import CLIP_NORM, compile_model, configured, cosine_rate, settle
from export.training.options import Options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from export.architectures import Recipe
    from export.data.cache import Views
    from screener.evaluate.labelled import Record

HOSPITALS = ("tcga_lgg:DU", "tcga_lgg:HT", "tcga_gbm:TCGA-02", "tcga_gbm:TCGA-19")
"""Those of the public collections with whole heads that have slices with and without a tumour."""
_HELD_OUT = 4
"""One patient in so many is kept from training."""


class FederatedTerms(NamedTuple):
    """What is the same for every training of one table.

    Attributes
    ----------
    rounds, steps : int
        A round has so many batches at each hospital.
    size : int or None
        Side of the input in pixels; None: the recipe's.
    proximal : float
        Weight of FedProx' proximal term.
    seed : int
    recipe : str
    batch_size : int
    """

    rounds: int = 12
    steps: int = 40
    size: int | None = None
    proximal: float = 0.01
    seed: int = 1
    recipe: str = "lite"
    batch_size: int = 32

    def configured(self) -> Recipe:
        """Return the recipe of these terms.

        Raises
        ------
        DataError
            There is no such recipe, or it does not suit them.
        """
        return configured(
            Options(
                self.recipe,
                epochs=self.rounds,
                steps=self.steps,
                size=self.size,
                batch_size=self.batch_size,
                seed=self.seed,
            )
        )


@dataclass(frozen=True)
class Hospital:
    """The slices of one hospital, or of several.

    Attributes
    ----------
    name : str
    dataset : Dataset
    views : Views
    exact : ndarray of shape (N, S, S), uint8
        The slices as the model sees them.
    fit, held_out : ndarray of int
        Slices of patients to learn from, and of those that are kept from training.
    """

    name: str
    dataset: Dataset
    views: Views
    exact: NDArray[np.uint8]
    fit: NDArray[np.int64]
    held_out: NDArray[np.int64]

    @classmethod
    def read(cls, data: Path, hospitals: Sequence[str], chosen: Recipe, cache: Path) -> Hospital:
        """Read the slices of some hospitals, and of no others.

        Parameters
        ----------
        data : Path
            See `export.data.dataset.read_dataset`.
        hospitals : sequence of str
            As ``source:site``.
        chosen : Recipe
        cache : Path
            Where decoded slices are kept.

        Raises
        ------
        DataError
            A hospital is unknown, or lacks a label, or has too few patients.
        """
        whole = read_dataset(data)
        found = tuple(one for one in whole.records if is_named(hospitals, one.source, one.site))
        dataset = Dataset(whole.root, found)
        kept = held_out_patients(found)
        held_out = np.array([(one.source, one.site, one.patient) in kept for one in found], bool)
        labels = np.array([one.label for one in found], np.int64)
        for name in hospitals:
            inside = np.array([is_named((name,), one.source, one.site) for one in found], bool)
            for part in (inside & held_out, inside & ~held_out):
                if len(np.unique(labels[part])) < 2:  # noqa: PLR2004 - with and without a tumour
                    raise DataError(f"{name} has too few patients with and without a tumour", "name another hospital")
        views = load_views(dataset, chosen.preprocessing, chosen.view_side, cache)
        exact = load_views(dataset, chosen.preprocessing, chosen.preprocessing.size, cache).images
        fit, rest = (np.flatnonzero(part & views.readable) for part in (~held_out, held_out))
        return cls(" + ".join(hospitals), dataset, views, exact, fit, rest)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels of all slices: (N,)."""
        return np.array([record.label for record in self.dataset.records], np.int64)


def held_out_patients(records: Sequence[Record]) -> frozenset[tuple[str, str, str]]:
    """Return source, site and name of the patients that are kept from training.

    A hospital chooses without the others: every fourth of its patients, in the order of their digests.
    """
    patients: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        patients[record.source, record.site].add(record.patient)
    return frozenset(
        (*place, name)
        for place, names in patients.items()
        for name in sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[::_HELD_OUT]
    )


def train(
    hospital: Hospital,
    terms: FederatedTerms,
    weights: Sequence[NDArray[Any]] | None,
    rounds: range,
    *,
    proximal: float = 0.0,
) -> tuple[list[NDArray[Any]], float]:
    """Train on the slices of one hospital, or of several in one place.

    Parameters
    ----------
    hospital : Hospital
    terms : FederatedTerms
    weights : sequence of ndarray, optional
        Where training starts; the recipe's own start without.
    rounds : range
        Which of the rounds are trained, from 0. The first begins with the statistics of frozen normalisation layers.
    proximal : float
        Weight of FedProx' proximal term (Li et al., MLSys 2020), which holds the weights near those at the start.

    Returns
    -------
    tuple of (list of ndarray, float)
        The weights, and the mean loss of the last round.
    """
    keras.utils.set_random_seed(terms.seed)
    chosen = terms.configured()
    model = start_model(terms)
    if weights is not None:
        model.set_weights(list(weights))
    sampler = Sampler.over(
        hospital.dataset.records, np.arange(len(hospital.dataset.records)), hospital.fit, chosen.shares
    )
    batches = TrainingBatches(
        chosen,
        hospital.views,
        hospital.labels,
        sampler,
        locate="heatmap" in model.output_names,
        seed=terms.seed,
        batch_size=terms.batch_size,
    )
    if chosen.settling and rounds.start == 0:
        settle(model, batches, chosen.settling)
    optimizer = ProximalAdam(proximal, model, chosen.learning_rate) if proximal else None
    compile_model(model, chosen, "cross-entropy", hospital.labels[hospital.fit], optimizer)
    loss = float("nan")
    for number in rounds:
        model.optimizer.learning_rate.assign(cosine_rate(chosen, number))
        batches.start_epoch(number)
        loss = float(model.fit(batches, epochs=1, shuffle=False, verbose=0).history["loss"][-1])
    return model.get_weights(), loss


def start_model(terms: FederatedTerms) -> keras.Model:
    """Return the network as the recipe begins it."""
    keras.utils.set_random_seed(terms.seed)
    chosen = terms.configured()
    return chosen.build(Start(chosen.preprocessing.size))


class ProximalAdam(keras.optimizers.Adam):  # type: ignore[misc]  # Keras ships no types
    """Adam on the loss plus ``weight / 2`` times the squared distance from the weights at the start.

    Parameters
    ----------
    weight : float
    model : keras.Model
        Its trainable weights now are the start.
    learning_rate : float
    """

    def __init__(self, weight: float, model: keras.Model, learning_rate: float) -> None:
        super().__init__(learning_rate, global_clipnorm=CLIP_NORM)
        self._weight = weight
        self._start = {variable.path: variable.numpy() for variable in model.trainable_variables}

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Add the gradient of the proximal term, then go on as Adam does."""
        variables = list(trainable_variables if trainable_variables is not None else self._trainable_variables)
        pulled = [
            grad + self._weight * (keras.ops.convert_to_tensor(variable) - self._start[variable.path])
            for grad, variable in zip(grads, variables, strict=True)
        ]
        super().apply(pulled, trainable_variables)


def scores(terms: FederatedTerms, weights: Sequence[NDArray[Any]], hospital: Hospital) -> NDArray[np.float64]:
    """Return the probabilities of the slices that were kept from training: (len(held_out),)."""
    model = start_model(terms)
    model.set_weights(list(weights))
    images = plain(hospital.exact[hospital.held_out], terms.configured().preprocessing.size)
    return np.asarray(model.predict(images, batch_size=64, verbose=0)["probability"], np.float64)[:, 0]
