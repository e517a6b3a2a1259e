"""The report of a training run: how it learnt, what it gets wrong, and how well it stands up to damage."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from export.errors import DataError
from export.evaluation.localisation import nowhere
from export.evaluation.robustness import MEASURED, robustness
from export.evaluation.sample import Sample
from export.evaluation.subgroups import SIZES
from export.release.certify import choose_auto
from export.release.threshold_selection import FIXED_POINTS
from export.reports import plots
from export.reports.audit import Picture
from export.reports.figures import UNKNOWN, counted, number
from export.reports.render import data_uri, write_page
from export.training.batches import plain
from export.training.loop import as_trained, best_model, prepare_training
from screener.evaluate.measure import figures
from screener.evaluate.metrics import Scored, operating_figures
from screener.report.overlay import Look, grey, overlay

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from export.architectures import Recipe
    from export.training.loop import TrainingSetup

_SHOWN, _GRID, _SAMPLE = 60, 24, 600
_RECALL_TARGET = 0.95


@dataclass(frozen=True)
class ScoredSet:
    """A set of slices and the scores of the run's best epoch; arrays over N slices.

    Attributes
    ----------
    chosen : ndarray of int
        Indices of records.
    images : ndarray of shape (N, S, S, 1), float32, in [0, 1]
    scores : ndarray of float64
    heatmaps : ndarray of shape (N, h, w), float32, or None
    """

    setup: TrainingSetup
    chosen: NDArray[np.int64]
    images: NDArray[np.float32]
    scores: NDArray[np.float64]
    heatmaps: NDArray[np.float32] | None

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels: (N,)."""
        return self.setup.labels[self.chosen]

    def labelled(self) -> Scored:
        """Return labels, scores and leak-free units."""
        return Scored(self.labels, self.scores, self.setup.split.units[self.chosen])

    def sample(self) -> Sample:
        """Return what a threshold is chosen on; where the heatmaps point is not measured."""
        records = tuple(self.setup.dataset.records[index] for index in self.chosen.tolist())
        return Sample(records, self.labelled(), ("",) * len(records), nowhere(len(records)))


def run_report(data: Path, run: Path, out: Path, part: Literal["tune", "test"] = "tune") -> dict[str, Any]:
    """Write ``index.html``, its figures as PNG, and ``report.json`` into a folder.

    Parameters
    ----------
    data : Path
        The data that the run was trained on.
    run : Path
    out : Path
        Folder of the report; holds pictures of slices, so it belongs to no repository.
    part : {"tune", "test"}
        Which set to score. The certification set is not for looking at.

    Returns
    -------
    dict
        Every figure, as ``report.json`` has them.

    Raises
    ------
    DataError
        The run has no finished epoch, or the set is empty.
    """
    model, chosen, options = best_model(run)
    setup = as_trained(prepare_training(data, chosen, options, run.parent / "cache"), run)
    exported = chosen.exported(model)
    tune = _score(exported, setup, setup.split.where("tune"), chosen)
    scored = tune if part == "tune" else _score(exported, setup, setup.split.where(part), chosen)
    if not len(scored.chosen):
        raise DataError(f"the {part} set of {run} is empty", "choose the tune set, or train with --test-source")
    points = FIXED_POINTS | {"auto": choose_auto(tune.sample(), _RECALL_TARGET).threshold}
    history = json.loads((run / "progress.json").read_text())["history"]
    result: dict[str, Any] = {
        "recipe": options.recipe,
        "set": part,
        "epochs": len(history),
        "points": points,
        "figures": figures(scored.labelled(), points["auto"]),
        "parts": _by_part(scored, points["auto"]),
        "robustness": _robustness(exported, scored, points["auto"]),
    }
    out.mkdir(parents=True, exist_ok=True)
    drawn = _draw(scored, result, history, model, chosen)
    for name, content in drawn.items():
        (out / f"{name}.png").write_bytes(content)
    (out / "report.json").write_text(json.dumps(result, indent=1) + "\n")
    write_page(out / "index.html", "run", run=run.name, **_view(scored, result, drawn))
    return result


def _view(scored: ScoredSet, result: Mapping[str, Any], drawn: Mapping[str, bytes]) -> dict[str, Any]:
    """Return what the page shows."""
    threshold = result["points"]["auto"]
    return {
        "result": result,
        "plots": {name: data_uri(content) for name, content in drawn.items()},
        "figures": _figure_rows(result["figures"]),
        "classes": class_rows(result["figures"]["confusion"]),
        "parts": _part_rows(result["parts"]),
        "measured": list(MEASURED.values()),
        "damages": _damage_rows(result["robustness"]),
        "heatmaps": scored.heatmaps is not None,
        "shown": _SHOWN,
        "galleries": [
            (words, len(indices), [_picture(scored, index, threshold) for index in indices[:_SHOWN]])
            for _, words, indices in _groups(scored, threshold)
        ],
    }


