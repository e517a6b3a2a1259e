"""The bench: its inboxes, its contestants, and that the pages say what the figures say."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from bench import inboxes
from bench.venvs import UnavailableError, environment, megabytes
from bench.watch import Contestant, FailedError, first_line, watched
from screener.domain.slice import Slice
from screener.inbox import WalkOptions, check, find, read

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs/results"
SHIPPED = pytest.mark.skipif(not (ROOT / "models/lite/model.onnx").exists(), reason="no shipped model in this checkout")
DEMO = [
    ROOT / f"docs/demo/inbox/patient-{number:02}/{name}" for number, name in ((1, "Te-gl_0010.jpg"), (10, "s1045.png"))
]


@pytest.mark.parametrize(("module", "name"), [("speed_report", "bench"), ("log", "log"), ("pages", "pages")])
def test_a_committed_page_is_what_its_json_renders_to(module: str, name: str) -> None:
    figures = json.loads((RESULTS / f"{name}.json").read_text())
    assert importlib.import_module(f"bench.{module}").report(figures) == (RESULTS / f"{name}.md").read_text()


def test_no_two_files_of_a_tree_are_the_same_and_all_can_be_read(tmp_path: Path) -> None:
    inbox = inboxes.tree(DEMO, 45, tmp_path / "tree")
    entries = list(find(inbox))
    assert len(entries) == 45
    assert {entry.patient_id for entry in entries} == {f"patient-{number:06}" for number in range(3)}
    slices = [read(entry) for entry in entries]  # type: ignore[arg-type]
    assert all(isinstance(one, Slice) for one in slices)
    assert len({one.identity.sha256 for one in slices}) == 45


def test_a_folder_of_many_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inboxes, "_LINKS", 4)
    folder = inboxes.flat(DEMO[0], 11, tmp_path / "flat")
    assert len(list(folder.iterdir())) == 11
    assert len({file.stat().st_ino for file in folder.iterdir()}) == 3
    check(folder, WalkOptions())


@SHIPPED
def test_a_contestant_answers_or_fails_with_the_reason(tmp_path: Path) -> None:
    listing = inboxes.listing(DEMO, tmp_path / "two.txt")
    with Contestant(Path(sys.executable), "onnxruntime", listing) as contestant:
        assert contestant.slices == {"each": 2}
        assert contestant.seconds("each") > 0
    listing.write_text("/missing.png\n")
    with (
        Contestant(Path(sys.executable), "onnxruntime", listing) as contestant,
        pytest.raises(FailedError, match="FileNotFoundError"),
    ):
        contestant.seconds("each")
    with pytest.raises(FailedError, match="ModuleNotFoundError: No module named 'detect_tumor'"):
        Contestant(Path(sys.executable), "detect-tumor", listing)


def test_an_environment_that_cannot_be_made_names_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UnavailableError, match="No matching distribution"):
        environment(tmp_path / "venv", "no-such-package==1.0")
    assert environment(tmp_path / "empty", constraints=None).is_file()
    assert 0 < megabytes(tmp_path / "empty") < 50


def test_a_process_is_watched_with_its_children() -> None:
    child = "import time; held = bytearray(80 << 20); time.sleep(1)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    seen = watched([sys.executable, "-c", parent])
    assert seen.megabytes > 80
    assert seen.seconds > 1


def test_the_first_line_counts_not_the_last() -> None:
    program = "import time; print('found', flush=True); time.sleep(60)"
    assert first_line([sys.executable, "-c", program]) < 50
    with pytest.raises(SystemExit, match="said nothing"):
        first_line([sys.executable, "-c", ""])
