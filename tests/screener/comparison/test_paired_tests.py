"""McNemar's exact test and DeLong's, held to their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screener.comparison.paired_tests import compare_areas, mcnemar
from screener.evaluate.metrics import auc

pytest.importorskip("scipy", reason="needs the extra [evaluate]")


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"), [(0, 0, 1.0), (5, 5, 1.0), (0, 5, 2 / 2**5), (1, 9, 2 * 11 / 2**10)]
)
def test_mcnemar_is_the_binomial_test_of_discordant_cases(only_first: int, only_second: int, p: float) -> None:
    first = np.array([True] * only_first + [False] * only_second + [True] * 30)
    second = np.array([False] * only_first + [True] * only_second + [True] * 30)
    found = mcnemar(first, second)
    assert (found.first_only, found.second_only) == (only_first, only_second)
    assert found.p == pytest.approx(p)


def delong(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Return the variance of the difference as DeLong et al. define it, by comparing every pair of cases."""
    parts = []
    for scores in (first, second):
        wins = (scores[labels == 1][:, None] > scores[labels == 0]) + 0.5 * (
            scores[labels == 1][:, None] == scores[labels == 0]
        )
        parts.append((wins.mean(axis=1), wins.mean(axis=0)))
    tumour = np.cov(parts[0][0], parts[1][0]) / (labels == 1).sum()
    free = np.cov(parts[0][1], parts[1][1]) / (labels == 0).sum()
    both = tumour + free
    return float(both[0, 0] + both[1, 1] - 2 * both[0, 1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_with_one_case_a_patient_it_is_delongs_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.array([1] * 9 + [0] * 14)
    first = np.round(rng.normal(labels, 1.5), 1)
    second = np.round(rng.normal(labels, 1), 1)
    found = compare_areas(labels, first, second, np.arange(len(labels)))
    assert found is not None
    assert (found.first, found.second) == (pytest.approx(auc(labels, first)), pytest.approx(auc(labels, second)))
    assert found.low is not None
    assert found.high is not None
    # Without clusters, cases of the two labels share no patient, and the formula is DeLong's.
    assert ((found.high - found.low) / 2 / 1.959964) ** 2 == pytest.approx(delong(labels, first, second), rel=1e-4)
    assert found.low <= found.difference <= found.high


def test_copies_of_a_case_tell_nothing_new() -> None:
    rng = np.random.default_rng(1)
    labels = np.array([1] * 20 + [0] * 20)
    first, second = rng.normal(labels, 1), rng.normal(labels, 1)
    once = compare_areas(labels, first, second, np.arange(40))
    copies = compare_areas(*(np.repeat(values, 5) for values in (labels, first, second, np.arange(40))))
    assert once is not None
    assert copies is not None
    assert copies.p == pytest.approx(once.p)
    assert copies.patients == 40


def test_false_alarms_are_as_rare_as_they_should_be() -> None:
    rng = np.random.default_rng(2)
    labels = np.array([1] * 30 + [0] * 30)
    found = []
    for _ in range(300):
        signal = rng.normal(labels, 1)
        scores = signal + rng.normal(0, 0.5, 60), signal + rng.normal(0, 0.5, 60)
        compared = compare_areas(labels, *scores, np.arange(60))
        assert compared is not None
        found.append(compared.p is not None and compared.p < 0.05)
    assert 0.02 <= np.mean(found) <= 0.09


def test_what_cannot_be_said_is_not_said() -> None:
    scores = np.array([0.1, 0.9, 0.4])
    assert compare_areas(np.array([1, 1, 1]), scores, scores, np.arange(3)) is None
    alone = compare_areas(np.array([1, 0, 0]), scores, scores[::-1], np.arange(3))
    assert alone is not None
    assert (alone.low, alone.p) == (None, None)
    same = compare_areas(np.array([1, 1, 0, 0]), np.arange(4.0), np.arange(4.0), np.arange(4))
    assert same is not None
    assert (same.difference, same.p) == (0, 1)
