"""Say why a slice must not be judged, from its pixels, or from the plane and sequence that its header names.

A few rules that each name one property which every brain MR slice has. They hold back what pixel statistics can tell
reliably; what looks like a head without being one (another organ, a phantom) is left to the model's embedding.
``docs/reference/reasons.md`` has the measured keep and refusal rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from screener.domain.slice import Reason, Refused

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from screener.domain.slice import Slice

_MIN_SIDE = 32
"""Pixels; the same bound as on files, for slices that come as arrays."""
_MAX_ASPECT = 2.2
"""Longer over shorter side. True slices reach 1.8, on web pages' wide canvases; whole-body views begin at 2.3."""
_PROBE = 96
"""Longest side of the copy that the rules look at: heads stay heads, and any size costs the same."""
_RIM = 0.04
"""Share cut off every side first: scanned films and screenshots carry frames and rulers."""
_MIN_SPREAD = 0.05
"""Between percentiles 1 and 99, of full range. The darkest true slice has 0.11; specks do not move percentiles."""
_MAX_SATURATION = 0.08
"""MR stored as colour, with chroma noise and coloured marks, reaches 0.05; photographs begin near 0.1."""
_MIN_CORRELATION = 0.3
"""Of neighbouring probe pixels. Heavily sharpened true slices fall to 0.39; noise has 0 to 0.15."""
_MIN_DARK_CORNERS = 0.32
"""Share of the corners within the darkest quarter of the range; two of 11,293 true slices have less."""
_DARK = 0.25
_MIN_EVEN_CORNERS, _EVEN, _MAX_GREY_AIR = 0.75, 0.12, 0.75
"""Share of the corners this close to their median, where the median is no brighter: air that is grey, as real-part
reconstruction and lifted windows leave it."""
_MIN_AREA, _MIN_SPAN = 0.06, 0.28
"""Of the largest object, as shares of the picture's area and sides; the smallest true heads have 0.075 and 0.32."""
_MIN_SOLID = 0.01
"""Share of the picture more than two probe pixels inside an object: lines of text that touch have less, heads 0.02."""
_CONTRAST = 0.15
"""Share of the range by which a pixel differs from the background to belong to an object."""
_MIN_ENTROPY = 2.5
"""Bits, over 32 grey levels inside the objects: drawings and masks stay below 2, true slices above 2.7."""
_MIN_TEXTURE = 0.003
"""Mean difference from the 3 x 3 mean, as a share of the range: gradients have 0.001, true slices 0.005."""


def refuse_series(
    plane: str | None,
    sequence: str | None,
    planes: tuple[str, ...] | None = ("axial",),
    sequences: tuple[str, ...] | None = None,
) -> Reason | None:
    """Return why a series must not be scored by its plane or sequence; an unknown one speaks against nothing.

    Parameters
    ----------
    plane, sequence : str or None
        As the header names them.
    planes, sequences : tuple of str or None
        On which the model was shown to work; None for all.
    """
    if plane is not None and planes is not None and plane not in planes:
        return Reason.PLANE_NOT_SUPPORTED
    if sequence is not None and sequences is not None and sequence not in sequences:
        return Reason.SEQUENCE_NOT_SUPPORTED
    return None


def refuse(slice_: Slice) -> Refused | None:
    """Return why a slice must not be scored, or None if nothing speaks against it.

    Parameters
    ----------
    slice_ : Slice

    Returns
    -------
    Refused or None
        With ``too_small``, ``blank`` or ``not_a_brain_mri``.
    """
    verdict = _verdict(slice_)
    return None if verdict is None else Refused(slice_.identity, *verdict)


def _verdict(slice_: Slice) -> tuple[Reason, str] | None:
    height, width = slice_.pixels.shape
    if min(height, width) < _MIN_SIDE:
        return Reason.TOO_SMALL, f"{width} x {height} pixels; the shorter side must have {_MIN_SIDE}"
    if max(height, width) > _MAX_ASPECT * min(height, width):
        return Reason.NOT_A_BRAIN_MRI, "too long and narrow"
    probe = _look(slice_.pixels)
    # Written so that a NaN counts as blank.
    if probe is None or not probe.spread >= _MIN_SPREAD:
        return Reason.BLANK, "hardly any contrast"
    if slice_.saturation > _MAX_SATURATION:
        return Reason.NOT_A_BRAIN_MRI, "a colour picture"
    for rule in (_is_noise, _is_without_surround, _is_without_head, _is_drawn):
        if why := rule(probe):
            return Reason.NOT_A_BRAIN_MRI, why
    return None


@dataclass(frozen=True, slots=True)
class _Probe:
    """A small copy of a slice, stretched so that percentiles 1 and 99 are 0 and 1.

    Attributes
    ----------
    grey, smooth : ndarray of shape (h, w), float32
        As it is, and averaged over 3 x 3 pixels.
    corners : ndarray of shape (n,), float32
        `smooth` outside an ellipse that touches the sides: where no axial head reaches.
    background : float
        Median of `corners`.
    objects : ndarray of shape (h, w), bool
        What differs from the background.
    spread : float
        Between the two percentiles, of the stored range.
    """

    grey: NDArray[np.float32]
    smooth: NDArray[np.float32]
    corners: NDArray[np.float32]
    background: float
    objects: NDArray[np.bool_]
    spread: float


