"""The graph without its other outputs says the same, and is what the cost is measured against."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    place = Path(__file__).resolve().parents[2] / "bench/outputs.py"
    spec = importlib.util.spec_from_file_location("outputs", place)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(graph: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    return np.asarray(session.run(["probability"], {"image": images})[0])


def test_the_pruned_graph_says_the_same_with_less(bench: ModuleType, tiny_model: Path) -> None:
    graph = onnx.load(str(tiny_model / "model.onnx"))
    small = bench.pruned(graph, "probability")
    assert [value.name for value in small.graph.output] == ["probability"]
    assert {node.op_type for node in small.graph.node} == {"ReduceMean", "Sub", "Mul", "Sigmoid"}
    assert {tensor.name for tensor in small.graph.initializer} == {"steepness", "middle"}
    images = np.random.default_rng(0).random((3, 32, 32, 1), dtype=np.float32)
    assert np.array_equal(answer(small, images), answer(graph, images))


def test_both_are_timed_in_turns(bench: ModuleType, tiny_model: Path) -> None:
    found = bench.outputs_cost(tiny_model / "model.onnx", 0.0)
    assert found["without"] == ["heatmap"]
    assert found["turns"] >= 1
    assert found["ratio"] > 0
