"""Rates, areas and bounds against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from screener.evaluate.metrics import (
    Scored,
    auc,
    confusion_figures,
    exact_interval,
    lower_bound,
    operating_figures,
    rate,
    summary,
)


@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.5, 0.50001, 1.0])), min_size=2, max_size=60))
def test_auc_is_that_of_scikit_learn(pairs: list[tuple[int, float]]) -> None:
    labels, scores = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    if labels.min() == labels.max():
        assert np.isnan(auc(labels, scores))
    else:
        assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


@pytest.mark.parametrize(("missed", "enough"), [(0, 59), (1, 93), (2, 124)])
def test_how_many_patients_a_bound_of_95_percent_needs(missed: int, enough: int) -> None:
    assert lower_bound(enough - missed, enough) >= 0.95
    assert lower_bound(enough - 1 - missed, enough - 1) < 0.95


def test_exact_interval_of_the_tables() -> None:
    assert exact_interval(0, 10) == pytest.approx((0, 0.3085), abs=1e-4)
    assert exact_interval(5, 10) == pytest.approx((0.1871, 0.8129), abs=1e-4)


def test_intervals_widen_when_slices_share_patients() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 25)
    hits = np.repeat(rng.random(20) < 0.7, 25)
    together, apart = rate(hits, patients), rate(hits, np.arange(500))
    assert together.value == apart.value
    assert together.high - together.low > 2 * (apart.high - apart.low)  # type: ignore[operator]


def test_unanimous_slices_still_have_an_interval() -> None:
    found = rate(np.ones(100, bool), np.repeat(np.arange(10), 10))
    assert found.value == found.high == 1
    assert found.low == pytest.approx(0.6915, abs=1e-4)


def test_refusals_count_against_the_tool() -> None:
    scored = Scored(np.array([1, 1, 0, 0]), np.array([0.9, np.nan, 0.1, np.nan]), np.arange(4))
    figures = operating_figures(scored, 0.5)
    assert figures["sensitivity"]["value"] == figures["specificity"]["value"] == 0.5
    assert figures["assessable_sensitivity"]["value"] == figures["assessable_specificity"]["value"] == 1
    found = summary(scored)
    assert found["refused"]["hits"] == 2
    assert found["auc"]["value"] == 0.25 * 1 + 0.75 * 0 + 0  # of four pairs only the assessable one is in order
    assert found["assessable_auc"] == 1


def test_nothing_to_count() -> None:
    assert rate(np.zeros(0, bool), np.zeros(0, int)).value is None


def test_one_rate_has_one_interval_wherever_it_is_reported() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(2, size=300)
    scores = np.where(rng.random(300) < 0.05, np.nan, np.clip(labels * 0.3 + rng.random(300) * 0.7, 0, 1))
    scored = Scored(labels, scores, rng.integers(60, size=300))
    point, table = operating_figures(scored, 0.5), confusion_figures(scored, 0.5)
    for name in ("sensitivity", "specificity"):
        assert {key: point[name][key] for key in ("value", "low", "high")} == pytest.approx(table[name])
        assert point[name]["low"] < point[name]["value"] < point[name]["high"]
