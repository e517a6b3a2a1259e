"""Fold a calibration of probabilities into the last layer's weights; `screener.evaluate.calibration` fits it.

Slices weigh as in training, both labels the same, so that neither the largest source nor the share of tumours in a set
of examples decides what 0.5 means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

    from screener.evaluate.calibration import Calibration

_PASSING = {"Squeeze", "Slice", "Reshape", "Identity", "Gather"}
"""What may lie between the sigmoid and the output: it picks numbers and changes none."""


def fold(graph: onnx.ModelProto, calibration: Calibration) -> bool:
    """Multiply the calibration into the weights before the sigmoid: the graph costs what it cost, other outputs stay.

    Returns
    -------
    bool
        False, and nothing changed, where the probability is not the sigmoid of a dense layer.
    """
    found = _last_layer(graph, "probability")
    if found is None:
        return False
    weights, bias = found
    _replace(weights, lambda old: old * calibration.scale)
    _replace(bias, lambda old: old * calibration.scale + calibration.offset)
    return True


def _replace(tensor: onnx.TensorProto, change: Any) -> None:  # noqa: ANN401 - a function of an array
    from onnx import numpy_helper

    old = numpy_helper.to_array(tensor)
    new = np.asarray(change(old.astype(np.float64)), dtype=old.dtype)
    tensor.CopyFrom(numpy_helper.from_array(new, tensor.name))


def _last_layer(graph: onnx.ModelProto, output: str) -> tuple[onnx.TensorProto, onnx.TensorProto] | None:
    """Find weights and bias of the dense layer whose sigmoid is an output."""
    made = {name: node for node in graph.graph.node for name in node.output}
    stored = {tensor.name: tensor for tensor in graph.graph.initializer}
    node = made.get(output)
    while node is not None and node.op_type in _PASSING:
        node = made.get(node.input[0])
    if node is None or node.op_type != "Sigmoid":
        return None
    node = made.get(node.input[0])
    if node is not None and node.op_type == "Add" and (inner := made.get(node.input[0])) is not None:
        names = (inner.input[1] if inner.op_type == "MatMul" else "", node.input[1])
    elif node is not None and node.op_type == "Gemm" and len(node.input) == 3:  # noqa: PLR2004 - with its bias
        names = (node.input[1], node.input[2])
    else:
        return None
    uses = [name for user in graph.graph.node for name in user.input]
    own = all(name in stored and uses.count(name) == 1 for name in names)
    return (stored[names[0]], stored[names[1]]) if own else None
