"""Plots for the reports, as PNG."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_ACROSS = 6
_CURVES = ("loss", "accuracy", "recall", "precision")
_LABELS = {"yes": "tab:red", "no": "tab:blue"}


@dataclass(frozen=True)
class Shown:
    """A slice to look at, with what is said of it.

    Attributes
    ----------
    image : ndarray of shape (h, w, 3), uint8, RGB
    words : tuple of str
        Lines above it.
    right : bool
        Whether prediction and truth agree: green, or red.
    """

    image: NDArray[np.uint8]
    words: tuple[str, ...]
    right: bool


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


def classes(table: Mapping[str, Mapping[str, int]]) -> bytes:
    """Draw how many slices of either label every source has."""
    figure, axes = _figure(size=(6.4, 0.6 + 0.42 * len(table)))
    axis, names = axes[0][0], list(table)
    before = np.zeros(len(names))
    for label, colour in _LABELS.items():
        numbers = np.array([table[name][label] for name in names])
        axis.barh(names, numbers, left=before, color=colour, label=label)
        before += numbers
    axis.invert_yaxis()
    axis.set(xlabel="slices", title="Class distribution")
    axis.legend()
    return _png(figure)


def intensities(histograms: Mapping[str, Mapping[str, NDArray[np.floating[Any]]]]) -> bytes:
    """Draw the mean histogram of every label, one field a title; histograms are shares of the pixels by level."""
    columns = min(4, len(histograms))
    rows = -(-len(histograms) // columns)
    figure, axes = _figure(columns, rows, size=(3.2, 2.4))
    for axis in axes.flat[len(histograms) :]:
        axis.set_axis_off()
    for axis, (title, lines) in zip(axes.flat, histograms.items(), strict=False):
        for label, shares in lines.items():
            axis.plot(np.linspace(0, 1, len(shares)), shares, color=_LABELS[label], label=label)
        axis.set_yscale("log")
        axis.set_title(title, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=7)
    return _png(figure)


def matrix(names: Sequence[str], cells: NDArray[np.int64], title: str) -> bytes:
    """Draw a square table of true against predicted names, coloured by the share of each row."""
    figure, axes = _figure(size=(1.4 + 0.75 * len(names), 1.2 + 0.6 * len(names)))
    axis = axes[0][0]
    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.5 else "black"  # noqa: PLR2004 - half way up the colour map
        axis.text(column, row, cells[row, column], ha="center", va="center", fontsize=8, color=colour)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set(title=title, xlabel="predicted", ylabel="true")
    return _png(figure)


def predictions(shown: Sequence[Shown]) -> bytes:
    """Draw slices in a grid, each with truth, prediction and confidence, coloured by whether they agree."""
    columns = min(_ACROSS, len(shown))
    figure, axes = _figure(columns, -(-len(shown) // columns), size=(2.6, 2.0))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, one in zip(axes.flat, shown, strict=False):
        axis.imshow(one.image)
        axis.set_title("\n".join(one.words), fontsize=7, color="darkgreen" if one.right else "firebrick")
    return _png(figure)


def robustness(rows: Mapping[str, Mapping[str, float]]) -> bytes:
    """Draw AUC, sensitivity and specificity of intact and spoilt slices."""
    figure, axes = _figure(size=(7.2, 3.4))
    axis, places = axes[0][0], np.arange(len(rows))
    for number, name in enumerate(("auc", "sensitivity", "specificity")):
        axis.bar(places + (number - 1) * 0.27, [row[name] for row in rows.values()], 0.25, label=name)
    axis.set_xticks(places, list(rows), rotation=25, ha="right", fontsize=8)
    axis.set(ylim=(0, 1.02), title="Under damage")
    axis.legend(fontsize=8, loc="lower right")
    return _png(figure)


def parts(result: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> bytes:
    """Draw the sensitivity of every part of the set that has positives, with its interval."""
    rows = [
        (f"{name}: {value}", found["sensitivity"])
        for name, values in result.items()
        for value, found in values.items()
        if found["sensitivity"]["value"] is not None
    ]
    figure, axes = _figure(size=(6.4, 0.8 + 0.26 * len(rows)))
    axis = axes[0][0]
    for place, (_, rate) in enumerate(rows):
        axis.plot([rate["low"], rate["high"]], [place, place], color="grey")
        axis.plot(rate["value"], place, "o", color="tab:red")
    axis.set_yticks(range(len(rows)), [f"{name} ({rate['count']})" for name, rate in rows], fontsize=8)
    axis.invert_yaxis()
    axis.set(xlim=(0, 1.02), xlabel="sensitivity", title="By part of the set")
    axis.grid(alpha=0.3, axis="x")
    return _png(figure)
