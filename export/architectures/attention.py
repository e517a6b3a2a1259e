"""The classic blocks with spatial attention: the network weighs the places of its map before it decides."""

from __future__ import annotations

import keras

from export.architectures import Recipe, Start
from export.architectures.baseline import blocks
from export.release.gradcam import with_heatmap
from screener.preprocess import Preprocessing

_SIZE = 224


def build(start: Start) -> keras.Model:
    """Build four blocks, attention pooling (Ilse et al., ICML 2018, over places), Dense 128, sigmoid."""
    image = keras.Input((start.size, start.size, 1), name="image")
    features = blocks(image)
    places = features.shape[1] * features.shape[2]
    scores = keras.layers.Reshape((places,), name="attention_scores")(
        keras.layers.Conv2D(1, 1, name="attention_conv")(features)
    )
    weights = keras.layers.Softmax(name="attention_weights")(scores)
    attention = keras.layers.Reshape((*features.shape[1:3], 1), name="attention")(weights)
    attended = keras.layers.Multiply(name="attended")([features, attention])
    # The weights sum to 1, so that the weighted mean is the mean times the number of places.
    pooled = keras.layers.Rescaling(float(places), name="weighted")(
        keras.layers.GlobalAveragePooling2D(name="pool")(attended)
    )
    x = keras.layers.Dropout(0.5, name="drop1")(pooled)
    x = keras.layers.Dense(128, activation="relu", name="dense")(x)
    x = keras.layers.Dropout(0.3, name="drop2")(x)
    probability = keras.layers.Dense(1, activation="sigmoid", name="probability")(x)
    return keras.Model(image, {"probability": probability}, name="attention")


def exported(model: keras.Model) -> keras.Model:
    """Add Grad-CAM on the last pooling, and the attention weights (N, S/16, S/16) for display."""
    explained = with_heatmap(model, features="pool4", dense="dense", score="probability")
    attention = model.get_layer("attention").output[..., 0]
    return keras.Model(model.input, dict(explained.output) | {"attention": attention}, name="attention")


RECIPE = Recipe(
    name="attention",
    summary="four convolution blocks with spatial attention, head-cropped and padded square, 224×224",
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
    early=("conv1", "attention"),
)
