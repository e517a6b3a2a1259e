"""Take the skull off, roughly as brain extraction does: hospitals share stripped brains, public sets mostly heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.float32]
    Box = tuple[int, int, int, int]

_KEPT = 0.67
"""Share of the tumour that must be left: brain extraction that loses it makes a picture without one."""
_BRAIN = (0.42, 0.82)
"""Share of the head that a brain covers on most slices; less is a fragment, more has the skull on it."""
_SOLID = 0.8
"""Least share of its convex hull that a brain covers."""
_LEAST = 0.1
_DARK = 0.1
"""Brightness of air with its noise, at most."""


def strip_skull(image: Image, tumour: Image, rng: np.random.Generator, extraction: float) -> tuple[Image, Box]:
    """Blacken what is not brain.

    By tissue where that works, else by a rim: the head's outline shrunk by 7 to 15 % of its width. Left undone when it
    would take more than a third of the tumour with it.

    Parameters
    ----------
    image, tumour : ndarray of shape (S, S), float32, in [0, 1]
    rng : numpy Generator
    extraction : float, in [0, 1]
        Chance of trying by tissue.

    Returns
    -------
    image : ndarray of shape (S, S), float32, in [0, 1]
    box : (top, bottom, left, right)
        What is left of the head.
    """
    depth = _depth(image)
    by_tissue = rng.random() < extraction
    kept = _tissue(image, depth, rng) if by_tissue else None
    if kept is None:
        kept = depth > rng.uniform(0.07, 0.15) * 2 * float(depth.max())
    if tumour[kept].sum() < _KEPT * tumour.sum() or kept.mean() < _LEAST:
        return image, (0, image.shape[0], 0, image.shape[1])
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    return image * kept, (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


def _depth(image: Image) -> Image:
    """Return how deep each place lies inside the head's convex outline, in pixels; 0 outside: (S, S)."""
    head = np.zeros(image.shape, np.uint8)
    contours, _ = cv2.findContours(
        (cv2.blur(image, (5, 5)) > _DARK).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    if contours:
        cv2.drawContours(head, [cv2.convexHull(max(contours, key=cv2.contourArea))], -1, 1, cv2.FILLED)
    # A head that fills the frame would have no outside to measure from.
    head[[0, -1]] = 0
    head[:, [0, -1]] = 0
    return np.asarray(cv2.distanceTransform(head, cv2.DIST_L2, 3), np.float32)


def _tissue(image: Image, depth: Image, rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """Find the brain: the deepest bright region once thin bridges to the scalp are cut; None when that fails."""
    width = 2 * float(depth.max())
    inner = depth > 0.06 * width
    if not inner.any():
        return None
    smooth = np.asarray(cv2.GaussianBlur(image, (0, 0), max(0.5, image.shape[0] / 190)), np.float32)
    split, _ = cv2.threshold(np.rint(smooth[inner] * 255).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)
    bright = ((smooth > split / 255 * rng.uniform(0.6, 0.9)) & inner).astype(np.uint8)
    cut = cv2.morphologyEx(bright, cv2.MORPH_OPEN, _disc(width * rng.uniform(0.015, 0.03)))
    count, regions = cv2.connectedComponents(cut, connectivity=4)
    if count < 2:  # noqa: PLR2004 - label 0 is what was cut away
        return None
    weight = np.bincount(regions.ravel(), (depth * cut).ravel())
    brain = (regions == int(np.argmax(weight))).astype(np.uint8)
    brain = np.asarray(cv2.morphologyEx(brain, cv2.MORPH_CLOSE, _disc(width * 0.05)), np.uint8)
    return _sound(brain, depth)


def _sound(brain: NDArray[np.uint8], depth: Image) -> NDArray[np.bool_] | None:
    """Fill the region, and refuse one that is no brain by its size or outline."""
    contours, _ = cv2.findContours(brain, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = max(contours, key=cv2.contourArea)
    hull = cv2.contourArea(cv2.convexHull(outline))
    filled = np.zeros_like(brain)
    cv2.drawContours(filled, [outline], -1, 1, cv2.FILLED)
    share = float(filled.sum()) / max(float((depth > 0).sum()), 1.0)
    if not _BRAIN[0] <= share <= _BRAIN[1] or cv2.contourArea(outline) < _SOLID * hull:
        return None
    return np.asarray(filled > 0)


def _disc(radius: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
