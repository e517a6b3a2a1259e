"""Compose what a person opens: the slice, the overlay, the scale, and what must be said with them."""

from __future__ import annotations

import textwrap
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

_SCALE_WIDTH = 58
_GAP = 8
_LINE = 20
_LETTER = 7.4
"""Pixels that a letter takes on average, on the generous side; lines are broken by it."""
_MIN_WIDTH = 520
"""Pixels: below that the text would be broken into too many lines to be read."""


def combined(
    original: NDArray[np.uint8], overlaid: NDArray[np.uint8], scale: NDArray[np.uint8], text: Sequence[str]
) -> NDArray[np.uint8]:
    """Put the slice, the overlay and the scale side by side, and lines of text below.

    Parameters
    ----------
    original, overlaid : ndarray of shape (H, W, 3), uint8
    scale : ndarray of shape (H, w, 3), uint8
    text : sequence of str
        Broken into as many lines as it takes.

    Returns
    -------
    ndarray of shape (H + h, ..., 3), uint8
    """
    import numpy as np

    height = original.shape[0]
    gap = np.zeros((height, _GAP, 3), np.uint8)
    row = np.hstack([original, gap, overlaid, gap, scale])
    if row.shape[1] < _MIN_WIDTH:
        row = np.hstack([row, np.zeros((height, _MIN_WIDTH - row.shape[1], 3), np.uint8)])
    return np.vstack([row, caption(text, row.shape[1])])


def caption(text: Sequence[str], width: int) -> NDArray[np.uint8]:
    """Write lines of text, white on black: (h, width, 3), uint8."""
    import numpy as np

    lines = [line for part in text for line in textwrap.wrap(part, max(20, int((width - 12) / _LETTER)))]
    picture = np.zeros((_LINE * len(lines) + 12, width, 3), np.uint8)
    for number, line in enumerate(lines):
        _write(picture, line, (6, _LINE * (number + 1)))
    return picture


def scale_width() -> int:
    """Return how wide the scale beside the pictures is, in pixels."""
    return _SCALE_WIDTH


def _write(picture: NDArray[np.uint8], line: str, at: tuple[int, int]) -> None:
    """Draw one line, with the font that has accents where OpenCV (5 and later) carries one."""
    import cv2

    if hasattr(cv2, "FontFace"):
        cv2.putText(picture, line, at, (235, 235, 235), cv2.FontFace("sans"), 13)
    else:
        cv2.putText(picture, plain(line), at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (235, 235, 235), 1, cv2.LINE_AA)


def plain(text: str) -> str:
    """Return text in ASCII, for OpenCV 4, whose fonts have nothing else: é becomes e, a dash stays a dash."""
    spelled = text.translate({0x2013: "-", 0x2019: "'", 0x00B7: "-", 0x2265: ">=", 0x00AB: '"', 0x00BB: '"'})
    return unicodedata.normalize("NFKD", spelled).encode("ascii", "ignore").decode("ascii")
