"""Make probabilities believable: temperature or Platt scaling on the tune set, folded into the last layer's weights.

The temperature (Guo et al., ICML 2017) divides the logit and leaves 0.5 where it was. Platt's second number moves it;
it is fitted by likelihood like the first, never to a cut, and used only where a temperature alone leaves a calibration
error above `ENOUGH`. Slices weigh as in training, both labels the same, so that neither the largest source nor the
share of tumours in a set of examples decides what 0.5 means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from screener.evaluate.metrics import calibration_error

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

ENOUGH = 0.05
"""Expected calibration error that a temperature alone may leave."""
_EDGE = 1e-7
_PASSING = {"Squeeze", "Slice", "Reshape", "Identity", "Gather"}
"""What may lie between the sigmoid and the output: it picks numbers and changes none."""


@dataclass(frozen=True)
class Calibration:
    """New logit = `scale` · logit + `offset`.

    Attributes
    ----------
    kind : {"temperature", "Platt"}
    scale : float, above 0
        One over the temperature.
    offset : float
        0 for a temperature.
    """

    kind: Literal["temperature", "Platt"]
    scale: float
    offset: float = 0.0

    def apply(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the calibrated model says: (N,), NaN where it was."""
        return np.asarray(1 / (1 + np.exp(-(self.scale * _logits(scores) + self.offset))))


def _logits(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    safe = np.clip(scores, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(safe) - np.log1p(-safe))


def calibrate(
    labels: NDArray[np.int64], scores: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[Calibration, dict[str, float]]:
    """Fit a temperature, and Platt's two numbers where that is not enough.

    Parameters
    ----------
    labels : ndarray of shape (N,), int
    scores : ndarray of shape (N,), float64, in [0, 1]
    weights : ndarray of shape (N,), float64

    Returns
    -------
    calibration : Calibration
    errors : dict of str to float
        Weighted expected calibration error ``before``, with a ``temperature``, and with ``Platt``.
    """
    tried = {"temperature": _fitted(labels, scores, weights, bias=False)}
    tried["Platt"] = _fitted(labels, scores, weights, bias=True)
    errors = {"before": calibration_error(labels, scores, weights=weights)}
    errors |= {kind: calibration_error(labels, found.apply(scores), weights=weights) for kind, found in tried.items()}
    enough = errors["temperature"] <= max(ENOUGH, errors["Platt"])
    return tried["temperature" if enough else "Platt"], errors


def _fitted(
    labels: NDArray[np.int64], scores: NDArray[np.float64], weights: NDArray[np.float64], *, bias: bool
) -> Calibration:
    """Minimise the weighted cross-entropy over the logarithm of the scale, and over the offset if there is one."""
    from scipy.optimize import minimize

    logits, shares = _logits(scores), weights / weights.sum()

    def loss(numbers: NDArray[np.float64]) -> float:
        moved = np.exp(numbers[0]) * logits + (numbers[1] if bias else 0.0)
        return float((shares * (np.logaddexp(0, moved) - labels * moved)).sum())

    # A set that is told apart without an error would ask for an infinite scale.
    bounds = [(-3.0, 3.0), (-5.0, 5.0)][: 1 + bias]
    found = minimize(loss, np.zeros(1 + bias), bounds=bounds, method="L-BFGS-B").x
    return Calibration("Platt" if bias else "temperature", float(np.exp(found[0])), float(found[1]) if bias else 0.0)


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