def _score(exported: Any, setup: TrainingSetup, chosen: NDArray[np.int64], recipe: Recipe) -> ScoredSet:  # noqa: ANN401 - Keras
    images = plain(setup.exact[chosen], recipe.preprocessing.size)
    answer: dict[str, Any] = {"probability": np.empty((0, 1))}
    if len(chosen):
        answer = exported.predict(images, batch_size=64, verbose=0)
    return ScoredSet(setup, chosen, images, np.asarray(answer["probability"], np.float64)[:, 0], answer.get("heatmap"))


def _by_part(scored: ScoredSet, threshold: float) -> dict[str, dict[str, Any]]:
    """Return sensitivity and specificity by source, sequence and plane, and sensitivity by size of the tumour."""
    records = [scored.setup.dataset.records[index] for index in scored.chosen.tolist()]
    keys = {
        name: [getattr(record, name) or "unknown" for record in records] for name in ("source", "sequence", "plane")
    }
    keys["tumour size"] = _sizes(scored)
    labelled, result = scored.labelled(), {}
    for name, values in keys.items():
        column = np.array(values)
        result[name] = {
            str(value): operating_figures(labelled.part(column == value), threshold)
            for value in np.unique(column)
            if value
        }
    return result


def _sizes(scored: ScoredSet) -> list[str]:
    """Say in which quarter of tumour sizes each annotated positive falls, by its share of the model's view."""
    shares = scored.setup.views.tumours[scored.chosen].reshape(len(scored.chosen), -1).mean(axis=1) / 255
    known = (scored.labels == 1) & (shares > 0)
    if not known.any():
        return [""] * len(shares)
    quarters = np.digitize(shares, np.quantile(shares[known], (0.25, 0.5, 0.75)))
    return [
        SIZES[quarter] if annotated else ("not annotated" if label else "")
        for quarter, annotated, label in zip(quarters.tolist(), known.tolist(), scored.labels.tolist(), strict=True)
    ]


