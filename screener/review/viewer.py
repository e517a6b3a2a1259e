"""The pictures of a case: the slice at its own resolution, and the model's evidence to lay over it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from screener.inbox.isolation import SafeDecoder
from screener.report.from_log import heatmaps_of, slice_of
from screener.report.overlay import DEFAULT_BLEND, colour, contours, eight_bit, strongest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from screener.domain.slice import Slice
    from screener.finding_store import Item
    from screener.model.session import Model
    from screener.preprocess import Preprocessing


class Viewer:
    """Finds and draws; use it as a context manager.

    Parameters
    ----------
    model : Model or None
        Draws heatmaps for what this very model judged; None draws none.
    images : Path or None
        Where the inbox lies now, when it has moved.
    """

    def __init__(self, model: Model | None, images: Path | None = None) -> None:
        self._model, self._images = model, images
        self._decoder = SafeDecoder()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._decoder.__enter__()
        return self

    def __exit__(self, *given: object) -> None:
        self._decoder.__exit__(*given)

    def slice_png(self, item: Item) -> bytes | str:
        """Return the slice as a grey PNG, or why there is none: ``moved`` or ``unreadable``."""
        found = self._slice(item)
        return found if isinstance(found, str) else _png(eight_bit(found.pixels))

    def heat_png(self, item: Item) -> bytes | None:
        """Return the evidence as a PNG with transparency, of the slice's size; None when there is none."""
        found = self._slice(item)
        if isinstance(found, str) or self._model is None:
            return None
        with self._lock:
            heatmap = next(heatmaps_of(self._model, [(item, found)]))
        return None if heatmap is None else _png(layer(found.pixels, heatmap, self._model.card.preprocessing))

    def _slice(self, item: Item) -> Slice | str:
        # One helper process decodes what is risky: one request at a time may talk to it.
        with self._lock:
            return slice_of(self._images or Path(item.inbox), item, self._decoder)


def layer(pixels: NDArray[np.float32], heatmap: NDArray[np.float32], how: Preprocessing) -> NDArray[np.uint8]:
    """Colour the evidence, with a line around its strongest region.

    Parameters
    ----------
    pixels : ndarray of shape (H, W), float32, in [0, 1]
    heatmap : ndarray of shape (h, w), float32, in [0, 1]
    how : Preprocessing
        Of the model that made the heatmap.

    Returns
    -------
    ndarray of shape (H, W, 4), uint8
        Blue, green, red, opacity.
    """
    import cv2
    import numpy as np

    from screener.preprocess import frame

    evidence = frame(pixels, how).restore(heatmap)
    picture = np.empty((*pixels.shape, 4), np.uint8)
    picture[..., :3] = colour(evidence / strongest(evidence))
    picture[..., 3] = round(255 * DEFAULT_BLEND)
    outline = [np.round(line).astype(np.int32) for line in contours(evidence)]
    cv2.polylines(picture, outline, True, (0, 0, 0, 255), 3)
    cv2.polylines(picture, outline, True, (255, 255, 255, 255), 1)
    return picture


def _png(pixels: NDArray[np.uint8]) -> bytes:
    import cv2

    return cv2.imencode(".png", pixels)[1].tobytes()
