"""The pipeline itself: order, bounds, and an inbox or a model that changes under it."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from screener import quality
from screener.domain.finding import Decision
from screener.domain.slice import Reason
from screener.errors import ModelError, NothingFoundError
from screener.inbox import RefusedError
from screener.model.session import Model
from screener.pipeline import slice as slices
from screener.pipeline.config import ScanConfig
from screener.pipeline.executor import LOG_BATCH, ThreadExecutor
from screener.pipeline.scan import Scan, summary_counts
from screener.triage import TriagePolicy
from tests.conftest import many, tiny_card, write_model, write_slice

if TYPE_CHECKING:
    from pathlib import Path

    from screener.preprocess import Frame


@pytest.fixture
def model(tiny_model: Path) -> Model:
    return Model.load(tiny_model)


def triage_policy(model: Model) -> TriagePolicy:
    return TriagePolicy(model.card.operating_points["auto"], 0.7, model.card.title, model.sha256)


@pytest.mark.parametrize("jobs", [1, 3])
def test_findings_come_in_the_order_of_the_walk(model: Model, tmp_path: Path, jobs: int) -> None:
    inbox = many(tmp_path / "inbox", 70)
    for number in range(0, 70, 9):  # refusals overtake nobody
        (inbox / f"{number}.png").write_bytes(b"no picture")
    found = list(Scan(inbox, model, triage_policy(model), config=ScanConfig(jobs=jobs)).findings())
    assert [finding.path for finding in found] == sorted(f"{number}.png" for number in range(70))
    assert sum(finding.decision is Decision.NOT_ASSESSABLE for finding in found) == 8


def test_scores_do_not_depend_on_the_company(model: Model, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    for number in range(20):
        write_slice(inbox / f"{number:02}.png", number, bright=number % 3 == 0, size=64 + number)
    together = {f.path: f.probability for f in Scan(inbox, model, triage_policy(model)).findings()}
    for path in ("00.png", "07.png", "19.png"):
        alone = write_slice(
            tmp_path / path / path, int(path[:2]), bright=int(path[:2]) % 3 == 0, size=64 + int(path[:2])
        )
        (finding,) = Scan(alone.parent, model, triage_policy(model)).findings()
        assert finding.probability == pytest.approx(together[path], abs=1e-6)


def test_counts_add_up(model: Model, inbox: Path) -> None:
    (inbox / "x.png").write_bytes(b"")
    scan = Scan(inbox, model, triage_policy(model))
    found = list(scan.findings())
    counts = summary_counts(scan.counts)
    assert counts["files"] == len(found) == 5
    assert counts["flagged"] + counts["not_flagged"] + counts["not_assessable"] == 5
    assert counts["HIGH"] + counts["MEDIUM"] + counts["REVIEW"] + counts["LOW"] == 5
    assert counts["REVIEW"] == counts["not_assessable"] == 1


def test_only_a_bounded_number_of_files_is_read_ahead(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = many(tmp_path / "inbox", 200)
    read = itertools.count()
    seen = []
    fetch = slices.fetch

    def counting(*arguments: object) -> object:
        seen.append(next(read))
        return fetch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(slices, "fetch", counting)
    findings = Scan(inbox, model, triage_policy(model)).findings()
    next(findings)
    assert len(seen) <= 2 * LOG_BATCH + 2 * ThreadExecutor.batches_ahead + ThreadExecutor.files_ahead
    findings.close()


def test_stop_finishes_what_is_in_hand(model: Model, tmp_path: Path) -> None:
    scan = Scan(many(tmp_path / "inbox", 200), model, triage_policy(model))
    findings = scan.findings()
    next(findings)
    scan.stop()
    rest = list(findings)
    assert scan.stopped
    assert scan.counts["files"] == 1 + len(rest) < 200


def test_breaking_off_leaves_no_thread_behind(model: Model, tmp_path: Path) -> None:
    before = threading.active_count()
    findings = Scan(many(tmp_path / "inbox", 100), model, triage_policy(model)).findings()
    next(findings)
    findings.close()
    assert threading.active_count() == before


def test_a_mount_point_left_empty_is_not_an_empty_inbox(model: Model, tmp_path: Path) -> None:
    inbox = many(tmp_path / "inbox", 100)
    scan = Scan(inbox, model, triage_policy(model))
    findings = scan.findings()
    found = [next(findings)]
    inbox.rename(tmp_path / "away")
    inbox.mkdir()
    with pytest.raises(NothingFoundError, match="vanished"):
        found.extend(findings)
    # What could still be read is told, the rest is no refusal: the next run takes it.
    assert {finding.decision for finding in found} == {Decision.FLAGGED}
    assert len(found) < 100


def test_an_inbox_gone_before_its_first_file(model: Model, tmp_path: Path) -> None:
    inbox = many(tmp_path / "inbox", 3)
    scan = Scan(inbox, model, triage_policy(model))
    inbox.rename(tmp_path / "away")
    with pytest.raises(NothingFoundError):
        list(scan.findings())


def test_one_folder_that_cannot_be_listed_is_a_refusal(
    model: Model, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    listing = os.scandir

    def guarded(folder: bytes | Path) -> object:
        if os.fsencode(folder).endswith(b"/p0"):
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    found = list(Scan(inbox, model, triage_policy(model)).findings())
    assert [(finding.path, finding.reason) for finding in found[:1]] == [("p0", Reason.UNREADABLE)]
    assert len(found) == 3


def test_a_replaced_model_scores_nothing_more(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    model = Model.load(folder)
    inbox = many(tmp_path / "inbox", 200)
    findings = Scan(inbox, model, triage_policy(model)).findings()
    next(findings)
    draft = write_model(tmp_path / "new", tiny_card(version="2.0.0")) / "model.onnx"
    draft.replace(folder / "model.onnx")
    with pytest.raises(ModelError, match="replaced"):
        list(findings)


def test_too_little_memory_for_one_slice_costs_that_slice(
    model: Model, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    refuse = quality.refuse

    def greedy(slice_: object) -> object:
        if slice_.identity.path == "p0/1.png":  # type: ignore[attr-defined]
            raise MemoryError
        return refuse(slice_)  # type: ignore[arg-type]

    monkeypatch.setattr(quality, "refuse", greedy)
    found = {finding.path: finding for finding in Scan(inbox, model, triage_policy(model)).findings()}
    assert found["p0/1.png"].reason is Reason.TOO_LARGE
    assert sum(finding.reason is None for finding in found.values()) == 3


@pytest.mark.parametrize("stopping", [False, True])
def test_a_decoder_that_dies_with_the_run_blames_no_file(
    model: Model, inbox: Path, monkeypatch: pytest.MonkeyPatch, *, stopping: bool
) -> None:
    scan = Scan(inbox, model, triage_policy(model))

    def dying(*_: object) -> None:
        if stopping:
            scan.stop()
        raise RefusedError(Reason.DECODER_CRASHED, "killed")

    monkeypatch.setattr(slices.SafeDecoder, "__call__", dying)
    reasons = [finding.reason for finding in scan.findings()]
    assert reasons == ([] if stopping else [Reason.DECODER_CRASHED] * 4)


def test_options_reach_the_walk(model: Model, inbox: Path) -> None:
    (inbox / "link.png").symlink_to(inbox / "p0/0.png")
    scan = Scan(inbox, model, triage_policy(model))
    assert len(list(scan.findings())) == 4
    assert summary_counts(scan.counts)["skipped"] == 1, "a link that is not followed is message of"
    follow = ScanConfig(follow_symlinks=True)
    assert len(list(Scan(inbox, model, triage_policy(model), config=follow).findings())) == 5
    assert len(list(Scan(inbox, model, triage_policy(model), config=ScanConfig(limit=2)).findings())) == 2


def test_the_heatmap_of_each_finding_is_its_own(model: Model, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    for number in range(6):
        write_slice(inbox / f"{number}.png", number, bright=number % 2 == 0)
    (inbox / "3b.png").write_bytes(b"junk")
    shown: dict[str, tuple[object, object]] = {}

    class Eye:
        def thumbnail(self, pixels: np.ndarray, where: Frame) -> object:
            assert where.cut(pixels).shape == (model.card.preprocessing.size,) * 2
            return float(pixels.mean())

        def see(self, finding: object, thumbnail: object, heatmap: object) -> None:
            shown[finding.path] = (thumbnail, heatmap)  # type: ignore[attr-defined]

        def see_study(self, study: object) -> None:
            studies.append(study)

    studies: list[object] = []
    scan = Scan(inbox, model, triage_policy(model))
    scan.observer = Eye()
    list(scan.findings())
    assert shown.pop("3b.png") == (None, None)
    assert len(studies) == len(shown) + 1
    for mean, heatmap in shown.values():
        assert np.mean(heatmap) == pytest.approx(mean, abs=0.02)  # the tiny model's heatmap is its pooled picture
