"""Put a tumour where there was none, and spots that are none: what differs between two slices is then the tumour alone.

Sources differ in scanner, sequence and in which label they hold. A tumour cut from one slice and laid into a
tumour-free slice of another source makes a positive that shares everything else with a negative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    View = NDArray[np.uint8]

_LEAST_AREA, _MOST_AREA = 0.002, 0.12
"""Share of the view that a tumour to be moved covers."""
_BOX_LIKE = 0.93
"""A region that fills its bounding box so far was drawn as a box: the tumour is taken to be the ellipse inside."""
_TRIES = 8


def paste_tumour(view: View, donor: View, drawn: View, rng: np.random.Generator) -> tuple[View, View] | None:
    """Lay a donor's tumour into a tumour-free slice.

    Parameters
    ----------
    view, donor : ndarray of shape (S, S), uint8
    drawn : ndarray of shape (S // 4, S // 4), uint8
        The donor's tumour map.
    rng : numpy Generator

    Returns
    -------
    (view, map) or None
        The slice with its tumour, (S, S), and where it is, (S // 4, S // 4), both uint8; None when the donor's tumour
        is too small or too large, or no place in the slice suits it.
    """
    side = view.shape[0]
    mask = np.asarray(cv2.resize(drawn, (side, side), interpolation=cv2.INTER_LINEAR), np.float32) / 255
    if not _LEAST_AREA <= float(mask.mean()) <= _MOST_AREA:
        return None
    patch, soft = _cut(donor, mask.astype(np.float32))
    patch, soft = _turned(patch, soft, rng)
    place = _place(view, soft, rng)
    if place is None:
        return None
    top, left = place
    window = np.s_[top : top + patch.shape[0], left : left + patch.shape[1]]
    made, where = view.astype(np.float32), np.zeros(view.shape, np.float32)
    surround = float(np.average(made[window], weights=1 - soft + 1e-3))
    levelled = patch * np.clip(surround / _surround(patch, soft), 0.5, 2.0)
    made[window] = made[window] * (1 - soft) + levelled * soft
    where[window] = soft
    small = cv2.resize(where, drawn.shape[::-1], interpolation=cv2.INTER_AREA)
    return np.clip(np.rint(made), 0, 255).astype(np.uint8), np.rint(small * 255).astype(np.uint8)


def _cut(donor: View, mask: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cut the tumour out with a margin: its pixels, and how much of each is tumour, fading out at the edge."""
    rows, columns = (np.flatnonzero((mask > 0.5).any(axis=axis)) for axis in (1, 0))  # noqa: PLR2004 - half covered
    if not len(rows) or not len(columns):
        rows = columns = np.arange(mask.shape[0])
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    if float(mask[top:bottom, left:right].mean()) > _BOX_LIKE:
        mask = np.zeros_like(mask)
        centre = (int(left + right) // 2, int(top + bottom) // 2)
        cv2.ellipse(mask, centre, (int(right - left) // 2, int(bottom - top) // 2), 0, 0, 360, 1.0, cv2.FILLED)
    fade = max(1.0, mask.shape[0] / 100)
    soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), fade), np.float32)
    margin = int(3 * fade)
    window = np.s_[max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin]
    return donor[window].astype(np.float32), soft[window]


def _turned(
    patch: NDArray[np.float32], soft: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Turn, mirror and resize a cut tumour."""
    turns, mirror, scale = int(rng.integers(4)), rng.random() < 0.5, float(rng.uniform(0.7, 1.2))  # noqa: PLR2004 - a coin
    made = []
    for part in (patch, soft):
        turned = np.rot90(part[:, ::-1] if mirror else part, turns)
        made.append(np.asarray(cv2.resize(np.ascontiguousarray(turned), None, fx=scale, fy=scale), np.float32))
    return made[0], made[1]


def _place(view: View, soft: NDArray[np.float32], rng: np.random.Generator) -> tuple[int, int] | None:
    """Find a place well inside the head: top and left of the patch; None after some tries."""
    head = (cv2.blur(view, (5, 5)) > 25).astype(np.uint8)  # noqa: PLR2004 - a tenth of full brightness
    head = np.asarray(cv2.morphologyEx(head, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)), np.uint8)
    head[[0, -1]] = 0
    head[:, [0, -1]] = 0
    depth = cv2.distanceTransform(head, cv2.DIST_L2, 3)
    height, width = soft.shape
    inside = np.argwhere(depth > 0.35 * float(depth.max()))
    for _ in range(_TRIES if len(inside) else 0):
        row, column = inside[rng.integers(len(inside))]
        top, left = int(row) - height // 2, int(column) - width // 2
        if top < 0 or left < 0 or top + height > view.shape[0] or left + width > view.shape[1]:
            continue
        covered = head[top : top + height, left : left + width]
        if float((covered * soft).sum()) > 0.97 * float(soft.sum()):
            return top, left
    return None


def _surround(patch: NDArray[np.float32], soft: NDArray[np.float32]) -> float:
    """Return the brightness of the tissue around a cut tumour."""
    return max(float(np.average(patch, weights=1 - soft + 1e-3)), 8.0)


def spots(view: View, rng: np.random.Generator) -> View:
    """Add some small bright spots, as old age and multiple sclerosis leave in white matter; they are no tumour."""
    side = view.shape[0]
    field = np.zeros(view.shape, np.float32)
    inside = np.argwhere(view > 60)  # noqa: PLR2004 - tissue
    for _ in range(int(rng.integers(1, 9)) if len(inside) else 0):
        row, column = inside[rng.integers(len(inside))]
        axes = tuple(max(1, round(float(radius) * side)) for radius in rng.uniform(0.006, 0.02, 2))
        cv2.ellipse(field, (int(column), int(row)), axes, float(rng.uniform(0, 180)), 0, 360, 1.0, cv2.FILLED)
    soft = cv2.GaussianBlur(field, (0, 0), max(0.6, side / 250))
    brighter = view * (1 + soft * float(rng.uniform(0.2, 0.6)))
    return np.clip(np.rint(brighter), 0, 255).astype(np.uint8)
