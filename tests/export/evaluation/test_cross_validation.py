"""Recipes on equal terms, with two small networks on drawn heads."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import keras
import numpy as np
import pytest
from msgspec import structs
from small import SMALL

from export.data.phantoms import phantom
from export.errors import DataError
from export.evaluation import cross_validation
from export.evaluation.cross_validation import Cell, Terms, Variant
from export.reports.cross_validation import NAMES, figures, write_report
from screener.evaluate.metrics import Scored

if TYPE_CHECKING:
    from pathlib import Path

TERMS = Terms(slices=120, size=64, epochs=1, test_sources=("kept",))


def decoder(model: keras.Model) -> keras.Model:
    x = keras.layers.UpSampling2D(4)(model.get_layer("conv").output)
    return keras.Model(model.input, keras.layers.Conv2D(1, 1, activation="sigmoid")(x))


BASELINE = replace(SMALL, name="baseline", label_smoothing=0.1)


@pytest.fixture(autouse=True)
def two_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        "baseline": BASELINE,
        "lite": BASELINE,
        "autoencoder": replace(BASELINE, name="autoencoder", decoder=decoder),
    }
    monkeypatch.setattr(cross_validation, "names", lambda: ["autoencoder", "baseline"])
    monkeypatch.setattr(cross_validation, "recipe", known.__getitem__)
    monkeypatch.setattr(cross_validation, "_SHARES", (0.5, 1.0))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hospitals")
    rows = [["path", "label", "source", "patient"]]
    for seed in range(240):
        image = phantom(seed, 64, tumour=seed % 2 == 1)
        rng = np.random.default_rng(seed)
        for _ in range(12):
            at = tuple(int(value) for value in rng.integers(14, 50, 2))
            cv2.circle(image, at, int(rng.integers(3, 7)), int(rng.integers(20, 250)), cv2.FILLED)
        (root / f"{seed}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
        source = ("north", "south", "kept")[seed // 2 % 3]
        rows.append([f"{seed}.png", "yes" if seed % 2 else "no", source, f"p{seed // 6}"])
    with (root / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


@pytest.fixture(scope="module")
def course(data: Path, tmp_path_factory: pytest.TempPathFactory) -> cross_validation.Course:
    patch = pytest.MonkeyPatch()
    patch.setattr(cross_validation, "recipe", lambda _: BASELINE)
    try:
        return cross_validation.prepare(data, tmp_path_factory.mktemp("cache"), TERMS)
    finally:
        patch.undo()


def test_nothing_that_is_judged_was_learnt_from(course: cross_validation.Course) -> None:
    units, sources = course.setup.split.units, [record.source for record in course.setup.dataset.records]
    assert len(course.parts) == cross_validation.FOLDS + 3
    for part, (learn, held) in course.parts.items():
        assert len(learn) > 0, part
        assert len(held) > 0, part
        assert not set(units[learn].tolist()) & set(units[held].tolist())
        assert "kept" not in {sources[index] for index in learn}
        assert not np.isin(course.setup.split.sets[learn], ("certify", "test", "withheld")).any()
    assert {sources[index] for index in course.parts["without-north"][1]} == {"north"}
    folds = np.concatenate([course.parts[f"fold{number}"][1] for number in range(cross_validation.FOLDS)])
    assert sorted(folds.tolist()) == course.chosen.tolist()


def test_the_sample_is_balanced_and_has_no_slice_twice(course: cross_validation.Course) -> None:
    found = cross_validation.counts(course.setup.dataset.records, course.chosen)
    assert set(found) == {"north no", "north yes", "south no", "south yes"}
    assert max(found.values()) - min(found.values()) <= 2
    assert len(set(course.chosen.tolist())) == len(course.chosen)


@pytest.mark.long
def test_an_interrupted_comparison_goes_on_and_every_cell_is_measured(
    course: cross_validation.Course, tmp_path: Path
) -> None:
    folder, out = tmp_path / "run", tmp_path / "docs/recipes"
    assert not cross_validation.run(course, folder, TERMS, max_minutes=0)
    with pytest.raises(DataError, match="has not been measured"):
        write_report(out, course, folder, TERMS)
    assert cross_validation.run(course, folder, TERMS)
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("*@*.json")}
    assert len(stamps) == len(cross_validation.cells(["north", "south", "kept"]))
    assert cross_validation.run(course, folder, TERMS)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*@*.json")} == stamps
    write_report(out, course, folder, TERMS)
    found = json.loads(out.with_suffix(".json").read_text())
    assert sum(found["sample"].values()) == len(course.chosen)
    for variant in found["variants"].values():
        assert set(variant["out_of_fold"]) == set(NAMES)
        for cell in variant["out_of_fold"].values():
            assert cell["low"] <= cell["value"] <= cell["high"]
    assert set(found["sources"]) == {"north", "south", "kept"}
    result = out.with_suffix(".md").read_text()
    assert "–|" not in result.replace(" ", "")
    with (tmp_path / "docs/recipes-sample.csv").open() as file:
        assert [row["path"] for row in csv.DictReader(file)] == [
            course.setup.dataset.records[index].path for index in course.chosen
        ]


def test_a_comparison_belongs_to_its_terms(course: cross_validation.Course, tmp_path: Path) -> None:
    cross_validation.run(course, tmp_path, TERMS, max_minutes=0)
    with pytest.raises(DataError, match="other terms"):
        cross_validation.run(course, tmp_path, structs.replace(TERMS, epochs=2), max_minutes=0)


@pytest.mark.parametrize("change", [{"slices": 3001}, {"size": 128}, {"epochs": 13}])
def test_the_comparison_stays_small(data: Path, tmp_path: Path, change: dict[str, int]) -> None:
    with pytest.raises(DataError, match="Expected `int` <="):
        cross_validation.prepare(data, tmp_path, structs.replace(TERMS, **change))  # type: ignore[arg-type]


def test_fewer_units_than_folds_is_reported(course: cross_validation.Course) -> None:
    setup = replace(course.setup, split=replace(course.setup.split, units=np.zeros_like(course.setup.split.units)))
    with pytest.raises(DataError, match="cannot fill 5 folds"):
        cross_validation.divide(setup, course.chosen, 1)


@pytest.mark.long
def test_a_network_used_again_starts_afresh(course: cross_validation.Course) -> None:
    bench = cross_validation.Bench(TERMS)
    learn, held = course.parts["fold0"]

    def scores() -> np.ndarray:
        model, _ = bench.fit(course.setup, Variant("baseline"), learn)
        images = course.setup.exact[held][..., None].astype(np.float32) / 255
        return np.asarray(model.predict(images, verbose=0)["probability"])

    first = scores()
    bench.fit(course.setup, Variant("baseline"), course.parts["fold1"][0])
    assert scores() == pytest.approx(first, abs=1e-4)


def test_names_of_cells_are_names_of_files() -> None:
    assert "/" not in Cell(Variant("my.nets:tiny"), "fold0").name
    assert ":" not in Cell(Variant("my.nets:tiny"), "fold0").name


def test_figures_are_those_of_scikit_learn() -> None:
    from sklearn import metrics

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    scores = np.clip(labels * 0.3 + rng.random(300) * 0.7, 0, 1)
    found = {name: cell["value"] for name, cell in figures(Scored(labels, scores, np.arange(300))).items()}
    flagged = scores >= 0.5
    requested = {
        "auc": metrics.roc_auc_score(labels, scores),
        "accuracy": metrics.accuracy_score(labels, flagged),
        "sensitivity": metrics.recall_score(labels, flagged),
        "specificity": metrics.recall_score(1 - labels, ~flagged),
        "precision": metrics.precision_score(labels, flagged),
        "f1": metrics.f1_score(labels, flagged),
        "brier": metrics.brier_score_loss(labels, scores),
    }
    assert found == pytest.approx(requested, abs=1e-4)
