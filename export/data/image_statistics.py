"""What each file is and whether it looks like a brain MRI: size, brightness, and what the gates say of it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from screener.domain.slice import Refused
from screener.inbox import Entry, read
from screener.preprocess import prepare
from screener.quality import refuse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from export.data.dataset import Dataset
    from screener.domain.slice import Slice
    from screener.evaluate.labelled import Record
    from screener.model.session import Model

    Gate = Literal["", "reader", "pixels", "model"]

LEVELS = 64
_BATCH = 64


@dataclass(frozen=True)
class ImageStatistics:
    """What was seen of N files; zeros where a file could not be read.

    Attributes
    ----------
    sizes : ndarray of shape (N, 2), int64
        Height and width in pixels.
    levels : ndarray of shape (N, 64), float32
        Share of the stored pixels at each of 64 levels of full range.
    means : ndarray of shape (N,), float64, in [0, 1]
        Mean stored intensity.
    sha256 : list of str
    gates : list of {"", "reader", "pixels", "model"}
        Which gate refused a file; empty where none did.
    reasons : list of str
        Why, in words.
    embeddings : ndarray of shape (N, d), float32, or None
        What the model makes of each; zeros where it was not asked.
    """

    sizes: NDArray[np.int64]
    levels: NDArray[np.float32]
    means: NDArray[np.float64]
    sha256: list[str]
    gates: list[Gate]
    reasons: list[str]
    embeddings: NDArray[np.float32] | None

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which files could be decoded: (N,)."""
        return self.sizes[:, 0] > 0


def look(dataset: Dataset, model: Model | None) -> ImageStatistics:
    """Read every file once, as a scan would.

    Parameters
    ----------
    dataset : Dataset
    model : Model, optional
        Without, the pixel gate alone speaks.
    """
    count = len(dataset.records)
    wide = _width(model)
    looks = ImageStatistics(
        np.zeros((count, 2), np.int64),
        np.zeros((count, LEVELS), np.float32),
        np.zeros(count),
        [""] * count,
        [""] * count,
        [""] * count,
        np.zeros((count, wide), np.float32) if wide else None,
    )

    def one(index: int) -> NDArray[np.float32] | None:
        return _look_at(dataset, dataset.records[index], looks, index, model)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, count, _BATCH):
            chosen = range(start, min(start + _BATCH, count))
            tensors = list(pool.map(one, chosen))
            asked = [index for index, tensor in zip(chosen, tensors, strict=True) if tensor is not None]
            if model is not None and asked:
                _ask(model, asked, np.stack([tensor for tensor in tensors if tensor is not None]), looks)
    return looks


def _width(model: Model | None) -> int:
    """Return the length of the model's embedding, 0 when it has none."""
    if model is None or model.card.embedding_reference is None:
        return 0
    return len(model.card.embedding_reference.centres[0])


def _look_at(
    dataset: Dataset, record: Record, looks: ImageStatistics, index: int, model: Model | None
) -> NDArray[np.float32] | None:
    """Fill one row; return what the model should be asked about."""
    found = read(Entry(dataset.root / record.path, record.path, None))
    looks.sha256[index] = found.identity.sha256
    if isinstance(found, Refused):
        looks.gates[index], looks.reasons[index] = "reader", found.detail or str(found.reason)
        return None
    _measure(found, looks, index)
    refused = refuse(found)
    if refused is not None:
        looks.gates[index], looks.reasons[index] = "pixels", refused.detail
        return None
    return None if model is None else prepare(found.pixels, model.card.preprocessing)


def _measure(found: Slice, looks: ImageStatistics, index: int) -> None:
    place = (found.pixels * np.float32(LEVELS - 0.01)).astype(np.uint8)
    looks.levels[index] = np.bincount(place.ravel(), minlength=LEVELS)[:LEVELS] / place.size
    looks.sizes[index] = found.pixels.shape
    looks.means[index] = found.pixels.mean()


def _ask(model: Model, asked: list[int], tensors: NDArray[np.float32], looks: ImageStatistics) -> None:
    """Let the model judge what passed the pixel gate."""
    for index, answer in zip(asked, model.predict(tensors), strict=True):
        if answer.embedding is not None and looks.embeddings is not None:
            looks.embeddings[index] = answer.embedding.reshape(-1)
        if model.refuse(answer):
            looks.gates[index], looks.reasons[index] = "model", "its features are unlike those of any slice known"
