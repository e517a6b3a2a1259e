"""Judge labelled files as a scan would: the same reading, gate, preprocessing and graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from screener.domain.slice import Refused
from screener.inbox import Entry, read
from screener.preprocess import prepare

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from screener.domain.slice import Prediction
    from screener.model.session import Model

    Watch = Callable[[int, NDArray[np.float32], Prediction], None]

_BATCH = 32


@dataclass(frozen=True)
class Answers:
    """What the screening pipeline said, in the order asked.

    Attributes
    ----------
    scores : ndarray of shape (N,), float64, in [0, 1], NaN where refused
    reasons : list of str
        Why a slice was refused; empty where it was not.
    """

    scores: NDArray[np.float64]
    reasons: list[str]


def score_files(paths: list[Path], model: Model, watch: Watch | None = None) -> Answers:
    """Screen files.

    Parameters
    ----------
    paths : list of Path
    model : Model
    watch : callable, optional
        Is shown every slice that the model scored, refused afterwards or not: its place in `paths`, its pixels, and
        the model's answer with the heatmap.
    """
    from screener.quality import refuse

    queue = _Queue(model, len(paths), watch)
    for index, path in enumerate(paths):
        found = read(Entry(path, path.name, None))
        refused = found if isinstance(found, Refused) else refuse(found)
        if refused is not None:
            queue.reasons[index] = str(refused.reason)
        elif not isinstance(found, Refused):
            queue.add(index, found.pixels)
    queue.flush()
    return Answers(queue.scores, queue.reasons)


class _Queue:
    """Slices that wait until a batch of them is scored."""

    def __init__(self, model: Model, count: int, watch: Watch | None) -> None:
        self.model, self.watch = model, watch
        self.scores = np.full(count, np.nan)
        self.reasons = [""] * count
        self._waiting: list[tuple[int, NDArray[np.float32], NDArray[np.float32] | None]] = []

    def add(self, index: int, pixels: NDArray[np.float32]) -> None:
        """Take a slice; a whole one may be large, and is kept for an observer only."""
        tensor = prepare(pixels, self.model.card.preprocessing)
        self._waiting.append((index, tensor, None if self.watch is None else pixels))
        if len(self._waiting) == _BATCH:
            self.flush()

    def flush(self) -> None:
        """Score what waits."""
        if not self._waiting:
            return
        tensors = np.stack([tensor for _, tensor, _ in self._waiting])
        answers = self.model.predict(tensors, heatmaps=self.watch is not None)
        for (index, _, pixels), prediction in zip(self._waiting, answers, strict=True):
            self.scores[index] = prediction.probability
            if refused := self.model.refuse(prediction):
                self.scores[index], self.reasons[index] = np.nan, str(refused)
            if self.watch is not None and pixels is not None:
                self.watch(index, pixels, prediction)
        self._waiting.clear()
