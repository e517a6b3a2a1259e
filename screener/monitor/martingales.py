"""Alarms that may be looked at every night: evidence against "nothing changed", with a bound on false alarms for ever.

*Exchangeability.* Under "nothing changed" the studies of a site come in no particular order. The conformal p-value of a
study is its rank among all studies so far, ties broken at random; under exchangeability these p-values are independent
and uniform (Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World*, 2nd ed. 2022, ch. 8). A bet against
uniformity multiplies a capital by a density at each p-value, and so is a martingale.

*Sensitivity.* Each verdict that finds a tumour brings ``x = t - 1`` when the study was flagged, and ``x = t · w`` when
it was missed, where *t* is the target and *w* one over the chance with which the study was put before a reader
(Horvitz & Thompson 1952). While the sensitivity is *t* or more, the mean of *x* is not positive, and ``1 + λ·x``
multiplies a capital that grows no more than a martingale (Waudby-Smith & Ramdas, J R Stat Soc B 2024, betting).

*Restarts.* A change comes at an unknown time, when capital has long been lost. So a 520th of the capital is put in at
the start of each period, for 520 periods; what is not yet put in stays as cash. The sum is a martingale again
(Shiryaev–Roberts, with weights). Several bets share the capital equally.

By Ville's inequality (1939) the capital of an unchanged site ever reaches ``1 / a`` with a chance of at most *a*.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

RESTARTS = 520
"""Periods at whose start some capital is put in: ten years of weeks."""
_POWERS = (0.1, 0.5)
_SLOPE = 0.8
_SMALLEST = 1e-12
_MOST = 1e200
"""Capital above which nothing is added: far above any limit, and finite."""
STAKES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Each λ; below ``1 / (1 - t)`` for every target of 0.7 or more, so that no capital becomes negative."""


class Capital:
    """Capital that is put in period by period and bet in several ways.

    Parameters
    ----------
    columns : int
        Processes side by side, such as indicators or simulated sites.
    bets : int
    """

    def __init__(self, columns: int, bets: int) -> None:
        self._invested = np.zeros((columns, bets))
        self._cash = 1.0
        self._left = RESTARTS

    def start(self) -> None:
        """Put in the share of a new period."""
        if self._left:
            self._left -= 1
            self._cash -= 1 / RESTARTS
            self._invested += 1 / RESTARTS

    def bet(self, factors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Multiply the capital put in.

        Parameters
        ----------
        factors : ndarray of shape (columns, bets), float64
            Not negative; of mean 1 at most, given all that came before, while nothing changed.

        Returns
        -------
        ndarray of shape (columns,), float64
            The capital, cash included.
        """
        self._invested *= factors
        np.minimum(self._invested, _MOST, out=self._invested)
        worth: NDArray[np.float64] = self._invested.mean(axis=1) + max(self._cash, 0.0)
        return worth


class Ranks:
    """Conformal p-values of values in fixed bins, many columns at a time.

    Parameters
    ----------
    columns, bins : int
    """

    def __init__(self, columns: int, bins: int) -> None:
        self._columns = np.arange(columns)
        self._places = np.arange(bins, dtype=np.int16)
        self._equal = np.zeros((columns, bins), np.int32)
        self._greater = np.zeros((columns, bins), np.int32)
        self._count = np.zeros(columns, np.int64)

    def take(self, values: NDArray[np.int16], chances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rank one value a column among all before it; then remember it.

        Parameters
        ----------
        values : ndarray of shape (columns,), int16
            Bins; -1 where there is no value.
        chances : ndarray of shape (columns,) or (1,), float64, in (0, 1)
            Break ties.

        Returns
        -------
        ndarray of shape (columns,), float64, in (0, 1]
            Small for a large value; NaN where there is none.
        """
        known = values >= 0
        where = np.where(known, values, 0)
        greater, equal = self._greater[self._columns, where], self._equal[self._columns, where]
        ranked = (greater + chances * (equal + 1)) / (self._count + 1)
        self._equal[self._columns[known], values[known]] += 1
        self._greater += self._places < values[:, None]
        self._count += known
        return np.where(known, ranked, np.nan)


def bets_on(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return densities at p-values, each of which integrates to 1 over [0, 1].

    Parameters
    ----------
    p_values : ndarray of shape (columns,), float64
        NaN where there is nothing to bet on.

    Returns
    -------
    ndarray of shape (columns, 8), float64
        Powers and slopes in favour of large and of small values, and bets on more and on less spread.
    """
    low = np.clip(p_values, _SMALLEST, 1 - _SMALLEST)
    high, apart = 1 - low, np.square(low - 0.5)
    found = [power * side ** (power - 1) for power in _POWERS for side in (low, high)]
    found += [1 + sign * _SLOPE * (2 * low - 1) for sign in (-1, 1)]
    found += [0.5 + 6 * apart, 1.25 - 3 * apart]
    return np.where(np.isnan(p_values)[:, None], 1.0, np.stack(found, axis=1))


BETS = bets_on(np.array([0.5])).shape[1]


def exchangeability(
    values: NDArray[np.int16], chances: Iterable[NDArray[np.float64]], starts: NDArray[np.bool_], bins: int
) -> Iterator[NDArray[np.float64]]:
    """Yield the evidence that the order of values matters, after each row.

    Parameters
    ----------
    values : ndarray of shape (N, columns), int16
        Bins in the order of time; -1 where there is no value.
    chances : N ndarrays of shape (1,) or (columns,), float64, in (0, 1)
        Break ties; independent of the values.
    starts : ndarray of shape (N,), bool
        A period begins with this row, and capital is put in. Before the first, nothing is bet.
    bins : int

    Yields
    ------
    ndarray of shape (columns,), float64
    """
    ranks, capital = Ranks(values.shape[1], bins), Capital(values.shape[1], BETS)
    for row, chance, start in zip(values, chances, starts, strict=True):
        if start:
            capital.start()
        yield capital.bet(bets_on(ranks.take(row, chance)))


def sensitivity_below(
    outcomes: NDArray[np.float64], starts: NDArray[np.bool_], target: float
) -> Iterator[NDArray[np.float64]]:
    """Yield the evidence that the sensitivity is below a target, after each tumour.

    Parameters
    ----------
    outcomes : ndarray of shape (N, columns), float64
        Of tumours in the order of their verdicts: 0 where the study was flagged, else one over the chance with which it
        was put before a reader; NaN where there is none.
    starts : ndarray of shape (N,), bool
        See `exchangeability`.
    target : float, in [0.7, 1)

    Yields
    ------
    ndarray of shape (columns,), float64
    """
    capital, stakes = Capital(outcomes.shape[1], len(STAKES)), np.array(STAKES)
    for row, start in zip(outcomes, starts, strict=True):
        if start:
            capital.start()
        gain = np.where(np.isnan(row), 0.0, np.where(row > 0, target * row, target - 1))
        yield capital.bet(1 + stakes * gain[:, None])
