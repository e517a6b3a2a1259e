"""Reports from templates: committed pages again from their JSON, and what becomes of hostile names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pytest

from export.release.model_card import render
from export.reports import ablation, audit, cross_validation
from export.reports.figures import counted, interval, number, ordered, rate
from export.reports.render import environment, markdown, one_line, write_page, write_results
from screener.domain.estimate import Rate
from screener.errors import UsageError
from screener.model.session import Model

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "docs/results"
FIGURE = {"value": 0.5, "low": 0.25, "high": 0.75, "hits": 2, "count": 4, "units": 3}


def nothing(_: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {}


@pytest.mark.parametrize(
    ("name", "template", "derived"),
    [
        ("ablation", "ablation", ablation.ablation_table),
        ("audit", "audit", audit.summary),
        ("cross-fit", "cross_fit", nothing),
        ("kaggle253", "evaluation", nothing),
        ("leak", "leak", nothing),
        ("leave-one-out", "leave_one_out", nothing),
        ("quality-control", "quality_control", nothing),
        ("recipes", "recipes", cross_validation.main_rows),
        ("whole-heads", "whole_heads", nothing),
        ("whole-heads-former", "whole_heads", nothing),
    ],
)
def test_a_committed_page_is_what_its_json_renders_to(
    name: str, template: str, derived: Callable[[Any], dict[str, Any]]
) -> None:
    result = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    assert markdown(template, result=result, **derived(result)) == (RESULTS / f"{name}.md").read_text("utf-8")


@pytest.mark.skipif(not (ROOT / "models/lite/model.onnx").exists(), reason="no shipped model in this checkout")
def test_the_shipped_model_card_has_every_figure_of_the_card() -> None:
    text = render(Model.load(ROOT / "models/lite").card)
    shipped = (ROOT / "models/lite/MODEL_CARD.md").read_text("utf-8")
    assert [line for line in shipped.splitlines() if line.startswith("|")] == [
        line for line in text.splitlines() if line.startswith("|")
    ]
    assert text.endswith("tolerance 0.001.\n")
    assert "\n\n\n" not in text


def test_figures_are_shown_with_interval_and_counts() -> None:
    assert interval(FIGURE) == "0.500 (0.250–0.750)"
    assert interval({"value": 0.5, "low": None, "high": None}) == "0.500"
    assert counted(FIGURE) == "0.500 (0.250–0.750; 2/4)"
    assert counted(FIGURE, "patients") == "0.500 (0.250–0.750; 2/4 patients)"
    assert rate(FIGURE) == rate(Rate(**FIGURE)) == "0.500 (0.250–0.750; 2/4 slices, 3 units)"
    assert number(0.12345, 4) == "0.1235"


@pytest.mark.parametrize("missing", [None, {"value": None}, Rate(None)])
def test_a_figure_that_was_not_measured_is_a_dash_or_says_so(missing: Any) -> None:  # noqa: ANN401 - of several types
    assert interval(missing) == counted(missing) == number(None) == "–"
    assert rate(missing) == "not measured"


def test_rows_keep_their_order_whatever_the_order_of_the_keys() -> None:
    rows = {"b": 1, "unknown": 2, "a": 3}
    backwards = dict(reversed(rows.items()))
    assert ordered(rows, ("unknown",)) == ordered(backwards, ("unknown",)) == [("unknown", 2), ("a", 3), ("b", 1)]


def test_a_paragraph_of_a_template_is_one_line() -> None:
    assert one_line("\n  one\n   two  words\n\n") == "one two  words\n"


def test_a_value_that_is_missing_is_an_error_and_leaves_no_page(tmp_path: Path) -> None:
    with pytest.raises(jinja2.UndefinedError):
        markdown("leak", result={"source": "s"})
    with pytest.raises(jinja2.UndefinedError):
        write_page(tmp_path / "index.html", "run", run="r", result={})
    assert not list(tmp_path.iterdir())


def test_a_page_escapes_names_and_spells_out_control_characters() -> None:
    page = environment().get_template("macros.html.j2").module
    table = str(page.table(("<b>", "n"), [("a\x1b[31m<script>", 1)], 'cap"tion'))  # type: ignore[attr-defined]
    assert "<script>" not in table
    assert "&lt;b&gt;" in table
    assert "a\\x1b[31m&lt;script&gt;" in table
    assert 'aria-label="cap&#34;tion"' in table
    assert '<td class="number">1</td>' in table


def test_a_page_runs_no_script_loads_nothing_and_replaces_only_its_like(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("somebody's notes")
    with pytest.raises(UsageError, match="is no document of screener"):
        write_page(tmp_path / "index.html", "base")
    for _ in range(2):
        write_page(tmp_path / "page.html", "base")
    page = (tmp_path / "page.html").read_text()
    assert "default-src 'none'" in page
    assert "http://" not in page
    assert "https://" not in page
    assert (tmp_path / "page.html").stat().st_mode & 0o077 == 0


def test_results_are_written_whole_into_a_new_folder(tmp_path: Path) -> None:
    result = json.loads((RESULTS / "leak.json").read_text())
    write_results(tmp_path / "new/leak", "leak", result)
    assert json.loads((tmp_path / "new/leak.json").read_text()) == result
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["leak.json", "leak.md"]
