"""Commands that measure a released model: what they print, write and refuse; none of these needs TensorFlow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from export.cli import main
from export.evaluation import out_of_distribution
from tests.conftest import write_slice

if TYPE_CHECKING:
    from pathlib import Path

    from tests.export.conftest import Labelled


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run a command; return its exit code, and what it wrote to stdout and stderr."""
    monkeypatch.setattr("sys.argv", ["export", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main.main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_evaluate_prints_the_page_that_it_writes(
    labelled: Labelled,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("--data", labelled.data, "--run", labelled.run, "--model", tiny_model, "--out", tmp_path / "new/north")
    code, out, _ = run(monkeypatch, capsys, "evaluate", *words, "--source", "north")
    assert code == 0
    assert out.startswith("# north: slices that chose nothing\n")
    assert (tmp_path / "new/north.md").read_text() in out
    assert json.loads((tmp_path / "new/north.json").read_text())["slices"] == 12


def test_evaluate_refuses_a_source_that_chose_something(
    labelled: Labelled,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("--data", labelled.data, "--run", labelled.run, "--model", tiny_model, "--out", tmp_path / "south")
    code, out, err = run(monkeypatch, capsys, "evaluate", *words, "--source", "south")
    assert (code, out) == (2, "")
    assert "tested on no slice of 'south'" in err
    assert "hint: name a source that was given as --test-source" in err
    assert not list(tmp_path.iterdir())


def test_out_of_distribution_prints_what_is_kept_and_refused(
    labelled: Labelled,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(out_of_distribution, "_photographs", lambda: iter(()))
    monkeypatch.setattr(out_of_distribution, "_dicom_files", lambda _: iter(()))
    words = ("--data", labelled.data, "--run", labelled.run, "--model", tiny_model, "--out", tmp_path / "qc")
    code, out, _ = run(monkeypatch, capsys, "out-of-distribution", *words)
    assert code == 0
    assert out.startswith("# Quality control\n")
    assert json.loads((tmp_path / "qc.json").read_text())["refused"]["noise"]["value"] == 1.0


def test_an_unknown_set_or_loss_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    where = ("--data", tmp_path, "--run", tmp_path / "run")
    code, _, err = run(monkeypatch, capsys, "report", *where, "--out", tmp_path / "r", "--set", "certify")
    assert code == 2
    assert "choose tune or test" in err
    code, _, err = run(monkeypatch, capsys, "train", *where, "--loss", "hinge")
    assert code == 2
    assert "hinge" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train", "convert", "evaluate", "compare", "leave-one-out", "report"])
def test_every_command_needs_data(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SCREENER_DATA", raising=False)
    code, out, err = run(monkeypatch, capsys, command, "--run", "run")
    assert code == 2
    assert out == ""
    assert "--data" in err


def test_a_model_folder_without_a_model_is_named(
    labelled: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_slice(tmp_path / "model/picture.png")
    words = ("--data", labelled.data, "--run", labelled.run, "--model", tmp_path / "model", "--out", tmp_path / "x")
    code, _, err = run(monkeypatch, capsys, "evaluate", *words, "--source", "north")
    assert code == 7
    assert str(tmp_path / "model") in err
    assert not (tmp_path / "x.json").exists()
