"""Distances between distributions, and how far chance alone carries them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from screener.monitor.distances import jensen_shannon, stability_index, with_interval
from screener.monitor.periods import wilson

COUNTS = arrays(np.float64, 6, elements=st.integers(0, 50).map(float)).filter(lambda one: one.sum() > 0)


@given(COUNTS, COUNTS)
@settings(deadline=None)
def test_distances_are_symmetric_and_bounded(one: np.ndarray, other: np.ndarray) -> None:
    assert jensen_shannon(one, other) == pytest.approx(jensen_shannon(other, one))
    assert -1e-12 <= jensen_shannon(one, other) <= 1 + 1e-12
    assert stability_index(one, one) == pytest.approx(0)
    assert stability_index(one, other) >= -1e-12


def test_known_distances() -> None:
    assert jensen_shannon(np.array([5.0, 0]), np.array([0, 7.0])) == pytest.approx(1)
    assert jensen_shannon(np.array([1.0, 1]), np.array([2.0, 2])) == pytest.approx(0)
    many = np.array([1e6, 3e6])
    expected = (0.25 - 0.5) * np.log(0.25 / 0.5) + (0.75 - 0.5) * np.log(0.75 / 0.5)
    assert stability_index(many, np.array([2e6, 2e6])) == pytest.approx(expected, rel=1e-3)


def test_chance_covers_samples_of_one_distribution() -> None:
    rng = np.random.default_rng(0)
    share = np.full(10, 0.1)
    below = 0
    for _ in range(40):
        value, low, high, chance = with_interval(
            jensen_shannon, rng.multinomial(50, share).astype(float), rng.multinomial(300, share).astype(float)
        )
        assert low <= value <= high
        below += value <= chance
    assert below >= 34


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_holds_the_share(count: int, share: float) -> None:
    low, high = wilson(share, count)
    assert 0 <= low <= share <= high <= 1
    assert wilson(0.0, 40)[1] == pytest.approx(0.0876, abs=1e-3)
