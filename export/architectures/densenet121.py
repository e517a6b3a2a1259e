"""DenseNet-121 (Huang et al., CVPR 2017) behind a convolution that makes three channels of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np

from export.architectures import Recipe, Start
from export.errors import DataError
from export.release.gradcam import with_heatmap
from screener.preprocess import Preprocessing

if TYPE_CHECKING:
    from pathlib import Path

_SIZE = 224
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels: the range that the published weights were trained with."""


def build(start: Start) -> keras.Model:
    """Build 1×1 convolution 1→3, DenseNet-121, global average pooling, Dense 256, Dropout 0.5, sigmoid.

    Raises
    ------
    DataError
        The weights do not fit, or the backbone is to be frozen without any.
    """
    image = keras.Input((start.size, start.size, 1), name="image")
    colour = keras.layers.Conv2D(3, 1, name="to_colour")
    backbone = keras.applications.DenseNet121(include_top=False, weights=None, input_shape=(start.size, start.size, 3))
    backbone.trainable = not start.frozen
    # Frozen batch normalisation must keep the statistics that belong to its weights.
    features = backbone(colour(image), training=False if start.frozen else None)
    features = keras.layers.Activation("linear", name="features")(features)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    x = keras.layers.Dense(256, activation="relu", name="dense")(x)
    x = keras.layers.Dropout(0.5, name="drop")(x)
    probability = keras.layers.Dense(1, activation="sigmoid", name="probability")(x)
    colour.set_weights([1 / np.array(_SPREAD).reshape(1, 1, 1, 3), -np.array(_MEAN) / np.array(_SPREAD)])
    if not start.blank:
        _load(backbone, start.weights, frozen=start.frozen)
    return keras.Model(image, {"probability": probability}, name="densenet121")


def _load(backbone: keras.Model, weights: Path | None, *, frozen: bool) -> None:
    """Load ImageNet weights from a file, or say that there are none."""
    if weights is None:
        if frozen:
            raise DataError("a frozen DenseNet without weights learns nothing", "pass --weights FILE, or do not freeze")
        print("notice: no --weights FILE given: densenet121 starts from scratch, and will do worse than from ImageNet")
        return
    try:
        backbone.load_weights(weights)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{weights} does not fit DenseNet-121: {error}", "name Keras' ImageNet weights without top, as .h5"
        ) from None


def exported(model: keras.Model) -> keras.Model:
    """Add where the evidence lies: Grad-CAM on the last features, at stride 32."""
    return with_heatmap(model, features="features", dense="dense", score="probability")


RECIPE = Recipe(
    name="densenet121",
    summary="DenseNet-121, one grey channel made three, head-cropped and padded square, 224×224",
    build=build,
    exported=exported,
    preprocessing=Preprocessing(_SIZE, crop="head", pad="square", intensity="percentile"),
    view_side=256,
    augment="hospital",
    epochs=30,
    steps=None,
    learning_rate=3e-4,
    schedule="cosine",
    monitor="auc",
    patience=10,
    averaging=0.0,
    label_smoothing=0.0,
    shares={},
)
