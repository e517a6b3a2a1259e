"""Write the second graph that ``screener explain --layers`` reads: what the first layers of a network pass on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import onnx

from export.release.convert import _name_batch, _name_outputs, _number_tensors, write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FILE = "layers.onnx"
_OPSET = 17


def layers_graph(model: keras.Model, layers: Sequence[str]) -> onnx.ModelProto:
    """Convert the part of a network that ends in some of its layers.

    Parameters
    ----------
    model : keras.Model
        Input of shape (N, S, S, 1).
    layers : sequence of str
        Names of layers with outputs of shape (N, h, w, channels); the graph's outputs carry them.
    """
    import tensorflow as tf
    import tf2onnx

    part = keras.Model(model.input, {name: model.get_layer(name).output for name in layers}, name=f"{model.name}_early")
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="image")]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]  # TensorFlow ships no types
    def answer(image: Any) -> dict[str, Any]:  # noqa: ANN401 - TensorFlow tensors
        return dict(part(image, training=False))

    graph, _ = tf2onnx.convert.from_function(answer, input_signature=signature, opset=_OPSET)
    _name_outputs(graph, answer)
    _number_tensors(graph)
    _name_batch(graph)
    graph.producer_name, graph.producer_version = "screener", ""
    graph.graph.name, graph.graph.doc_string = part.name, ""
    onnx.checker.check_model(graph)
    return graph


def write_layers(folder: Path, graph: onnx.ModelProto) -> None:
    """Put the graph beside the model, whole or not at all."""
    write_whole(folder / FILE, graph.SerializeToString(deterministic=True))
