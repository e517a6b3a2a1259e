"""Temperature and Platt's offset: fitted, chosen between, and folded into a graph."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.release.calibrate import fold
from screener.evaluate.calibration import Calibration, calibrate
from tests.conftest import tiny_graph


def result(scale: float, offset: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and the scores of a model whose logits are true ones, divided by `scale` after `offset`."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, count)
    labels = (rng.random(count) < 1 / (1 + np.exp(-logits))).astype(int)
    return labels, 1 / (1 + np.exp(-(logits - offset) / scale))


def test_a_temperature_is_found_and_is_enough() -> None:
    labels, scores = result(0.4, 0.0)
    found, errors = calibrate(labels, scores, np.ones(len(labels)))
    assert (found.kind, found.offset) == ("temperature", 0.0)
    assert found.scale == pytest.approx(0.4, rel=0.05)
    assert errors["before"] > 0.05 > errors["temperature"]
    assert found.apply(np.array([0.5]))[0] == pytest.approx(0.5), "a temperature moves no cut"


def test_an_offset_is_only_used_where_it_is_needed() -> None:
    labels, scores = result(1.0, 1.5)
    found, errors = calibrate(labels, scores, np.ones(len(labels)))
    assert found.kind == "Platt"
    assert errors["temperature"] > 0.05 > errors["Platt"]
    assert found.offset == pytest.approx(1.5, rel=0.1)


def test_weights_decide_and_not_the_largest_source() -> None:
    right, wrong = result(1.0, 0.0, 5000), result(0.2, 0.0, 500)
    labels, scores = (np.concatenate(pair) for pair in zip(right, wrong, strict=True))
    weights = np.concatenate([np.full(5000, 1e-6), np.ones(500)])
    assert calibrate(labels, scores, weights)[0].scale < 0.3
    assert calibrate(labels, scores, np.ones(5500))[0].scale > 0.5


def test_perfect_and_refused_scores_stay_numbers() -> None:
    labels = np.array([0, 1] * 20)
    found, _ = calibrate(labels, labels.astype(float), np.ones(40))
    assert np.isfinite(found.scale)
    assert np.isnan(found.apply(np.array([np.nan]))[0])
    assert found.apply(np.array([0.0, 1.0])).tolist() == pytest.approx([0, 1], abs=1e-3)


def dense(kind: str) -> onnx.ModelProto:
    """Return a graph that ends as tf2onnx ends a dense layer."""
    rng = np.random.default_rng(1)
    stored = [
        numpy_helper.from_array(rng.normal(size=(4, 1)).astype(np.float32), "weights"),
        numpy_helper.from_array(np.array([0.3], np.float32), "bias"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    nodes = [
        helper.make_node("MatMul", ["image", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logit"]),
    ]
    if kind == "Gemm":
        nodes = [helper.make_node("Gemm", ["image", "weights", "bias"], ["logit"])]
    nodes += [
        helper.make_node("Sigmoid", ["logit"], ["both"]),
        helper.make_node("Squeeze", ["both", "axis"], ["probability"]),
        helper.make_node("Identity", ["image"], ["heatmap"]),
    ]
    info = helper.make_tensor_value_info
    outputs = [
        info("probability", TensorProto.FLOAT, ["batch"]),
        info("heatmap", TensorProto.FLOAT, ["batch", 4]),
    ]
    graph = helper.make_graph(nodes, "dense", [info("image", TensorProto.FLOAT, ["batch", 4])], outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def answers(graph: onnx.ModelProto, images: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(["probability", "heatmap"], {"image": images}))


@pytest.mark.parametrize("kind", ["MatMul", "Gemm"])
def test_folded_in_it_says_what_was_meant_and_changes_nothing_else(kind: str) -> None:
    graph, images = dense(kind), np.random.default_rng(2).normal(size=(50, 4)).astype(np.float32)
    calibration = Calibration("Platt", 0.6, 0.4)
    before = answers(graph, images)
    nodes = len(graph.graph.node)
    assert fold(graph, calibration)
    after = answers(graph, images)
    assert np.abs(after[0] - calibration.apply(before[0].astype(float))).max() < 1e-6
    assert np.array_equal(after[1], before[1])
    assert len(graph.graph.node) == nodes, "no step more than before"


def test_what_is_no_dense_layer_or_shares_its_weights_is_left_alone() -> None:
    graph = tiny_graph()
    assert not fold(graph, Calibration("temperature", 2.0))
    shared = dense("MatMul")
    shared.graph.node.append(helper.make_node("Identity", ["weights"], ["copy"]))
    before = shared.SerializeToString()
    assert not fold(shared, Calibration("temperature", 2.0))
    assert shared.SerializeToString() == before
