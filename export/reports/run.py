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
from export.release.from_run import as_trained
from export.release.threshold_selection import FIXED_POINTS
from export.reports import plots
from export.training.batches import plain
from export.training.loop import best_model, prepare_training
from screener.evaluate.measure import figures
from screener.evaluate.metrics import Scored, operating_figures
from screener.report.document import document, figure, gallery, heading, paragraph, picture, save, table
from screener.report.overlay import Look, grey, overlay

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from export.architectures import Recipe
    from export.training.loop import TrainingSetup

_SHOWN, _GRID, _SAMPLE = 60, 24, 600
_RECALL_TARGET = 0.95


@dataclass(frozen=True)
class Judged:
    """A set of slices and what the run's best epoch says about them; arrays over N slices.

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

    def scored(self) -> Scored:
        """Return labels, scores and leak-free units."""
        return Scored(self.labels, self.scores, self.setup.found.units[self.chosen])

    def sample(self) -> Sample:
        """Return what a threshold is chosen on; where the heatmaps point is not looked at."""
        records = tuple(self.setup.dataset.records[index] for index in self.chosen.tolist())
        return Sample(records, self.scored(), ("",) * len(records), nowhere(len(records)))


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
        Which set to judge. The certification set is not for looking at.

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
    tune = _judge(exported, setup, setup.found.where("tune"), chosen)
    judged = tune if part == "tune" else _judge(exported, setup, setup.found.where(part), chosen)
    if not len(judged.chosen):
        raise DataError(f"the {part} set of {run} is empty", "judge the tune set, or train with --test-source")
    points = FIXED_POINTS | {"auto": choose_auto(tune.sample(), _RECALL_TARGET).threshold}
    history = json.loads((run / "progress.json").read_text())["history"]
    result: dict[str, Any] = {
        "recipe": options.recipe,
        "set": part,
        "epochs": len(history),
        "points": points,
        "figures": figures(judged.scored(), points["auto"]),
        "parts": _by_part(judged, points["auto"]),
        "robustness": _robustness(exported, judged, points["auto"]),
    }
    out.mkdir(parents=True, exist_ok=True)
    drawn = _draw(judged, result, history, model, chosen)
    for name, content in drawn.items():
        (out / f"{name}.png").write_bytes(content)
    (out / "report.json").write_text(json.dumps(result, indent=1) + "\n")
    save(out / "index.html", document(f"Training run {run.name}: {options.recipe}", _parts(judged, result, drawn)))
    return result


def _judge(exported: Any, setup: TrainingSetup, chosen: NDArray[np.int64], recipe: Recipe) -> Judged:  # noqa: ANN401 - Keras
    images = plain(setup.exact[chosen], recipe.preprocessing.size)
    answer: dict[str, Any] = {"probability": np.empty((0, 1))}
    if len(chosen):
        answer = exported.predict(images, batch_size=64, verbose=0)
    return Judged(setup, chosen, images, np.asarray(answer["probability"], np.float64)[:, 0], answer.get("heatmap"))


def _by_part(judged: Judged, threshold: float) -> dict[str, dict[str, Any]]:
    """Return sensitivity and specificity by source, sequence and plane, and sensitivity by size of the tumour."""
    records = [judged.setup.dataset.records[index] for index in judged.chosen.tolist()]
    keys = {
        name: [getattr(record, name) or "unknown" for record in records] for name in ("source", "sequence", "plane")
    }
    keys["tumour size"] = _sizes(judged)
    scored, result = judged.scored(), {}
    for name, values in keys.items():
        column = np.array(values)
        result[name] = {
            str(value): operating_figures(scored.part(column == value), threshold)
            for value in np.unique(column)
            if value
        }
    return result


def _sizes(judged: Judged) -> list[str]:
    """Say in which quarter of tumour sizes each annotated positive falls, by its share of the model's view."""
    shares = judged.setup.views.tumours[judged.chosen].reshape(len(judged.chosen), -1).mean(axis=1) / 255
    known = (judged.labels == 1) & (shares > 0)
    if not known.any():
        return [""] * len(shares)
    quarters = np.digitize(shares, np.quantile(shares[known], (0.25, 0.5, 0.75)))
    return [
        SIZES[quarter] if annotated else ("not annotated" if label else "")
        for quarter, annotated, label in zip(quarters.tolist(), known.tolist(), judged.labels.tolist(), strict=True)
    ]


