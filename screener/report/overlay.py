"""Draw the model's evidence over a slice. Arrays in, arrays out: nothing here reads or writes a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COLORMAPS = ("inferno", "viridis", "cividis", "plasma", "magma", "jet")
"""All but ``jet`` are perceptually uniform: equal steps of evidence look like equal steps of colour."""
DEFAULT_COLORMAP = "inferno"
DEFAULT_BLEND = 0.4
"""Weight of the heatmap; the slice keeps the rest."""
_CONTOUR_SHARE = 0.5
"""Of the highest evidence: where the line around the most suspicious region runs."""
_FAINT = 0.05
"""Evidence below this everywhere is none: a line around it would invent a place."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a heatmap is drawn.

    Attributes
    ----------
    colormap : str
        One of `COLORMAPS`.
    blend : float, in [0, 1]
        Weight of the heatmap's colour.
    """

    colormap: str = DEFAULT_COLORMAP
    blend: float = DEFAULT_BLEND

    def __post_init__(self) -> None:
        if self.colormap not in COLORMAPS:
            raise UsageError(f"no colormap is called {self.colormap!r}", f"choose one of {', '.join(COLORMAPS)}")
        if not 0.0 <= self.blend <= 1.0:
            raise UsageError(f"a blend of {self.blend:g} is outside 0 to 1", "0 shows the slice alone, 1 the heatmap")


def overlay(pixels: NDArray[np.float32], evidence: NDArray[np.float32], look: Look) -> NDArray[np.uint8]:
    """Blend evidence over a slice, at the slice's own resolution, with a line around its strongest region.

    Parameters
    ----------
    pixels : ndarray of shape (H, W), float32, in [0, 1]
    evidence : ndarray of shape (H, W), float32, in [0, 1]
        See `screener.preprocess.Frame.restore`.
    look : Look

    Returns
    -------
    ndarray of shape (H, W, 3), uint8
        Blue, green, red, as OpenCV writes them.
    """
    import cv2
    import numpy as np

    heat = colour(evidence / strongest(evidence), look.colormap)
    picture = cv2.addWeighted(heat, look.blend, grey(pixels), 1.0 - look.blend, 0.0)
    thick = max(1, round(max(pixels.shape) / 400))
    outline = [np.round(line).astype(np.int32) for line in contours(evidence)]
    # Black below white: one of the two is seen on any tissue and under any colour map.
    cv2.polylines(picture, outline, True, (0, 0, 0), thick + 2, cv2.LINE_AA)
    cv2.polylines(picture, outline, True, (255, 255, 255), thick, cv2.LINE_AA)
    return np.asarray(picture, dtype=np.uint8)


def strongest(evidence: NDArray[np.float32]) -> float:
    """Return the evidence that gets the last colour: the slice's own peak, since a small lesion fills few cells.

    Never below what counts as faint, or noise would glow.
    """
    return max(float(evidence.max()), _FAINT)


def grey(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a slice as a picture: (H, W) in [0, 1] → (H, W, 3), uint8."""
    import cv2
    import numpy as np

    return np.asarray(cv2.cvtColor(eight_bit(pixels), cv2.COLOR_GRAY2BGR), dtype=np.uint8)


def eight_bit(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Map [0, 1] to 0 … 255, clipped; NaN becomes 0."""
    import numpy as np

    scaled: NDArray[np.uint8] = np.rint(np.clip(np.nan_to_num(values), 0.0, 1.0) * 255).astype(np.uint8)
    return scaled


def colour(evidence: NDArray[np.float32], colormap: str = DEFAULT_COLORMAP) -> NDArray[np.uint8]:
    """Return evidence in colour: (H, W) in [0, 1] → (H, W, 3), uint8, blue, green, red."""
    import cv2
    import numpy as np

    code = getattr(cv2, f"COLORMAP_{colormap.upper()}")
    return np.asarray(cv2.applyColorMap(eight_bit(evidence), code), dtype=np.uint8)


def contours(evidence: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the lines around the most suspicious region: where evidence is at least half of its peak, around the peak.

    Parameters
    ----------
    evidence : ndarray of shape (H, W), float32, in [0, 1]

    Returns
    -------
    list of ndarray of shape (n, 1, 2), float32
        Points as (x, y), in pixels; empty where no place stands out.
    """
    import cv2
    import numpy as np

    peak = float(evidence.max())
    if not peak >= _FAINT:
        return []
    strong = (evidence >= _CONTOUR_SHARE * peak).astype(np.uint8)
    if strong.all():
        return []
    _, labels = cv2.connectedComponents(strong, connectivity=8)
    most = labels == labels[np.unravel_index(int(evidence.argmax()), evidence.shape)]
    found, _ = cv2.findContours(most.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [np.asarray(line, dtype=np.float32) for line in found]


def scale_bar(height: int, width: int, top: float, colormap: str = DEFAULT_COLORMAP) -> NDArray[np.uint8]:
    """Draw the colour map upright with its ends and middle written beside it; `top` is the evidence at its top.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
    """
    import cv2
    import numpy as np

    first, last = height // 12, height - height // 12
    bar = max(6, width // 4)
    picture = np.zeros((height, width, 3), np.uint8)
    ramp = np.linspace(1.0, 0.0, last - first, dtype=np.float32)[:, None].repeat(bar, axis=1)
    picture[first:last, 4 : 4 + bar] = colour(ramp, colormap)
    for share in (0.0, 0.5, 1.0):
        y = round(last - 1 - share * (last - first - 1))
        cv2.line(picture, (4 + bar, y), (8 + bar, y), (255, 255, 255), 1)
        at = (11 + bar, y + 4)
        cv2.putText(picture, f"{share * top:.2f}", at, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (255, 255, 255), 1, cv2.LINE_AA)
    return picture
