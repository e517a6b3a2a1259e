"""How many patients are found when one slice of each that shows a tumour is drawn: what a certificate counts.

A slice is no unit: slices of one patient are alike, and ten misses in one patient are one miss. A patient counts as
detected when a randomly drawn slice with a tumour is flagged, which is what a single slice in an inbox meets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from screener.evaluate.metrics import lower_bound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SEED = 0
"""Of the one draw that counts; no option, so that nobody looks for a lucky one."""
DRAWS = 1000
LADDER = (0.95, 0.93, 0.90, 0.85, 0.80)
"""Sensitivities that may be certified; fixed beforehand, and the highest one that the bound reaches is."""


@dataclass(frozen=True, slots=True)
class Detection:
    """Patients found.

    Attributes
    ----------
    units : int
        Patients with a slice that shows a tumour.
    missed : int
        How many were missed in the one draw that counts.
    average : float, in [0, 1]
        Share detected, averaged over every possible draw.
    usual : (int, int)
        Between how many misses 95 % of `DRAWS` draws lie: whether the one that counts was a lucky one.
    """

    units: int
    missed: int
    average: float
    usual: tuple[int, int]


def shares(flagged: NDArray[np.bool_], patients: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return for every patient, in the order of their names, the share of slices that are flagged: (patients,)."""
    _, place = np.unique(patients, return_inverse=True)
    return np.bincount(place, flagged) / np.maximum(np.bincount(place), 1)


def drawn_cases(units: NDArray[np.int64], *, seed: int = SEED) -> NDArray[np.int64]:
    """Draw a case of every unit: the one draw that counts.

    Parameters
    ----------
    units : ndarray of shape (N,), int
    seed : int

    Returns
    -------
    ndarray of shape (units,), int
        Places among the N, in the order of the units.
    """
    counts = np.bincount(np.unique(units, return_inverse=True)[1])
    first = np.cumsum(counts) - counts
    order = np.argsort(units, kind="stable")
    return np.asarray(order[first + np.random.default_rng(seed).integers(counts)])


def detection(flagged: NDArray[np.bool_], patients: NDArray[np.str_], *, seed: int = SEED) -> Detection | None:
    """Draw a slice of every patient, once for the count and `DRAWS` times to see how much that depends on luck.

    Parameters
    ----------
    flagged : ndarray of shape (N,), bool
        Of slices that show a tumour; a refused one is not flagged.
    patients : ndarray of shape (N,), str
        Whose slice it is, or which run of slices it belongs to; empty where that is not known.
    seed : int

    Returns
    -------
    Detection or None
        None when no patient is known: slices of strangers are no patients.
    """
    known = patients != ""
    if not known.any():
        return None
    _, place = np.unique(patients[known], return_inverse=True)
    ordered = flagged[known][np.argsort(place, kind="stable")]
    counts = np.bincount(place)
    first = np.cumsum(counts) - counts
    rng = np.random.default_rng(seed)
    missed = [int((~ordered[first + rng.integers(counts)]).sum()) for _ in range(DRAWS)]
    low, high = np.quantile(missed, (0.025, 0.975))
    average = float(shares(flagged[known], patients[known]).mean())
    return Detection(len(counts), missed[0], average, (int(np.floor(low)), int(np.ceil(high))))


def supported(missed: int, units: int, ladder: Sequence[float] = LADDER) -> tuple[float, float | None]:
    """Return the exact lower bound at 95 % confidence, and the highest rung that it reaches; None below all."""
    bound = lower_bound(units - missed, units)
    # Rounded down, so that what is printed is not more than what was shown.
    bound = math.floor(bound * 1e4) / 1e4
    return bound, next((rung for rung in sorted(ladder, reverse=True) if rung <= bound), None)
