"""Judge labelled files as a scan would, through the same `screener.pipeline.slice`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from screener.domain.slice import Refused
from screener.inbox import Entry
from screener.pipeline.slice import PreparedSlice, SlicePipeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from screener.domain.slice import Prediction
    from screener.model.session import Model
    from screener.preprocess import Frame

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
    scores, reasons = np.full(len(paths), np.nan), [""] * len(paths)
    keep = None if watch is None else _pixels
    with SlicePipeline.of(model, heatmaps=watch is not None, keep=keep) as pipeline:
        for start in range(0, len(paths), _BATCH):
            chosen = range(start, min(start + _BATCH, len(paths)))
            found = {index: _prepared(pipeline, paths[index]) for index in chosen}
            reasons[start : chosen.stop] = [
                str(one.reason) if isinstance(one, Refused) else "" for one in found.values()
            ]
            ready = {index: one for index, one in found.items() if isinstance(one, PreparedSlice)}
            for index, answer in zip(ready, pipeline.predict(list(ready.values())), strict=True):
                if answer.refused is None:
                    scores[index] = answer.prediction.probability
                else:
                    reasons[index] = str(answer.refused)
                if watch is not None:
                    watch(index, cast("NDArray[np.float32]", answer.kept), answer.prediction)
    return Answers(scores, reasons)


def _prepared(pipeline: SlicePipeline, path: Path) -> PreparedSlice | Refused:
    """Read a file and prepare its slice; a label is about a slice, so that a file has one, or its first counts."""
    found = pipeline.read(Entry(path, path.name, None)).items[0]
    return found if isinstance(found, Refused) else pipeline.prepare(found)


def _pixels(pixels: NDArray[np.float32], _: Frame) -> NDArray[np.float32]:
    return pixels
