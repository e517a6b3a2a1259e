"""The promise of the alarms, false alarms and power alike, by simulation and by their properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screener.monitor.martingales import (
    BETS,
    STAKES,
    Capital,
    Ranks,
    bets_on,
    exchangeability,
    sensitivity_below,
)

SITES, STUDIES = 400, 600


def starts(count: int, every: int = 20) -> np.ndarray:
    return np.arange(count) % every == 0


def most(values: np.ndarray, seed: int = 1) -> np.ndarray:
    """Return the most evidence that each site ever has."""
    chances = np.random.default_rng(seed).random(values.shape)
    return np.max(list(exchangeability(values.astype(np.int16), chances, starts(len(values)), 64)), axis=0)


def test_every_bet_is_a_density() -> None:
    half = np.logspace(-14, np.log10(0.5), 20_000)
    edges = np.concatenate([[0], half, 1 - half[-2::-1], [1]])
    middle = (edges[1:] + edges[:-1]) / 2
    areas = (bets_on(middle) * np.diff(edges)[:, None]).sum(axis=0)
    # Below the smallest p-value a power is cut off: its bet loses a little, which is the safe side.
    assert areas.max() <= 1.001
    assert areas[2:] == pytest.approx(np.ones(BETS - 2), abs=1e-3)
    assert areas[:2] == pytest.approx(np.ones(2), abs=0.07)
    assert bets_on(middle).min() >= 0
    assert bets_on(np.array([np.nan])).tolist() == [[1.0] * BETS]


@given(st.lists(st.integers(0, 7), min_size=1, max_size=30), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_rank_is_the_share_of_larger_values_with_ties_broken(values: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    ranks = Ranks(1, 8)
    for number, value in enumerate(values):
        chance = rng.random(1)
        larger = sum(one > value for one in values[:number])
        equal = sum(one == value for one in values[: number + 1])
        found = ranks.take(np.array([value], np.int16), chance)
        assert found[0] == pytest.approx((larger + chance[0] * equal) / (number + 1))


def test_p_values_of_an_unchanged_site_are_uniform() -> None:
    rng = np.random.default_rng(0)
    ranks = Ranks(200, 4)
    found = np.array([ranks.take(rng.integers(0, 4, 200).astype(np.int16), rng.random(200)) for _ in range(100)])
    for share in (0.05, 0.25, 0.5, 0.9):
        assert (found <= share).mean() == pytest.approx(share, abs=0.012)


def test_what_is_missing_is_no_evidence() -> None:
    ranks = Ranks(2, 4)
    assert np.isnan(ranks.take(np.array([-1, 2], np.int16), np.array([0.5]))).tolist() == [True, False]
    assert ranks.take(np.array([3, 3], np.int16), np.array([0.5])).tolist() == [0.5, 0.25]


@pytest.mark.parametrize("levels", [2, 64])
def test_false_alarms_stay_below_their_share(levels: int) -> None:
    """At a limit of 10 one site in ten may raise an alarm; with restarts it is far less."""
    values = np.random.default_rng(levels).integers(0, levels, (STUDIES, SITES))
    assert (most(values) >= 10).mean() <= 0.1


def test_a_change_is_found_at_once_and_late_in_the_life_of_a_site() -> None:
    rng = np.random.default_rng(2)
    values = np.clip(rng.normal(30, 4, (STUDIES, 20)), 0, 63)
    values[400:] += 12
    assert (most(np.clip(values, 0, 63)) >= 400).all()
    assert (most(values[:400]) < 400).all()


def test_looking_earlier_shows_the_same_past() -> None:
    rng = np.random.default_rng(3)
    values, chances = rng.integers(0, 64, (80, 3)).astype(np.int16), rng.random((80, 3))
    whole = list(exchangeability(values, chances, starts(80), 64))
    part = list(exchangeability(values[:50], chances[:50], starts(50), 64))
    assert np.array_equal(whole[:50], part)


def test_capital_is_never_more_than_was_put_in_while_nothing_is_won() -> None:
    capital = Capital(1, 2)
    for _ in range(600):
        capital.start()
        worth = capital.bet(np.ones((1, 2)))
        assert worth[0] == pytest.approx(1.0)


def verdicts(sensitivity: float, count: int, chance: float, seed: int) -> np.ndarray:
    """Return outcomes of tumours at many sites, of whose missed ones a share is read; NaN where none is."""
    rng = np.random.default_rng(seed)
    missed, read = rng.random((count, SITES)) > sensitivity, rng.random((count, SITES)) < chance
    return np.where(missed, np.where(read, 1 / chance, np.nan), 0.0)


@pytest.mark.parametrize("chance", [0.1, 1.0])
def test_a_sensitivity_on_target_raises_no_more_false_alarms_than_allowed(chance: float) -> None:
    rows = list(sensitivity_below(verdicts(0.95, STUDIES, chance, 4), starts(STUDIES), 0.95))
    assert (np.max(rows, axis=0) >= 10).mean() <= 0.1


def test_a_sensitivity_below_target_is_found() -> None:
    rows = list(sensitivity_below(verdicts(0.8, STUDIES, 1.0, 5), starts(STUDIES), 0.95))
    assert (np.max(rows, axis=0) >= 50).mean() > 0.95


@given(st.floats(0.7, 0.999))
def test_no_stake_can_make_capital_negative(target: float) -> None:
    assert 1 + max(STAKES) * (target - 1) >= 0
