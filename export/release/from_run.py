"""From a finished run to ``models/<name>/``: convert, prove parity, and hand over to `export.release.release`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import structs

from export.data.provenance import statements, training_data
from export.data.splits import write_patients
from export.release.convert import parity, to_onnx, write_checksums
from export.release.embedding_reference import attach
from export.release.layers import FILE as LAYERS
from export.release.layers import layers_graph, write_layers
from export.release.release import Release, ReleaseInputs, publish
from export.release.threshold_selection import FIXED_POINTS
from export.training.batches import plain
from export.training.loop import as_trained, best_model, prepare_training
from export.training.options import Progress
from screener import __version__
from screener.model.card import Card, CardPoint, Outputs

if TYPE_CHECKING:
    from pathlib import Path

    from export.architectures import Recipe
    from export.training.loop import TrainingSetup
    from export.training.options import Options
    from screener.model.card import EmbeddingReference

_PARITY_SLICES = 256
_FIRST_VERSION = "0.1.0"


def release(data: Path, run: Path, requested: Release, demo: Path) -> Card:
    """Convert the best epoch of a run and write the model's folder.

    Parameters
    ----------
    data : Path
        The data that the run was trained on.
    run : Path
    requested : Release
    demo : Path
        Folder whose pictures, beside drawn phantoms, give the golden scores.

    Returns
    -------
    Card

    Raises
    ------
    DataError
        The run is not finished, the data changed, parity fails, or no threshold can be chosen.
    """
    model, chosen, options = best_model(run)
    setup = prepare_training(data, chosen, options, run.parent / "cache")
    setup = as_trained(setup, run)
    exported, reference = _with_reference(chosen.exported(model), chosen, setup)
    graph = to_onnx(exported)
    tune = setup.split.where("tune")
    sample = np.random.default_rng(0).choice(tune, min(_PARITY_SLICES, len(tune)), replace=False)
    difference = parity(exported, graph, plain(setup.exact[sample], chosen.preprocessing.size))
    card = structs.replace(
        _draft(requested, chosen, options, setup, set(dict(exported.output))),
        embedding_reference=reference,
        metrics={
            "parity": {"largest_difference": difference, "slices": len(sample)},
            "training": _history(run, chosen.monitor),
        },
    )
    inputs = ReleaseInputs(
        setup.dataset, setup.split, chosen.shares, requested.recall_target, demo, requested.cross_fit
    )
    card = publish(requested.folder, graph, card, inputs, run / "draft")
    if chosen.early:
        write_layers(requested.folder, layers_graph(model, chosen.early))
    else:
        # Of a model that lay there before: it would show another network's layers.
        (requested.folder / LAYERS).unlink(missing_ok=True)
    if card.study is not None:
        write_patients(requested.folder / "patients.csv", setup.dataset, setup.split)
    write_checksums(requested.folder)
    return card


def _with_reference(
    model: Any,  # noqa: ANN401 - Keras
    chosen: Recipe,
    setup: TrainingSetup,
) -> tuple[Any, EmbeddingReference | None]:
    """Attach the embedding reference where the recipe exports features."""
    if "embedding" not in dict(model.output):
        return model, None
    fit = setup.split.where("fit")
    sources = np.array([setup.dataset.records[index].source for index in fit])
    return attach(model, plain(setup.exact[fit], chosen.preprocessing.size), sources)


def _draft(requested: Release, chosen: Recipe, options: Options, setup: TrainingSetup, outputs: set[str]) -> Card:
    """Return the card, its operating points still without figures."""
    return Card(
        name=requested.name,
        version=_version(requested),
        architecture=chosen.summary,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        tool_version=__version__,
        preprocessing=chosen.preprocessing,
        outputs=Outputs(
            "probability",
            heatmap="heatmap" if "heatmap" in outputs else None,
            embedding="embedding" if "embedding" in outputs else None,
        ),
        points={name: CardPoint(threshold) for name, threshold in (FIXED_POINTS | {"auto": 0.5}).items()},
        training_data=training_data(setup.dataset, setup.split, options.test_sources, options.seed),
        **statements(record.source for record in setup.dataset.records)._asdict(),
    )


class _Named(msgspec.Struct):
    """What is read of a former card, whatever its schema."""

    name: str
    version: str


def _version(requested: Release) -> str:
    """Return the version asked for, else that of the model which is made again, else the first."""
    card = requested.folder / "card.json"
    if requested.version is not None or not card.is_file():
        return requested.version or _FIRST_VERSION
    former = msgspec.json.decode(card.read_bytes(), type=_Named)
    return former.version if former.name == requested.name else _FIRST_VERSION


def _history(run: Path, monitor: str) -> dict[str, Any]:
    """Say how long the run took and which epoch it kept, by which figure on the tune set."""
    progress = Progress.of(run)
    return {
        "epochs": len(progress.history),
        "best_epoch": progress.best(monitor) + 1,
        "monitor": monitor,
        "minutes": round(sum(epoch["seconds"] for epoch in progress.history) / 60, 1),
    }
