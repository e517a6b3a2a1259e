"""What other scanners, protocols and archives do to a slice, imitated while training.

Every function draws from the generator that it is given, so a batch can be repeated exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from export.errors import DataError
from export.training.lesion_pasting import spots
from export.training.skull_stripping import strip_skull
from screener.preprocess import stretch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Image = NDArray[np.float32]

_GRID = 16
"""Stride of the tumour map that the localisation head learns."""
_AIR = 20
"""Grey, of 255, up to which a framed slice shows air."""


def classic(view: NDArray[np.uint8], size: int, rng: np.random.Generator) -> Image:
    """Rotate ±15°, shift ±10 %, zoom ±10 %, mirror; nearest fill. (S, S) uint8 → (size, size) float32 in [0, 1]."""
    side = view.shape[0]
    matrix = _affine(
        side,
        size,
        angle=rng.uniform(-15, 15),
        scale=(rng.uniform(0.9, 1.1),) * 2,
        shift=rng.uniform(-0.1, 0.1, 2),
        mirror=rng.random() < 0.5,
    )
    warped = cv2.warpAffine(view, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return _floats(warped) / np.float32(255)


@dataclass(frozen=True)
class Augmentation:
    """Chances, in [0, 1], of what is done to a slice; `export.evaluation.ablation` measures what some of them bring.

    Attributes
    ----------
    strip : float
        Skull taken off.
    extraction : float
        Of these, by tissue instead of by a rim.
    paste : float
        Of the tumour-free slices, those that get a tumour laid in.
    decoy : float
        Of the tumour-free slices, those that get tissue of another tumour-free slice laid in, in a tumour's shape.
    spots : float
        Small bright spots that are no tumour.
    coarse : float
        Resolution lost, down to a third.
    tones : float
        Grey tones of another slice taken on, of any source and label.
    remap : float
        Grey remapped by a random small network, so that tissue keeps its shape and loses its usual brightness.
    acquisition : float
        Faults of whole heads: a field of view that ends inside the head, one that wraps around, air that is grey.
    """

    strip: float = 0.2
    extraction: float = 0.0
    paste: float = 0.0
    decoy: float = 0.0
    spots: float = 0.0
    coarse: float = 0.25
    tones: float = 0.0
    remap: float = 0.0
    acquisition: float = 0.0

    def with_changes(self, changes: Sequence[str]) -> Augmentation:
        """Return augmentation with changes such as ``paste=0.1``.

        Raises
        ------
        DataError
            A change names no augmentation setting, or no chance.
        """
        known = {field.name for field in fields(self)}
        result: dict[str, float] = {}
        for change in changes:
            name, _, text = change.partition("=")
            try:
                result[name] = float(text)
            except ValueError:
                result[name] = -1.0
            if name not in known or not 0 <= result[name] <= 1:
                raise DataError(
                    f"{change!r} sets no augmentation setting",
                    f"write NAME=CHANCE, with one of {', '.join(sorted(known))}",
                )
        return replace(self, **result)


PLAIN = Augmentation()
"""What the first released model was trained with."""


def hospital(
    view: NDArray[np.uint8], tumour: NDArray[np.uint8], size: int, rng: np.random.Generator, augmentation: Augmentation
) -> tuple[Image, Image]:
    """Imitate another hospital: geometry, skull-stripping, contrast, resolution, noise, compression.

    Parameters
    ----------
    view : ndarray of shape (S, S), uint8
        A framed slice.
    tumour : ndarray of shape (S // 4, S // 4), uint8
        Its tumour map.
    size : int
        Side of the model's input, in pixels; a multiple of 16.
    rng : numpy Generator
    augmentation : Augmentation

    Returns
    -------
    image : ndarray of shape (size, size), float32, in [0, 1]
    target : ndarray of shape (size // 16, size // 16), float32, in [0, 1]
        Share of each cell that is tumour.
    """
    if augmentation.spots and rng.random() < augmentation.spots:
        view = spots(view, rng)
    image = _floats(view) / np.float32(255)
    where = _floats(cv2.resize(tumour, view.shape[::-1], interpolation=cv2.INTER_LINEAR)) / np.float32(255)
    box = (0, view.shape[0], 0, view.shape[1])
    if rng.random() < augmentation.strip:
        image, box = strip_skull(image, where, rng, augmentation.extraction)
    matrix = _random_affine(image.shape[0], size, box, rng)
    image = _floats(cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR))
    where = _floats(cv2.warpAffine(where, matrix, (size, size), flags=cv2.INTER_LINEAR))
    grid = size // _GRID
    target = _floats(cv2.resize(where, (grid, grid), interpolation=cv2.INTER_AREA))
    if augmentation.remap and rng.random() < augmentation.remap:
        image = remapped(image, rng)
    if augmentation.acquisition and rng.random() < augmentation.acquisition:
        image, target = with_acquisition_fault(image, target, rng)
    return stretch(_degrade(_contrast(image, rng), rng, augmentation.coarse)), target


def toned(view: NDArray[np.uint8], like: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Give a slice the grey tones of another one, in part or whole: (S, S) uint8, twice → (S, S) uint8.

    The histograms are matched inside the head, so that no source can be result by how its pictures were windowed. The
    order of brightness stays, and with it what a radiologist goes by.
    """
    counts, requested = (np.bincount(one[one > _AIR], minlength=256).astype(np.float64) for one in (view, like))
    if not counts.any() or not requested.any():
        return view
    ranks = (np.cumsum(counts) - counts / 2) / counts.sum()
    goal = np.interp(ranks, np.cumsum(requested) / requested.sum(), np.arange(256))
    part = rng.uniform(0.3, 0.9)
    table = part * goal + (1 - part) * np.arange(256)
    table[: _AIR + 1] = np.arange(_AIR + 1)
    return np.asarray(np.rint(table).astype(np.uint8)[view])


def remapped(image: Image, rng: np.random.Generator) -> Image:
    """Send grey through a random shallow network and mix the answer in: (S, S) float32 in [0, 1], twice.

    Global intensity non-linear augmentation (Ouyang et al., IEEE TMI 2023): the shape of tissue stays, how bright which
    tissue is does not. Air stays dark, as it does in every sequence.
    """
    inside = cv2.GaussianBlur((image > _AIR / 255).astype(np.float32), (0, 0), 1.0)
    maps = [image]
    for width in (2, 2, 2, 1):
        side = int(rng.choice((1, 3)))
        kernels = rng.standard_normal((width, len(maps), side, side)).astype(np.float32)
        shifts = rng.standard_normal(width)
        summed = [
            sum(cv2.filter2D(one, -1, kernel) for one, kernel in zip(maps, row, strict=True)) + shift
            for row, shift in zip(kernels, shifts, strict=True)
        ]
        maps = [np.where(one > 0, one, 0.01 * one).astype(np.float32) for one in summed]
    head = maps[0][inside > 0.5]
    if not head.size:
        return image
    low, high = np.percentile(head, (1, 99))
    answer = np.clip((maps[0] - low) / max(high - low, 1e-6), 0, 1)
    part = rng.random()
    return _floats((part * image + (1 - part) * answer) * _floats(inside))


def with_acquisition_fault(image: Image, target: Image, rng: np.random.Generator) -> tuple[Image, Image]:
    """Give a slice one fault that whole heads have and hand-picked slices have not.

    A field of view that ends inside the head; one too small in the phase direction, so that what lies outside wraps
    around to the other side (Moratal et al., Biomed Imaging Interv J 2008); air that is grey and noisy, not black.

    Parameters
    ----------
    image : ndarray of shape (S, S), float32, in [0, 1]
    target : ndarray of shape (S // 16, S // 16), float32, in [0, 1]
        Share of each cell that is tumour; what leaves the view leaves it too.
    rng : numpy Generator
    """
    size, turns = image.shape[0], int(rng.integers(4))
    image, target = np.rot90(image, turns).copy(), np.rot90(target, turns).copy()
    head = np.flatnonzero((image > _AIR / 255).any(axis=1))
    start = int(head[0]) if head.size else 0
    end = start + int(rng.integers(size // 16, size // 4))
    lost = np.repeat(np.arange(size) < end, target.shape[0]).reshape(size, -1).astype(np.float32)
    kept = target * (1 - _floats(cv2.resize(lost, target.shape[::-1], interpolation=cv2.INTER_AREA)))
    wraps = rng.random() < 0.5
    if rng.random() < 1 / 3 or kept.sum() < target.sum() / 2:  # else the label would no longer be true
        level = rng.uniform(0.05, 0.35)
        noise = rng.normal(0, rng.uniform(0.005, 0.05), image.shape).astype(np.float32)
        image = np.clip(level + (1 - level) * image + noise * (image < _AIR / 255), 0, 1)
    else:
        if wraps:
            image[start - end :] += rng.uniform(0.4, 0.9) * image[start:end]
        image[:end], target = 0, kept
    return _floats(np.rot90(image, -turns).copy()), _floats(np.rot90(target, -turns).copy())


def _random_affine(side: int, size: int, box: tuple[int, int, int, int], rng: np.random.Generator) -> Image:
    """Draw a rotation, anisotropic zoom, shift and mirror that shows `box` in about the whole frame."""
    top, bottom, left, right = box
    zoom = side / max(bottom - top, right - left)
    quarter = 90 * int(rng.integers(4)) if rng.random() < 0.1 else 0
    base = zoom * rng.uniform(0.8, 1.12)
    centre = ((left + right) / 2, (top + bottom) / 2)
    return _affine(
        side,
        size,
        angle=quarter + rng.normal(0, 10),
        scale=(base * rng.uniform(0.93, 1.07), base),
        shift=rng.uniform(-0.06, 0.06, 2),
        mirror=rng.random() < 0.5,
        centre=centre,
    )


def _affine(
    side: int,
    size: int,
    *,
    angle: float,
    scale: tuple[float, float],
    shift: NDArray[np.float64],
    mirror: bool,
    centre: tuple[float, float] | None = None,
) -> Image:
    """Compose a 2×3 matrix from a (side, side) view to a (size, size) input; `shift` in shares of the side."""
    cx, cy = centre or (side / 2, side / 2)
    ratio = size / side
    turn = np.deg2rad(angle)
    cos, sin = np.cos(turn), np.sin(turn)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([scale[0] * (-1 if mirror else 1), scale[1]]) * ratio
    goal = np.array([size / 2, size / 2]) + shift * size
    return np.hstack([linear, (goal - linear @ (cx, cy))[:, None]]).astype(np.float32)


def _contrast(image: Image, rng: np.random.Generator) -> Image:
    """Change how tissue maps to grey: gamma, coil shading, another sequence's curve, inversion."""
    image = np.clip(image, 0, 1) ** float(np.exp(rng.normal(0, 0.3)))
    if rng.random() < 0.4:
        image = image * _shading(image.shape[0], rng)
    if rng.random() < 0.15:
        knots = np.linspace(0, 1, 5)
        heights = np.clip(knots + rng.normal(0, 0.12, 5) * (knots > 0), 0, 1.2)
        image = np.interp(image, knots, heights).astype(np.float32)
    if rng.random() < 0.04:
        image = float(image.max()) - image
    return image.astype(np.float32)


def _shading(size: int, rng: np.random.Generator) -> Image:
    """Draw a smooth multiplicative field, about 0.6 to 1.5, as a receive coil leaves it: (size, size)."""
    coarse = np.exp(rng.normal(0, 0.25, (3, 3))).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _degrade(image: Image, rng: np.random.Generator, coarse: float) -> Image:
    """Lose resolution, blur, add noise and ghosts, compress: each sometimes."""
    size = image.shape[0]
    if rng.random() < coarse:
        low = int(rng.integers(size // 3, size))
        image = cv2.resize(cv2.resize(image, (low, low), interpolation=cv2.INTER_AREA), (size, size))  # type: ignore[assignment]
    if rng.random() < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.3))  # type: ignore[assignment]
    if rng.random() < 0.06:
        image = image + rng.uniform(0.05, 0.2) * np.roll(image, int(rng.integers(size // 8, size // 2)), axis=0)
    if rng.random() < 0.25:
        noise = rng.standard_normal((2, size, size), dtype=np.float32) * rng.uniform(0.005, 0.06)
        # Magnitude images carry Rician noise (Gudbjartsson & Patz, MRM 1995).
        image = np.sqrt((image + noise[0]) ** 2 + noise[1] ** 2)
    if rng.random() < 0.2:
        image = jpeg(image, int(rng.integers(25, 85)))
    return image


def jpeg(image: Image, quality: int) -> Image:
    """Compress and decompress."""
    peak = max(float(image.max()), 1e-6)
    _, data = cv2.imencode(".jpg", np.rint(np.clip(image / peak, 0, 1) * 255).astype(np.uint8), [1, quality])
    return _floats(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)) * np.float32(peak / 255)


def _floats(image: object) -> Image:
    """Return an image as float32: OpenCV promises less than it returns."""
    return np.asarray(image, dtype=np.float32)
