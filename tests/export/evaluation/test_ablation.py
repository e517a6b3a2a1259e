"""Changes of the recipe, compared at a hospital that was left out: whose slices count, and the table."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from small import SMALL

from export.evaluation import ablation
from export.evaluation.ablation import CHANGES, EXPERIMENTS, FILE
from export.evaluation.leave_one_out import LeaveOneOut, Terms
from export.files import save_json
from export.reports.ablation import gather, write_ablation
from export.training.batches import Sampler
from export.training.options import Options
from screener.evaluate.labelled import Record
from tests.conftest import write_slice

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SLICES = 20
TERMS = Terms(epochs=1, steps=2, test_sources=("kept",))


class BrightModel:
    """Answers with the share of nearly white pixels, as often as asked."""

    def predict(self, images: NDArray[np.float32], **_: object) -> dict[str, NDArray[np.float32]]:
        return {"probability": (images > 0.9).mean(axis=(1, 2))}


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write three heads of one hospital, of which the last resembles a slice of a test source."""
    data = tmp_path / "data"
    rows, records = [], []
    for patient in range(3):
        for index in range(SLICES):
            yes, path = index in range(4, 9), f"p{patient}/{index}.png"
            write_slice(data / path, 100 * patient + index, bright=yes)
            rows.append(
                [path, "yes" if yes else "no", "north", "FLAIR", f"p{patient}", "A", f"p{patient}/F", index + 1]
            )
        records.append(SimpleNamespace(source="north", patient=f"p{patient}"))
    (data / "text.png").write_bytes(b"no picture")
    rows.append(["text.png", "no", "north", "FLAIR", "p0", "A", "p0/F", SLICES + 1])
    with (data / "volumes.csv").open("w", newline="") as file:
        names = "path,label,source,sequence,patient,site,series,slice_index"
        csv.writer(file).writerows([[*names.split(","), "n_slices"], *([*row, SLICES + 1] for row in rows)])
    records.append(SimpleNamespace(source="kept", patient=""))
    setup = SimpleNamespace(
        dataset=SimpleNamespace(records=records), split=SimpleNamespace(units=np.array([0, 1, 2, 2]))
    )
    monkeypatch.setattr(ablation, "best_model", lambda _: (BrightModel(), SMALL, Options("small", seed=4)))
    monkeypatch.setattr(ablation, "prepare_training", lambda *_: setup)
    monkeypatch.setattr(ablation, "as_trained", lambda found, _: found)
    monkeypatch.setattr(ablation, "tune_threshold", lambda *_: 0.5)
    return data


def test_whole_heads_left_out_are_scored_but_not_those_like_a_test_source(hospital: Path, tmp_path: Path) -> None:
    found = ablation.evaluate(hospital, tmp_path / "run", LeaveOneOut("n", ("north",)), TERMS)
    assert (found["seed"], found["threshold"], found["patients"]) == (4, 0.5, 2)
    assert found["adjusted"]["north FLAIR"]["patients"] == 2
    # Slices 4 to 8 of 21 show a tumour: only the fifth tenth of the head holds both labels.
    assert found["adjusted"]["north FLAIR"]["positives"] == 2
    assert (found["key_slices"]["north FLAIR"]["hits"], found["key_slices"]["north FLAIR"]["count"]) == (2, 2)
    assert found["parts"]["auc"] == 1.0
    # The file that is no picture counts as a false alarm, the 30 other tumour-free slices stay below the threshold.
    assert (found["specificity"]["north"]["hits"], found["specificity"]["north"]["count"]) == (30, 31)


def test_a_source_that_is_not_left_out_is_not_scored(hospital: Path, tmp_path: Path) -> None:
    found = ablation.evaluate(hospital, tmp_path / "run", LeaveOneOut("s", ("south",)), TERMS)
    assert found["patients"] == 0
    assert found["adjusted"] == found["parts"] == found["specificity"] == {}


def test_every_change_is_trained_with_two_seeds_without_the_same_hospital() -> None:
    assert len({one.name for one in EXPERIMENTS}) == len(EXPERIMENTS) == 2 * len(CHANGES)
    assert {one.left_out for one in EXPERIMENTS} == {ablation.LEFT_OUT}
    seeds = {TERMS.options(one).seed for one in EXPERIMENTS if one.name.startswith("levels")}
    assert seeds == {1, 2}
    assert not any(TERMS.options(one).levels for one in EXPERIMENTS if one.name.startswith("levels"))


def figures(area: float) -> dict[str, Any]:
    share = {"value": area, "low": 0.0, "high": 1.0, "hits": 1, "count": 2}
    return {
        "adjusted": {"tcga_lgg FLAIR": {"in_context": area, "alone": area}},
        "parts": {"auc": area, "specificity": share},
        "key_slices": {"tcga_lgg FLAIR": share},
        "specificity": {"nichart": share, "nichart lower": share},
    }


def test_the_table_shows_each_seed_and_names_what_is_missing(tmp_path: Path) -> None:
    for name, area in (("recipe-1", 0.9), ("recipe-2", 0.8)):
        (tmp_path / name).mkdir()
        save_json(tmp_path / name / FILE, figures(area))
    result = gather(tmp_path, TERMS)
    assert len(result["missing"]) == len(EXPERIMENTS) - 2
    write_ablation(tmp_path / "out", result)
    text = (tmp_path / "out.md").read_text()
    assert "| tcga_lgg FLAIR, in context | 0.850 (0.900, 0.800) |" in text
    assert "| specificity, nichart lower | 0.850 (0.900, 0.800) |" in text
    assert "| specificity, nichart |" not in text
    assert "Not measured yet: acquisition-1" in text
    assert json.loads((tmp_path / "out.json").read_text())["changes"]["recipe"]


def test_without_levels_all_tumour_free_slices_of_a_sequence_are_one_stratum() -> None:
    records = [
        Record(path=f"{index}.png", label=0, source="north", sequence="FLAIR", series="s", height=index / 9)
        for index in range(10)
    ]
    groups, chosen = np.arange(10), np.arange(10)
    assert len(Sampler.over(records, groups, chosen, {}).strata) == 3
    assert len(Sampler.over(records, groups, chosen, {}, levels=False).strata) == 1
