"""The highest threshold that still reaches the recall."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.errors import DataError
from export.tune import adjust_threshold, operating_points
from screener.evaluate.metrics import Scored


def scored(positives: list[float], negatives: list[float] = [0.1]) -> Scored:  # noqa: B006 - never changed
    labels = np.array([1] * len(positives) + [0] * len(negatives))
    return Scored(labels, np.array([*positives, *negatives], float), np.arange(len(labels)))


@given(st.lists(st.integers(1, 9999).map(lambda value: value / 1e4), min_size=1, max_size=80), st.floats(0.05, 1))
def test_reaches_the_target_and_no_more(positives: list[float], target: float) -> None:
    threshold = adjust_threshold(scored(positives), target)
    recall = np.mean([score >= threshold for score in positives])
    assert recall >= target - 1e-9
    higher = [score for score in positives if score > threshold + 1e-4]
    if higher:
        assert len(higher) < math.ceil(target * len(positives) - 1e-9)


def test_refused_positives_count_as_missed() -> None:
    assert adjust_threshold(scored([0.9, 0.8, 0.7, math.nan]), 0.75) == pytest.approx(0.7, abs=1e-4)
    with pytest.raises(DataError, match="out of reach"):
        adjust_threshold(scored([0.9, math.nan]), 0.95)


@pytest.mark.parametrize("target", [0, -1, 1.5])
def test_what_is_no_target(target: float) -> None:
    with pytest.raises(DataError):
        adjust_threshold(scored([0.5]), target)


def test_points_carry_their_figures() -> None:
    points = operating_points(scored([0.9, 0.6, 0.2], [0.1, 0.4]), 0.6)
    assert points["auto"]["threshold"] == pytest.approx(0.6, abs=1e-4)
    assert points["auto"]["recall_target"] == 0.6
    assert points["default"]["sensitivity"]["hits"] == 2
    assert not any(point["certified"] for point in points.values())
