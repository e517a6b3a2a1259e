"""What reports of runs, comparisons and sources left out make of known answers; nothing is trained here."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from handmade import SIDE, Brightness, made
from small import SMALL

from export.errors import DataError
from export.evaluation import cross_validation, leave_one_out
from export.evaluation.cross_validation import FOLDS, Cell, Course, Terms, Variant, cells, main_variants
from export.evaluation.subgroups import SIZES
from export.release.from_run import as_trained
from export.reports import cross_validation as comparison
from export.reports import run
from export.reports.render import data_uri
from export.training.options import Options
from screener.evaluate.metrics import summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("few_resamples")


def scored(*, heat: bool = False, **columns: Any) -> run.ScoredSet:  # noqa: ANN401 - columns of a manifest
    setup = made(**columns)
    return run._score(Brightness(heat=heat), setup, np.arange(48), SMALL)


def test_scores_are_those_of_the_exported_network_and_an_empty_set_has_none() -> None:
    found = scored(heat=True)
    assert found.scores == pytest.approx(found.setup.exact[:, 32, 32] / 255, abs=1e-6)
    assert found.images.shape == (48, SIDE, SIDE, 1)
    assert found.heatmaps is not None
    assert len(found.heatmaps) == 48
    nobody = run._score(Brightness(), found.setup, np.empty(0, np.int64), SMALL)
    assert (len(nobody.scores), nobody.heatmaps) == (0, None)


def test_a_sample_for_the_threshold_keeps_records_scores_and_units() -> None:
    sample = scored().sample()
    assert [record.path for record in sample.records[:2]] == ["0.png", "1.png"]
    assert set(sample.reasons) == {""}
    assert np.isnan(sample.evidence.inside).all()
    assert sample.scored.units.tolist() == (np.arange(48) // 4).tolist()


def test_figures_by_part_add_up_and_an_empty_column_is_unknown() -> None:
    found = run._by_part(scored(sequence=lambda number: ("FLAIR", "T1")[number % 4 // 2]), 0.5)
    assert set(found) == {"source", "sequence", "plane", "tumour size"}
    for name in ("source", "sequence", "plane"):
        positives = sum(row["sensitivity"]["count"] for row in found[name].values())
        assert positives == 24
        assert sum(row["specificity"]["count"] for row in found[name].values()) == 24
    assert set(found["plane"]) == {"unknown"}
    # Slices 0, 7, 14 … answer as the other label would: of the odd ones, 7, 21 and 35.
    assert found["plane"]["unknown"]["sensitivity"]["hits"] == 21


def test_tumours_are_sized_in_quarters_and_those_nobody_annotated_are_said_to_be() -> None:
    sizes = run._sizes(scored())
    assert [size for size in sizes[::2] if size] == [], "a slice without tumour has no size"
    assert {sizes[index] for index in range(3, 48, 4)} == {"not annotated"}
    assert {sizes[index] for index in range(1, 48, 4)} <= set(SIZES)
    small, large = sizes[1], sizes[5]
    assert SIZES.index(small) < SIZES.index(large)
    nowhere = scored()
    nowhere.setup.views.tumours[:] = 0
    assert set(run._sizes(nowhere)) == {""}


def test_the_worst_mistakes_come_first() -> None:
    found = scored()
    (_, _, missed), (_, _, alarms), (_, _, at_random) = run._groups(found, 0.5)
    assert missed
    assert alarms
    assert all(found.labels[index] == 1 and found.scores[index] < 0.5 for index in missed)
    assert all(found.labels[index] == 0 and found.scores[index] >= 0.5 for index in alarms)
    assert found.scores[missed].tolist() == sorted(found.scores[missed])
    assert found.scores[alarms].tolist() == sorted(found.scores[alarms], reverse=True)
    assert len(set(at_random)) == 24


@pytest.mark.parametrize("heat", [False, True])
def test_a_picture_says_what_is_true_and_what_was_predicted(*, heat: bool) -> None:
    found = scored(heat=heat)
    right, wrong = run._picture(found, 1, 0.5), run._picture(found, 7, 0.5)
    assert "1.png · true: tumour, predicted: flagged, confidence 0.71" in right.caption
    assert "7.png · true: tumour, predicted: not flagged, confidence 0.75" in wrong.caption
    assert (right.tone, wrong.tone) == ("good", "bad")
    shown = run._shown(found, 1, 0.5)
    assert shown.image.shape == (SIDE, SIDE * (2 if heat else 1), 3)
    assert shown.right


def test_rows_of_the_page_have_intervals_counts_and_dashes() -> None:
    found = scored()
    measured = summary(found.labelled()) | run.figures(found.labelled(), 0.5)
    rows = {row[0]: row[1:] for row in run._figure_rows(measured)}
    assert list(rows)[:6] == ["auc", "sensitivity", "specificity", "accuracy", "precision", "f1"]
    assert rows["sensitivity"][0] == f"{21 / 24:.3f}"
    assert rows["brier"][1] == "–"
    parts = run._part_rows(run._by_part(found, 0.5))
    assert parts["plane"] == [("unknown", parts["plane"][0][1], parts["plane"][0][2])]
    assert "; 21/24)" in parts["plane"][0][1]


def test_damage_is_told_by_what_it_costs() -> None:
    result = run._robustness(Brightness(), scored(), 0.5)
    rows = {row[0]: row for row in run._damage_rows(result)}
    assert rows["intact"][-1] == "+0.000"
    assert float(rows["inversion"][-1]) > 0.2
    assert len(rows["intact"]) == 1 + len(run.MEASURED) + 1


PLOTS = ("learning", "confusion", "calibration", "robustness", "parts", "roc", "precision_recall", "predictions")


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder of a run that a handmade data set stands in for."""
    chosen = replace(SMALL, exported=lambda _: Brightness())
    monkeypatch.setattr(run, "best_model", lambda _: (Brightness(), chosen, Options("small")))
    monkeypatch.setattr(run, "prepare_training", lambda *_: made())
    monkeypatch.setattr(run, "as_trained", lambda setup, _: setup)
    monkeypatch.setattr(run, "_draw", lambda *_: {name: name.encode() for name in PLOTS})
    (tmp_path / "progress.json").write_text('{"history": [{"val_auc": 0.5}], "rate": 0.001}')
    return tmp_path


