"""From a graph to a release in one go, on drawn heads: calibrated, chosen, certified, measured, described."""

from __future__ import annotations

import csv
import json
import math
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from msgspec import structs
from onnx import helper, numpy_helper

from export.data.dataset import read_dataset
from export.data.groups import read_groups
from export.data.provenance import training_data
from export.errors import DataError
from export.release.model_card import verdict
from export.release.release import Release, ReleaseInputs, certify_again, publish
from screener.evaluate.calibration import Calibration
from screener.evaluate.metrics import lower_bound
from screener.evaluate.score import score_files
from screener.model.session import Model
from tests.conftest import MIDDLE, STEEPNESS, parsed_card, tiny_card, tiny_graph, write_model, write_slice

if TYPE_CHECKING:
    from pathlib import Path

    from screener.model.card import Card

UNITS = {"fit": 6, "tune": 40, "certify": 66, "test": 8}
"""Patients of each set; every other one has a tumour, and two slices."""


pytestmark = pytest.mark.usefixtures("few_resamples")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return drawn heads of known patients, and the run that says who is where."""
    root, rows, placed, patient = tmp_path_factory.mktemp("heads"), [], [], 0
    for place, count in UNITS.items():
        for _ in range(2 * count):
            yes = patient % 2 == 1
            for number in range(2):
                path = f"p{patient}-{number}.png"
                # One patient of the certification set is missed on every slice.
                write_slice(root / path, patient, bright=yes and not (place == "certify" and patient == 95), size=64)
                box = "0.3 0.3 0.7 0.7" if yes else ""
                source = "kaggle253" if place == "test" else "a"
                rows.append([path, "yes" if yes else "no", source, "FLAIR", f"p{patient}", box])
                placed.append([path, rows[-1][1], source, f"p{patient}", len(placed), patient, place])
            patient += 1
    write_csv(root / "manifest.csv", ["path", "label", "source", "sequence", "patient", "boxes"], rows)
    (root / "run").mkdir()
    write_csv(root / "run/groups.csv", ["path", "label", "source", "patient", "group", "unit", "set"], placed)
    return root


def write_csv(path: Path, head: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


def dense_graph() -> onnx.ModelProto:
    """Return the tiny model's graph with its steepness and middle as a dense layer, such as conversion makes."""
    graph = tiny_graph()
    nodes = list(graph.graph.node)
    del graph.graph.node[:]
    shape = numpy_helper.from_array(np.array([-1, 1], np.int64), "column")
    weights = numpy_helper.from_array(np.array([[STEEPNESS]], np.float32), "weights")
    bias = numpy_helper.from_array(np.array([-STEEPNESS * MIDDLE], np.float32), "bias")
    axis = numpy_helper.from_array(np.array([1], np.int64), "axis")
    graph.graph.initializer.extend([shape, weights, bias, axis])
    graph.graph.node.extend(
        [
            nodes[0],
            helper.make_node("Reshape", ["mean", "column"], ["columned"]),
            helper.make_node("Gemm", ["columned", "weights", "bias"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["both"]),
            helper.make_node("Squeeze", ["both", "axis"], ["probability"]),
            *nodes[4:],
        ]
    )
    return graph


def published(data: Path, folder: Path, graph: onnx.ModelProto, created: str = "2026-01-01") -> Card:
    dataset = read_dataset(data)
    found = read_groups(data / "run/groups.csv", dataset).split
    metrics = {
        "parity": {"largest_difference": 1e-6, "slices": 4},
        "training": {"epochs": 2, "best_epoch": 1, "minutes": 1.0},
    }
    card = structs.replace(
        parsed_card(created=created, metrics=metrics),
        training_data=training_data(dataset, found, ("kaggle253",), 1),
    )
    (data / "demo").mkdir(exist_ok=True)
    return publish(folder, graph, card, ReleaseInputs(dataset, found, {}, 0.95, data / "demo"), folder.parent / "draft")


@pytest.fixture(scope="module")
def released(
    few_resamples: None,  # noqa: ARG001 - must be in force
    data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Card]:
    """Return a release and its card."""
    folder = tmp_path_factory.mktemp("release") / "model"
    return folder, published(data, folder, dense_graph())


def test_the_card_names_the_models_that_used_the_same_certification_set(
    data: Path, released: tuple[Path, Card], tmp_path: Path
) -> None:
    shutil.copytree(released[0], tmp_path / "model")
    for created in ("2026-01-02", "2026-01-02", "2026-01-03"):
        card = published(data, tmp_path / "model", dense_graph(), created)
    shown = card.points["auto"].certificate
    assert shown is not None
    assert [one.created for one in shown.earlier_attempts] == ["2026-01-01", "2026-01-02"], "under one version or not"
    strict = math.floor(1e4 * lower_bound(shown.units - shown.missed, shown.units, 1 - 0.05 / 3)) / 1e4
    assert strict < shown.bound
    result = (tmp_path / "model/MODEL_CARD.md").read_text(encoding="utf-8")
    assert "also used for 1.0.0 (" in result
    assert f"the lower bound is {strict:.4f}" in result
    public = ("make model", "leave-one-out", "children", "docs/results", "LICENSE-WEIGHTS", "adult")
    assert not [words for words in public if words in result], "what is known of public slices is not said of one's own"


def test_a_release_is_made_in_one_go(data: Path, released: tuple[Path, Card]) -> None:
    folder, card = released
    model = Model.load(folder)
    auto = model.card.operating_points["auto"]
    assert auto.certified
    assert auto.certificate is not None
    assert (auto.certificate.units, auto.certificate.target) == (66, 0.90)
    assert 1 <= auto.certificate.missed <= 2
    assert card.points["auto"].measured_on == "certification set"
    assert card.calibration is not None
    assert card.calibration.kind in {"temperature", "Platt"}
    errors = card.metrics["calibration_errors"]
    assert errors["tune"]["balanced_after"] <= errors["tune"]["balanced_before"] + 1e-6
    assert set(card.metrics["test"]) == {"kaggle253"}
    assert card.metrics["certify"]["detection"]["units"] == 66
    assert not (folder.parent / "draft").exists()
    assert json.loads((folder / "golden.json").read_text())["scores"]
    scale, offset = card.calibration.scale, card.calibration.offset
    before = Model.load(write_model(folder.parent / "before", tiny_card(), dense_graph()))
    raw, now = (score_files([data / "p0-0.png"], one).scores for one in (before, model))
    assert now == pytest.approx(Calibration("Platt", scale, offset).apply(raw), abs=1e-5)


def test_the_card_tells_everything_that_was_measured(released: tuple[Path, Card]) -> None:
    folder, card = released
    result = (folder / "MODEL_CARD.md").read_text()
    for requested in (
        "certified for sensitivity ≥ 0.9 at", "of 66", "CT, PET", "PPV", "| 20% |", "| **all** |",
        "golden.json",
        "Known failures", "maximum inside", "Test source: kaggle253", "Not, or not stated to be", "temperature",
    ):  # fmt: skip
        assert requested in result
    assert "certified for sensitivity ≥ 0.9 at" in verdict(card)
    assert "nan" not in result.lower().replace("nanfang", "")


def test_what_cannot_be_calibrated_is_reported(data: Path, tmp_path: Path) -> None:
    card = published(data, tmp_path / "model", tiny_graph())
    assert card.calibration is None
    assert "Not calibrated" in (tmp_path / "model/MODEL_CARD.md").read_text()


def test_a_graph_is_certified_again_from_its_run_and_only_with_its_data(
    data: Path, released: tuple[Path, Card], tmp_path: Path
) -> None:
    (data / "run/options.json").write_text('{"recipe": "baseline", "test_sources": ["kaggle253"]}')
    folder = tmp_path / "again"
    shutil.copytree(released[0], folder)
    again = certify_again(data, data / "run", Release(folder, "", "1.0.1"), data / "demo")
    first = released[1]
    assert again.calibration == first.calibration, "calibrated once"
    assert again.points == first.points
    shown = again.points["auto"].certificate
    assert shown is not None
    assert not shown.earlier_attempts, "it is the same model"
    assert again.licence == "as the owners of the training slices allow"
    assert Model.load(folder).card.title == "tiny 1.0.1"
    card = json.loads((folder / "card.json").read_text())
    card["training_data"]["fingerprint"] = "sha256:other"
    write_model(folder, card, dense_graph())
    with pytest.raises(DataError, match="not the data"):
        certify_again(data, data / "run", Release(folder, "", None), data / "demo")
    with pytest.raises(DataError, match=r"no model\.onnx"):
        certify_again(data, data / "run", Release(tmp_path, "", None), data / "demo")
