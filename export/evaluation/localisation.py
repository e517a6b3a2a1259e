"""Does the heatmap look at the tumour? Its maximum inside the annotated box, and its energy there.

The pointing game of Zhang et al. (ECCV 2016) without its tolerance of 15 pixels, and the energy-based one of Wang et
al. (CVPR Workshops 2020). A mask counts as the boxes around its parts, so that both kinds of annotation are asked the
same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from export.data.cache import tumour_map
from screener.preprocess import frame

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from screener.domain.slice import Prediction
    from screener.evaluate.labelled import Record
    from screener.preprocess import Preprocessing


@dataclass(frozen=True)
class Evidence:
    """Where the heatmaps of N slices point, NaN where nothing is annotated or there is no heatmap; all of shape (N,).

    Attributes
    ----------
    inside : ndarray of float64
        1 where the maximum lies inside an annotated box, 0 where not.
    energy : ndarray of float64, in [0, 1]
        Share of the heatmap's sum inside the annotated boxes.
    size : ndarray of float64, in [0, 1]
        Share of the model's view that the annotation covers.
    """

    inside: NDArray[np.float64]
    energy: NDArray[np.float64]
    size: NDArray[np.float64]

    def part(self, chosen: NDArray[np.bool_]) -> Evidence:
        """Return the chosen slices only."""
        return Evidence(self.inside[chosen], self.energy[chosen], self.size[chosen])


def nowhere(count: int) -> Evidence:
    """Return the evidence of slices at which nobody looked."""
    return Evidence(*np.full((3, count), np.nan))


class Pointing:
    """Look on while slices are scored.

    Parameters
    ----------
    root : Path
        Where paths of masks start.
    records : sequence of N Record
        In the order in which they are scored.
    how : Preprocessing
    """

    def __init__(self, root: Path, records: Sequence[Record], how: Preprocessing) -> None:
        self.root, self.records, self.how = root, records, how
        self._told = np.full((len(records), 3), np.nan)

    def __call__(self, index: int, pixels: NDArray[np.float32], prediction: Prediction) -> None:
        """Look at one scored slice."""
        record = self.records[index]
        if record.label == 0 or prediction.heatmap is None:
            return
        tumour = tumour_map(self.root, record, (pixels.shape[0], pixels.shape[1]))
        if tumour is None or not tumour.any():
            return
        where = frame(pixels, self.how)
        inside, energy = pointed(where.restore(prediction.heatmap), boxed(tumour))
        self._told[index] = inside, energy, where.cut(tumour, fill=0.0).mean()

    def evidence(self) -> Evidence:
        """Return what was seen."""
        return Evidence(*self._told.T.copy())


def boxed(tumour: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Fill the box around every connected part of an annotation: (H, W) → (H, W), bool."""
    filled = np.zeros(tumour.shape, bool)
    _, _, parts, _ = cv2.connectedComponentsWithStats((tumour > 0).astype(np.uint8))
    for left, top, width, height, _ in parts[1:].tolist():
        filled[top : top + height, left : left + width] = True
    return filled


def pointed(heatmap: NDArray[np.float32], inside: NDArray[np.bool_]) -> tuple[float, float]:
    """Return whether the maximum lies inside (1 or 0), and the share of energy there; both maps are (H, W)."""
    peak = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    return float(inside[peak]), float(heatmap[inside].sum() / max(float(heatmap.sum()), 1e-12))
