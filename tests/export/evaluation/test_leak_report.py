"""The warning about flipped copies compares like with like."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from export.errors import DataError
from export.evaluation import leak
from export.reports.render import write_results
from screener.evaluate.metrics import Scored, operating_figures, summary

if TYPE_CHECKING:
    from pathlib import Path


def scored(_: Path, run: Path, __: str) -> dict[str, Any]:
    scores = np.array([0.1, 0.9, 0.8, 0.2] if run.name == "control" else [0.1, 0.2, 0.8, 0.9])
    labelled = Scored(np.array([0, 0, 1, 1]), scores, np.arange(4))
    return {"epochs": 3, **summary(labelled), "at_default": operating_figures(labelled, 0.5)}


def runs(folder: Path, **control: object) -> tuple[Path, Path]:
    for name, options in (("leaking", {"ignore_flips": True}), ("control", {"ignore_flips": False} | control)):
        (folder / name).mkdir()
        (folder / name / "options.json").write_text(json.dumps({"recipe": "lite", "seed": 1} | options))
    return folder / "leaking", folder / "control"


def test_the_page_compares_both_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leak, "_figures", scored)
    result = leak.leak(tmp_path, *runs(tmp_path), "kept")
    write_results(tmp_path / "result", "leak", result)
    table = (tmp_path / "result.md").read_text()
    assert "| flipped copies left in | 1.000 " in table
    assert "| leak-free | 0.500 " in table
    assert json.loads((tmp_path / "result.json").read_text())["recipe"] == "lite"


@pytest.mark.parametrize("control", [{"seed": 2}, {"ignore_flips": True}])
def test_runs_that_differ_in_another_option_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, control: dict[str, Any]
) -> None:
    monkeypatch.setattr(leak, "_figures", None)  # refused before anything is measured
    with pytest.raises(DataError, match="not in --ignore-flips alone"):
        leak.leak(tmp_path, *runs(tmp_path, **control), "kept")
