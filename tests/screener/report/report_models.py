"""A model small enough to be written by hand, which finds what is brighter than any skull; and inboxes for it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.data.phantoms import phantom
from screener.audit import AuditLog
from screener.pipeline.scan import Scan
from screener.preprocess import Preprocessing
from screener.triage import TriagePolicy
from tests.conftest import CERTIFICATE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from screener.model.session import Model

SIZE = 64
GRID = SIZE // 4
HOW = Preprocessing(SIZE, pad="square")


def write_model(folder: Path, *, heatmap: bool = True, layers: bool = False) -> Path:
    """Write a model folder: brightness above 0.84, averaged over 4 x 4 pixels; its peak is the probability."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = _graph()
    onnx.helper.set_model_props(graph, {"screener.card": json.dumps(card(heatmap=heatmap))})
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    if layers:
        early = _graph()
        early.graph.output[0].CopyFrom(
            helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["batch", None, None, 1])
        )
        del early.graph.output[1:]
        (folder / "layers.onnx").write_bytes(early.SerializeToString())
    return folder


def _graph() -> onnx.ModelProto:
    def constant(name: str, values: Any) -> TensorProto:  # noqa: ANN401 - arrays and scalars
        return numpy_helper.from_array(np.array(values), name)

    f, i = np.float32, np.int64
    constants = [
        constant("cut", f(0.84)),
        constant("gain", f(25)),
        constant("zero", f(0)),
        constant("one", f(1)),
        constant("planes", i([-1, 1, SIZE, SIZE])),
        constant("grid", i([-1, GRID, GRID])),
        constant("last", i([-1, GRID, GRID, 1])),
    ]
    nodes = [
        helper.make_node("Sub", ["image", "cut"], ["above"]),
        helper.make_node("Mul", ["above", "gain"], ["bright"]),
        helper.make_node("Clip", ["bright", "zero", "one"], ["clipped"]),
        helper.make_node("Reshape", ["clipped", "planes"], ["plane"]),
        helper.make_node("AveragePool", ["plane"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Reshape", ["cells", "grid"], ["heatmap"]),
        helper.make_node("Reshape", ["cells", "last"], ["pooled"]),
        helper.make_node("ReduceMax", ["heatmap"], ["probability"], axes=[1, 2], keepdims=0),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "bright",
        [info("image", TensorProto.FLOAT, ["batch", SIZE, SIZE, 1])],
        [
            info("probability", TensorProto.FLOAT, ["batch"]),
            info("heatmap", TensorProto.FLOAT, ["batch", GRID, GRID]),
        ],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def card(*, heatmap: bool = True) -> dict[str, Any]:
    points = {"default": 0.5, "screening": 0.3, "confirmation": 0.6, "auto": 0.4}
    return {
        "schema": 2,
        "name": "bright",
        "version": "1.0.0",
        "preprocessing": msgspec.to_builtins(HOW),
        "outputs": {"probability": "probability", "heatmap": "heatmap" if heatmap else None, "embedding": None},
        "operating_points": {
            name: {"threshold": threshold, "certified": True, "certificate": dict(CERTIFICATE)}
            for name, threshold in points.items()
        },
    }


def triage_policy(model: Model) -> TriagePolicy:
    points = model.card.operating_points
    return TriagePolicy(points["auto"], points["confirmation"].threshold, model.card.title, model.sha256)


def write_slice(path: Path, picture: NDArray[np.uint8]) -> str:
    """Write a PNG and return its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = cv2.imencode(".png", picture)[1].tobytes()
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def write_inbox(folder: Path, patients: int = 3, slices: int = 2) -> Path:
    """Write drawn heads, every second one with a mass, and one file that is no picture."""
    for patient in range(patients):
        for number in range(slices):
            seed = patient * slices + number
            write_slice(folder / f"p{patient:03d}" / f"s{number:03d}.png", phantom(seed, 256, tumour=seed % 2 == 0))
    (folder / "p000" / "letter.png").write_bytes(b"Dear colleague, enclosed please find")
    return folder


def screen(inbox: Path, model: Model, log_path: Path, *, observer: Any = None, rescan: bool = False) -> Scan:  # noqa: ANN401
    """Scan an inbox into a log."""
    from screener.pipeline.config import ScanConfig
    from screener.pipeline.scan import summary_counts

    verdicts = triage_policy(model)
    with AuditLog(log_path) as log:
        scan = Scan(inbox, model, verdicts, log, ScanConfig(rescan=rescan))
        scan.observer = observer
        log.start(
            {
                "tool_version": "0.1.0",
                "inbox": str(inbox.absolute()),
                "model": model.card.title,
                "model_sha256": model.sha256,
                "threshold": repr(verdicts.point.threshold),
                "operating_point": verdicts.point.name,
            }
        )
        list(scan.findings())
        log.end(summary_counts(scan.counts), "complete")
    return scan
