"""Small pictures for the worklist page: the slice as a JPEG, the evidence as the model's own grid, the line as a path.

The page colours and enlarges the grid itself, so that a heatmap costs some hundred bytes and can be switched off.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from screener.report.overlay import Look, contours, eight_bit, grey, overlay, strongest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from screener.model.session import Model
    from screener.preprocess import Frame

_Grey = TypeVar("_Grey", "np.float32", "np.uint8")
SIDE = 256
"""Longest side of a thumbnail, in pixels: a mass of 5 % of the head's width still has a dozen of them."""
STRIP_SIDE = 112
"""Longest side of a picture in the strip of a series, in pixels: about 3 KB in the page."""
_QUALITY = 80
_STRIP_QUALITY = 60
_FINE_SIDE = 40
"""Side to which a heatmap is at least enlarged: printers show the cells of a small picture as blocks."""
_CONTOUR_SIDE = 128
"""Side of the map on which the line is found: fine enough to look smooth when the page enlarges it."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A slice made small.

    Attributes
    ----------
    pixels : ndarray of shape (h, w), uint8
        The whole slice, its longest side at most `SIDE`.
    view : tuple of float
        Left, top, width and height of the square that the model sees, in pixels of the thumbnail; with padding it
        reaches beyond the slice.
    """

    pixels: NDArray[np.uint8]
    view: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Picture:
    """A slice as files.

    Attributes
    ----------
    large, small : bytes
        JPEG of the thumbnail, and of the strip's size; empty where it is not kept.
    width, height : int
        Of the large one, in pixels.
    view : tuple of float
        As in `Thumbnail`.
    """

    large: bytes
    small: bytes
    width: int
    height: int
    view: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence over a slice, as the template draws it.

    Attributes
    ----------
    strongest : str
        Highest value, with two decimals.
    view : tuple of str
        Left, top, width and height of the map, in pixels of the slice.
    image : str
        Data URI of the map in grey.
    path : str
        SVG path of the line around the most suspicious region; empty where there is none.
    """

    strongest: str
    view: tuple[str, str, str, str]
    image: str
    path: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A slice as the template draws it: size in pixels, data URI, what a screen reader says, evidence."""

    width: int
    height: int
    image: str
    label: str
    evidence: Evidence | None = None


def thumbnail(pixels: NDArray[np.float32], where: Frame | None = None) -> Thumbnail:
    """Make a slice small.

    Parameters
    ----------
    pixels : ndarray of shape (H, W), float32, in [0, 1]
    where : Frame, optional
        What the model sees of it; without it there is no heatmap to lay over.
    """
    small = shrink(pixels)
    if where is None:
        return Thumbnail(eight_bit(small), (0.0, 0.0, float(small.shape[1]), float(small.shape[0])))
    scale = small.shape[0] / pixels.shape[0], small.shape[1] / pixels.shape[1]
    return Thumbnail(eight_bit(small), _view(where, scale))


def shrink(pixels: NDArray[_Grey], side: int = SIDE) -> NDArray[_Grey]:
    """Make the longest side at most `side`: (H, W) → (h, w), of the same type."""
    import cv2
    import numpy as np

    height, width = pixels.shape
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=pixels.dtype)


def _view(where: Frame, scale: tuple[float, float]) -> tuple[float, float, float, float]:
    """Return the model's square in pixels of the thumbnail: left, top, width, height."""
    top, bottom, left, right = where.box
    inner_top, inner_bottom, inner_left, inner_right = where.inner
    high, wide = (bottom - top) / (inner_bottom - inner_top), (right - left) / (inner_right - inner_left)
    return (
        (left - inner_left * wide) * scale[1],
        (top - inner_top * high) * scale[0],
        where.size * wide * scale[1],
        where.size * high * scale[0],
    )


def encode(small: Thumbnail) -> Picture:
    """Turn a thumbnail into the files that a page shows: itself, and one for the strip of its series."""
    height, width = small.pixels.shape
    return Picture(
        _jpeg(small.pixels, _QUALITY),
        _jpeg(shrink(small.pixels, STRIP_SIDE), _STRIP_QUALITY),
        width,
        height,
        small.view,
    )


def drawing(picture: Picture, heatmap: NDArray[np.float32] | None, label: str) -> Drawing:
    """Return what the template draws of a slice, its evidence hidden until the page shows it.

    Parameters
    ----------
    picture : Picture
        With its large size.
    heatmap : ndarray of shape (h, w), float32, in [0, 1], or None
    label : str
        What a screen reader says.
    """
    image = uri("jpeg", picture.large)
    if heatmap is None:
        return Drawing(picture.width, picture.height, image, label)
    fine = _finer(heatmap)
    # Between two cells evidence may peak above both.
    most = max(float(heatmap.max()), float(fine.max()))
    evidence = uri("png", _png(eight_bit(fine / strongest(fine))))
    left, top, wide, high = (f"{value:.1f}" for value in picture.view)
    heat = Evidence(f"{most:.2f}", (left, top, wide, high), evidence, _path(heatmap, picture.view))
    return Drawing(picture.width, picture.height, image, label, heat)


def uri(kind: str, data: bytes) -> str:
    """Return a picture file as a data URI."""
    return f"data:image/{kind};base64,{b64encode(data).decode('ascii')}"


def jpeg(
    pixels: NDArray[np.float32], heatmap: NDArray[np.float32] | None, model: Model | None, *, both: bool = False
) -> bytes:
    """Return a small picture of a slice as a JPEG, its evidence over it where there is any.

    Parameters
    ----------
    pixels : ndarray of shape (H, W), float32, in [0, 1]
    heatmap : ndarray of shape (h, w), float32, in [0, 1], or None
    model : Model or None
        That made the heatmap.
    both : bool
        Put the slice as it is beside it.
    """
    import numpy as np

    from screener.preprocess import frame

    small = shrink(pixels)
    parts = [grey(small)]
    if heatmap is not None and model is not None:
        evidence = frame(pixels, model.card.preprocessing).restore(heatmap)
        parts.append(overlay(small, shrink(evidence), Look()))
    shown = np.hstack(parts) if both else parts[-1]
    return _jpeg(shown, _QUALITY)


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    import cv2

    return cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()


def _png(pixels: NDArray[np.uint8]) -> bytes:
    import cv2

    return cv2.imencode(".png", pixels, (cv2.IMWRITE_PNG_COMPRESSION, 9))[1].tobytes()


def _finer(heatmap: NDArray[np.float32]) -> NDArray[np.float32]:
    """Enlarge a grid by a whole factor."""
    from screener.preprocess import enlarged

    factor = -(-_FINE_SIDE // max(heatmap.shape))
    return enlarged(heatmap, factor * heatmap.shape[0], factor * heatmap.shape[1])


def _path(heatmap: NDArray[np.float32], view: tuple[float, float, float, float]) -> str:
    """Return the line around the most suspicious region as SVG path data, in pixels of the thumbnail."""
    import cv2
    import numpy as np

    from screener.preprocess import enlarged

    left, top, wide, high = view
    fine = enlarged(heatmap, _CONTOUR_SIDE, _CONTOUR_SIDE)
    scale = np.array([wide, high], np.float32) / _CONTOUR_SIDE
    path = ""
    for line in contours(fine):
        corners = np.asarray(cv2.approxPolyDP(line, 0.5, closed=True), np.float32)[:, 0]
        # A pixel's middle stands for it: half a step further than its index.
        points = (corners + 0.5) * scale + np.array([left, top], np.float32)
        path += "M" + "L".join(f"{x:.0f} {y:.0f}" for x, y in points.tolist()) + "Z"
    return path
