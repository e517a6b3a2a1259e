"""Figures of a threshold: those of scikit-learn, with refusals counted by the contract."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screener.evaluate.metrics import (
    Scored,
    brier,
    calibration_error,
    called,
    confusion_figures,
    operating_figures,
    reliability,
)


def drawn(count: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    return labels, np.clip(labels * 0.3 + rng.random(count) * 0.7, 0, 1)


def test_figures_are_those_of_scikit_learn() -> None:
    from sklearn import metrics

    labels, scores = drawn()
    found = confusion_figures(Scored(labels, scores, np.arange(300) // 3), 0.4)
    flagged = scores >= 0.4
    quiet, alarms, missed, caught = metrics.confusion_matrix(labels, flagged).ravel().tolist()
    assert found["confusion"] == {"caught": caught, "alarms": alarms, "quiet": quiet, "missed": missed}
    expected = {
        "accuracy": metrics.accuracy_score(labels, flagged),
        "sensitivity": metrics.recall_score(labels, flagged),
        "specificity": metrics.recall_score(1 - labels, ~flagged),
        "precision": metrics.precision_score(labels, flagged),
        "f1": metrics.f1_score(labels, flagged),
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value)
        assert found[name]["low"] < value < found[name]["high"]
    assert brier(labels, scores) == pytest.approx(metrics.brier_score_loss(labels, scores))


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.one_of(st.none(), st.floats(0, 1)), st.integers(0, 3)), min_size=1))
def test_refusals_count_as_the_contract_says(cases: list[tuple[bool, float | None, int]]) -> None:
    labels = np.array([int(label) for label, _, _ in cases])
    scores = np.array([np.nan if score is None else score for _, score, _ in cases])
    scored = Scored(labels, scores, np.array([unit for *_, unit in cases]))
    found, contract = confusion_figures(scored, 0.5), operating_figures(scored, 0.5)
    for name in ("sensitivity", "specificity"):
        expected = contract[name]["value"]
        assert found[name]["value"] == (None if expected is None else pytest.approx(expected))
    refused = np.isnan(scores)
    assert not called(scored, 0.5)[refused & (labels == 1)].any()
    assert called(scored, 0.5)[refused & (labels == 0)].all()
    assert sum(found["confusion"].values()) == len(cases)


def test_where_no_unit_is_an_exception_the_interval_is_exact() -> None:
    scored = Scored(np.array([1] * 59 + [0]), np.array([0.9] * 59 + [0.1]), np.arange(60))
    found = confusion_figures(scored, 0.5)["sensitivity"]
    assert (found["value"], found["high"]) == (1.0, 1.0)
    assert found["low"] == pytest.approx(0.025 ** (1 / 59))


def test_one_class_says_what_it_can_and_no_more() -> None:
    found = confusion_figures(Scored(np.zeros(5, int), np.full(5, 0.2), np.arange(5)), 0.5)
    assert found["sensitivity"] == {"value": None, "low": None, "high": None}
    assert found["precision"]["value"] is None
    assert found["specificity"]["value"] == 1.0


def test_calibration_is_perfect_when_shares_are_probabilities() -> None:
    scores = np.repeat([0.05, 0.25, 0.75], 100)
    labels = np.concatenate([np.arange(100) < share for share in (5, 25, 75)]).astype(int)
    assert calibration_error(labels, scores) == pytest.approx(0, abs=1e-12)
    assert [row["count"] for row in reliability(labels, scores)] == [100, 100, 100]
    assert calibration_error(labels, 1 - scores) == pytest.approx((90 + 50 + 50) / 300)
    assert np.isnan(calibration_error(labels[:0], scores[:0]))
    assert reliability(np.array([1]), np.array([1.0]))[0]["high"] == 1.0
