"""Explained slices, and the commands ``explain``, ``report``, ``worklist`` and ``scan --report``."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from report_models import triage_policy, write_model, write_slice
from typer.testing import CliRunner

from export.data.phantoms import phantom
from screener.cli.main import app
from screener.domain.finding import Urgency
from screener.domain.slice import Identity, Slice
from screener.errors import AuditLogError, ExitCode, ModelError, NothingFoundError, UsageError
from screener.messages import NOTICE
from screener.preprocess import prepare
from screener.report.explain import explain, pipeline_with_evidence
from screener.report.layers import drawing, feature_maps, sheet
from screener.report.messages import EVIDENCE
from screener.report.overlay import Look

if TYPE_CHECKING:
    from pathlib import Path

    from screener.model.session import Model


def run(*words: str | Path) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, [str(word) for word in words], env={"LANG": "en"})
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.stdout, found.stderr


def slice_of(picture: np.ndarray, path: str = "a.png") -> Slice:
    return Slice(Identity(path, "c" * 64, None), picture.astype(np.float32) / 255)


@pytest.fixture
def slices(tmp_path: Path) -> list[Path]:
    files = [tmp_path / "in" / f"s{seed}.png" for seed in (0, 1)]
    for seed, file in enumerate(files):
        write_slice(file, phantom(seed, 300, tumour=seed == 0))
    return files


@pytest.fixture
def model(bright: Model) -> Path:
    return bright.location.folder


def test_overlay_points_at_the_mass(bright: Model) -> None:
    picture = phantom(0, 300, tumour=True)
    found = explain(slice_of(picture), pipeline_with_evidence(bright), triage_policy(bright), Look(blend=1.0), "en")
    assert found.finding.urgency is Urgency.HIGH
    over = found.pictures["overlay"]
    assert over.shape == (300, 300, 3)
    y, x = np.unravel_index(int(over.astype(int).sum(axis=2).argmax()), (300, 300))
    mass = cv2.GaussianBlur(picture, (0, 0), 8)
    assert mass[y, x] > 0.7 * mass.max(), "on the mass or the line around it"


def test_what_cannot_be_judged_is_not_explained(bright: Model) -> None:
    found = explain(slice_of(np.zeros((100, 100))), pipeline_with_evidence(bright), triage_policy(bright), Look(), "en")
    assert (found.finding.urgency, found.pictures) == (Urgency.REVIEW, {})


def test_command_writes_overlay_and_sheet_and_says_what_they_are(
    slices: list[Path], model: Path, tmp_path: Path
) -> None:
    code, out, _ = run("explain", *slices, "--model", model, "--out", tmp_path / "out")
    assert code == ExitCode.OK
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert [name.rpartition("-")[0] for name in names] == ["s0.png", "s0.png", "s1.png", "s1.png"]
    assert [name.split(".")[-2] for name in names] == ["combined", "overlay"] * 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()} == {0o600}
    assert EVIDENCE["en"] in out
    assert NOTICE["en"] in out
    assert all(str(tmp_path / "out" / name) in out for name in names)
    assert {path.name for path in (tmp_path / "in").iterdir()} == {"s0.png", "s1.png"}, "nothing in the inbox"


def test_nothing_is_overwritten_and_the_others_get_their_turn(slices: list[Path], model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("explain", slices[0], "--model", model, "--out", out)
    before = {path: path.read_bytes() for path in out.iterdir()}
    code, _, err = run("explain", *slices, "--model", model, "--out", out, "--colormap", "jet")
    assert code == ExitCode.USAGE
    assert "is left alone" in err
    assert len(list(out.iterdir())) == 4
    assert all(path.read_bytes() == data for path, data in before.items())


def test_a_name_as_long_as_names_may_be_is_explained(slices: list[Path], model: Path, tmp_path: Path) -> None:
    long = slices[0].rename(slices[0].with_name("é" * 124 + ".png"))
    assert run("explain", long, "--model", model, "--out", tmp_path / "out")[0] == ExitCode.OK
    names = [path.name for path in (tmp_path / "out").iterdir()]
    assert len(names) == 2
    assert all(name.startswith("é" * 100 + "-") for name in names)


def test_pictures_go_to_the_state_folder_unless_told(
    slices: list[Path], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert run("explain", slices[0], "--model", model)[0] == ExitCode.OK
    assert len(list((tmp_path / "state" / "screener" / "explained").iterdir())) == 2


def test_a_file_that_is_no_slice_gets_its_reason(slices: list[Path], model: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "letter\n.png").write_bytes(b"Dear colleague")
    code, out, _ = run(
        "explain",
        tmp_path / "in" / "letter\n.png",
        slices[0],
        "--model",
        model,
        "--out",
        tmp_path / "o",
        "--lang",
        "fr",
    )
    assert code == ExitCode.NOT_ASSESSABLE
    assert "letter\\n.png: NON ÉVALUABLE" in out
    assert len(list((tmp_path / "o").iterdir())) == 2


def test_bad_options_are_found_before_anything_is_written(slices: list[Path], model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError):
        run("explain", slices[0], "--model", model, "--out", out, "--colormap", "rainbow")
    with pytest.raises(NothingFoundError):
        run("explain", slices[0], tmp_path / "none.png", "--model", model, "--out", out)
    with pytest.raises(ModelError, match="has no heatmap"):
        run("explain", slices[0], "--model", write_model(tmp_path / "m", heatmap=False), "--out", out)
    assert not out.exists()


def test_early_layers_are_shown_when_the_model_brings_them(slices: list[Path], model: Path, tmp_path: Path) -> None:
    code, out, _ = run("explain", slices[0], "--model", model, "--out", tmp_path / "out", "--layers")
    assert code == ExitCode.OK
    assert ".layers.png" in out
    with pytest.raises(ModelError, match="came without its early layers"):
        run("explain", slices[0], "--model", write_model(tmp_path / "m"), "--out", tmp_path / "o", "--layers")


def test_feature_maps_come_in_the_order_of_what_they_show(bright: Model) -> None:
    maps = feature_maps(bright, prepare(phantom(0, tumour=True).astype(np.float32) / 255, bright.card.preprocessing))
    assert {name: found.shape for name, found in maps.items()} == {"pooled": (16, 16, 1)}
    varied = np.stack([np.zeros((4, 4)), np.eye(4) * 9, np.eye(4)], axis=-1).astype(np.float32)
    tiles = sheet(varied, most=2)
    assert tiles.shape == (116, 8 * 116, 3)
    assert tiles[:112, :112].std() > 0
    assert drawing({"one": varied, "two": varied}, "note").shape[1] == 8 * 116


def test_morning_on_the_command_line(inbox: Path, model: Path, tmp_path: Path) -> None:
    log, page = tmp_path / "log.jsonl", tmp_path / "list.html"
    code, _, _ = run("scan", inbox, "--nice", "0", "--model", model, "--log", log, "--report", page)
    assert code == ExitCode.NOT_ASSESSABLE
    assert page.read_bytes().count(b"<article") == 3, "one a study"
    code, out, _ = run("worklist", "--log", log)
    assert code == ExitCode.OK
    assert out.count("HIGH  ") == 3
    assert "3 studies wait: 3 HIGH, 0 MEDIUM, 0 REVIEW" in out
    assert str(inbox / "p000") in out
    code, out, _ = run("worklist", "--log", log, "--level", "slice")
    assert "4 slices wait: 3 HIGH, 0 MEDIUM, 1 REVIEW" in out
    assert str(inbox / "p000" / "s000.png") in out
    code, out, _ = run("worklist", "--log", log, "--json")
    assert out.count('"urgency": "HIGH"') == 3
    code, out, _ = run("worklist", "--log", log, "--top", "1", "--lang", "fr")
    assert "2 autres" in out
    code, out, _ = run("report", tmp_path / "again.html", "--log", log, "--model", model)
    assert (code, out) == (ExitCode.OK, f"{tmp_path / 'again.html'}\n")
    with pytest.raises(AuditLogError):
        run("worklist", "--log", tmp_path / "none.jsonl")


def test_scan_refuses_a_page_it_may_not_write_before_it_starts(inbox: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        run(
            "scan",
            inbox,
            "--nice",
            "0",
            "--model",
            model,
            "--log",
            tmp_path / "log.jsonl",
            "--report",
            inbox / "list.html",
        )
    assert not (tmp_path / "log.jsonl").exists()


def test_damaged_log_is_listed_up_to_the_damage(inbox: Path, model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    run("scan", inbox, "--nice", "0", "--model", model, "--log", log)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    with pytest.raises(AuditLogError, match="chain breaks"):
        run("worklist", "--log", log)
    with pytest.raises(AuditLogError, match="chain breaks"):
        run("report", tmp_path / "list.html", "--log", log, "--model", model)
    assert b"<article" in (tmp_path / "list.html").read_bytes()
    table = tmp_path / "verdicts.csv"
    table.write_text(f"result,final_diagnosis\n{json.loads(lines[1])['hash']},tumour\n")
    with pytest.raises(AuditLogError, match="chain breaks"):
        run("review", "--import", table, "--doctor", "dr.a", "--log", log)
    assert log.read_bytes().count(b'"event":"REVIEW"') == 1, "what can be recorded is"
