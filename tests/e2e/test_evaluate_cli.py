"""``screener evaluate`` as it is typed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.conftest import write_slice

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Command


def labelled(folder: Path) -> Path:
    for number in range(8):
        write_slice(folder / f"set/{'yes' if number % 2 else 'no'}/p{number}/a.png", number, bright=number % 2 == 1)
    return folder / "set"


def test_a_set_is_measured_and_required_lines_decide_the_exit_code(screener: Command, tmp_path: Path) -> None:
    source, out = labelled(tmp_path), tmp_path / "report.html"
    found = screener("evaluate", source, "--model", screener.model, "--out", out)
    assert found.returncode == 0, found.stderr
    assert "Release checklist" in found.stdout
    assert "not a medical device" in found.stdout
    assert out.read_text().startswith("<!doctype html>")
    required = screener("evaluate", source, "--model", screener.model, "--require", "surveillance", "--json")
    assert required.returncode == 9
    assert "surveillance plan: not shown" in required.stderr
    measured = json.loads(required.stdout)
    assert measured["checklist"], "what was measured is told all the same"
    assert measured["studies"]["confusion"] == {"caught": 4, "alarms": 0, "quiet": 4, "missed": 0}


def test_bad_lines_are_reported_and_change_the_exit_code(screener: Command, tmp_path: Path) -> None:
    source = labelled(tmp_path) / "set.csv"
    source.write_text("path,label\nyes/p1/a.png,yes\nno/p0/a.png,perhaps\n")
    found = screener("evaluate", source, "--model", screener.model)
    assert found.returncode == 4
    assert "set.csv:3:" in found.stderr
    assert "specificity and AUC cannot be known" in found.stdout


def test_what_cannot_be_measured_is_told_first(screener: Command, tmp_path: Path) -> None:
    source = labelled(tmp_path)
    (tmp_path / "empty").mkdir()
    for words, code in (
        ((source, "--require", "luck"), 2),
        ((source, "--evidence", tmp_path / "none.json"), 2),
        ((source, "--out", tmp_path / "missing/report.html"), 2),
        ((source, "--threshold", "2"), 2),
        ((tmp_path / "empty",), 3),
        ((tmp_path / "missing",), 2),
    ):
        found = screener("evaluate", *words, "--model", screener.model)
        assert found.returncode == code, found.stderr
        assert "hint:" in found.stderr
