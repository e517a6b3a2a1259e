"""EfficientNet-Lite0 with one grey channel (Tan & Le, ICML 2019; Lite variant: no squeeze-excite, ReLU6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class _Stage:
    repeats: int
    kernel: int
    stride: int
    expand: int
    filters: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_HEAD = 1280
_KERNELS = {"_conv_stem", "_conv_head", "_expand_conv", "_depthwise_conv", "_project_conv"}
STRIDE_16 = "block10_out"
"""Name of the layer whose output is the last feature map at stride 16: (H/16, W/16, 112)."""


def backbone(image: Any, *, batch_norm_momentum: float = 0.99) -> tuple[Any, Any]:  # noqa: ANN401 - Keras tensors
    """Build the feature extractor.

    Parameters
    ----------
    image : Keras tensor of shape (N, H, W, C), values as ImageNet's ``(x - 127) / 128``
    batch_norm_momentum : float, in [0, 1)

    Returns
    -------
    middle : Keras tensor of shape (N, H/16, W/16, 112)
    top : Keras tensor of shape (N, H/32, W/32, 1280)
    """
    norm = {"epsilon": 1e-3, "momentum": batch_norm_momentum}
    x = _conv(image, "stem", 32, kernel=3, stride=2, norm=norm)
    middle = None
    for index, stage, stride in _blocks():
        x = _block(x, f"block{index}", stage, stride, norm)
        if f"block{index}_out" == STRIDE_16:
            middle = x
    return middle, _conv(x, "head", _HEAD, kernel=1, stride=1, norm=norm)


def _blocks() -> Iterator[tuple[int, _Stage, int]]:
    """Yield every block with its running number and its own stride."""
    index = 0
    for stage in _STAGES:
        for repeat in range(stage.repeats):
            yield index, stage, stage.stride if repeat == 0 else 1
            index += 1


def _conv(x: Any, name: str, filters: int, *, kernel: int, stride: int, norm: Mapping[str, float]) -> Any:  # noqa: ANN401
    """Convolution, batch normalisation, ReLU6."""
    x = keras.layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = keras.layers.BatchNormalization(**norm, name=f"{name}_bn")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x)


def _block(x: Any, name: str, stage: _Stage, stride: int, norm: Mapping[str, float]) -> Any:  # noqa: ANN401
    """Inverted residual: expand, depthwise, project, add where the shapes agree."""
    inputs, channels = x, x.shape[-1]
    if stage.expand > 1:
        x = _conv(x, f"{name}_expand", channels * stage.expand, kernel=1, stride=1, norm=norm)
    x = keras.layers.DepthwiseConv2D(stage.kernel, stride, padding="same", use_bias=False, name=f"{name}_depth_conv")(x)
    x = keras.layers.BatchNormalization(**norm, name=f"{name}_depth_bn")(x)
    x = keras.layers.ReLU(6.0, name=f"{name}_depth_relu")(x)
    x = keras.layers.Conv2D(stage.filters, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = keras.layers.BatchNormalization(**norm, name=f"{name}_project_bn")(x)
    if stride == 1 and channels == stage.filters:
        x = keras.layers.Add(name=f"{name}_add")([inputs, x])
    return keras.layers.Activation("linear", name=f"{name}_out")(x)


def freeze_early(model: keras.Model, blocks: int) -> None:
    """Leave the stem and the first `blocks` blocks as they are, and every normalisation at its statistics."""
    early = ("stem_", *(f"block{index}_" for index in range(blocks)))
    for layer in model.layers:
        if layer.name.startswith(early) or isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def classifier() -> keras.Model:
    """Build the ImageNet classifier itself: (N, 224, 224, 3) → (N, 1000) logits. It proves the weights' layout."""
    image = keras.Input((224, 224, 3), name="image")
    _, top = backbone(image)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(top)
    return keras.Model(image, keras.layers.Dense(1000, name="imagenet")(pooled))


def load_imagenet(model: keras.Model, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Copy ImageNet weights into a model built on `backbone`.

    A grey stem gets the sum over the three colour channels: the same answer as a grey picture shown in colour.

    Parameters
    ----------
    model : keras.Model
    tensors : mapping of str to ndarray
        As `export.training.imagenet_weights.read_checkpoint` returns them.
    """
    for layer, source in _names():
        if source.rsplit(".", 1)[-1] in _KERNELS:
            kernel = tensors[f"{source}.weight"]
            model.get_layer(layer).set_weights([_kernel(kernel, model.get_layer(layer))])
        else:
            parts = ("weight", "bias", "running_mean", "running_var")
            model.get_layer(layer).set_weights([tensors[f"{source}.{part}"] for part in parts])
    if any(layer.name == "imagenet" for layer in model.layers):
        model.get_layer("imagenet").set_weights([tensors["_fc.weight"].T, tensors["_fc.bias"]])


def _kernel(kernel: NDArray[Any], layer: keras.layers.Layer) -> NDArray[Any]:
    """Turn PyTorch's (out, in, h, w) into the layer's layout: (h, w, in, out), depthwise (h, w, channels, 1)."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return kernel.transpose(2, 3, 0, 1)
    kernel = kernel.transpose(2, 3, 1, 0)
    if layer.kernel.shape[2] == 1 and kernel.shape[2] == 3:  # noqa: PLR2004 - grey from colour
        kernel = np.sum(kernel, axis=2, keepdims=True)
    return kernel


def _names() -> Iterator[tuple[str, str]]:
    """Pair every layer that has weights with its name in the checkpoint."""
    yield from (("stem_conv", "_conv_stem"), ("stem_bn", "_bn0"), ("head_conv", "_conv_head"), ("head_bn", "_bn1"))
    for index, stage, _ in _blocks():
        mine, theirs = f"block{index}", f"_blocks.{index}"
        if stage.expand > 1:
            yield f"{mine}_expand_conv", f"{theirs}._expand_conv"
            yield f"{mine}_expand_bn", f"{theirs}._bn0"
        yield f"{mine}_depth_conv", f"{theirs}._depthwise_conv"
        yield f"{mine}_depth_bn", f"{theirs}._bn1"
        yield f"{mine}_project_conv", f"{theirs}._project_conv"
        yield f"{mine}_project_bn", f"{theirs}._bn2"
