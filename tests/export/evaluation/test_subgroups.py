"""Figures of a set: whole, by property, by size of the tumour, and where heatmaps point."""

from __future__ import annotations

import numpy as np
import pytest

from export.evaluation.localisation import Evidence, nowhere
from export.evaluation.sample import Sample
from export.evaluation.subgroups import SIZES, pointing_figures, set_figures
from screener.evaluate.labelled import Record
from screener.evaluate.metrics import Scored

pytestmark = pytest.mark.usefixtures("few_resamples")


def sample(*, sizes: bool = True) -> Sample:
    """Return 16 slices of 8 patients: odd ones positive; source b is missed at 0.5; the last negative is refused."""
    records, scores, reasons = [], [], []
    for number in range(16):
        source, label = "ab"[number // 8], number % 2
        records.append(
            Record(f"{number}.png", label, source, patient=f"p{number // 2}", sequence="T1" if number > 13 else "FLAIR")
        )
        scores.append(np.nan if number == 14 else 0.2 + 0.6 * label * (source == "a"))
        reasons.append("corrupt" if number == 14 else "")
    evidence = nowhere(16)
    if sizes:
        positive = np.array([record.label == 1 for record in records])
        area = np.where(positive, np.linspace(0.01, 0.16, 16), np.nan)
        inside = np.where(positive, np.arange(16) % 4 == 1, np.nan).astype(float)
        inside[~positive] = np.nan
        evidence = Evidence(inside, np.where(positive, 0.5, np.nan), area)
    scored = Scored(np.array([record.label for record in records]), np.array(scores), np.arange(16) // 2)
    return Sample(tuple(records), scored, tuple(reasons), evidence)


def test_parts_add_up_and_unknown_values_are_called_so() -> None:
    result = set_figures(sample(), 0.5)
    assert result["slices"] == sum(row["slices"] for row in result["parts"]["source"].values()) == 16
    assert result["parts"]["source"]["a"]["sensitivity"]["value"] == 1.0
    assert result["parts"]["source"]["b"]["sensitivity"]["value"] == 0.0
    assert set(result["parts"]["site"]) == set(result["parts"]["plane"]) == {"unknown"}
    assert result["refusals"] == {"corrupt": 1}
    assert "reliability" not in result


def test_detection_by_patient_leaves_plain_t1_out() -> None:
    result = set_figures(sample(), 0.5)["detection"]
    assert result["units"] == 7
    assert result["missed"] == 3
    assert result["average"] == pytest.approx(4 / 7)


def test_weights_give_a_balanced_calibration_error() -> None:
    assert "balanced_calibration_error" not in set_figures(sample(), 0.5)
    source_a_alone = np.where(np.arange(16) < 8, 1.0, 1e-9)
    result = set_figures(sample(), 0.5, source_a_alone)
    assert result["balanced_calibration_error"] == pytest.approx(0.2, abs=1e-6)  # 0.2 where 0, and 0.8 where 1 is true


def test_sizes_are_quarters_of_the_annotated_areas() -> None:
    sizes = set_figures(sample(), 0.5)["parts"]["tumour size"]
    assert tuple(sizes) == SIZES
    assert [row["sensitivity"]["count"] for row in sizes.values()] == [2, 2, 2, 2]
    assert [row["sensitivity"]["value"] for row in sizes.values()] == [1.0, 1.0, 0.0, 0.0]
    assert set_figures(sample(sizes=False), 0.5)["parts"]["tumour size"] == {}


def test_pointing_counts_true_positives_with_an_annotation_only() -> None:
    result = pointing_figures(sample(), 0.5)
    assert set(result) == {"all", "a"}
    assert (result["all"]["inside"]["hits"], result["all"]["inside"]["count"]) == (2, 4)
    assert result["a"]["energy"] == 0.5
    assert pointing_figures(sample(sizes=False), 0.5) == {}


def test_a_part_of_a_sample_keeps_its_rows_together() -> None:
    whole = sample()
    part = whole.part(whole.column("source") == "b")
    assert [record.path for record in part.records] == [f"{number}.png" for number in range(8, 16)]
    assert part.reasons[6] == "corrupt"
    assert part.scored.units.tolist() == [4, 4, 5, 5, 6, 6, 7, 7]
    assert len(part.evidence.size) == 8
    assert whole.patients[0] == "a/p0"
    assert whole.promised.tolist() == [True] * 14 + [False] * 2