def _robustness(exported: Any, judged: Judged, threshold: float) -> dict[str, dict[str, Any]]:  # noqa: ANN401 - Keras
    """Measure a fixed, balanced sample intact and spoilt."""
    rng = np.random.default_rng(0)
    chosen = np.concatenate([
        rng.permutation(np.flatnonzero(judged.labels == label))[: _SAMPLE // 2] for label in (0, 1)
    ])  # fmt: skip

    def predict(images: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(exported.predict(images, batch_size=64, verbose=0)["probability"], np.float64)[:, 0]

    units = judged.setup.found.units[judged.chosen][chosen]
    return robustness(predict, judged.images[chosen], judged.labels[chosen], units, threshold)


def _draw(
    judged: Judged,
    result: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    model: Any,  # noqa: ANN401 - Keras
    chosen: Recipe,
) -> dict[str, bytes]:
    """Draw every figure: PNG by name."""
    found, points = result["figures"], result["points"]
    drawn = {
        "learning": plots.learning(history),
        "confusion": plots.confusion(found["confusion"]),
        "calibration": plots.calibration(found["reliability"], found["brier"]),
        "robustness": plots.robustness(result["robustness"]),
        "parts": plots.parts(result["parts"]),
    }
    for name, _, indices in _groups(judged, points["auto"]):
        if indices:
            drawn[name] = plots.predictions([_shown(judged, index, points["auto"]) for index in indices[:_GRID]])
    if found["auc"]["value"] is not None:
        drawn["roc"] = plots.roc(judged.labels, judged.scores, points, found["auc"]["value"])
        drawn["precision_recall"] = plots.precision_recall(judged.labels, judged.scores, points)
    if early := chosen.early or _first_convolutions(model):
        drawn["layers"] = _early_layers(judged, model, early)
    return drawn


def _first_convolutions(model: Any) -> tuple[str, ...]:  # noqa: ANN401 - Keras
    """Name the first two convolutions of a recipe that names no early layers."""
    import keras

    return tuple(layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D))[:2]


def _early_layers(judged: Judged, model: Any, early: Sequence[str]) -> bytes:  # noqa: ANN401 - Keras
    """Draw what the early layers make of the most suspicious slice."""
    import keras

    image = judged.images[[int(judged.scores.argmax())]]
    inner = keras.Model(model.input, {name: model.get_layer(name).output for name in early})
    maps = inner.predict(image, verbose=0)
    return plots.feature_maps(image[0, ..., 0], {name: np.asarray(maps[name])[0] for name in early})


def _parts(judged: Judged, result: Mapping[str, Any], drawn: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the page, part by part."""
    if result["set"] == "tune":
        yield paragraph("Judged on the tune set, which chose epoch and threshold: these figures flatter.", "warning")
    yield heading("Learning")
    yield figure(picture(drawn["learning"], "learning curves"), "On training batches (augmented) and on the tune set.")
    yield heading(f"At auto ({result['points']['auto']:.4g})")
    yield table(("figure", "value", "95 %, over leak-free units"), _figures(result["figures"]))
    yield table(("class", "precision", "recall", "F1", "slices"), _classes(result["figures"]["confusion"]))
    for name in ("confusion", "roc", "precision_recall", "calibration"):
        if name in drawn:
            yield figure(picture(drawn[name], name.replace("_", " and ")), name.replace("_", " and "))
    yield from _tables(result, drawn)
    yield from _galleries(judged, result["points"]["auto"])
    if "layers" in drawn:
        yield heading("Early layers")
        caption = "What the early layers pass on of the most suspicious slice; no map means a tumour."
        yield figure(picture(drawn["layers"], "early feature maps"), caption)


def _figures(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    for name in ("auc", "sensitivity", "specificity", "accuracy", "precision", "f1"):
        cell = found[name]
        span = "–" if cell["low"] is None else f"{cell['low']:.3f}–{cell['high']:.3f}"
        rows.append((name, "–" if cell["value"] is None else f"{cell['value']:.3f}", span))
    rows += [(name, f"{found[name]:.3f}", "–") for name in ("brier", "calibration_error") if found[name] is not None]
    return rows


def _classes(matrix: Mapping[str, int]) -> list[tuple[object, ...]]:
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
        (name, *(f"{rate:.3f}" if np.isfinite(rate) else "–" for rate in row), int(size))
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


def _tables(result: Mapping[str, Any], drawn: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the figures by part of the set and under damage."""
    yield heading("By source, sequence, plane and tumour size")
    yield figure(picture(drawn["parts"], "sensitivity by part"), "Sensitivity with its 95 % interval.")
    for name, rows in result["parts"].items():
        yield table((name, "sensitivity", "specificity"), [
            (value, *(_rate(found[rate]) for rate in ("sensitivity", "specificity"))) for value, found in rows.items()
        ])  # fmt: skip
    yield heading("Under damage")
    intact = result["robustness"]["intact"]
    yield table(("damage", *MEASURED.values(), "AUC lost"), [
        (name, *("–" if row[key] is None else f"{row[key]:.3f}" for key in MEASURED),
         f"{intact['auc'] - row['auc']:+.3f}")
        for name, row in result["robustness"].items()
    ])  # fmt: skip
    yield figure(picture(drawn["robustness"], "figures under damage"), "The same figures, damage by damage.")
    yield paragraph(f"The same {intact['slices']} slices throughout, as many of either label as there are.", "remark")


def _rate(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return "–"
    return f"{found['value']:.3f} ({found['low']:.3f}–{found['high']:.3f}; {found['hits']}/{found['count']})"


def _galleries(judged: Judged, threshold: float) -> Iterator[str]:
    """Yield pictures: misses first, then false alarms, then some of everything."""
    if judged.heatmaps is None:
        yield paragraph("This recipe does not say where: pictures are without heatmaps.", "remark")
    for _, words, indices in _groups(judged, threshold):
        yield heading(f"{words} ({len(indices)})")
        if len(indices) > _SHOWN:
            yield paragraph(f"The first {_SHOWN}.", "remark")
        yield gallery(_card(judged, index, threshold) for index in indices[:_SHOWN])


def _groups(judged: Judged, threshold: float) -> list[tuple[str, str, list[int]]]:
    """Return what is shown in pictures: name of the file, heading, and places in the set, the worst first."""
    flagged, positive = judged.scores >= threshold, judged.labels == 1
    missed = np.flatnonzero(positive & ~flagged)
    alarms = np.flatnonzero(~positive & flagged)
    return [
        ("missed", "Missed", missed[np.argsort(judged.scores[missed])].tolist()),
        ("false_alarms", "False alarms", alarms[np.argsort(-judged.scores[alarms])].tolist()),
        ("predictions", "At random", np.random.default_rng(0).permutation(len(flagged))[:_GRID].tolist()),
    ]


def _card(judged: Judged, index: int, threshold: float) -> str:
    """Return one slice with what is true and what was predicted, coloured by whether they agree."""
    shown = _shown(judged, index, threshold)
    data = cv2.imencode(".jpg", np.ascontiguousarray(shown.image[..., ::-1]), (cv2.IMWRITE_JPEG_QUALITY, 80))[
        1
    ].tobytes()
    path = judged.setup.dataset.records[int(judged.chosen[index])].path
    caption = f"{path} · {', '.join(shown.words)}, probability {judged.scores[index]:.3f}"
    return figure(picture(data, path, "jpeg"), caption, "good" if shown.right else "bad")


def _shown(judged: Judged, index: int, threshold: float) -> plots.Shown:
    """Return one slice beside its heatmap, with truth, prediction and the confidence in it."""
    image, score = judged.images[index, ..., 0], float(judged.scores[index])
    positive, flagged = bool(judged.labels[index]), score >= threshold
    drawn = grey(image)
    if judged.heatmaps is not None:
        evidence = cv2.resize(np.asarray(judged.heatmaps[index], np.float32), image.shape[::-1])
        drawn = np.hstack([drawn, overlay(image, np.asarray(evidence, np.float32), Look())])
    words = (
        "true: tumour" if positive else "true: no tumour",
        "predicted: flagged" if flagged else "predicted: not flagged",
        f"confidence {score if flagged else 1 - score:.3f}",
    )
    return plots.Shown(np.ascontiguousarray(drawn[..., ::-1]), words, right=flagged == positive)
