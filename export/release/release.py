"""From a converted graph to a release: calibrate and choose on the tune set, certify once, measure, describe, seal."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import structs

from export.data.groups import read_groups
from export.data.provenance import statements, training_data
from export.errors import DataError
from export.evaluation.sample import WITHOUT_PROMISE, screened
from export.evaluation.subgroups import set_figures
from export.files import save_json
from export.release.calibrate import fold
from export.release.certify import certify, choose_auto, refuse_leaks
from export.release.convert import PARITY, write_checksums, write_release
from export.release.golden import golden_scores
from export.release.model_card import render
from export.release.study_threshold import released_section
from export.release.threshold_selection import operating_points
from export.training.batches import slice_weights
from screener.evaluate.calibration import Calibration, calibrate
from screener.evaluate.metrics import calibration_error
from screener.evaluate.score import score_files
from screener.model.card import Card, CardCalibration, TrainingData
from screener.model.certificate import CertificationAttempt
from screener.model.session import Model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from export.data.dataset import Dataset
    from export.data.splits import Split
    from export.evaluation.sample import Sample

_CHECKED = 64


@dataclass(frozen=True)
class ReleaseInputs:
    """What a release is chosen, certified and measured on.

    Attributes
    ----------
    dataset : Dataset
    split : Split
    shares : mapping of str to float
        The recipe's: how much named sources count.
    target : float, in (0, 1]
        Sensitivity that ``auto`` aims at.
    demo : Path
        Folder of pictures for the golden scores.
    cross_fit : Path or None
        What `export.evaluation.cross_fit` wrote: the certificate of studies.
    """

    dataset: Dataset
    split: Split
    shares: Mapping[str, float]
    target: float
    demo: Path
    cross_fit: Path | None = None


@dataclass(frozen=True)
class Release:
    """What a model is released as; without a version as that of its name in the folder, which is made again.

    `cross_fit` is the result of a cross-fit over sites, which certifies studies; see `export.evaluation.cross_fit`.
    """

    folder: Path
    name: str
    version: str | None
    recall_target: float = 0.95
    cross_fit: Path | None = None


def publish(folder: Path, graph: onnx.ModelProto, card: Card, inputs: ReleaseInputs, draft: Path) -> Card:
    """Write the model's folder, once all is measured; interrupted while files are replaced, it is refused when loaded.

    Parameters
    ----------
    folder : Path
    graph : onnx.ModelProto
        Its last layer is changed in place.
    card : Card
        With operating points that are still to be filled in. If it has a ``calibration``, the graph has it already.
    inputs : ReleaseInputs
    draft : Path
        Scratch folder, removed in the end.

    Returns
    -------
    Card
        As released.

    Raises
    ------
    DataError
        The sets leak into each other, or calibration changed more than it was meant to.
    """
    refuse_leaks(inputs.split)
    write_release(draft, graph, card, "")
    tune = screened(inputs.dataset, inputs.split, "tune", Model.load(draft))
    if card.calibration is None:
        card, tune = _calibrate(graph, card, tune, inputs, draft)
    choice = choose_auto(tune, inputs.target)
    proof = screened(inputs.dataset, inputs.split, "certify", Model.load(draft))
    points = operating_points(proof.scored, choice.threshold, inputs.target, "certification set")
    certificate = certify(proof, choice.threshold, inputs.target)
    if certificate is not None:
        certificate = structs.replace(certificate, earlier_attempts=_earlier(folder, card))
    points["auto"] = structs.replace(
        points["auto"],
        chosen_by=choice,
        certified=certificate is not None and certificate.target is not None,
        certificate=certificate,
    )
    card = structs.replace(card, points=points)
    card = structs.replace(card, metrics=card.metrics | _metrics(card, tune, proof, inputs, draft))
    section = released_section(inputs.dataset, inputs.split, Model.load(draft), inputs.cross_fit)
    card = structs.replace(card, study=section)
    write_release(folder, graph, card, render(card))
    golden = golden_scores(Model.load(folder), inputs.demo)
    save_json(folder / "golden.json", golden)
    write_checksums(folder)
    shutil.rmtree(draft)
    return card


class _FormerData(msgspec.Struct):
    """What a card of any schema says of its training data."""

    training_data: TrainingData


def _earlier(folder: Path, card: Card) -> tuple[CertificationAttempt, ...]:
    """Return the models that the same certification set was asked about, the one in the folder last.

    Whoever has seen what a set says is no longer as blind as at the first look, and the card is to say so. A model is
    what was converted at one time: certified again it is the same one, and made again under its version another.
    """
    if not (folder / "card.json").is_file():
        return ()
    text = (folder / "card.json").read_bytes()
    # Of a card of another schema no more can be read than what it was trained on.
    data, own = msgspec.json.decode(text, type=_FormerData).training_data, card.training_data
    if (data.fingerprint, data.seed) != (own.fingerprint, own.seed):
        return ()
    former = Card.parse(text)
    shown = former.points["auto"].certificate
    if shown is None:
        return ()
    if former.created == card.created:
        return shown.earlier_attempts
    result = CertificationAttempt(former.version, shown.target, shown.units, shown.missed, former.created)
    return (*shown.earlier_attempts, result)


def _calibrate(
    graph: onnx.ModelProto, card: Card, tune: Sample, inputs: ReleaseInputs, draft: Path
) -> tuple[Card, Sample]:
    """Fit on the tune set, fold into the graph, and see that the graph now says what was meant."""
    seen = tune.part(tune.scored.assessable)
    calibration, errors = calibrate(seen.scored.labels, seen.scored.scores, slice_weights(seen.records, inputs.shares))
    if not fold(graph, calibration):
        return card, tune
    record = CardCalibration(
        kind=calibration.kind,
        scale=calibration.scale,
        offset=calibration.offset,
        temperature=1 / calibration.scale,
        balanced_errors=errors,
    )
    card = structs.replace(card, calibration=record)
    write_release(draft, graph, card, "")
    requested = tune.calibrated(calibration)
    paths = [inputs.dataset.root / one.path for one in tune.records[:_CHECKED]]
    now = score_files(paths, Model.load(draft)).scores
    difference = float(np.nanmax(np.abs(now - requested.scored.scores[: len(paths)]), initial=0.0))
    if difference > PARITY:
        raise DataError(
            f"folding the calibration in changed scores by {difference:.2e}", f"at most {PARITY} is accepted"
        )
    return card, requested


def _metrics(card: Card, tune: Sample, proof: Sample, inputs: ReleaseInputs, draft: Path) -> dict[str, Any]:
    """Measure every set at ``auto``; the test set, of which nothing was chosen, by source."""
    threshold = card.points["auto"].threshold
    sets = {"tune": tune, "certify": proof}
    result: dict[str, Any] = {
        name: set_figures(sample, threshold, slice_weights(sample.records, inputs.shares))
        for name, sample in sets.items()
    }
    if card.calibration is not None:
        result["calibration_errors"] = {
            name: _errors(sample, card.calibration, slice_weights(sample.records, inputs.shares))
            for name, sample in sets.items()
        }
    test = screened(inputs.dataset, inputs.split, "test", Model.load(draft))
    sources = test.column("source")
    result["test"] = {str(name): set_figures(test.part(sources == name), threshold) for name in np.unique(sources)}
    result["without_promise"] = list(WITHOUT_PROMISE)
    return result


def _errors(sample: Sample, calibration: CardCalibration, weights: NDArray[np.float64]) -> dict[str, float]:
    """Return calibration errors with and without the calibration, balanced as in training and plainly by slice."""
    scale, offset = calibration.scale, calibration.offset
    undone = Calibration(calibration.kind, 1 / scale, -offset / scale)
    seen = sample.scored.assessable
    labels, after = sample.scored.labels[seen], sample.scored.scores[seen]
    before = undone.apply(after)
    return {
        "balanced_before": calibration_error(labels, before, weights=weights[seen]),
        "balanced_after": calibration_error(labels, after, weights=weights[seen]),
        "plain_before": calibration_error(labels, before),
        "plain_after": calibration_error(labels, after),
    }


def certify_again(data: Path, run: Path, requested: Release, demo: Path) -> Card:
    """Calibrate (once), choose, certify and describe a released model, from its graph and the sets of its run.

    Its name stays; a `version`, if given, is its new one: whoever calibrates changes scores.

    Raises
    ------
    DataError
        See `publish`; or the folder holds no released model.
    """
    import onnx

    from export.data.dataset import read_dataset
    from export.training.loop import configured
    from export.training.options import Options

    folder = requested.folder
    if not (folder / "model.onnx").is_file():
        raise DataError(f"{folder} holds no model.onnx", "run: python -m export convert")
    card = Model.load(folder).card
    graph = onnx.load(str(folder / "model.onnx"))
    dataset = read_dataset(data)
    if dataset.fingerprint() != card.training_data.fingerprint:
        raise DataError(f"{data} is not the data that {folder} was trained on", "the card has its fingerprint")
    options = Options.of(run)
    found = read_groups(run / "groups.csv", dataset).split
    shares = configured(options).shares
    inputs = ReleaseInputs(dataset, found, shares, requested.recall_target, demo, requested.cross_fit)
    card = structs.replace(
        card,
        version=requested.version or card.version,
        training_data=training_data(dataset, inputs.split, options.test_sources, options.seed),
        metrics={name: card.metrics[name] for name in ("parity", "training") if name in card.metrics},
        **statements(record.source for record in dataset.records)._asdict(),
    )
    return publish(folder, graph, card, inputs, run / "draft")
