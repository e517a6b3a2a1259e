"""Every plot is a PNG, also where figures are few or missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import matplotlib as mpl
import numpy as np
import pytest

from export.reports import plots
from export.reports.plots import Shown

if TYPE_CHECKING:
    from collections.abc import Callable

mpl.use("Agg")
from matplotlib import pyplot as plt

LABELS = np.array([0, 0, 1, 1, 1])
SCORES = np.array([0.1, 0.6, 0.4, 0.8, 0.9])
POINTS = {"default": 0.5, "auto": 0.3, "nobody": 0.99}
RATE = {"value": 0.5, "low": 0.2, "high": 0.8, "count": 4}
UNKNOWN = {"value": None, "low": None, "high": None, "count": 0}
DAMAGE = {"auc": 0.9, "sensitivity": 0.8, "specificity": 0.7}

PLOTS: dict[str, Callable[[], bytes]] = {
    "learning": lambda: plots.learning([{"epoch": 1, "loss": 0.7, "val_loss": 0.8}, {"epoch": 2, "loss": 0.6}]),
    "roc": lambda: plots.roc(LABELS, SCORES, POINTS, 0.83),
    "precision_recall": lambda: plots.precision_recall(LABELS, SCORES, POINTS),
    "calibration": lambda: plots.calibration([{"mean": 0.2, "share": 0.1, "count": 10}], 0.12),
    "confusion": lambda: plots.confusion({"caught": 3, "missed": 1, "alarms": 0, "quiet": 0}),
    "feature_maps": lambda: plots.feature_maps(
        np.zeros((8, 8), np.float32), {"few": np.ones((4, 4, 3)), "many": np.ones((4, 4, 20))}
    ),
    "classes": lambda: plots.classes({"north": {"yes": 3, "no": 0}, "south": {"yes": 1, "no": 4}}),
    "intensities": lambda: plots.intensities({name: {"yes": np.full(64, 1 / 64)} for name in "abcde"}),
    "matrix": lambda: plots.matrix(["a", "b"], np.array([[3, 1], [0, 0]]), "Source"),
    "predictions": lambda: plots.predictions(
        [Shown(np.zeros((8, 8, 3), np.uint8), ("true: tumour",), right=right) for right in (True, False)]
    ),
    "robustness": lambda: plots.robustness({"intact": DAMAGE, "blur": DAMAGE}),
    "parts": lambda: plots.parts({"source": {"a": {"sensitivity": RATE}, "b": {"sensitivity": UNKNOWN}}}),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_a_picture_and_is_closed(name: str) -> None:
    image: Any = cv2.imdecode(np.frombuffer(PLOTS[name](), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.std() > 1
    assert plt.get_fignums() == [], "no figure stays open"


@pytest.mark.parametrize("name", ["confusion", "parts"])
def test_the_same_figures_give_the_same_bytes(name: str) -> None:
    assert PLOTS[name]() == PLOTS[name]()


def test_a_grid_grows_with_its_pictures() -> None:
    def height(count: int) -> int:
        shown = [Shown(np.zeros((8, 8, 3), np.uint8), ("words",), right=True)] * count
        drawn: Any = cv2.imdecode(np.frombuffer(plots.predictions(shown), np.uint8), cv2.IMREAD_COLOR)
        return int(drawn.shape[0])

    assert height(6) == height(1)
    assert height(7) > 1.5 * height(6)
