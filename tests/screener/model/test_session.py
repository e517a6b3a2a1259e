"""Loading a model: what is refused, and that scores do not depend on the batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from export.data.phantoms import phantom
from screener.errors import ModelError
from screener.model.session import Model
from screener.preprocess import prepare
from tests.conftest import SIZE, tiny_card, tiny_graph, write_model

ROOT = Path(__file__).resolve().parents[3]


def test_scores_do_not_depend_on_batch_or_threads(tiny_model: Path) -> None:
    images = np.random.default_rng(0).random((37, SIZE, SIZE, 1), dtype=np.float32)
    whole = [answer.probability for answer in Model.load(tiny_model).predict(images)]
    single = [Model.load(tiny_model, threads=1).predict(image[None])[0].probability for image in images[:5]]
    assert np.allclose(whole[:5], single, atol=1e-6)


@pytest.mark.skipif(not (ROOT / "models/lite/model.onnx").exists(), reason="no shipped model in this checkout")
def test_the_shipped_scores_do_not_depend_on_batch_threads_or_order() -> None:
    model = Model.load(ROOT / "models/lite")
    images = np.stack([prepare(phantom(seed).astype(np.float32) / 255, model.card.preprocessing) for seed in range(7)])
    alone = np.array([model.predict(image[None])[0].probability for image in images])
    single = Model.load(ROOT / "models/lite", threads=1)
    for batch, order in ((images, slice(None)), (images[::-1], slice(None, None, -1))):
        for answering in (model, single):
            together = np.array([answer.probability for answer in answering.predict(batch)])
            assert np.abs(together - alone[order]).max() <= 1e-5
    with ThreadPoolExecutor(7) as pool:
        at_once = list(pool.map(lambda image: model.predict(image[None])[0].probability, images))
    assert np.abs(np.array(at_once) - alone).max() <= 1e-5


@pytest.mark.skipif(not (ROOT / "models/lite/model.onnx").exists(), reason="no shipped model in this checkout")
def test_normalisation_is_folded_into_the_shipped_graph() -> None:
    graph = onnx.load(ROOT / "models/lite/model.onnx").graph
    assert not [node.name for node in graph.node if node.op_type == "BatchNormalization"]


def test_heatmaps_only_when_asked(tiny_model: Path) -> None:
    images = np.zeros((2, SIZE, SIZE, 1), np.float32)
    model = Model.load(tiny_model)
    assert model.predict(images)[0].heatmap is None
    found = model.predict(images, heatmaps=True)[0].heatmap
    assert found is not None
    assert found.shape == (2, 2)


def test_checksums_card_and_shape_are_held_to(tmp_path: Path) -> None:
    changed = write_model(tmp_path / "changed")
    (changed / "card.json").write_text((changed / "card.json").read_text().replace("0.4", "0.2"))
    with pytest.raises(ModelError, match="SHA256SUMS"):
        Model.load(changed)
    (changed / "SHA256SUMS").unlink()
    with pytest.raises(ModelError, match="differs"):
        Model.load(changed)
    larger = tiny_card()
    larger["preprocessing"]["size"] = 64
    with pytest.raises(ModelError, match="shape"):
        Model.load(write_model(tmp_path / "larger", larger))
    with pytest.raises(ModelError, match="lacks the float output"):
        Model.load(write_model(tmp_path / "more", tiny_card(outputs={"probability": "p"})))


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "outside")
    graph = onnx.load(folder / "model.onnx")
    (folder / "SHA256SUMS").unlink()
    onnx.save_model(graph, folder / "model.onnx", save_as_external_data=True, location="secret.bin", size_threshold=0)
    with pytest.raises(ModelError, match="another file"):
        Model.load(folder)


def test_foreign_operators_are_refused(tmp_path: Path) -> None:
    graph = tiny_graph()
    graph.graph.node[3].domain = "evil"
    graph.opset_import.append(helper.make_opsetid("evil", 1))
    with pytest.raises(ModelError, match="no model that onnxruntime can load"):
        Model.load(write_model(tmp_path / "evil", graph=graph))


def test_an_oversized_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="MiB"):
        Model.load(write_model(tmp_path / "fat", tiny_card(metrics={"x": "y" * (5 << 20)})))


def test_onnxruntime_is_told_to_report_nothing(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    message = []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: message.append(True))
    Model.load(tiny_model)
    assert message
