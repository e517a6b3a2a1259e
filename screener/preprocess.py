"""The single definition of "slice → tensor", shared by training and screening, described by data in the card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PREPROCESSING_VERSION = 1
"""Raised whenever the same `Preprocessing` would give other pixels: models of another version are refused."""

_PROBE = 96
"""Longest side, in pixels, of the copy on which the head is located: enough for a box, cheap at any size."""
_FOREGROUND = 0.15
"""Share of the intensity range by which a pixel must differ from the background to count as head."""
_MARGIN = 0.02
"""Share of the head's box added on every side, so that the skull's rim stays in view."""


class Preprocessing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model wants its slices. An unknown key is refused: it would mean other pixels."""

    size: Annotated[int, Meta(ge=32, le=1024, description="Side of the square tensor, in pixels.")]
    crop: Annotated[Literal["none", "head"], Meta(description="Whether to crop to the head's bounding box first.")] = (
        "none"
    )
    pad: Annotated[
        Literal["none", "square"],
        Meta(description="Whether to pad the shorter side with background instead of stretching it."),
    ] = "none"
    intensity: Annotated[
        Literal["unit", "percentile"],
        Meta(description="Pixels as they are in [0, 1], or stretched so that percentiles 1 and 99 become 0 and 1."),
    ] = "unit"
    version: Annotated[int, Meta(ge=1, description="Version of preprocessing under which the model was trained.")] = (
        PREPROCESSING_VERSION
    )

    def fingerprint(self) -> str:
        """Return a short text that differs whenever the tensors might: what the audit log records."""
        return f"v{self.version}-{self.size}-{self.crop}-{self.pad}-{self.intensity}"


@dataclass(frozen=True, slots=True)
class Frame:
    """Where in a slice the model's square view lies.

    Attributes
    ----------
    height, width : int
        Shape of the slice, in pixels.
    box : (top, bottom, left, right), tuple of int
        Half-open pixel ranges of the part that is shown.
    inner : (top, bottom, left, right), tuple of int
        Where that part lands inside the square.
    size : int
        Side of the square, in pixels.
    fill : float, in [0, 1]
        Value of the padding.
    """

    height: int
    width: int
    box: tuple[int, int, int, int]
    inner: tuple[int, int, int, int]
    size: int
    fill: float

    def cut(self, image: NDArray[np.float32], fill: float | None = None) -> NDArray[np.float32]:
        """Show the square view of an image (or mask) of the slice's shape: (H, W) → (size, size), float32."""
        import numpy as np

        top, bottom, left, right = self.box
        part = image[top:bottom, left:right]
        top, bottom, left, right = self.inner
        part = _resize(part, bottom - top, right - left)
        if part.shape == (self.size, self.size):
            return part
        canvas = np.full((self.size, self.size), self.fill if fill is None else fill, dtype=np.float32)
        canvas[top:bottom, left:right] = part
        return canvas

    def restore(self, grid: NDArray[np.float32]) -> NDArray[np.float32]:
        """Lay a map of the square view back over the slice.

        Parameters
        ----------
        grid : ndarray of shape (h, w), float32, in [0, 1]
            As the model gives it, no larger than the view.

        Returns
        -------
        ndarray of shape (H, W), float32, in [0, 1]
            0 outside the view.
        """
        import numpy as np

        square = enlarged(grid, self.size, self.size)
        top, bottom, left, right = self.inner
        part = square[top:bottom, left:right]
        top, bottom, left, right = self.box
        whole = np.zeros((self.height, self.width), dtype=np.float32)
        whole[top:bottom, left:right] = _resize(part, bottom - top, right - left)
        return whole


def frame(pixels: NDArray[np.float32], how: Preprocessing) -> Frame:
    """Decide which part of a slice the model sees, and where.

    Parameters
    ----------
    pixels : ndarray of shape (H, W), float32, in [0, 1]
    how : Preprocessing
    """
    height, width = pixels.shape
    box, fill = head_box(pixels) if how.crop == "head" else ((0, height, 0, width), 0.0)
    inner = (0, how.size, 0, how.size)
    if how.pad == "square":
        inner = _letterbox(box[1] - box[0], box[3] - box[2], how.size)
    return Frame(height, width, box, inner, how.size, fill)


