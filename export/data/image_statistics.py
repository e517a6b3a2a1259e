"""What each file is and whether it looks like a brain MRI: size, brightness, and which check refuses it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from screener.domain.slice import Refused
from screener.inbox import Entry, read
from screener.pipeline.slice import PreparedSlice, SlicePipeline
from screener.quality import refuse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from export.data.dataset import Dataset
    from screener.domain.slice import Slice
    from screener.evaluate.labelled import Record
    from screener.model.session import Model

    Check = Literal["", "reader", "pixels", "model"]

LEVELS = 64
_BATCH = 64


@dataclass(frozen=True)
class ImageStatistics:
    """Statistics of N files; zeros where a file could not be read.

    Attributes
    ----------
    sizes : ndarray of shape (N, 2), int64
        Height and width in pixels.
    levels : ndarray of shape (N, 64), float32
        Share of the stored pixels at each of 64 levels of full range.
    means : ndarray of shape (N,), float64, in [0, 1]
        Mean stored intensity.
    sha256 : list of str
    checks : list of {"", "reader", "pixels", "model"}
        Which check refused a file: the reader, quality control of pixels, or that of the model's embedding; empty where
        none did.
    reasons : list of str
        Why, in words.
    embeddings : ndarray of shape (N, d), float32, or None
        The model's embedding of each; zeros where it was not computed.
    """

    sizes: NDArray[np.int64]
    levels: NDArray[np.float32]
    means: NDArray[np.float64]
    sha256: list[str]
    checks: list[Check]
    reasons: list[str]
    embeddings: NDArray[np.float32] | None

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which files could be decoded: (N,)."""
        return self.sizes[:, 0] > 0


def measure_images(dataset: Dataset, model: Model | None) -> ImageStatistics:
    """Read every file once, as a scan would.

    Parameters
    ----------
    dataset : Dataset
    model : Model, optional
        Without, pixels alone are checked.
    """
    count = len(dataset.records)
    wide = _width(model)
    statistics = ImageStatistics(
        np.zeros((count, 2), np.int64),
        np.zeros((count, LEVELS), np.float32),
        np.zeros(count),
        [""] * count,
        [""] * count,
        [""] * count,
        np.zeros((count, wide), np.float32) if wide else None,
    )

    pipeline = None if model is None else SlicePipeline.of(model)

    def read_one(index: int) -> PreparedSlice | None:
        return _read(dataset, dataset.records[index], statistics, index, pipeline)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, count, _BATCH):
            chosen = range(start, min(start + _BATCH, count))
            found = zip(chosen, pool.map(read_one, chosen), strict=True)
            prepared = {index: slice_ for index, slice_ in found if slice_ is not None}
            if pipeline is not None:
                _embed(pipeline, prepared, statistics)
    return statistics


def _width(model: Model | None) -> int:
    """Return the length of the model's embedding, 0 when it has none."""
    if model is None or model.card.embedding_reference is None:
        return 0
    return len(model.card.embedding_reference.centres[0])


def _read(
    dataset: Dataset, record: Record, statistics: ImageStatistics, index: int, pipeline: SlicePipeline | None
) -> PreparedSlice | None:
    """Fill one row; return a slice that passed the checks of pixels, ready for the model."""
    item = read(Entry(dataset.root / record.path, record.path, None))
    statistics.sha256[index] = item.identity.sha256
    if isinstance(item, Refused):
        statistics.checks[index], statistics.reasons[index] = "reader", item.detail or str(item.reason)
        return None
    _measure(item, statistics, index)
    prepared = refuse(item) if pipeline is None else pipeline.prepare(item)
    if isinstance(prepared, Refused):
        statistics.checks[index], statistics.reasons[index] = "pixels", prepared.detail
        return None
    return prepared


def _measure(item: Slice, statistics: ImageStatistics, index: int) -> None:
    place = (item.pixels * np.float32(LEVELS - 0.01)).astype(np.uint8)
    statistics.levels[index] = np.bincount(place.ravel(), minlength=LEVELS)[:LEVELS] / place.size
    statistics.sizes[index] = item.pixels.shape
    statistics.means[index] = item.pixels.mean()


def _embed(pipeline: SlicePipeline, prepared: dict[int, PreparedSlice], statistics: ImageStatistics) -> None:
    """Compute the embeddings of what passed the checks of pixels, and check them."""
    for index, answer in zip(prepared, pipeline.predict(list(prepared.values())), strict=True):
        embedding = answer.prediction.embedding
        if embedding is not None and statistics.embeddings is not None:
            statistics.embeddings[index] = embedding.reshape(-1)
        if answer.refused is not None:
            statistics.checks[index] = "model"
            statistics.reasons[index] = "its features are unlike those of any slice known"
