"""A data set in memory whose answers are known: for reports that would otherwise need a training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.data.cache import Views
from export.data.dataset import Dataset
from export.data.splits import Split
from export.training.loop import TrainingSetup
from screener.evaluate.labelled import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 64


def brightness(label: int, number: int) -> int:
    """Return the grey value of a slice: tumours are brighter, but for every seventh slice."""
    return (60 if (label == 1) == (number % 7 == 0) else 180) + number % 5


def made(count: int = 48, **columns: Any) -> TrainingSetup:  # noqa: ANN401 - columns of a manifest
    """Return slices of a grey square each, of two sources and of patients of four slices, the sets one after another.

    Parameters
    ----------
    count : int
        Slices; odd ones have a tumour.
    **columns
        Functions of a slice's number, which give further columns of the manifest.
    """
    records = []
    for number in range(count):
        known = {"source": "ab"[number // 4 % 2], "patient": f"p{number // 4}"}
        known |= {name: make(number) for name, make in columns.items()}
        records.append(Record(f"{number}.png", number % 2, **known))
    exact = np.zeros((count, SIDE, SIDE), np.uint8)
    tumours = np.zeros((count, SIDE // 4, SIDE // 4), np.uint8)
    for number in range(count):
        exact[number, 8:-8, 8:-8] = brightness(number % 2, number)
        if number % 4 == 1:
            tumours[number, 4 : 5 + number % 8, 4:8] = 255
    labels = np.arange(count) % 2
    located = (labels == 0) | (np.arange(count) % 4 == 1)
    units = np.arange(count) // 4
    names = np.array(["fit", "fit", "tune", "test"])[units % 4]
    split = Split(np.arange(count), units, names.astype("<U10"))
    views = Views(exact, tumours, located, np.ones(count, bool))
    return TrainingSetup(Dataset(Path("data"), tuple(records)), views, exact, split, labels)


class Brightness:
    """Answers as an exported network does: the probability is the brightness of the middle."""

    layers: tuple[object, ...] = ()

    def __init__(self, *, heat: bool = False) -> None:
        self.heat = heat

    def predict(self, images: NDArray[np.float32], **_: object) -> dict[str, NDArray[np.float32]]:
        """Return probabilities (N, 1), and heatmaps (N, 4, 4) where they are wanted."""
        found = {"probability": images[:, SIDE // 2, SIDE // 2, :1].astype(np.float32)}
        return found | ({"heatmap": np.ones((len(images), 4, 4), np.float32)} if self.heat else {})