def prepare(pixels: NDArray[np.float32], how: Preprocessing, where: Frame | None = None) -> NDArray[np.float32]:
    """Turn one slice into the model's input.

    Parameters
    ----------
    pixels : ndarray of shape (H, W), float32, in [0, 1]
    how : Preprocessing
    where : Frame, optional
        What `frame` said of them, if it was asked before.

    Returns
    -------
    ndarray of shape (size, size, 1), float32, in [0, 1]
    """
    view = (where or frame(pixels, how)).cut(pixels)
    if how.intensity == "percentile":
        view = stretch(view)
    return view[:, :, None]


def head_box(pixels: NDArray[np.float32]) -> tuple[tuple[int, int, int, int], float]:
    """Locate the head.

    The background is the median of the image's rim, so that inverted images and grey surrounds work; the head is the
    largest connected region that differs from it, so that burnt-in text beside the head is left out.

    Parameters
    ----------
    pixels : ndarray of shape (H, W), float32, in [0, 1]

    Returns
    -------
    (top, bottom, left, right) : tuple of int
        Half-open pixel ranges; the whole image where no head stands out.
    background : float
    """
    import cv2
    import numpy as np

    height, width = pixels.shape
    scale = min(1.0, _PROBE / max(height, width))
    probe = _resize(pixels, max(1, round(height * scale)), max(1, round(width * scale)))
    # Unblurred, a noisy background would pass for head.
    probe = np.asarray(cv2.blur(probe, (3, 3)), dtype=np.float32)
    rim = np.concatenate([probe[0], probe[-1], probe[:, 0], probe[:, -1]])
    background = _median(rim)
    contrast = np.abs(probe - background)
    cut = _FOREGROUND * float(np.partition(contrast, -(contrast.size // 50 + 1), axis=None)[-(contrast.size // 50 + 1)])
    mask = (contrast > max(cut, 1e-6)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    whole = (0, height, 0, width)
    if count < 2:  # noqa: PLR2004 - label 0 is the background
        return whole, background
    x, y, w, h, area = stats[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))]
    if area < 0.02 * mask.size:
        return whole, background
    margin_y, margin_x = _MARGIN * h, _MARGIN * w
    fy, fx = height / probe.shape[0], width / probe.shape[1]
    top, bottom = max(0, int((y - margin_y) * fy)), min(height, int(np.ceil((y + h + margin_y) * fy)))
    left, right = max(0, int((x - margin_x) * fx)), min(width, int(np.ceil((x + w + margin_x) * fx)))
    return (top, bottom, left, right), background


def _median(values: NDArray[np.float32]) -> float:
    """Return the median as `numpy.median` does, which takes ten times as long over so few values."""
    import numpy as np

    middle = (values.size - 1) // 2, values.size // 2
    ranked = np.partition(values, middle)
    return float((ranked[middle[0]] + ranked[middle[1]]) / np.float32(2))


def _letterbox(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """Fit (height, width) into a square of side `size`, centred, without changing the aspect ratio."""
    scale = size / max(height, width)
    inner_h, inner_w = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (size - inner_h) // 2, (size - inner_w) // 2
    return top, top + inner_h, left, left + inner_w


def _resize(pixels: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Resize with area averaging when shrinking and bilinear interpolation when growing."""
    import cv2
    import numpy as np

    if pixels.shape == (height, width):
        return pixels
    shrink = height * width < pixels.shape[0] * pixels.shape[1]
    how = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=how), dtype=np.float32)


def enlarged(grid: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Interpolate a heatmap: (h, w) → (height, width), both float32 in [0, 1].

    Bicubic, so that the maximum may lie between cells, where that of a small tumour mostly is; and as log-odds, in
    which no overshoot leaves the range.
    """
    import cv2
    import numpy as np

    if grid.shape == (height, width):
        return grid
    safe = np.clip(grid, 1e-4, 1 - 1e-4)
    odds = cv2.resize(np.log(safe / (1 - safe)), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(1 / (1 + np.exp(-odds)), dtype=np.float32)


def stretch(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map percentiles 1 and 99 to 0 and 1, clipped; a flat image becomes all zero. (H, W) → (H, W), float32."""
    import numpy as np

    # Sorting all is quicker than partitioning at two ranks: numpy has vector instructions for it.
    ranked = np.sort(pixels, axis=None)
    low, high = ranked[pixels.size // 100], ranked[-1 - pixels.size // 100]
    if high - low < 1e-6:  # noqa: PLR2004 - below one grey level of any format we read
        return np.zeros_like(pixels)
    stretched: NDArray[np.float32] = pixels - low
    stretched /= high - low
    np.clip(stretched, 0.0, 1.0, out=stretched)
    return stretched