def _look(pixels: NDArray[np.float32]) -> _Probe | None:
    """Shrink, unframe and stretch; None when nothing is left of the picture."""
    import cv2
    import numpy as np

    grey = _unframed(_shrunk(pixels))
    height, width = grey.shape
    rim_y, rim_x = max(1, round(height * _RIM)), max(1, round(width * _RIM))
    grey = grey[rim_y : height - rim_y, rim_x : width - rim_x]
    if min(grey.shape) < 8:  # noqa: PLR2004 - too few pixels for any of the rules
        return None
    ranked = np.sort(grey[::2, ::2], axis=None)
    low, high = float(ranked[ranked.size // 100]), float(ranked[-1 - ranked.size // 100])
    if high > low:
        grey = (grey - low) / (high - low)
    smooth: NDArray[np.float32] = cv2.blur(grey, (3, 3))  # type: ignore[assignment]  # stubs say any depth
    corners = smooth[_outside(*grey.shape)]
    background = float(np.partition(corners, corners.size // 2)[corners.size // 2])
    objects = np.abs(smooth - background) > _CONTRAST * max(1 - background, background)
    return _Probe(grey, smooth, corners, background, objects, high - low)


def _shrunk(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    import cv2

    height, width = pixels.shape
    scale = _PROBE / max(height, width)
    if scale >= 1:
        return pixels
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    # Averaging all pixels of a large slice would cost more than all rules together; four samples each are enough.
    double = cv2.resize(pixels, (2 * wide, 2 * high), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(double, (wide, high), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _unframed(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut off bright bars around the picture: slides and web pages pad slices with white."""
    for axis in (1, 0):
        picture = (grey.min(axis=axis) < 0.9).nonzero()[0]  # noqa: PLR2004 - white in any export
        if picture.size:
            inner = slice(int(picture[0]), int(picture[-1]) + 1)
            grey = grey[inner] if axis else grey[:, inner]
    return grey


@lru_cache(maxsize=64)
def _outside(height: int, width: int) -> NDArray[np.bool_]:
    import numpy as np

    y = (np.arange(height) + 0.5) / height * 2 - 1
    x = (np.arange(width) + 0.5) / width * 2 - 1
    return y[:, None] ** 2 + x[None] ** 2 > 1.15  # noqa: PLR2004 - a little beyond the ellipse


def _is_noise(probe: _Probe) -> str:
    """Neighbouring pixels of tissue resemble each other; those of noise do not."""
    import numpy as np

    centred = probe.grey - probe.grey.mean()
    power = float(np.vdot(centred, centred))
    across = float(np.vdot(centred[:, 1:], centred[:, :-1]))
    down = float(np.vdot(centred[1:], centred[:-1]))
    return "noise" if min(across, down) < _MIN_CORRELATION * power else ""


def _is_without_surround(probe: _Probe) -> str:
    """Look for air around the head, dark or an even grey; photographs and radiographs fill their corners."""
    dark = float((probe.corners < _DARK).mean())
    if dark >= _MIN_DARK_CORNERS:
        return ""
    even = float((abs(probe.corners - probe.background) < _EVEN).mean())
    return "" if even >= _MIN_EVEN_CORNERS and probe.background <= _MAX_GREY_AIR else "no dark or even surround"


def _is_without_head(probe: _Probe) -> str:
    """Lines of text, stars and specks have no object of a head's size."""
    import cv2
    import numpy as np

    mask = probe.objects.view(np.uint8)
    solid = cv2.countNonZero(cv2.erode(mask, np.ones((5, 5), np.uint8)))
    if solid < _MIN_SOLID * mask.size:
        return "nothing but thin strokes"
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count < 2:  # noqa: PLR2004 - label 0 is the background
        return "no object"
    largest = stats[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))]
    height, width = mask.shape
    span = min(largest[cv2.CC_STAT_WIDTH] / width, largest[cv2.CC_STAT_HEIGHT] / height)
    small = largest[cv2.CC_STAT_AREA] < _MIN_AREA * mask.size or span < _MIN_SPAN
    return "no object of a head's size" if small else ""


def _is_drawn(probe: _Probe) -> str:
    """Tissue has many grey levels and texture; drawings, masks and gradients lack one or the other."""
    import numpy as np

    inside = probe.grey[probe.objects]
    levels = np.bincount((inside * 31.99).clip(0, 31).astype(np.intp))
    shares = levels[levels > 0] / max(1, inside.size)
    if -float((shares * np.log2(shares)).sum()) < _MIN_ENTROPY:
        return "too few grey levels"
    return "no texture" if float(np.abs(probe.grey - probe.smooth).mean()) < _MIN_TEXTURE else ""
