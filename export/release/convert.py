"""Turn a trained model into the unit of release: ``model.onnx`` with its card inside, and what goes beside it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from export.errors import DataError
from export.files import atomically
from screener.model.card import CARD_KEY, Card

if TYPE_CHECKING:
    from pathlib import Path

    import keras
    from numpy.typing import NDArray

PARITY = 1e-5
"""Largest difference in probability between Keras and onnxruntime that is accepted."""
_OPSET = 17


def to_onnx(model: keras.Model) -> onnx.ModelProto:
    """Convert a Keras model with one input and named outputs.

    The graph gets stable names (input ``image``, outputs as the model calls them), a dynamic batch dimension called
    ``batch``, and ``probability`` as a vector of shape (batch,).

    Parameters
    ----------
    model : keras.Model
        Input of shape (N, S, S, 1); outputs a dict with ``probability`` (N, 1) and further arrays.
    """
    import tensorflow as tf
    import tf2onnx

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="image")]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]  # TensorFlow ships no types
    def answer(image: Any) -> dict[str, Any]:  # noqa: ANN401 - TensorFlow tensors
        found = dict(model(image, training=False))
        found["probability"] = found["probability"][:, 0]
        return found

    graph, _ = tf2onnx.convert.from_function(answer, input_signature=signature, opset=_OPSET)
    _name_outputs(graph, answer)
    _number_tensors(graph)
    _name_batch(graph)
    graph.producer_name, graph.producer_version = "screener", ""
    graph.graph.name, graph.graph.doc_string = model.name, ""
    plain_domain = [entry for entry in graph.opset_import if not entry.domain]
    del graph.opset_import[:]
    graph.opset_import.extend(plain_domain)
    onnx.checker.check_model(graph)
    return graph


def _name_outputs(graph: onnx.ModelProto, function: Any) -> None:  # noqa: ANN401 - TensorFlow
    """Give the outputs the names of the dictionary that the function returns, instead of ``Identity:0``."""
    # TensorFlow flattens a dictionary in the order of its sorted keys, and so numbers the outputs.
    requested = sorted(function.get_concrete_function().structured_outputs)
    renamed = {output.name: name for output, name in zip(graph.graph.output, requested, strict=True)}
    _rename(graph, renamed)


def _number_tensors(graph: onnx.ModelProto) -> None:
    """Give nodes and tensors numbers in the order of use: the converter's own differ with every export."""
    fixed = {value.name for value in (*graph.graph.input, *graph.graph.output)}
    weights = {weight.name for weight in graph.graph.initializer}
    renamed: dict[str, str] = {}
    for index, node in enumerate(graph.graph.node):
        node.name = f"{node.op_type}_{index}"
        for name in (*node.input, *node.output):
            if name and name not in fixed:
                renamed.setdefault(name, f"{'w' if name in weights else 't'}{len(renamed)}")
    _rename(graph, renamed)
    used = sorted((weight for weight in graph.graph.initializer), key=lambda weight: int(weight.name[1:]))
    copies = [onnx.TensorProto.FromString(weight.SerializeToString()) for weight in used]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(copies)
    del graph.graph.value_info[:]


def _rename(graph: onnx.ModelProto, renamed: dict[str, str]) -> None:
    """Rename tensors wherever they occur."""
    for node in graph.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for named in (*graph.graph.output, *graph.graph.initializer):
        named.name = renamed.get(named.name, named.name)


def _name_batch(graph: onnx.ModelProto) -> None:
    """Name the batch dimension; the converter's ``unk__NN`` differs with every export and so would the hash."""
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def parity(model: keras.Model, graph: onnx.ModelProto, images: NDArray[np.float32]) -> float:
    """Return the largest |Δ probability| between Keras and onnxruntime over real slices.

    Parameters
    ----------
    model : keras.Model
    graph : onnx.ModelProto
    images : ndarray of shape (N, S, S, 1), float32, in [0, 1]

    Raises
    ------
    DataError
        The difference exceeds `PARITY`.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    theirs = np.concatenate([session.run(["probability"], {"image": part})[0] for part in np.array_split(images, 8)])
    ours = np.asarray(model.predict(images, batch_size=32, verbose=0)["probability"])[:, 0]
    difference = float(np.abs(ours - theirs).max())
    if difference > PARITY:
        raise DataError(f"Keras and onnxruntime differ by {difference:.2e}", f"at most {PARITY} is accepted")
    return difference


def write_release(folder: Path, graph: onnx.ModelProto, card: Card, model_card: str) -> None:
    """Write the model's folder: the graph with its card, the same card as JSON, the readable card, the checksums.

    Every file is replaced whole, the checksums last: what an interruption leaves half replaced is refused when loaded.

    Raises
    ------
    ModelError
        The card is not one that the tool would read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain = card.to_plain()
    text = json.dumps(plain, ensure_ascii=True, sort_keys=True, allow_nan=False)
    Card.parse(text)
    onnx.helper.set_model_props(graph, {CARD_KEY: text})
    files = {
        "model.onnx": graph.SerializeToString(deterministic=True),
        "card.json": (json.dumps(plain, indent=2, ensure_ascii=False) + "\n").encode(),
        "MODEL_CARD.md": model_card.encode(),
    }
    for name, data in files.items():
        write_whole(folder / name, data)
    write_checksums(folder)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file of a release, whole or not at all."""
    atomically(path, lambda partial: partial.write_bytes(data))


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS`` over what the tool loads, in the format of ``sha256sum``."""
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("card.json", "golden.json", "layers.onnx", "model.onnx")
        if (folder / name).exists()
    ]
    write_whole(folder / "SHA256SUMS", "".join(lines).encode())
