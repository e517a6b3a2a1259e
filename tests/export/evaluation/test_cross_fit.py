"""Cross-fit over sites: what is certified by patient, from the folds' answers."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from export.data.sources import is_named
from export.evaluation.cross_fit import FOLDS, gather
from export.files import save_json
from export.reports.render import write_results

if TYPE_CHECKING:
    from pathlib import Path


def fold(site: str, detected: int, missed: int, quiet: int) -> dict[str, Any]:
    kinds = [(True, 0.8)] * detected + [(True, 0.1)] * missed + [(False, 0.1)] * quiet
    patients = [
        {"patient": f"{site}/{index}", "site": site if tumour else "Q", "tumour": tumour, "probability": probability}
        for index, (tumour, probability) in enumerate(kinds)
    ]
    return {
        "left_out": [site],
        "threshold": 0.4,
        "epochs": 2,
        "patients": patients,
        "figures": {},
        "adjusted": {"x FLAIR": {"alone": 0.9, "in_context": 0.95, "patients": detected + missed}},
        "parts": {"auc": 0.9, "specificity": {"value": 0.5, "low": 0.2, "high": 0.8, "hits": 1, "count": 2}},
        "key_slices": {"x FLAIR": {"value": 0.5, "low": 0.2, "high": 0.8, "hits": 1, "count": 2, "chance": 0.3}},
    }


def save(folder: Path, found: dict[str, Any]) -> None:
    folder.mkdir()
    save_json(folder / "cross-fit.json", found)


def test_the_certificate_counts_patients_of_all_folds(tmp_path: Path) -> None:
    save(tmp_path / FOLDS[0].name, fold("DU", 45, 0, 11))
    save(tmp_path / FOLDS[1].name, fold("HT", 33, 1, 3))
    save(tmp_path / FOLDS[2].name, fold("GBM", 12, 0, 0))
    found = gather(tmp_path)
    assert found["missing"] == []
    assert (found["certificate"]["patients"], found["certificate"]["missed"]) == (91, 1)
    assert found["certificate"]["target"] == 0.93
    assert found["certificate"]["bound"] == pytest.approx(0.9488, abs=1e-3)
    assert found["certificate"]["sites"]["HT"]["hits"] == 33
    assert (found["specificity"]["hits"], found["specificity"]["count"]) == (14, 14)


def test_the_pooled_figure_stands_beside_the_acquisition_baseline(tmp_path: Path) -> None:
    save(tmp_path / FOLDS[0].name, fold("DU", 3, 1, 4))
    rows = [["path", "label", "source", "series", "slice_index", "n_slices", "patient", "sequence"]]
    for index in range(8):
        # Those with a tumour are brighter as a whole, which is all that the baseline sees.
        image = np.full((40, 40), 150 if index < 4 else 60 + index, np.uint8)
        name = f"DU{index}.png"
        (tmp_path / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
        rows.append([name, "no", "DU", f"s{index}", "1", "1", str(index), "FLAIR"])
    with (tmp_path / "volumes.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    found = gather(tmp_path, tmp_path)["pooled"]
    assert (found["patients"], found["positives"]) == (8, 4)
    assert found["model"] == pytest.approx(0.875)
    assert found["acquisition_baseline"] == 1.0


def test_a_fold_that_is_missing_is_named(tmp_path: Path) -> None:
    save(tmp_path / FOLDS[0].name, fold("DU", 3, 2, 0))
    found = gather(tmp_path)
    assert found["missing"] == [FOLDS[1].name, FOLDS[2].name]
    assert found["certificate"]["target"] is None
    write_results(tmp_path / "out", "cross_fit", found)
    text = (tmp_path / "out.md").read_text()
    assert f"Not measured yet: {FOLDS[1].name}, {FOLDS[2].name}." in text
    assert "3 of 5 patients" in text
    assert json.loads((tmp_path / "out.json").read_text())["certificate"]["missed"] == 2


def test_a_fold_leaves_out_its_sites_and_sources() -> None:
    assert is_named(FOLDS[0].left_out, "tcga_lgg", "DU")
    assert not is_named(FOLDS[0].left_out, "tcga_lgg", "HT")
    assert is_named(FOLDS[0].left_out, "nichart", "NiChart")
    assert is_named(FOLDS[2].left_out, "tcga_gbm", "TCGA-02")
