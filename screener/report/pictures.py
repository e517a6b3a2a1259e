"""Small pictures for the worklist page: the slice as a JPEG, the evidence as the model's own grid, the line as a path.

The page colours and enlarges the grid itself, so that a heatmap costs some hundred bytes and can be switched off.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.report.overlay import Look, contours, eight_bit, grey, overlay, strongest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from screener.model.session import Model
    from screener.preprocess import Frame

SIDE = 256
"""Longest side of a thumbnail, in pixels: a mass of 5 % of the head's width still has a dozen of them."""
_QUALITY = 80
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


def shrink(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make the longest side at most `SIDE`: (H, W) → (h, w), float32."""
    import cv2
    import numpy as np

    height, width = pixels.shape
    scale = SIDE / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


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


def draw(picture: Thumbnail, heatmap: NDArray[np.float32] | None, label: str) -> str:
    """Return a thumbnail as an SVG element, its heatmap hidden until the page shows it.

    Parameters
    ----------
    picture : Thumbnail
    heatmap : ndarray of shape (h, w), float32, in [0, 1], or None
    label : str
        What a screen reader says; already escaped.
    """
    height, width = picture.pixels.shape
    parts = [
        f'<svg class="picture" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">',
        f'<image width="{width}" height="{height}" href="{_uri("jpeg", picture.pixels)}"/>',
    ]
    if heatmap is not None:
        left, top, wide, high = picture.view
        fine = _finer(heatmap)
        # Between two cells evidence may peak above both.
        most = max(float(heatmap.max()), float(fine.max()))
        parts.append(
            f'<g class="heat" data-strongest="{most:.2f}">'
            f'<image class="evidence" x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{high:.1f}" '
            f'preserveAspectRatio="none" href="{_uri("png", eight_bit(fine / strongest(fine)))}"/>'
        )
        if path := _path(heatmap, picture.view):
            parts.append(f'<path class="line dark" d="{path}"/><path class="line" d="{path}"/>')
        parts.append("</g>")
    return "".join((*parts, "</svg>"))


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
    import cv2
    import numpy as np

    from screener.preprocess import frame

    small = shrink(pixels)
    parts = [grey(small)]
    if heatmap is not None and model is not None:
        evidence = frame(pixels, model.card.preprocessing).restore(heatmap)
        parts.append(overlay(small, shrink(evidence), Look()))
    shown = np.hstack(parts) if both else parts[-1]
    return cv2.imencode(".jpg", shown, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))[1].tobytes()


def _uri(kind: str, pixels: NDArray[np.uint8]) -> str:
    """Encode a grey picture as a data URI."""
    import cv2

    options = (cv2.IMWRITE_JPEG_QUALITY, _QUALITY) if kind == "jpeg" else (cv2.IMWRITE_PNG_COMPRESSION, 9)
    _, data = cv2.imencode(f".{kind}", pixels, options)
    return f"data:image/{kind};base64,{b64encode(data.tobytes()).decode('ascii')}"


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