def _robustness(exported: Any, scored: ScoredSet, threshold: float) -> dict[str, dict[str, Any]]:  # noqa: ANN401 - Keras
    """Measure a fixed, balanced sample intact and spoilt."""
    rng = np.random.default_rng(0)
    chosen = np.concatenate([
        rng.permutation(np.flatnonzero(scored.labels == label))[: _SAMPLE // 2] for label in (0, 1)
    ])  # fmt: skip

    def predict(images: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(exported.predict(images, batch_size=64, verbose=0)["probability"], np.float64)[:, 0]

    units = scored.setup.split.units[scored.chosen][chosen]
    return robustness(predict, scored.images[chosen], scored.labels[chosen], units, threshold)


def _draw(
    scored: ScoredSet,
    result: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    model: Any,  # noqa: ANN401 - Keras
    chosen: Recipe,
) -> dict[str, bytes]:
    """Draw every figure: PNG by name."""
    measured, points = result["figures"], result["points"]
    drawn = {
        "learning": plots.learning(history),
        "confusion": plots.confusion(measured["confusion"]),
        "calibration": plots.calibration(measured["reliability"], measured["brier"]),
        "robustness": plots.robustness(result["robustness"]),
        "parts": plots.parts(result["parts"]),
    }
    for name, _, indices in _groups(scored, points["auto"]):
        if indices:
            drawn[name] = plots.predictions([_shown(scored, index, points["auto"]) for index in indices[:_GRID]])
    if measured["auc"]["value"] is not None:
        drawn["roc"] = plots.roc(scored.labels, scored.scores, points, measured["auc"]["value"])
        drawn["precision_recall"] = plots.precision_recall(scored.labels, scored.scores, points)
    if early := chosen.early or _first_convolutions(model):
        drawn["layers"] = _early_layers(scored, model, early)
    return drawn


def _first_convolutions(model: Any) -> tuple[str, ...]:  # noqa: ANN401 - Keras
    """Name the first two convolutions of a recipe that names no early layers."""
    import keras

    return tuple(layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D))[:2]


def _early_layers(scored: ScoredSet, model: Any, early: Sequence[str]) -> bytes:  # noqa: ANN401 - Keras
    """Draw what the early layers make of the most suspicious slice."""
    import keras

    image = scored.images[[int(scored.scores.argmax())]]
    inner = keras.Model(model.input, {name: model.get_layer(name).output for name in early})
    maps = inner.predict(image, verbose=0)
    return plots.feature_maps(image[0, ..., 0], {name: np.asarray(maps[name])[0] for name in early})


def _figure_rows(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, value and 95 % interval of every figure."""
    rows = []
    for name in ("auc", "sensitivity", "specificity", "accuracy", "precision", "f1"):
        cell = result[name]
        span = UNKNOWN if cell["low"] is None else f"{cell['low']:.3f}–{cell['high']:.3f}"
        rows.append((name, number(cell["value"]), span))
    rows += [
        (name, number(result[name]), UNKNOWN) for name in ("brier", "calibration_error") if result[name] is not None
    ]
    return rows


def class_rows(matrix: Mapping[str, int]) -> list[tuple[object, ...]]:
    """Return precision, recall and F1 of either class, their mean, and their mean weighted by slices."""
    caught, alarms, quiet, missed = (matrix[name] for name in ("caught", "alarms", "quiet", "missed"))
    rates = np.array([_class(caught, alarms, missed), _class(quiet, missed, alarms)])
    sizes = np.array([caught + missed, quiet + alarms])
    named = {
        "tumour": (rates[0], sizes[0]),
        "no tumour": (rates[1], sizes[1]),
        "mean of both": (rates.mean(axis=0), sizes.sum()),
        "weighted by slices": (np.average(rates, axis=0, weights=sizes), sizes.sum()),
    }
    return [
        (name, *(f"{rate:.3f}" if np.isfinite(rate) else UNKNOWN for rate in row), int(size))
        for name, (row, size) in named.items()
    ]


def _class(hits: int, others: int, away: int) -> tuple[float, float, float]:
    """Return precision, recall and F1 of a class from its slices: right, wrongly put there, and put elsewhere."""
    return (
        _share(hits, hits + others),
        _share(hits, hits + away),
        _share(2 * hits, 2 * hits + others + away),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _part_rows(parts: Mapping[str, Any]) -> dict[str, list[tuple[str, ...]]]:
    """Return sensitivity and specificity by value of each property."""
    return {
        name: [(value, *(counted(row[rate]) for rate in ("sensitivity", "specificity"))) for value, row in rows.items()]
        for name, rows in parts.items()
    }


def _damage_rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the figures under damage, and the AUC lost."""
    intact = result["intact"]["auc"]
    return [
        (name, *(number(row[key]) for key in MEASURED), f"{intact - row['auc']:+.3f}") for name, row in result.items()
    ]


def _groups(scored: ScoredSet, threshold: float) -> list[tuple[str, str, list[int]]]:
    """Return what is shown in pictures: name of the file, heading, and places in the set, the worst first."""
    flagged, positive = scored.scores >= threshold, scored.labels == 1
    missed = np.flatnonzero(positive & ~flagged)
    alarms = np.flatnonzero(~positive & flagged)
    return [
        ("missed", "Missed", missed[np.argsort(scored.scores[missed])].tolist()),
        ("false_alarms", "False alarms", alarms[np.argsort(-scored.scores[alarms])].tolist()),
        ("predictions", "At random", np.random.default_rng(0).permutation(len(flagged))[:_GRID].tolist()),
    ]


def _picture(scored: ScoredSet, index: int, threshold: float) -> Picture:
    """Return one slice with what is true and what was predicted, coloured by whether they agree."""
    shown = _shown(scored, index, threshold)
    image = np.ascontiguousarray(shown.image[..., ::-1])
    data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 80))[1].tobytes()
    path = scored.setup.dataset.records[int(scored.chosen[index])].path
    caption = f"{path} · {', '.join(shown.words)}, probability {scored.scores[index]:.3f}"
    return Picture(data_uri(data, "jpeg"), caption, path, "good" if shown.right else "bad")


def _shown(scored: ScoredSet, index: int, threshold: float) -> plots.Shown:
    """Return one slice beside its heatmap, with truth, prediction and the confidence in it."""
    image, score = scored.images[index, ..., 0], float(scored.scores[index])
    positive, flagged = bool(scored.labels[index]), score >= threshold
    drawn = grey(image)
    if scored.heatmaps is not None:
        evidence = cv2.resize(np.asarray(scored.heatmaps[index], np.float32), image.shape[::-1])
        drawn = np.hstack([drawn, overlay(image, np.asarray(evidence, np.float32), Look())])
    words = (
        "true: tumour" if positive else "true: no tumour",
        "predicted: flagged" if flagged else "predicted: not flagged",
        f"confidence {score if flagged else 1 - score:.3f}",
    )
    return plots.Shown(np.ascontiguousarray(drawn[..., ::-1]), words, right=flagged == positive)
