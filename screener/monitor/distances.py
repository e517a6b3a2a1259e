"""How far one distribution of counts is from another; these figures describe and raise no alarm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_SMOOTHING = 0.5
"""Added to every count: an empty bin would make the stability index infinite."""
_RESAMPLES = 400
_SEED = 0
_TAIL = 0.025


def stability_index(counts: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the population stability index of counts of shape (..., bins): the symmetric Kullback–Leibler divergence.

    As of Yurdakul & Naranjo (J Risk Model Validation 2020); 0 where both are alike, 0.25 is often called a shift.
    """
    share, usual = _shares(counts + _SMOOTHING), _shares(reference + _SMOOTHING)
    found: NDArray[np.float64] = ((share - usual) * np.log(share / usual)).sum(axis=-1)
    return found


def jensen_shannon(counts: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the divergence of Jensen and Shannon of counts of shape (..., bins), in [0, 1].

    Lin, IEEE Trans Inf Theory 1991, in bits.
    """
    share, usual = _shares(counts), _shares(reference)
    middle = (share + usual) / 2
    return (_relative(share, middle) + _relative(usual, middle)) / 2


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1e-300), dtype=np.float64)


def _relative(share: NDArray[np.float64], middle: NDArray[np.float64]) -> NDArray[np.float64]:
    terms = np.where(share > 0, share * np.log2(np.where(share > 0, share, 1) / np.maximum(middle, 1e-300)), 0.0)
    return np.asarray(terms.sum(axis=-1), dtype=np.float64)


def with_interval(
    distance: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
    counts: NDArray[np.float64],
    reference: NDArray[np.float64],
) -> tuple[float, float, float, float]:
    """Return a distance, its 95 % interval, and what chance alone stays below in 95 % of cases.

    The interval draws both samples anew from what was seen (percentile bootstrap); chance draws both from the two
    together.

    Parameters
    ----------
    distance : callable
        `stability_index` or `jensen_shannon`.
    counts, reference : ndarray of shape (bins,)
        Each with at least one count.
    """
    rng = np.random.default_rng(_SEED)
    sizes = int(counts.sum()), int(reference.sum())
    both = _shares(counts + reference)
    seen = zip(sizes, (counts, reference), strict=True)
    drawn = [rng.multinomial(size, _shares(one), _RESAMPLES) for size, one in seen]
    alike = [rng.multinomial(size, both, _RESAMPLES) for size in sizes]
    spread, chance = (distance(one.astype(np.float64), two.astype(np.float64)) for one, two in (drawn, alike))
    value = float(distance(counts, reference))
    low, high = (float(np.quantile(spread, tail)) for tail in (_TAIL, 1 - _TAIL))
    return value, min(low, value), max(high, value), float(np.quantile(chance, 1 - 2 * _TAIL))
