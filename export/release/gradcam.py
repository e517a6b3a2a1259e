"""Grad-CAM (Selvaraju et al., ICCV 2017) as plain algebra, so that it converts to ONNX and needs no gradient there.

Between the last map and the score lies Flatten (or a mean over places) → Dense(ReLU) → Dense(1). The gradient of the
logit with respect to the map is then W1 · (relu' ⊙ w2), and its mean over the map, which is all that Grad-CAM wants of
it, needs only the mean of W1 over the map's places: a matrix of (channels, units) that is known at export.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

_TINY = 1e-12
"""Keeps a map without any evidence at zero instead of dividing by it."""


def with_heatmap(model: keras.Model, *, features: str, dense: str, score: str) -> keras.Model:
    """Add a Grad-CAM output to a classifier.

    Parameters
    ----------
    model : keras.Model
        With a dictionary of outputs.
    features : str
        Layer whose output of shape (N, h, w, channels) is explained; flattened, averaged over places, or averaged
        with weights of sum 1 that depend on it by a softmax, it is the input of `dense`. (In the last two cases the
        mean gradient is the same: the terms through the softmax cancel.)
    dense : str
        Layer with ReLU.
    score : str
        Layer with one unit.

    Returns
    -------
    keras.Model
        With the further output ``heatmap`` of shape (N, h, w), in [0, 1]: relative to the strongest place of its
        slice, as Grad-CAM is.
    """
    maps, hidden = model.get_layer(features).output, model.get_layer(dense).output
    inward = _mean_over_places(model.get_layer(dense).get_weights()[0], maps.shape[-1])
    outward = model.get_layer(score).get_weights()[0][:, 0]
    active = keras.ops.cast(keras.ops.greater(hidden, 0.0), "float32")
    # A layer, since the converter takes a bare constant for a further input.
    channels = keras.layers.Dense(maps.shape[-1], use_bias=False, name="gradcam")
    importance = channels(active)
    channels.set_weights([(inward * outward).T])
    evidence = keras.ops.relu(keras.ops.sum(maps * importance[:, None, None, :], axis=-1))
    peak = keras.ops.max(evidence, axis=(1, 2), keepdims=True)
    heatmap = evidence / keras.ops.maximum(peak, _TINY)
    return keras.Model(model.input, dict(model.output) | {"heatmap": heatmap}, name=model.name)


def _mean_over_places(kernel: np.ndarray[Any, np.dtype[Any]], channels: int) -> np.ndarray[Any, np.dtype[Any]]:
    """Average a kernel of shape (places * channels, units) over the places of the map: (channels, units)."""
    return np.asarray(kernel.reshape(-1, channels, kernel.shape[1]).mean(axis=0))
