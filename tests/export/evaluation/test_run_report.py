"""The report of a run trained for two epochs on drawn heads, and damage to pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import keras
import numpy as np
import pytest
from sklearn.metrics import classification_report
from small import SIDE, SMALL

from export.data.phantoms import phantom
from export.errors import DataError
from export.evaluation.robustness import DAMAGES, MEASURED, damaged, robustness
from export.reports.run import class_rows, run_report
from export.training import loop as setup
from export.training.options import Options

if TYPE_CHECKING:
    from pathlib import Path

    from export.architectures import Recipe


def with_map(model: keras.Model) -> keras.Model:
    where = keras.ops.mean(model.get_layer("conv").output, axis=-1)
    return keras.Model(model.input, dict(model.output) | {"heatmap": keras.ops.sigmoid(where)})


def small(*, heat: bool) -> Recipe:
    shown = {"exported": with_map, "early": ("conv",)} if heat else {}
    return replace(SMALL, epochs=2, averaging=0.0, **shown)  # type: ignore[arg-type]  # of several types


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("heads")
    lines = ["path,label,source,plane,boxes"]
    for seed in range(120):
        image = phantom(seed, SIDE, tumour=seed % 2 == 1)
        rng = np.random.default_rng(seed)
        for _ in range(10):
            at = tuple(int(value) for value in rng.integers(14, 50, 2))
            cv2.circle(image, at, int(rng.integers(3, 6)), int(rng.integers(20, 250)), cv2.FILLED)
        (root / f"{seed}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
        wide = 0.3 + seed % 7 / 20
        box = f"0.2 0.2 {wide:.2f} {wide:.2f}" if seed % 4 == 1 else ""
        lines.append(f"{seed}.png,{'yes' if seed % 2 else 'no'},{'ab'[seed % 3 == 0]},axial,{box}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def trained(data: Path, run: Path, monkeypatch: pytest.MonkeyPatch, *, heat: bool) -> Path:
    monkeypatch.setattr(setup, "recipe", lambda _: small(heat=heat))
    setup.train(data, run, Options("small", batch_size=8))
    return run


@pytest.mark.parametrize("heat", [True, False])
@pytest.mark.long
def test_the_page_shows_every_figure_and_every_mistake_of_a_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, heat: bool
) -> None:
    run = trained(data, tmp_path / "run", monkeypatch, heat=heat)
    result = run_report(data, run, tmp_path / "report")
    assert json.loads((tmp_path / "report/report.json").read_text()) == json.loads(json.dumps(result))
    drawn = {path.stem for path in (tmp_path / "report").glob("*.png")}
    requested = {"learning", "confusion", "roc", "precision_recall", "calibration", "layers", "parts", "robustness"}
    assert {*requested, "predictions"} <= drawn
    assert ("missed" in drawn) == (result["figures"]["confusion"]["missed"] > 0)
    assert ("false_alarms" in drawn) == (result["figures"]["confusion"]["alarms"] > 0)
    page = (tmp_path / "report/index.html").read_text()
    assert "<script" not in page
    assert page.index("Missed (") < page.index("False alarms (")
    assert all(words in page for words in ("true: tumour", "predicted: ", "confidence ", "weighted by slices"))
    assert ("has no heatmap" in page) == (not heat)
    matrix = result["figures"]["confusion"]
    assert f"Missed ({matrix['missed']})" in page
    assert f"False alarms ({matrix['alarms']})" in page
    assert set(result["robustness"]) == {"intact", *DAMAGES}
    assert all(set(MEASURED) <= set(row) for row in result["robustness"].values())
    assert set(result["parts"]["source"]) <= {"a", "b"}
    sizes = result["parts"]["tumour size"]
    assert "not annotated" in sizes
    annotated = [found for name, found in sizes.items() if "quarter" in name]
    assert annotated
    assert sum(found["sensitivity"]["count"] for found in sizes.values()) == matrix["caught"] + matrix["missed"]


@pytest.mark.long
def test_the_test_set_is_measured_at_the_threshold_of_the_tune_set(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(data, tmp_path / "run", monkeypatch, heat=False)
    tune, test = (run_report(data, run, tmp_path / part, part) for part in ("tune", "test"))
    assert tune["points"] == test["points"]
    assert "flatter" in (tmp_path / "tune/index.html").read_text()
    assert "flatter" not in (tmp_path / "test/index.html").read_text()


def test_the_classification_report_is_scikit_learns() -> None:
    labels = np.array([1] * 10 + [0] * 30)
    said = np.array([1] * 7 + [0] * 3 + [1] * 5 + [0] * 25)
    requested = classification_report(labels, said, output_dict=True)
    rows = {row[0]: row[1:] for row in class_rows({"caught": 7, "missed": 3, "alarms": 5, "quiet": 25})}
    names = {"tumour": "1", "no tumour": "0", "mean of both": "macro avg", "weighted by slices": "weighted avg"}
    for name, key in names.items():
        result = requested[key]
        assert rows[name] == (
            *(f"{result[rate]:.3f}" for rate in ("precision", "recall", "f1-score")),
            result["support"],
        )
    assert class_rows({"caught": 0, "missed": 3, "alarms": 0, "quiet": 5})[0][1] == "–"


def test_a_run_without_an_epoch_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(DataError, match="holds no trained model"):
        run_report(data, tmp_path / "run", tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_every_damage_changes_the_picture_and_is_the_same_each_time() -> None:
    images = np.stack([phantom(seed, SIDE) for seed in range(3)])[..., None].astype(np.float32) / 255
    for name in DAMAGES:
        first = damaged(images, name)
        assert first.shape == images.shape
        assert first.dtype == np.float32
        assert 0 <= first.min() <= first.max() <= 1
        assert np.abs(first - images).mean() > 1e-3, name
        assert np.array_equal(first, damaged(images, name))


def test_a_network_that_looks_at_brightness_falls_under_inversion_and_not_under_blur() -> None:
    labels = np.arange(40) % 2
    images = np.stack([np.full((SIDE, SIDE), 0.2 + 0.6 * label) for label in labels]).astype(np.float32)
    images[:, : SIDE // 4] = 0
    images[:, -2:] = 1
    found = robustness(lambda shown: shown[:, 20, 20, 0].astype(float), images[..., None], labels, np.arange(40), 0.5)
    assert found["intact"]["auc"] == found["blur"]["auc"] == 1.0
    assert found["inversion"]["auc"] < 0.1
    assert found["intact"]["slices"] == 40
