"""The classic four-block CNN of the tutorials, kept as the reference that everything else is measured against."""

from __future__ import annotations

from typing import Any

import keras

from export.architectures import Recipe, Start
from export.release.gradcam import with_heatmap
from screener.preprocess import Preprocessing

_SIZE = 224


EARLY = ("conv1", "conv2")


def blocks(x: Any) -> Any:  # noqa: ANN401 - Keras tensors
    """Apply Conv 32-64-128-256 (3×3 same, ReLU, BatchNorm, MaxPool): (N, S, S, 1) → (N, S/16, S/16, 256)."""
    for number, filters in enumerate((32, 64, 128, 256), start=1):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        x = keras.layers.BatchNormalization(name=f"norm{number}")(x)
        x = keras.layers.MaxPooling2D(name=f"pool{number}")(x)
    return x


def build(start: Start) -> keras.Model:
    """Build the four blocks, Dense 128, sigmoid."""
    image = keras.Input((start.size, start.size, 1), name="image")
    x = blocks(image)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dropout(0.5, name="drop1")(x)
    x = keras.layers.Dense(128, activation="relu", name="dense")(x)
    x = keras.layers.Dropout(0.3, name="drop2")(x)
    probability = keras.layers.Dense(1, activation="sigmoid", name="probability")(x)
    return keras.Model(image, {"probability": probability}, name="baseline")


def exported(model: Any) -> Any:  # noqa: ANN401 - Keras models
    """Add where the evidence lies: Grad-CAM on the last pooling."""
    return with_heatmap(model, features="pool4", dense="dense", score="probability")


RECIPE = Recipe(
    name="baseline",
    summary="the classic CNN: 224×224, four convolution blocks, plain resize, pixels / 255",
    build=build,
    exported=exported,
    early=EARLY,
    preprocessing=Preprocessing(_SIZE),
    view_side=_SIZE,
    augment="classic",
    epochs=50,
    steps=None,
    learning_rate=1e-4,
    schedule="plateau",
    monitor="recall",
    patience=10,
    averaging=0.0,
    label_smoothing=0.0,
    shares={},
)
