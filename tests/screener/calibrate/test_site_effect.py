"""What a threshold does at a site: counted, weighted, brought to the site's prevalence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from screener.calibrate.cases import Cases
from screener.calibrate.effect import (
    EXCHANGES,
    LEAST_PATIENTS,
    decision_curve,
    effect,
    prevalence_of,
    site_calibration,
    weighted_rate,
)
from screener.evaluate.metrics import rate
from screener.model.card import OperatingPoint


def cases(labels: Any, scores: Any, **changes: Any) -> Cases:  # noqa: ANN401 - anything that makes an array
    count = len(labels)
    fields: dict[str, Any] = {
        "level": "study",
        "labels": np.array(labels, np.int64),
        "scores": np.array(scores, np.float64),
        "unless_flagged": np.zeros(count, bool),
        "units": np.arange(count),
        "weights": np.ones(count),
        "pick": "lowest",
        "before": OperatingPoint("auto", 0.4),
    }
    return Cases(**(fields | changes))


def test_refusals_count_by_the_contract() -> None:
    found = cases([1, 1, 1, 0, 0, 0, 0], [0.9, 0.2, np.nan, 0.8, 0.1, 0.3, np.nan])
    done = effect(found, 0.5, "site", 0.1)
    assert done.sensitivity is not None
    assert done.specificity is not None
    assert done.ppv is not None
    assert (done.sensitivity.hits, done.sensitivity.count) == (1, 3)
    assert (done.specificity.hits, done.specificity.count) == (2, 4)
    assert done.flagged_per_100 == pytest.approx(100 * (0.1 / 3 + 0.9 / 4))
    assert done.not_assessable_per_100 == pytest.approx(100 * (0.1 / 3 + 0.9 / 4))
    assert done.ppv.value == pytest.approx((0.1 / 3) / (0.1 / 3 + 0.9 / 2))
    assert done.ppv.low is not None
    assert done.ppv.high is not None
    assert done.ppv.low < done.ppv.value < done.ppv.high


def test_a_study_of_too_few_slices_is_refused_only_where_it_is_not_flagged() -> None:
    found = cases([0, 0], [0.6, 0.1], unless_flagged=np.array([True, False]))
    assert found.refused(0.5).tolist() == [False, False]
    assert found.refused(0.7).tolist() == [True, False]


def test_weights_stand_for_what_was_not_read() -> None:
    rng = np.random.default_rng(0)
    hits, weights, units = rng.random(400) < 0.9, rng.choice([1.0, 10.0], 400), np.arange(400)
    found = weighted_rate(hits, weights, units)
    assert found is not None
    assert found.rate.value == pytest.approx(np.average(hits, weights=weights))
    assert found.effective == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    same = weighted_rate(hits, np.full(400, 3.0), units)
    assert same is not None
    assert same.rate == rate(hits, units)
    everyone = weighted_rate(np.ones(400, bool), weights, units)
    assert everyone is not None
    assert everyone.rate.high == 1.0
    assert everyone.rate.low == pytest.approx(0.025 ** (1 / found.effective))
    assert weighted_rate(hits[:0], weights[:0], units[:0]) is None


def test_prevalence_is_as_given_or_as_in_the_data() -> None:
    found = cases([1, 0, 0, 0], [0.9, 0.1, 0.1, 0.1], weights=np.array([1.0, 3.0, 3.0, 3.0]))
    assert prevalence_of(found, 0.05).value == 0.05
    assert prevalence_of(found, 0.05).low is None
    assert prevalence_of(found, None).value == pytest.approx(0.1)


def test_the_decision_curve_is_that_of_vickers_and_elkin() -> None:
    found = cases([1] * 20 + [0] * 80, [0.9] * 18 + [0.1] * 2 + [0.8] * 8 + [0.1] * 72)
    curve = decision_curve(found, 0.5, 0.85, np.array([0.3] * 18 + [0.02] * 82), 0.2)
    assert [point.at for point in curve] == list(EXCHANGES)
    point = curve[EXCHANGES.index(0.1)]
    assert point.all_first == pytest.approx(0.2 - 0.8 * 0.1 / 0.9)
    assert point.before == pytest.approx(18 / 100 - 8 / 100 * 0.1 / 0.9)
    assert point.after == pytest.approx(0.18)
    assert point.calibrated == pytest.approx(0.18)
    assert decision_curve(cases([1, 1], [0.5, 0.6]), 0.5, 0.6, None, 0.2) == ()


def test_calibration_is_measured_on_patients_that_fitted_nothing() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, 1500)
    labels = (rng.random(1500) < 1 / (1 + np.exp(-logits))).astype(int)
    found = cases(labels, 1 / (1 + np.exp(-(3 * logits + 2))))
    share = float(labels.mean())
    made = site_calibration(found, share)
    assert made is not None
    fitted, apart = made
    assert fitted.error_after < 0.05 < fitted.error_before
    assert fitted.brier_after < fitted.brier_before
    assert fitted.scale == pytest.approx(1 / 3, rel=0.25)
    assert fitted.apply(0.5) == pytest.approx(1 / (1 + np.exp(-fitted.offset)))
    assert np.isfinite(apart).all()
    rare = site_calibration(found, 0.01)
    assert rare is not None
    assert rare[1].mean() < 0.05, "at the site's prevalence tumours are rarer than in the data"


def test_few_patients_calibrate_nothing() -> None:
    labels = [1] * (LEAST_PATIENTS - 1) + [0] * 100
    assert site_calibration(cases(labels, np.linspace(0, 1, len(labels))), 0.1) is None


def test_one_case_of_each_patient_counts() -> None:
    many = cases([1, 1, 1, 0], [0.9, 0.2, np.nan, 0.1], units=np.array([0, 0, 1, 2]))
    assert many.patient_scores().tolist() == [0.2, -np.inf]
    drawn = cases([1, 1, 1, 0], [0.9, 0.9, 0.3, 0.1], units=np.array([7, 7, 5, 2]), pick="drawn")
    assert drawn.patient_scores().tolist() == [0.3, 0.9]
    assert cases([0], [0.1]).patient_scores().tolist() == []
