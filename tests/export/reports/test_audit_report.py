"""Sentences and rows of the audit, where figures are missing as well."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from export.reports.audit import cut_rows, label_rows, sentences, set_sentences, source_rows, summary
from export.reports.render import markdown

RESULTS = Path(__file__).resolve().parents[3] / "docs/results"
INTERVAL = {"value": 0.8, "low": 0.7, "high": 0.9}


@pytest.fixture
def result() -> dict[str, Any]:
    """Return the figures of the committed audit, free to change."""
    figures: dict[str, Any] = copy.deepcopy(json.loads((RESULTS / "audit.json").read_text()))
    return figures


def page(result: dict[str, Any]) -> str:
    return markdown("audit", result=result, **summary(result))


def test_a_source_with_one_label_is_named(result: dict[str, Any]) -> None:
    assert any(line.startswith("One label only") for line in sentences(result))
    for row in result["counts"]["source"].values():
        row["yes"], row["no"] = 3, 4
    lines = sentences(result)
    assert not any(line.startswith("One label only") for line in lines)
    count = len(result["counts"]["source"])
    assert lines[0] == f"{7 * count} slices: {3 * count} with tumour, {4 * count} without, from {count} sources."


def test_refusals_are_counted_by_check(result: dict[str, Any]) -> None:
    refused = [{"path": f"{check}.png", "check": check, "reason": "why"} for check in ("reader", "model", "model")]
    result["implausible"]["refused"] = refused
    expected = "3 slices do not pass as a brain MRI: 1 by the reader, 2 by the embedding check."
    assert expected in sentences(result)
    assert "- `model.png`: embedding check, why" in page(result)
    result["implausible"]["refused"] = []
    assert "0 slices do not pass as a brain MRI: none." in sentences(result)


def test_sets_say_where_they_come_from_and_leaks_reach_the_summary(result: dict[str, Any]) -> None:
    sets = {"origin": "computed", "refused": "", "leaking_units": 0}
    assert list(set_sentences(sets)) == [
        "Sets computed as training would; 0 leak-free units lie in more than one of them."
    ]
    read = "Sets read from mine.csv; 2 leak-free units lie in more than one of them."
    assert list(set_sentences(sets | {"origin": "mine.csv", "leaking_units": 2})) == [read]
    assert list(set_sentences(sets | {"refused": "too few"})) == ["No groups.csv was written: too few."]
    assert not any(line.startswith("Sets ") for line in sentences(result))
    result["sets"] |= {"origin": "mine.csv", "leaking_units": 2}
    assert read in sentences(result)


def test_a_figure_that_could_not_be_computed_gives_its_reason() -> None:
    missing = {"accuracy": None, "why": "one source"}
    known = {"accuracy": INTERVAL, "largest": 0.4, "balanced_accuracy": 0.6}
    assert source_rows({"picture": missing, "file": known}) == [
        ("picture", "one source", "–", "–"),
        ("file", "0.800 (0.700–0.900)", 0.4, 0.6),
    ]
    cut = {"balanced_accuracy": INTERVAL, "above": False, "cut": 0.12345, "auc": 0.7}
    assert cut_rows({"mean": cut, "share": {"balanced_accuracy": None, "why": "too few"}}) == [
        ("mean", "0.800 (0.700–0.900)", "below 0.123", 0.7),
        ("share", "too few", "–", "–"),
    ]


def test_a_scope_in_which_no_property_has_a_figure_gets_no_column() -> None:
    none = {"auc": None, "why": "no slice labelled no"}
    some = {"auc": INTERVAL}
    table = label_rows({"size": {"all": some, "oasis": none}, "level": {"all": none, "oasis": none}})
    assert table["head"] == ("property", "all")
    assert table["rows"] == [("size", "0.800 (0.700–0.900)"), ("level", "no slice labelled no")]


def test_confounders_are_left_out_of_the_summary_where_nothing_could_be_computed(result: dict[str, Any]) -> None:
    why = {"auc": None, "why": "too few"}
    result["confounding"] = {
        "source": {"picture": {"accuracy": None, "why": "one source"}, "file": {"accuracy": None, "why": "one source"}},
        "label": {"size": {"all": why}},
        "threshold": {"mean intensity": {"balanced_accuracy": None, "why": "too few"}},
    }
    assert not any(
        "classifier" in line or "alone predicts" in line or "threshold" in line for line in sentences(result)
    )
    assert "| picture | one source | – | – |" in page(result)


def test_a_long_list_of_conflicts_is_cut_in_the_page_only(result: dict[str, Any]) -> None:
    pair = {"yes": "a/yes.png", "no": "a/no.png", "turned": True, "same_patient": False}
    result["conflicts"]["listed"] = [pair] * 43
    text = page(result)
    assert text.count("- `a/yes.png` ~ `a/no.png` (turned)") == 40
    assert "- … and 3 more, in the JSON" in text
    result["conflicts"]["listed"] = [pair | {"same_patient": True}]
    assert "Not of one known patient" not in page(result)


def test_without_a_model_the_page_says_that_pixels_alone_were_checked(result: dict[str, Any]) -> None:
    result["implausible"]["model"] = ""
    assert "No model was there, so that pixels alone were checked." in page(result)


def test_a_property_of_which_nothing_is_known_has_no_table(result: dict[str, Any]) -> None:
    assert "| site | yes | no |" in page(result)
    result["counts"]["site"] = {"not known": result["counts"]["site"]["not known"]}
    assert "| site | yes | no |" not in page(result)
