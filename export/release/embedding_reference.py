"""Reference for quality control after the model, in the space of the model's own pooled features.

The features of the fit set are standardised and rotated onto their principal axes; what lies off these axes becomes one
more coordinate. A slice is then as strange as it is far from the nearest of a few centres of the fit set (after
Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from sklearn.cluster import KMeans

from screener.model.card import EmbeddingReference

if TYPE_CHECKING:
    from numpy.typing import NDArray

AXES = 48
CENTRES = 24
KEPT = 0.995
"""Share of an unknown source's brain slices that the cut-off is meant to let through."""


@dataclass(frozen=True)
class Projection:
    """From pooled features to the embedding that is exported.

    Attributes
    ----------
    mean : ndarray of shape (D,)
    axes : ndarray of shape (D, AXES)
        Each column scaled so that the fit set has unit variance along it.
    basis : ndarray of shape (D, AXES)
        The same directions with unit length.
    residual : float
        Root mean square distance of the fit set from the axes.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    basis: NDArray[np.float64]
    residual: float

    @classmethod
    def fit(cls, features: NDArray[np.float32]) -> Projection:
        """Find the principal axes of features of shape (N, D)."""
        mean = features.mean(axis=0, dtype=np.float64)
        centred = features - mean
        _, spread, directions = np.linalg.svd(centred, full_matrices=False)
        basis = directions[:AXES].T
        deviation = spread[:AXES] / np.sqrt(len(features))
        off = np.sum(centred**2, axis=1) - np.sum((centred @ basis) ** 2, axis=1)
        return cls(mean, basis / np.maximum(deviation, 1e-6), basis, float(np.sqrt(np.maximum(off, 0).mean())))

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return embeddings of shape (N, AXES + 1): whitened coordinates, then the distance off the axes."""
        centred = features - self.mean
        off = np.sum(centred**2, axis=1) - np.sum((centred @ self.basis) ** 2, axis=1)
        return np.hstack([centred @ self.axes, np.sqrt(np.maximum(off, 0))[:, None] / self.residual * _OFF_AXES])


_OFF_AXES = float(np.sqrt(AXES))
"""Weight of the distance off the axes: for a slice of the fit set it counts as much as all axes together."""


@keras.saving.register_keras_serializable("screener")
class Embed(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """`Projection.apply` as a layer."""

    def __init__(self, projection: Projection, **rest: Any) -> None:  # noqa: ANN401 - Keras' own options
        super().__init__(**rest)
        self.projection = projection

    def call(self, features: Any) -> Any:  # noqa: ANN401 - Keras tensors
        """(N, D) → (N, AXES + 1)."""
        ops, known = keras.ops, self.projection
        centred = features - ops.convert_to_tensor(known.mean.astype(np.float32))
        inside = ops.matmul(centred, ops.convert_to_tensor(known.basis.astype(np.float32)))
        whitened = inside * ops.convert_to_tensor(_scales(known))
        off = ops.sum(ops.square(centred), axis=1, keepdims=True) - ops.sum(ops.square(inside), axis=1, keepdims=True)
        distance = ops.sqrt(ops.maximum(off, 0.0)) * (_OFF_AXES / known.residual)
        return ops.concatenate([whitened, distance], axis=1)


def _scales(known: Projection) -> NDArray[np.float32]:
    """Return what turns unit directions into whitened ones: (AXES,)."""
    return np.asarray(np.linalg.norm(known.axes, axis=0), dtype=np.float32)


def distances(embeddings: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance to the nearest centre: (N, d), (K, d) → (N,)."""
    squared = np.sum(embeddings**2, axis=1)[:, None] - 2 * embeddings @ centres.T + np.sum(centres**2, axis=1)[None]
    return np.asarray(np.sqrt(np.maximum(squared, 0).min(axis=1)))


def embedding_reference(
    embeddings: NDArray[np.float64], sources: NDArray[np.str_], *, seed: int = 0
) -> EmbeddingReference:
    """Return the embedding reference: centres of the fit set, and a cut-off that keeps another hospital's brains.

    The next hospital is no sample of the known ones. So each source in turn plays it: how far do its slices lie from
    centres that were found without it? The cut-off keeps `KEPT` of the source that lies farthest.

    Parameters
    ----------
    embeddings : ndarray of shape (N, d)
        Of the fit set.
    sources : ndarray of shape (N,), str
    """
    reach = {}
    for name in np.unique(sources):
        outside = sources == name
        if outside.all():
            away = distances(embeddings, _centres(embeddings, seed))
        else:
            away = distances(embeddings[outside], _centres(embeddings[~outside], seed))
        reach[str(name)] = round(float(np.quantile(away, KEPT)), 4)
    return EmbeddingReference(
        cutoff=max(reach.values()),
        centres=tuple(map(tuple, _centres(embeddings, seed).round(4).tolist())),
        kept_share=KEPT,
        distance_by_source=reach,
        measured_on="fit set, each source as if it were unknown",
    )


def _centres(embeddings: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Summarise embeddings of shape (N, d) by a few centres, (K, d)."""
    found = KMeans(min(CENTRES, len(embeddings)), n_init=3, random_state=seed).fit(embeddings)
    return np.asarray(found.cluster_centers_)


def attach(
    model: keras.Model, images: NDArray[np.float32], sources: NDArray[np.str_]
) -> tuple[keras.Model, EmbeddingReference]:
    """Replace the raw ``embedding`` output by its projection and return the reference that goes with it.

    Parameters
    ----------
    model : keras.Model
        With an output ``embedding`` of raw features, (N, D).
    images : ndarray of shape (N, S, S, 1), float32, in [0, 1]
        The fit set.
    sources : ndarray of shape (N,), str
    """
    raw = keras.Model(model.input, dict(model.output)["embedding"])
    features = raw.predict(images, batch_size=64, verbose=0)
    known = Projection.fit(features)
    embedding = Embed(known, name="known")(dict(model.output)["embedding"])
    outputs = dict(model.output) | {"embedding": embedding}
    return keras.Model(model.input, outputs, name=model.name), embedding_reference(known.apply(features), sources)
