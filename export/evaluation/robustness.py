"""How a network stands up to what happens to pictures: the same slices, spoilt in seven ways, the same each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from export.training.augmentation import jpeg
from screener.evaluate.metrics import Scored, auc, brier, confusion_figures

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Image = NDArray[np.float32]

_NOISE, _BLUR, _GAMMA, _JPEG = 0.06, 1.2, 1.6, 30
_GHOST, _GHOST_SHIFT = 0.2, 5
MEASURED = {
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "accuracy": "accuracy",
    "precision": "precision",
    "f1": "F1",
    "brier": "Brier",
}
"""Figures of intact and spoilt slices, by name; None where they cannot be said."""


def noise(image: Image, rng: np.random.Generator) -> Image:
    """Add Rician noise of 6 % of the brightest tissue, as magnitude images carry (Gudbjartsson & Patz, MRM 1995)."""
    real, imaginary = rng.standard_normal((2, *image.shape), dtype=np.float32) * _NOISE
    return np.asarray(np.sqrt((image + real) ** 2 + imaginary**2), np.float32)


def blur(image: Image, _: np.random.Generator) -> Image:
    """Blur with a Gaussian of 1.2 pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), _BLUR), np.float32)


def ghosts(image: Image, _: np.random.Generator) -> Image:
    """Add a copy of a fifth of the brightness, moved by a fifth of the height, as motion does along the phase axis."""
    return image + np.float32(_GHOST) * np.roll(image, image.shape[0] // _GHOST_SHIFT, axis=0)


def gamma(image: Image, _: np.random.Generator) -> Image:
    """Darken the middle tones: exponent 1.6."""
    return np.asarray(np.clip(image, 0, 1) ** _GAMMA, np.float32)


def inversion(image: Image, _: np.random.Generator) -> Image:
    """Swap black and white, as a picture with the wrong photometric interpretation is."""
    return np.asarray(image.max() - image, np.float32)


def half_resolution(image: Image, _: np.random.Generator) -> Image:
    """Halve the resolution and enlarge again."""
    height, width = image.shape
    small = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def jpeg_30(image: Image, _: np.random.Generator) -> Image:
    """Compress as a JPEG of quality 30."""
    return jpeg(image, _JPEG)


DAMAGES: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "noise": noise,
    "blur": blur,
    "motion ghosts": ghosts,
    "gamma": gamma,
    "inversion": inversion,
    "half resolution": half_resolution,
    "JPEG 30": jpeg_30,
}


def damaged(images: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Spoil slices in one of the ways of `DAMAGES`, then stretch them again as preprocessing would.

    Parameters
    ----------
    images : ndarray of shape (N, S, S, 1), float32, in [0, 1]
    name : str

    Returns
    -------
    ndarray of shape (N, S, S, 1), float32, in [0, 1]
    """
    from screener.preprocess import stretch

    rng = np.random.default_rng(0)
    return np.stack([stretch(DAMAGES[name](image[..., 0], rng)) for image in images])[..., None]


def robustness(
    predict: Callable[[NDArray[np.float32]], NDArray[np.float64]],
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    units: NDArray[np.int64],
    threshold: float,
) -> dict[str, dict[str, Any]]:
    """Measure the same slices intact and spoilt: the figures of `MEASURED`, at a threshold where they need one.

    Parameters
    ----------
    predict : callable
        Probabilities of a batch: (N, S, S, 1) → (N,).
    images : ndarray of shape (N, S, S, 1), float32, in [0, 1]
    labels, units : ndarray of shape (N,), int
    threshold : float, in [0, 1]
    """
    result: dict[str, dict[str, Any]] = {}
    for name in ("intact", *DAMAGES):
        shown = images if name == "intact" else damaged(images, name)
        scored = Scored(labels, predict(shown), units)
        found = confusion_figures(scored, threshold)
        result[name] = {
            "auc": auc(labels, scored.scores),
            "brier": brier(labels, scored.scores),
            **{key: found[key]["value"] for key in MEASURED if key in found},
            "slices": len(labels),
        }
    return result
