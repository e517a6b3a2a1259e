"""A network that trains in a second, for tests of everything around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

from export.architectures import Recipe
from screener.preprocess import Preprocessing

if TYPE_CHECKING:
    from export.architectures import Start

SIDE = 64


def build(start: Start) -> keras.Model:
    """Return one convolution (layer ``conv``), a mean and a dense layer."""
    image = keras.Input((start.size, start.size, 1), name="image")
    x = keras.layers.Conv2D(4, 3, strides=4, activation="relu", name="conv")(image)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    probability = keras.layers.Dense(1, activation="sigmoid", name="probability")(pooled)
    return keras.Model(image, {"probability": probability}, name="small")


SMALL = Recipe(
    name="small",
    summary="a network for tests",
    build=build,
    exported=lambda model: model,
    preprocessing=Preprocessing(SIDE),
    view_side=SIDE,
    augment="classic",
    epochs=4,
    steps=3,
    learning_rate=1e-2,
    schedule="plateau",
    monitor="auc",
    patience=10,
    averaging=0.9,
    label_smoothing=0.0,
    shares={},
)
