"""Figures on whole heads that the hospital cannot give away: comparisons within a site, a sequence, a level, a head.

Patients with and without a tumour come from different scanners in public collections, so that a figure over all of them
can be had by knowing the scanner. These compare slices that share it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

LOWEST, HIGHEST = 0.15, 0.95
"""Share of the height of a head between which a tumour-free part is looked for."""
LEAST_RUN = 5
"""Slices of the shortest tumour-free part."""


@dataclass(frozen=True, slots=True)
class AdjustedAuc:
    """A covariate-adjusted area under the curve.

    Attributes
    ----------
    value : float, in [0, 1], or None
        None where no stratum holds both labels.
    positives : int
        Slices with a tumour in the strata that count.
    strata, left_out : int
        Strata with both labels, and with one only.
    """

    value: float | None
    positives: int
    strata: int
    left_out: int


def covariate_adjusted_auc(labels: Sequence[int], scores: Sequence[float], strata: Sequence[Hashable]) -> AdjustedAuc:
    """Return the share of pairs within a stratum in which the slice with a tumour scores higher; ties count half.

    Janes & Pepe, Biometrika 2009. Strata weigh as their number of slices with a tumour.

    Parameters
    ----------
    labels : sequence of {0, 1}, length N
    scores : sequence of float, length N
    strata : sequence, length N
        Such as (site, sequence, tenth of the head).
    """
    members: dict[Hashable, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for label, score, stratum in zip(labels, scores, strata, strict=True):
        members[stratum][label].append(score)
    both = [pair for pair in members.values() if all(pair)]
    positives = sum(len(with_tumour) for _, with_tumour in both)
    if not both:
        return AdjustedAuc(None, 0, 0, len(members))
    weighted = sum(len(with_tumour) * _pairs_won(with_tumour, without) for without, with_tumour in both)
    return AdjustedAuc(weighted / positives, positives, len(both), len(members) - len(both))


def _pairs_won(with_tumour: Sequence[float], without: Sequence[float]) -> float:
    won = sum((one > other) + (one == other) / 2 for one in with_tumour for other in without)
    return won / (len(with_tumour) * len(without))


@dataclass(frozen=True, slots=True)
class Parts:
    """Two runs of neighbouring slices of one series, of equal length: without a tumour, and with the most of it."""

    without: range
    with_tumour: range


def parts(labels: Sequence[str]) -> Parts | None:
    """Find the tumour-free part of a series and the part to compare it with.

    Parameters
    ----------
    labels : sequence of {"yes", "no", "none", "border"}
        In anatomical order, lowest first.

    Returns
    -------
    Parts or None
        The longest run of ``no`` between `LOWEST` and `HIGHEST` of the height, at least `LEAST_RUN` long, and the run
        of equal length with most ``yes``, of several the one that shares fewest slices with it. None where there is no
        such run, or no tumour.
    """
    first, last = round(LOWEST * len(labels)), round(HIGHEST * len(labels))
    best, start = range(0), first
    for index in range(first, last + 1):
        if index == last or labels[index] != "no":
            if index - start > len(best):
                best = range(start, index)
            start = index + 1
    if len(best) < LEAST_RUN or "yes" not in labels:
        return None
    length = len(best)
    starts = range(len(labels) - length + 1)

    def rank(start: int) -> tuple[int, int]:
        shared = min(start + length, best.stop) - max(start, best.start)
        return sum(label == "yes" for label in labels[start : start + length]), -max(shared, 0)

    most = max(starts, key=rank)
    return Parts(best, range(most, most + length))


def key_slice(curve: Sequence[float | None]) -> int | None:
    """Return the index of the highest slice in context; None where no slice is assessable."""
    known = [index for index, value in enumerate(curve) if value is not None]
    return max(known, key=lambda index: curve[index] or 0.0, default=None)
