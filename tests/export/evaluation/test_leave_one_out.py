"""Judging a recipe where it was never trained, with a small network on drawn heads."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import keras
import numpy as np
import pytest
from msgspec import structs
from small import SMALL

from export.architectures.efficientnet_lite import freeze_early
from export.data.cache import frame_folder
from export.data.duplicates import GROUPING
from export.data.groups import sets_of
from export.data.phantoms import phantom
from export.errors import DataError
from export.evaluation import leave_one_out
from export.evaluation.leave_one_out import LeaveOneOut, Terms
from export.reports.leave_one_out import gather, write_leave_one_out
from export.training import loop
from export.training.options import Progress
from screener.preprocess import Preprocessing

if TYPE_CHECKING:
    from pathlib import Path

    from export.architectures import Start

TERMS = Terms(epochs=1, steps=2, test_sources=("kept",))
NORTH = LeaveOneOut("north", ("north",))


def build(start: Start) -> keras.Model:
    image = keras.Input((start.size, start.size, 1), name="image")
    x = keras.layers.Conv2D(4, 3, strides=4, activation="relu", name="conv")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, {"probability": keras.layers.Dense(1, "sigmoid", name="probability")(pooled)})
    freeze_early(model, 0)
    return model


LITE = replace(
    SMALL,
    name="lite",
    build=build,
    preprocessing=Preprocessing(64, crop="head", pad="square", intensity="percentile"),
    augment="hospital",
    schedule="cosine",
    label_smoothing=0.1,
    settling=3,
)


@pytest.fixture(autouse=True)
def small_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "recipe", lambda _: LITE)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hospitals")
    rows = [["path", "label", "source", "site", "sequence", "patient"]]
    for seed in range(180):
        image = phantom(seed, 64, tumour=seed % 2 == 1)
        rng = np.random.default_rng(seed)
        for _ in range(12):
            at = tuple(int(value) for value in rng.integers(14, 50, 2))
            cv2.circle(image, at, int(rng.integers(3, 7)), int(rng.integers(20, 250)), cv2.FILLED)
        (root / f"{seed}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
        source = ("north", "tcga_lgg", "kept")[seed // 2 % 3]
        site = "DU" if source == "tcga_lgg" and seed % 12 < 6 else "HT"
        rows.append(
            [f"{seed}.png", "yes" if seed % 2 else "no", source, site, ("FLAIR", "T1")[seed // 12 % 2], f"p{seed // 6}"]
        )
    with (root / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished experiment, not to be written to."""
    root = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "recipe", lambda _: LITE)
        assert leave_one_out.run(data, root, [NORTH], TERMS)
    return root


def test_the_slices_left_out_are_in_no_set_of_training(finished: Path) -> None:
    result = json.loads((finished / "north/leave_one_out.json").read_text())
    assert set(result["parts"]) == {"north FLAIR", "north T1"}
    assert sum(part["slices"] for part in result["parts"].values()) == 60
    with (finished / "north/groups.csv").open(newline="") as file:
        places = {(row["source"], row["set"]) for row in csv.DictReader(file)}
    assert not {("north", name) for name in ("fit", "tune", "certify")} & places
    assert not {("kept", "fit"), ("kept", "tune")} & places


@pytest.mark.long
def test_the_threshold_comes_from_the_runs_own_tune_set(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[dict[str, str]] = []

    def looked_at(_: object, setup: loop.TrainingSetup, __: int) -> float:
        known.append(
            {one.path: place for one, place in zip(setup.dataset.records, setup.split.sets.tolist(), strict=True)}
        )
        return 0.5

    monkeypatch.setattr(leave_one_out, "tune_threshold", looked_at)
    (tmp_path / "demo").mkdir()
    for seed in range(0, 180, 7):
        shutil.copy(data / f"{seed}.png", tmp_path / "demo")
    assert leave_one_out.run(data, tmp_path, [NORTH], TERMS, unseen=frame_folder(tmp_path / "demo", GROUPING))
    assert known == [sets_of(tmp_path / "north/groups.csv")]


def test_an_experiment_without_time_is_not_evaluated(data: Path, tmp_path: Path) -> None:
    assert not leave_one_out.run(data, tmp_path, [NORTH], TERMS, max_minutes=0)
    with pytest.raises(DataError, match="not evaluated yet: north"):
        gather(tmp_path, [NORTH], TERMS)


def test_a_finished_experiment_is_not_repeated(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leave_one_out, "run_training", None)
    assert leave_one_out.run(data, finished, [NORTH], TERMS)
    with pytest.raises(DataError, match="north was evaluated under other terms"):
        leave_one_out.run(data, finished, [NORTH], structs.replace(TERMS, epochs=2))
    write_leave_one_out(tmp_path / "result", gather(finished, [NORTH], TERMS))
    table = (tmp_path / "result.md").read_text()
    assert "| north | north FLAIR | 32 (16) |" in table
    assert "nan" not in table


def test_an_experiment_that_stopped_improving_is_over(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "recipe", lambda _: replace(LITE, patience=1))
    history = [{"val_auc": 0.9}, {"val_auc": 0.8}]
    monkeypatch.setattr(leave_one_out, "run_training", lambda *_, **__: Progress(history, 1e-2))
    monkeypatch.setattr(leave_one_out, "evaluate", lambda *_: {"parts": {}})
    (tmp_path / "north").mkdir()
    assert leave_one_out.run(data, tmp_path, [NORTH], structs.replace(TERMS, epochs=3))
    del history[1]
    assert not leave_one_out.run(data, tmp_path / "again", [NORTH], structs.replace(TERMS, epochs=3))


def test_a_site_that_nobody_comes_from_is_named(data: Path, finished: Path) -> None:
    with pytest.raises(DataError, match="nothing comes from moon"):
        leave_one_out.evaluate(data, finished / "north", LeaveOneOut("moon", ("moon",)))


def test_frozen_statistics_settle_on_slices_and_stay(data: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    model, _, _ = loop.best_model(tmp_path / "north")
    norm = model.get_layer("norm")
    mean = np.asarray(norm.moving_mean)
    assert not norm.trainable
    assert norm.momentum == 0.99
    assert np.abs(mean).max() > 0.01, "they were taken from slices"
    again = loop.train(data, tmp_path / "north", TERMS.options(NORTH))
    assert len(again.history) == 1
    assert np.array_equal(mean, np.asarray(loop.best_model(tmp_path / "north")[0].get_layer("norm").moving_mean))
