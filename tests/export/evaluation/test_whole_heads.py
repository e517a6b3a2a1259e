"""The report on whole heads, over drawn heads whose answers are known."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest

from export.evaluation.whole_heads import AGGREGATIONS, noisy_or, top_mean, whole_heads
from export.reports.render import write_results
from tests.conftest import write_slice

if TYPE_CHECKING:
    from pathlib import Path

SLICES = 20
TUMOUR = range(4, 9)


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    """Write four heads of one site: two with a bright mass, two without, one of which has a bright slice."""
    data = tmp_path / "data"
    rows = []
    for patient in range(4):
        for index in range(SLICES):
            yes = patient < 2 and index in TUMOUR
            path = f"p{patient}/{index}.png"
            write_slice(data / path, 100 * patient + index, bright=yes or (patient == 3 and index == 10))
            label = "yes" if yes else "border" if patient < 2 and index == TUMOUR.stop else "no"
            rows.append([path, label, "drawn", "T1", "axial", f"p{patient}", "A", f"p{patient}/T1", index + 1, SLICES])
    with (data / "volumes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        names = "path,label,source,sequence,plane,patient,site,series,slice_index,n_slices"
        writer.writerows([names.split(","), *rows])
    return data


def test_figures_of_drawn_heads_are_as_drawn(heads: Path, tiny_model: Path, tmp_path: Path) -> None:
    found = whole_heads(heads, tiny_model)
    assert found["adjusted"]["drawn T1"]["alone"] > 0.95
    assert found["parts"]["highest mean of five neighbours"]["auc"] == 1.0
    assert found["parts"]["highest slice"]["specificity"]["count"] == 2
    key = found["key_slices"]["drawn T1"]
    assert (key["hits"], key["count"]) == (2, 2)
    assert key["chance"] == pytest.approx(5 / 19, abs=1e-3)
    five, highest = (found["studies"][name] for name in ("highest mean of five neighbours", "highest slice"))
    assert (five["sensitivity, drawn"]["hits"], five["specificity, drawn"]["hits"]) == (2, 2)
    assert (highest["sensitivity, drawn"]["hits"], highest["specificity, drawn"]["hits"]) == (2, 1)
    assert found["levels"]["drawn, middle"]["count"] > found["levels"]["drawn, middle"]["hits"] > 0
    assert found["refused"]["drawn, border"]["count"] == 2
    write_results(tmp_path / "out", "whole_heads", found)
    assert json.loads((tmp_path / "out.json").read_text()) == found
    text = (tmp_path / "out.md").read_text()
    assert all(f"| {name} |" in text for name in AGGREGATIONS)


def test_aggregations_of_known_slices() -> None:
    assert top_mean([0.1, 0.9, 0.6, 0.3]) == pytest.approx(0.6)
    assert noisy_or([0.5, 0.5]) == 0.75
    assert AGGREGATIONS["highest slice"]([0.1, 0.7]) == 0.7


def test_only_the_certification_set_is_measured_where_it_is_known(
    heads: Path, tiny_model: Path, tmp_path: Path
) -> None:
    known = tmp_path / "patients.csv"
    known.write_text("source,patient,site,set\ndrawn,p0,A,certify\ndrawn,p1,A,fit\ndrawn,p2,A,certify\n")
    found = whole_heads(heads, tiny_model, known)
    assert (found["patients"], found["certification_set"]) == (2, "other")
    five = found["studies"]["highest mean of five neighbours"]
    assert (five["sensitivity, drawn"]["count"], five["specificity, drawn"]["count"]) == (1, 1)
    write_results(tmp_path / "out", "whole_heads", found)
    assert "2 patients of `volumes.csv`, the certification set of another model" in (tmp_path / "out.md").read_text()
