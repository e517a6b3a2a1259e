"""A released model on slices that chose nothing: figures, mistakes, and the page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from export.errors import DataError
from export.evaluation.evaluate import evaluate
from export.reports.render import write_results
from tests.conftest import write_slice

if TYPE_CHECKING:
    from pathlib import Path

    from tests.export.conftest import Labelled


def test_only_slices_of_the_test_set_are_counted(labelled: Labelled, tiny_model: Path) -> None:
    result = evaluate(labelled.data, labelled.run, tiny_model, "north")
    assert (result["slices"], result["positives"], result["units"]) == (12, 6, 6)
    assert result["model"] == "tiny 1.0.0"
    with pytest.raises(DataError, match="tested on no slice of 'south'"):
        evaluate(labelled.data, labelled.run, tiny_model, "south")


def test_each_mistake_is_listed_with_its_probability(labelled: Labelled, tiny_model: Path) -> None:
    result = evaluate(labelled.data, labelled.run, tiny_model, "north")
    mistakes = result["mistakes_at_auto"]
    assert [item["path"] for item in mistakes["missed"]] == ["north/0.png"]
    assert [item["path"] for item in mistakes["false_alarms"]] == ["north/2.png"]
    assert mistakes["missed"][0]["probability"] < result["operating_points"]["auto"]["threshold"]
    sensitivity = result["operating_points"]["auto"]["sensitivity"]
    assert (sensitivity["hits"], sensitivity["count"]) == (5, 6)


def test_a_refused_positive_is_missed_and_a_refused_negative_is_a_false_alarm(tiny_model: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    for name, yes in (("a", True), ("b", False)):
        write_slice(data / f"s/{name}.png", bright=yes)
        (data / f"s/{name}-cut.png").write_bytes((data / f"s/{name}.png").read_bytes()[:200])
    rows = [f"s/{name}{cut}.png" for name in "ab" for cut in ("", "-cut")]
    labels = ["yes", "yes", "no", "no"]
    (data / "manifest.csv").write_text(
        "path,label,source\n" + "".join(f"{path},{label},s\n" for path, label in zip(rows, labels, strict=True))
    )
    run.mkdir()
    (run / "groups.csv").write_text(
        "path,group,unit,set\n" + "".join(f"{path},{place},{place},test\n" for place, path in enumerate(rows))
    )
    result = evaluate(data, run, tiny_model, "s")
    assert result["refusals"] == {"corrupt": 2}
    point = result["operating_points"]["auto"]
    assert (point["sensitivity"]["hits"], point["specificity"]["hits"]) == (1, 1)
    assert point["assessable_sensitivity"]["value"] == point["assessable_specificity"]["value"] == 1.0
    assert result["mistakes_at_auto"]["missed"][0] == {
        "path": "s/a-cut.png",
        "probability": None,
        "reason": "corrupt",
    }
    write_results(tmp_path / "page", "evaluation", result)
    text = (tmp_path / "page.md").read_text()
    assert "2 `corrupt`." in text
    assert "Missed: `s/a-cut.png` (corrupt)." in text
    assert json.loads((tmp_path / "page.json").read_text())["units"] == 4
