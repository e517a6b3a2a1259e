"""A tiny model, drawn slices and the installed command, for every test that needs them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.data.phantoms import phantom
from screener.model.card import Card
from tests.in_process import InProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

EMBEDDING_REFERENCE = "embedding_reference"
"""Its key in the card."""
SIZE = 32
STEEPNESS, MIDDLE = 60.0, 0.25
"""The tiny model flags bright slices: probability = sigmoid(STEEPNESS · (mean − MIDDLE))."""
CERTIFICATE = {
    "target": 0.95,
    "level": 0.95,
    "bound": 0.9512,
    "units": 60,
    "missed": 0,
    "threshold": 0.4,
    "unit": "a drawn head",
}
"""What the tiny model may promise: 60 heads, none missed."""


def tiny_card(**changes: object) -> dict[str, Any]:
    """Return a valid card for the tiny model."""
    rate = {"value": 0.9, "low": 0.8, "high": 0.95, "hits": 9, "count": 10, "units": 5}
    points = {
        name: {
            "threshold": threshold,
            "sensitivity": rate,
            "specificity": rate,
            "measured_on": "drawn heads",
            "recall_target": 0.95 if name == "auto" else None,
            "certified": name == "auto",
            "certificate": dict(CERTIFICATE) if name == "auto" else None,
        }
        for name, threshold in {"default": 0.5, "screening": 0.3, "confirmation": 0.7, "auto": 0.4}.items()
    }
    return {
        "schema": 2,
        "name": "tiny",
        "version": "1.0.0",
        "architecture": "mean brightness",
        "created": "2026-01-01T00:00:00Z",
        "preprocessing": {"size": SIZE, "crop": "none", "pad": "none", "intensity": "unit", "version": 1},
        "outputs": {"probability": "probability", "heatmap": "heatmap", "embedding": None},
        "operating_points": points,
        "training_data": {"fingerprint": "sha256:0", "sources": [], "sets": {}},
        "metrics": {},
        EMBEDDING_REFERENCE: None,
        "intended_use": "tests",
        "limitations": ["knows nothing of brains"],
        "licence": "none",
    } | changes


def tiny_graph() -> onnx.ModelProto:
    """Build the graph: mean over the image, a sigmoid, and average pooling as heatmap."""
    constants = [
        numpy_helper.from_array(np.array([STEEPNESS], np.float32), "steepness"),
        numpy_helper.from_array(np.array([MIDDLE], np.float32), "middle"),
        numpy_helper.from_array(np.array([-1, 2, 2], np.int64), "grid"),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["mean", "middle"], ["centred"]),
        helper.make_node("Mul", ["centred", "steepness"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
        helper.make_node("Transpose", ["image"], ["channels_first"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["channels_first"], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Reshape", ["pooled", "grid"], ["heatmap"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", SIZE, SIZE, 1])],
        [
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch"]),
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["batch", 2, 2]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def write_model(folder: Path, card: dict[str, Any] | None = None, graph: onnx.ModelProto | None = None) -> Path:
    """Write a model folder with card and checksums."""
    folder.mkdir(parents=True, exist_ok=True)
    graph, card = graph or tiny_graph(), card or tiny_card()
    helper.set_model_props(graph, {"screener.card": json.dumps(card)})
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    (folder / "card.json").write_text(json.dumps(card))
    sums = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in ("card.json", "model.onnx")]
    (folder / "SHA256SUMS").write_text("".join(sums))
    return folder


def parsed_card(**changes: object) -> Card:
    """Return `tiny_card` as the tool reads it."""
    return Card.parse(json.dumps(tiny_card(**changes)))


@pytest.fixture(scope="module")
def few_resamples() -> Iterator[None]:
    """Keep intervals cheap where nobody looks at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("screener.evaluate.metrics.RESAMPLES", 20)
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny model's folder."""
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


def write_slice(path: Path, seed: int = 0, *, bright: bool = False, size: int = 96) -> Path:
    """Draw a head; the tiny model flags bright ones."""
    image = phantom(seed, size).astype(np.float32)
    image = np.clip(image * (1.9 if bright else 0.9), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


def many(folder: Path, count: int) -> Path:
    """Fill a folder with one bright slice many times: trailing bytes make other files of the same picture."""
    data = write_slice(folder / "0.png", bright=True).read_bytes()
    for number in range(1, count):
        (folder / f"{number}.png").write_bytes(data + b"\0" * number)
    return folder


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Return an inbox of two patients with two bright and two dark slices."""
    folder = tmp_path / "inbox"
    for number in range(4):
        write_slice(folder / f"p{number // 2}" / f"{number}.png", number, bright=number % 2 == 0)
    return folder


@dataclass
class Command:
    """The installed ``screener`` with a state folder of its own."""

    state: Path
    model: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """Return the default log."""
        return self.state / "screener/audit.jsonl"

    def arguments(self, *given: object) -> list[str]:
        """Return the command line."""
        return [str(Path(sys.executable).with_name("screener")), *map(str, given)]

    def env(self) -> dict[str, str]:
        """Return the environment."""
        own = {f"XDG_{kind}_HOME": str(self.state) for kind in ("STATE", "CONFIG", "DATA")}
        return {**os.environ, **own, "LC_ALL": "C.UTF-8", **self.environment}

    def __call__(self, *given: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.arguments(*given), env=self.env(), capture_output=True, text=True, check=False, timeout=120
        )

    def scan(self, inbox: Path, *given: object) -> subprocess.CompletedProcess[str]:
        """Scan with the tiny model."""
        return self("scan", inbox, "--model", self.model, *given)

    def events(self, kind: str = "RESULT") -> list[dict[str, Any]]:
        """Return the events of one kind in the default log."""
        if not self.log.exists():
            return []
        found = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [event for event in found if event["event"] == kind]


@pytest.fixture
def screener(tmp_path: Path, tiny_model: Path) -> Command:
    """Return the command."""
    return Command(tmp_path / "state", tiny_model)


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> InProcess:
    """Return the command, run within this process."""
    return InProcess(tmp_path / "home", capsys)
