"""Golden scores and operating points of a release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from export.release.golden import TOLERANCE, golden_scores
from export.release.threshold_selection import FIXED_POINTS, operating_points
from screener.evaluate.metrics import Scored
from screener.model.session import Model
from tests.conftest import write_slice

if TYPE_CHECKING:
    from pathlib import Path


def test_golden_scores_hold_the_score_or_the_reason_of_every_picture(tiny_model: Path, tmp_path: Path) -> None:
    write_slice(tmp_path / "p1/bright.png", 1, bright=True)
    (tmp_path / "p1/notes.txt").write_text("no picture")
    golden = golden_scores(Model.load(tiny_model), tmp_path)
    scores = golden["scores"]
    assert golden["tolerance"] == TOLERANCE
    assert 0.5 < scores["p1/bright.png"] <= 1
    assert scores["p1/notes.txt"] == "unsupported_type"
    drawn = {name: score for name, score in scores.items() if name.startswith("phantom-")}
    assert len(drawn) == 8
    assert all(isinstance(score, float) for score in drawn.values())
    assert golden_scores(Model.load(tiny_model), tmp_path) == golden


def test_operating_points_are_measured_and_only_auto_has_an_aim() -> None:
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    scores = np.array([0.9, 0.6, 0.35, np.nan, 0.1, 0.4, 0.55, np.nan])
    points = operating_points(Scored(labels, scores, np.arange(8)), 0.2, 0.95, "drawn scores")
    assert set(points) == {*FIXED_POINTS, "auto"}
    assert points["auto"].recall_target == 0.95
    assert {points[name].recall_target for name in FIXED_POINTS} == {None}
    assert not any(point.certified or point.certificate for point in points.values())
    found = {name: (point.sensitivity, point.specificity) for name, point in points.items()}
    for name, sensitivity, specificity in (
        ("default", 0.5, 0.5),
        ("screening", 0.75, 0.25),
        ("confirmation", 0.25, 0.75),
        ("auto", 0.75, 0.25),
    ):
        first, second = found[name]
        assert first is not None
        assert second is not None
        assert (first.value, second.value) == pytest.approx((sensitivity, specificity))
        assert points[name].measured_on == "drawn scores"
