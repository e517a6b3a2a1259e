"""Plots for the reports, as PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_CURVES = ("loss", "accuracy", "recall", "precision")


def _figure(columns: int = 1, rows: int = 1, size: tuple[float, float] = (4.6, 3.6)) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt.subplots(rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False, layout="constrained")


def _png(figure: Any) -> bytes:  # noqa: ANN401 - matplotlib
    from matplotlib import pyplot as plt

    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    return out.getvalue()


def learning(history: Sequence[Mapping[str, float]]) -> bytes:
    """Draw loss, accuracy, recall and precision over the epochs, on training batches and on the tune set."""
    figure, axes = _figure(len(_CURVES), size=(3.6, 3.0))
    epochs = [row["epoch"] for row in history]
    for axis, name in zip(axes[0], _CURVES, strict=True):
        for key, label in ((name, "train"), (f"val_{name}", "validation")):
            axis.plot(epochs, [row.get(key, np.nan) for row in history], marker="o", markersize=3, label=label)
        axis.set(title=name, xlabel="epoch")
        axis.grid(alpha=0.3)
    axes[0][0].legend()
    return _png(figure)


def roc(labels: NDArray[np.int64], scores: NDArray[np.float64], points: Mapping[str, float], area: float) -> bytes:
    """Draw the ROC curve with operating points."""
    from sklearn.metrics import roc_curve

    figure, axes = _figure()
    axis = axes[0][0]
    away, caught, _ = roc_curve(labels, scores)
    axis.plot(away, caught, label=f"AUC {area:.3f}")
    axis.plot([0, 1], [0, 1], "--", color="grey", linewidth=0.8)
    for name, threshold in points.items():
        flagged = scores >= threshold
        axis.plot(flagged[labels == 0].mean(), flagged[labels == 1].mean(), "o", label=f"{name} {threshold:.3g}")
    axis.set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return _png(figure)


def precision_recall(labels: NDArray[np.int64], scores: NDArray[np.float64], points: Mapping[str, float]) -> bytes:
    """Draw precision against sensitivity with operating points."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    figure, axes = _figure()
    axis = axes[0][0]
    precision, caught, _ = precision_recall_curve(labels, scores)
    axis.plot(caught, precision, label=f"average precision {average_precision_score(labels, scores):.3f}")
    for name, threshold in points.items():
        flagged = scores >= threshold
        if flagged.any():
            axis.plot(flagged[labels == 1].mean(), labels[flagged].mean(), "o", label=f"{name} {threshold:.3g}")
    axis.set(xlabel="sensitivity", ylabel="precision", title="Precision and recall", ylim=(0, 1.02))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return _png(figure)


def calibration(rows: Sequence[Mapping[str, float]], brier: float) -> bytes:
    """Draw the share of positives against the probability, with how many slices stand behind each point."""
    figure, axes = _figure()
    axis = axes[0][0]
    axis.plot([0, 1], [0, 1], "--", color="grey", linewidth=0.8)
    axis.plot([row["mean"] for row in rows], [row["share"] for row in rows], marker="o", label=f"Brier {brier:.3f}")
    for row in rows:
        axis.annotate(str(int(row["count"])), (row["mean"], row["share"]), fontsize=7, xytext=(4, -8),
                      textcoords="offset points")  # fmt: skip
    axis.set(xlabel="probability", ylabel="share with tumour", title="Reliability", xlim=(0, 1), ylim=(0, 1.02))
    axis.grid(alpha=0.3)
    axis.legend()
    return _png(figure)


def confusion(matrix: Mapping[str, int]) -> bytes:
    """Draw the confusion matrix."""
    figure, axes = _figure(size=(3.6, 3.2))
    axis = axes[0][0]
    cells = np.array([[matrix["caught"], matrix["missed"]], [matrix["alarms"], matrix["quiet"]]])
    axis.imshow(cells / np.maximum(cells.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    for row in range(2):
        for column in range(2):
            dark = cells[row, column] > cells[row].sum() / 2
            axis.text(column, row, cells[row, column], ha="center", va="center", color="white" if dark else "black")
    axis.set_xticks([0, 1], ["flagged", "not flagged"])
    axis.set_yticks([0, 1], ["tumour", "no tumour"])
    axis.set(title="Confusion matrix")
    return _png(figure)


def feature_maps(slice_: NDArray[np.float32], layers: Mapping[str, NDArray[np.float32]], shown: int = 8) -> bytes:
    """Draw a slice (S, S) and the first maps of its early layers, each (h, w, channels)."""
    figure, axes = _figure(shown + 1, len(layers), size=(1.3, 1.4))
    for row, (name, maps) in zip(axes, layers.items(), strict=True):
        row[0].imshow(slice_, cmap="gray")
        row[0].set_title(name, fontsize=7)
        for axis, channel in zip(row[1:], range(shown), strict=True):
            if channel < maps.shape[-1]:
                axis.imshow(maps[..., channel], cmap="viridis")
        for axis in row:
            axis.set_axis_off()
    return _png(figure)
