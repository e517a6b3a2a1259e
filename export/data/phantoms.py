"""Drawn heads: slices that belong to nobody, for golden scores, tests and benches without data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def phantom(seed: int, size: int = 256, *, tumour: bool = False) -> NDArray[np.uint8]:
    """Draw an axial head with skull, brain, ventricles, texture and, on request, a bright mass.

    Parameters
    ----------
    seed : int
        The same seed draws the same head.
    size : int
        Side, in pixels.
    tumour : bool

    Returns
    -------
    ndarray of shape (size, size), uint8
    """
    rng = np.random.default_rng(seed)
    image = np.zeros((size, size), np.float32)
    centre = (size // 2 + int(rng.integers(-6, 7)), size // 2 + int(rng.integers(-6, 7)))
    wide, high = size * rng.uniform(0.30, 0.36), size * rng.uniform(0.38, 0.44)

    def ellipse(share: float, grey: float) -> None:
        cv2.ellipse(image, centre, (int(wide * share), int(high * share)), 0, 0, 360, grey, cv2.FILLED)

    ellipse(1.0, 210)
    ellipse(0.93, 25)
    ellipse(0.88, 110)
    texture = cv2.GaussianBlur(rng.normal(0, 60, (size, size)).astype(np.float32), (0, 0), size / 60)
    image += np.where(image == 110, texture, 0)  # noqa: PLR2004 - the brain's own grey
    for side in (-1, 1):
        at = (int(centre[0] + side * wide * 0.18), centre[1])
        cv2.ellipse(image, at, (int(wide * 0.09), int(high * 0.28)), side * 8, 0, 360, 45, cv2.FILLED)
    if tumour:
        at = (int(centre[0] + wide * rng.uniform(0.3, 0.5)), int(centre[1] + high * rng.uniform(-0.4, 0.4)))
        cv2.circle(image, at, int(wide * rng.uniform(0.15, 0.28)), 225, cv2.FILLED)
    noisy = cv2.GaussianBlur(image, (0, 0), size / 200) + rng.normal(0, 3, (size, size))
    return np.clip(noisy, 0, 255).astype(np.uint8)
