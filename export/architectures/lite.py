"""EfficientNet-Lite0 that also says where: global average pooling for *whether*, a stride-16 map for *where*."""

from __future__ import annotations

from typing import Any

import keras

from export.architectures import Recipe, Start
from export.architectures.efficientnet_lite import STRIDE_16, backbone, freeze_early, load_imagenet
from export.training.augmentation import Augmentation
from export.training.imagenet_weights import imagenet_file, read_checkpoint
from screener.preprocess import Preprocessing

_SIZE = 160
_LATERAL = 64
_FROZEN_BLOCKS = 3
"""Blocks, from the stem on, that stay as ImageNet taught them: edges are edges, and half of a step's cost is theirs."""


def build(start: Start) -> keras.Model:
    """Build the network from ImageNet weights: those given, or those that came with the training extra.

    The strongest cell of the map feeds the classifier beside the pooled features, so that looking at the annotated
    place is the cheapest way to be right (the map is a two-level feature pyramid: Lin et al., CVPR 2017).
    """
    image = keras.Input((start.size, start.size, 1), name="image")
    # The pixel range that the ImageNet weights were trained with: (x - 127) / 128 for x in 0 … 255.
    scaled = keras.layers.Rescaling(255 / 128, offset=-127 / 128, name="imagenet_range")(image)
    middle, top = backbone(scaled)
    lateral = keras.layers.Conv2D(_LATERAL, 1, name="lateral_middle")(middle)
    coarse = keras.layers.Conv2D(_LATERAL, 1, name="lateral_top")(top)
    coarse = keras.layers.UpSampling2D(2, interpolation="nearest", name="lateral_up")(coarse)
    merged = keras.layers.ReLU(6.0, name="lateral_relu")(keras.layers.Add(name="lateral_add")([lateral, coarse]))
    where = keras.layers.Conv2D(1, 1, name="where")(merged)
    strongest = keras.layers.GlobalMaxPooling2D(name="where_peak")(where)
    heatmap = keras.layers.Activation("sigmoid", name="heatmap")(
        keras.layers.Reshape(where.shape[1:3], name="where_grid")(where)
    )
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(top)
    evidence = keras.layers.Concatenate(name="evidence")([keras.layers.Dropout(0.3, name="drop")(pooled), strongest])
    probability = keras.layers.Dense(1, activation="sigmoid", name="probability")(evidence)
    model = keras.Model(image, {"probability": probability, "heatmap": heatmap}, name="lite")
    if not start.blank:
        load_imagenet(model, read_checkpoint(start.weights or imagenet_file()))
    freeze_early(model, _FROZEN_BLOCKS)
    return model


def exported(model: Any) -> Any:  # noqa: ANN401 - Keras models
    """Add what quality control measures distances in: the stride-16 features, averaged over the slice.

    Texture and anatomy still show there; the last features only keep what tells a tumour, and a photograph without
    one looks to them like a brain without one.
    """
    middle = keras.layers.GlobalAveragePooling2D(name="embedding")(model.get_layer(STRIDE_16).output)
    return keras.Model(model.input, dict(model.output) | {"embedding": middle}, name="lite")


RECIPE = Recipe(
    name="lite",
    summary="EfficientNet-Lite0, one grey channel, head-cropped and padded square, 160×160, with a localisation map",
    build=build,
    exported=exported,
    early=("stem_relu", "block1_out"),
    preprocessing=Preprocessing(_SIZE, crop="head", pad="square", intensity="percentile"),
    view_side=192,
    augment="hospital",
    epochs=14,
    steps=120,
    learning_rate=4e-4,
    schedule="cosine",
    monitor="adjusted_auc",
    patience=10,
    averaging=0.995,
    label_smoothing=0.05,
    # Tumour and tumour-free slices of the same patients and scanners: nothing to learn but the tumour.
    shares={"tcga_lgg": 0.4},
    settling=60,
    augmentation=Augmentation(strip=0.3, extraction=0.6, paste=0.15, decoy=0.1, spots=0.15, coarse=0.35, tones=0.5),
)
