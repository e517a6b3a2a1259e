"""The classic blocks, trained first to restore slices from a spoilt copy, without any label, and then to classify."""

from __future__ import annotations

import keras

from export.architectures import Recipe, Start
from export.architectures.baseline import EARLY, blocks
from export.release.gradcam import with_heatmap
from screener.preprocess import Preprocessing

_SIZE = 224


def build(start: Start) -> keras.Model:
    """Build the encoder, global average pooling, Dense 128, sigmoid."""
    image = keras.Input((start.size, start.size, 1), name="image")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(blocks(image))
    x = keras.layers.Dropout(0.5, name="drop1")(x)
    x = keras.layers.Dense(128, activation="relu", name="dense")(x)
    x = keras.layers.Dropout(0.3, name="drop2")(x)
    probability = keras.layers.Dense(1, activation="sigmoid", name="probability")(x)
    return keras.Model(image, {"probability": probability}, name="autoencoder")


def decoder(model: keras.Model) -> keras.Model:
    """Draw the slice again from the encoder's last map (denoising autoencoder: Vincent et al., ICML 2008)."""
    x = model.get_layer("pool4").output
    for number, filters in enumerate((128, 64, 32, 16), start=1):
        x = keras.layers.UpSampling2D(2, name=f"enlarge{number}")(x)
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"draw{number}")(x)
    drawn = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid", name="drawn")(x)
    return keras.Model(model.input, drawn, name="decoder")


def exported(model: keras.Model) -> keras.Model:
    """Add where the evidence lies: Grad-CAM on the last pooling."""
    return with_heatmap(model, features="pool4", dense="dense", score="probability")


RECIPE = Recipe(
    name="autoencoder",
    summary="four convolution blocks that first learnt to draw slices, head-cropped and padded square, 224×224",
    build=build,
    exported=exported,
    preprocessing=Preprocessing(_SIZE, crop="head", pad="square", intensity="percentile"),
    view_side=256,
    augment="hospital",
    epochs=30,
    steps=None,
    learning_rate=5e-4,
    schedule="cosine",
    monitor="auc",
    patience=10,
    averaging=0.0,
    label_smoothing=0.0,
    shares={},
    early=EARLY,
    decoder=decoder,
)