def test_a_report_of_either_set_has_the_threshold_of_the_tune_set(reported: Path) -> None:
    tune, test = (run.run_report(reported, reported, reported / part, part) for part in ("tune", "test"))
    assert tune["points"] == test["points"]
    assert (tune["set"], test["set"], test["epochs"]) == ("tune", "test", 1)
    assert sum(json.loads((reported / "test/report.json").read_text())["figures"]["confusion"].values()) == 12
    assert {path.stem for path in (reported / "test").glob("*.png")} == set(PLOTS)
    pages = [(reported / part / "index.html").read_text() for part in ("tune", "test")]
    assert ["flatter" in page for page in pages] == [True, False]
    for page in pages:
        assert all(data_uri(name.encode()) in page for name in PLOTS if name != "predictions")
        assert "has no heatmap" in page


def test_a_report_of_an_empty_set_says_what_to_do(reported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = made()
    setup.split.sets[setup.split.sets == "test"] = "withheld"
    monkeypatch.setattr(run, "prepare_training", lambda *_: setup)
    with pytest.raises(DataError, match=r"the test set of .* is empty") as failure:
        run.run_report(reported, reported, reported / "out", "test")
    assert "--test-source" in failure.value.hint
    assert not (reported / "out").exists()


def test_the_sets_are_those_that_the_run_began_with(tmp_path: Path) -> None:
    setup = made(8)
    rows = [["path", "label", "source", "patient", "group", "unit", "set"]]
    rows += [[f"{number}.png", "yes", "a", "p", number, number, "certify"] for number in range(6)]
    with (tmp_path / "groups.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert as_trained(setup, tmp_path).split.sets.tolist() == ["certify"] * 6 + ["withheld"] * 2


def course() -> Course:
    setup = made(40)
    folds = np.arange(40) // 4 % FOLDS
    parts = {f"fold{number}": (np.flatnonzero(folds != number), np.flatnonzero(folds == number)) for number in range(5)}
    sources = np.array([record.source for record in setup.dataset.records])
    parts |= {f"without-{name}": (np.flatnonzero(sources != name), np.flatnonzero(sources == name)) for name in "ab"}
    return Course(setup, np.arange(40), folds, parts)


@pytest.fixture
def measured_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the result of every cell: the label's own score, but for a recipe that knows nothing."""
    monkeypatch.setattr(cross_validation, "names", lambda: ["baseline", "lite"])
    monkeypatch.setattr(cross_validation, "recipe", lambda _: SMALL)
    known = course()
    for cell in cells(["a", "b"]):
        held = known.parts[cell.part][1].tolist()
        result = {
            "paths": [f"{index}.png" for index in held],
            "scores": [0.5 if cell.variant.recipe == "lite" else 0.1 + 0.8 * (index % 2) for index in held],
            "seconds": 36.0,
            "parameters": 7,
            "slices_per_second": 100.0 + len(held),
        }
        (tmp_path / f"{cell.name}.json").write_text(json.dumps(result))
    return tmp_path


def test_the_table_of_recipes_pools_folds_and_keeps_sources_apart(measured_cells: Path, tmp_path: Path) -> None:
    comparison.write_report(tmp_path / "recipes", course(), measured_cells, Terms())
    result = json.loads((tmp_path / "recipes.json").read_text())
    main = comparison.main_rows(result)["main"]
    by_recipe = {row["recipe"]: row for row in main.values()}
    assert set(by_recipe) == {"baseline", "lite"}
    assert by_recipe["baseline"]["out_of_fold"]["auc"]["value"] == 1.0
    assert by_recipe["lite"]["out_of_fold"]["auc"]["value"] == 0.5
    assert by_recipe["lite"]["slices_per_second"] == 108
    assert set(result["sources"]) == {"a", "b"}
    assert result["sources"]["a"][Variant("baseline").key]["slices"] == 20
    assert result["hours"] == round(36 * len(cells(["a", "b"])) / 3600, 2)
    with (tmp_path / "recipes-sample.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [f"{index}.png" for index in range(40)]
    assert {row["fold"] for row in rows} == set("01234")
    assert "| `baseline` | 1.000" in (tmp_path / "recipes.md").read_text()


def test_a_cell_that_was_not_measured_is_named(measured_cells: Path) -> None:
    gone = Cell(main_variants()[0], "fold3")
    (measured_cells / f"{gone.name}.json").unlink()
    with pytest.raises(DataError, match=f"{gone.name} has not been measured") as failure:
        comparison.collect(course(), measured_cells, Terms())
    assert "it goes on" in failure.value.hint


def test_a_source_of_one_label_has_no_area() -> None:
    whole = scored().labelled()
    assert "auc" in comparison._unseen_source(whole)
    found = comparison._unseen_source(whole.part(whole.labels == 1))
    assert "auc" not in found
    assert found["specificity"]["value"] is None
    assert (found["slices"], found["positives"], found["units"]) == (24, 24, 12)


@pytest.fixture
def left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Any], Path]:
    """Return a function that puts a handmade data set in place of a finished training's."""

    def place(setup: Any) -> Path:  # noqa: ANN401 - a TrainingSetup
        monkeypatch.setattr(leave_one_out, "best_model", lambda _: (Brightness(), SMALL, Options("lite", seed=3)))
        monkeypatch.setattr(leave_one_out, "prepare_training", lambda *_: setup)
        monkeypatch.setattr(leave_one_out, "as_trained", lambda known, _: known)
        (tmp_path / "progress.json").write_text('{"history": [{"seconds": 2.0}, {"seconds": 3.0}], "rate": 0.001}')
        return tmp_path

    return place


def test_a_source_left_out_is_measured_by_sequence(left_out: Callable[[Any], Path]) -> None:
    setup = made(sequence=lambda number: ("FLAIR", "T1ce")[number % 4 // 2] if number // 4 % 2 else "FLAIR")
    folder = left_out(setup)
    experiment = leave_one_out.LeaveOneOut("both", ("a", "b"))
    found = leave_one_out.evaluate(folder, folder, experiment)
    assert list(found["parts"]) == ["a", "b FLAIR", "b T1ce"]
    assert [part["slices"] for part in found["parts"].values()] == [24, 12, 12]
    assert (found["seconds"], found["seed"], found["left_out"]) == (5.0, 3, ["a", "b"])
    tune = setup.split.where("tune")
    scores = setup.exact[tune, 32, 32][setup.labels[tune] == 1] / 255
    assert found["threshold"] == pytest.approx(np.quantile(scores, 0.05), abs=1e-6)


def test_the_early_layers_of_a_network_that_names_none_are_its_first_convolutions() -> None:
    import keras

    layers = [keras.layers.Conv2D(2, 3, name=name) for name in ("a", "b", "c")]
    model = keras.Sequential([keras.Input((16, 16, 1)), *layers])
    assert run._first_convolutions(model) == ("a", "b")
    assert run._first_convolutions(SimpleNamespace(layers=())) == ()
