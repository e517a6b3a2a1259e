"""The way of one slice, which everybody who judges slices takes."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from screener import Screener, quality
from screener.domain.finding import Decision
from screener.domain.slice import Prediction, Reason, Refused, Slice
from screener.errors import ModelError
from screener.evaluate.score import score_files
from screener.inbox import Entry, FileBytes, read
from screener.model.session import Model
from screener.pipeline.scan import Scan
from screener.pipeline.slice import (
    PipelineSettings,
    PreparedSlice,
    ScoredSlice,
    SlicePipeline,
    build_finding,
    heatmaps,
)
from screener.report.explain import explain, pipeline_with_evidence
from screener.report.overlay import Look
from screener.triage import TriagePolicy
from tests.conftest import tiny_card, write_model, write_slice

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def model(tiny_model: Path) -> Model:
    return Model.load(tiny_model)


@pytest.fixture
def policy(model: Model) -> TriagePolicy:
    return TriagePolicy(model.card.operating_points["auto"], 0.7, model.card.title, model.sha256)


def files_of(folder: Path) -> list[Path]:
    """Write a bright and a dark slice, a blank one, and one that is no picture."""
    bright = write_slice(folder / "bright.png", 1, bright=True)
    dark = write_slice(folder / "dark.png", 2)
    junk = folder / "junk.png"
    junk.write_bytes(b"no picture")
    return [bright, dark, junk]


def test_everybody_who_judges_a_slice_says_the_same(model: Model, policy: TriagePolicy, tmp_path: Path) -> None:
    files = files_of(tmp_path / "inbox")
    scanned = {one.path: one for one in Scan(tmp_path / "inbox", model, policy).findings()}
    tool = Screener(model.location.folder)
    evaluated = score_files(files, model)
    with pipeline_with_evidence(model) as pipeline:
        for index, file in enumerate(files):
            finding = scanned[file.name]
            item = pipeline.read(Entry(file, file.name, None)).items[0]
            shown = policy.refusal(item) if isinstance(item, Refused) else explain(item, pipeline, policy, Look(), "en")
            shown = shown if not hasattr(shown, "finding") else shown.finding
            assert tool.predict(file).probability == pytest.approx(finding.probability, abs=1e-6)
            assert shown.probability == pytest.approx(finding.probability, abs=1e-6)
            assert shown.reason == tool.predict(file).reason == finding.reason
            assert evaluated.reasons[index] == (finding.reason or "")
            expected = np.nan if finding.probability is None else finding.probability
            assert evaluated.scores[index] == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_answers_stand_in_the_order_of_the_slices(model: Model, policy: TriagePolicy, tmp_path: Path) -> None:
    with SlicePipeline.of(model) as pipeline:
        items = [pipeline.read(Entry(file, file.name, None)).items[0] for file in files_of(tmp_path)]
        found = pipeline.score([item for item in items if isinstance(item, FileBytes)])
    assert [build_finding(one, policy).decision for one in found] == [
        Decision.FLAGGED,
        Decision.NOT_FLAGGED,
        Decision.NOT_ASSESSABLE,
    ]
    assert [type(one) for one in found] == [ScoredSlice, ScoredSlice, Refused]


def test_nothing_to_score_asks_the_model_nothing(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "predict", None)
    with SlicePipeline.of(model) as pipeline:
        assert pipeline.score([]) == pipeline.predict([]) == []
    assert heatmaps(model, []) == []


def test_a_slice_that_quality_control_refuses_never_reaches_the_model(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "predict", None)
    slice_ = read(Entry(write_slice(tmp_path / "a.png"), "a.png", None))
    assert isinstance(slice_, Slice)
    blank = replace(slice_, pixels=np.zeros_like(slice_.pixels))
    with SlicePipeline.of(model) as pipeline:
        (found,) = pipeline.score([blank])
    assert isinstance(found, Refused)
    assert found.reason is Reason.BLANK


def test_too_little_memory_is_a_refusal(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(_: Slice) -> None:
        raise MemoryError

    monkeypatch.setattr(quality, "refuse", greedy)
    slice_ = read(Entry(write_slice(tmp_path / "a.png"), "a.png", None))
    assert isinstance(slice_, Slice)
    with SlicePipeline.of(model) as pipeline:
        found = pipeline.prepare(slice_)
    assert isinstance(found, Refused)
    assert found.reason is Reason.TOO_LARGE


def test_what_is_kept_of_the_pixels_travels_with_the_slice(model: Model, tmp_path: Path) -> None:
    slices = [read(Entry(write_slice(tmp_path / f"{one}.png", one), f"{one}.png", None)) for one in range(3)]
    chosen = [one for one in slices if isinstance(one, Slice)]
    with SlicePipeline.of(model, keep=lambda pixels, where: (float(pixels.mean()), where.size)) as pipeline:
        scored = pipeline.score(chosen)
    size = model.card.preprocessing.size
    assert [one.kept for one in scored if isinstance(one, ScoredSlice)] == [
        (float(slice_.pixels.mean()), size) for slice_ in chosen
    ]


def test_the_model_may_refuse_to_be_believed(model: Model, policy: TriagePolicy, tmp_path: Path) -> None:
    slice_ = read(Entry(write_slice(tmp_path / "a.png"), "a.png", None))
    with SlicePipeline.of(model) as pipeline:
        prepared = pipeline.prepare(slice_)  # type: ignore[arg-type]
        assert isinstance(prepared, PreparedSlice)
        (scored,) = pipeline.predict([replace(prepared, tensor=np.full_like(prepared.tensor, np.nan))])
    assert scored.refused is Reason.NON_FINITE_SCORE
    assert build_finding(scored, policy).decision is Decision.NOT_ASSESSABLE
    believed = ScoredSlice(scored.identity, Prediction(0.9))
    assert build_finding(believed, policy).decision is Decision.FLAGGED


def test_a_pipeline_is_built_anew_from_what_another_machine_is_sent(model: Model, tmp_path: Path) -> None:
    settings = replace(PipelineSettings.of(model, heatmaps=True), isolation="always")
    entry = Entry(write_slice(tmp_path / "a.png", bright=True), "a.png", None)
    sent = pickle.loads(pickle.dumps(settings))  # noqa: S301 - our own
    assert sent == settings
    with SlicePipeline(settings, model) as here, SlicePipeline(sent) as there:
        (mine,), (theirs,) = (
            one.score([item for item in one.read(entry).items if isinstance(item, FileBytes)]) for one in (here, there)
        )
    assert isinstance(mine, ScoredSlice)
    assert isinstance(theirs, ScoredSlice)
    assert theirs.identity == mine.identity
    assert theirs.prediction.probability == pytest.approx(mine.prediction.probability, abs=1e-6)
    assert np.allclose(theirs.prediction.heatmap, mine.prediction.heatmap, atol=1e-6)  # type: ignore[arg-type]


def test_a_worker_with_another_model_does_not_begin(model: Model, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", tiny_card(version="2.0.0")) / "model.onnx"
    settings = replace(PipelineSettings.of(model), model=str(other))
    with pytest.raises(ModelError, match="not the model that this scan began with"):
        SlicePipeline(settings)
