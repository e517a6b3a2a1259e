"""Judge labelled files as a scan would: the same reading, gate, preprocessing and graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from screener.inbox import Entry, read
from screener.preprocess import prepare
from screener.types import Refused

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from screener.model.session import Model

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


def score_files(paths: list[Path], model: Model) -> Answers:
    """Screen files.

    Parameters
    ----------
    paths : list of Path
    model : Model
    """
    from screener.gate import refuse

    scores = np.full(len(paths), np.nan)
    reasons = [""] * len(paths)
    waiting: list[tuple[int, NDArray[np.float32]]] = []

    def flush() -> None:
        if not waiting:
            return
        answers = model.predict(np.stack([tensor for _, tensor in waiting]))
        for (index, _), prediction in zip(waiting, answers, strict=True):
            scores[index] = prediction.probability
            if refused := model.refuse(prediction):
                scores[index], reasons[index] = np.nan, str(refused)
        waiting.clear()

    for index, path in enumerate(paths):
        found = read(Entry(path, path.name, None))
        refused = found if isinstance(found, Refused) else refuse(found)
        if refused is not None:
            reasons[index] = str(refused.reason)
        elif not isinstance(found, Refused):
            waiting.append((index, prepare(found.pixels, model.card.preprocessing)))
        if len(waiting) == _BATCH:
            flush()
    flush()
    return Answers(scores, reasons)
