"""The threshold of a site: a fixed sequence of exact binomial tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screener.calibrate.threshold import (
    STEPS,
    Target,
    certified_threshold,
    highest_shown,
    most_missed,
    nearest_threshold,
    not_certified,
    rung_below,
    units_needed,
    with_margin,
)

TARGET = Target(0.95, 0.95)


def p_value(missed: int, units: int, share: float) -> float:
    """Return the chance of so few misses at a share of misses."""
    return sum(math.comb(units, k) * share**k * (1 - share) ** (units - k) for k in range(missed + 1))


def walked(scores: np.ndarray, target: Target, least_chance: float, highest: float) -> float | None:
    """Walk the ladder from below, as the method is written, and stop at the first that is not rejected."""
    last, share = None, least_chance * (1 - target.sensitivity)
    for number in range(STEPS):
        threshold = number / STEPS
        if threshold > highest:
            break
        if p_value(int((scores < threshold).sum()), len(scores), share) > 1 - target.confidence + 1e-9:
            break
        last = threshold
    return last


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.one_of(st.floats(0, 1), st.just(-math.inf)), min_size=1, max_size=150),
    st.sampled_from([0.6, 0.8, 0.9, 0.95]),
    st.sampled_from([1.0, 0.5]),
    st.sampled_from([1.0, 0.4]),
)
def test_it_is_the_end_of_the_fixed_sequence(
    drawn: list[float], sensitivity: float, chance: float, highest: float
) -> None:
    scores, target = np.array(drawn), Target(sensitivity, 0.95)
    found = certified_threshold(scores, target, least_chance=chance, highest=highest)
    assert (None if found is None else found.threshold) == walked(scores, target, chance, highest)
    if found is not None:
        assert found.missed == (scores < found.threshold).sum()
        assert found.missed <= most_missed(len(scores), target, chance)


@settings(deadline=None)
@given(st.floats(0, 1))
def test_a_rung_never_exceeds_the_score_and_is_the_next_below(score: float) -> None:
    rung = rung_below(score)
    assert rung is not None
    assert rung <= score
    assert rung == (STEPS - 1) / STEPS or rung + 1 / STEPS > score - 1e-12


@pytest.mark.parametrize(("units", "allowed"), [(58, -1), (59, 0), (92, 0), (93, 1), (124, 2)])
def test_the_known_counts_for_95_percent(units: int, allowed: int) -> None:
    assert most_missed(units, TARGET) == allowed


def test_needed_patients_are_the_least_that_show_the_target() -> None:
    assert [units_needed(TARGET, missed) for missed in (0, 1, 2)] == [59, 93, 124]
    assert units_needed(TARGET, 0, 0.1) == 598
    assert most_missed(598, TARGET, 0.1) == 0
    assert most_missed(597, TARGET, 0.1) == -1
    assert units_needed(Target(0.9999, 0.95), 30) is None
    assert highest_shown(59, 0, 0.95) == 0.95
    assert highest_shown(15, 0, 0.95) == 0.81
    assert highest_shown(2, 0, 0.95) is None


def test_the_refusal_says_how_many_are_lacking() -> None:
    error = not_certified(np.linspace(0.5, 1, 15), TARGET, level="study", prevalence=0.05)
    assert error.code == 9
    assert "15 patients with a tumour cannot certify a sensitivity of 0.95 at 95 % confidence" in str(error)
    assert "44 more patients with a tumour are needed, found without a miss (59 in all)" in str(error)
    assert "at 5 % prevalence that is about 880 studies" in str(error)
    assert "--sensitivity 0.81" in error.hint
    refused = not_certified(np.array([-np.inf] * 2 + [0.9] * 70), TARGET, level="slice", prevalence=None)
    assert "72 patients with a tumour, 2 of them not assessable, cannot" in str(refused)
    assert "52 more" in str(refused)
    assert "at 5 % prevalence that is about 1,040 studies" in str(refused), "where the site does not say"
    sampled = not_certified(np.ones(100), TARGET, level="study", prevalence=0.1, least_chance=0.1)
    assert "498 more" in str(sampled)
    assert "chance of 0.1" in sampled.hint


def test_without_a_certificate_the_patients_at_hand_decide() -> None:
    found = nearest_threshold(np.linspace(0.1, 1, 20), TARGET)
    assert found is not None
    assert (found.certified, found.missed, found.units) == (False, 1, 20)
    assert nearest_threshold(np.array([-np.inf, -np.inf]), TARGET) is None
    assert nearest_threshold(np.array([]), TARGET) is None


def test_a_margin_costs_no_false_alarm_and_no_tumour() -> None:
    scores, negatives = np.linspace(0.6, 1, 60), np.array([0.2, 0.3, 0.9, np.nan])
    found = certified_threshold(scores, TARGET)
    assert found is not None
    assert found.threshold == 0.6
    wider = with_margin(found, scores, negatives)
    assert wider.threshold == pytest.approx(0.45, abs=1e-4)
    assert (wider.missed, wider.certified) == (0, True)
    assert with_margin(found, scores, np.array([0.9])) == found
    assert with_margin(found, scores, np.array([0.59999])) == found
