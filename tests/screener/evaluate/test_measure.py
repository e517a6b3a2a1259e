"""Measuring on labelled slices: what is read, what is counted, and what was not shown."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from screener.errors import NothingFoundError, UsageError
from screener.evaluate.checklist import LINES, Status, checklist, lacking, read_evidence
from screener.evaluate.labelled import read_labelled
from screener.evaluate.measure import detected, figures, measure
from screener.evaluate.metrics import Scored
from screener.model.session import Model
from screener.report.evaluation import evaluation_page, tables
from tests.conftest import write_slice

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("few_resamples")
HOSTILE = '"><script>broken'


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Return two sites: bright slices, which the tiny model flags, mostly under yes/."""
    for number in range(12):
        site = "north" if number < 6 else "south"
        yes = number % 2 == 0
        bright = yes if number not in (4, 7) else not yes
        way = f"{site}/{'yes' if yes else 'no'}/p{number}/a.png"
        write_slice(tmp_path / "set" / way, number, bright=bright)
    (tmp_path / "set/south/no/p99").mkdir()
    (tmp_path / "set/south/no/p99/broken.png").write_bytes(b"no picture")
    return tmp_path / "set"


@pytest.fixture
def model(tiny_model: Path) -> Model:
    return Model.load(str(tiny_model), threads=1)


def table(path: Path, *rows: tuple[str, ...], head: tuple[str, ...] = ("path", "label", "patient", "site")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def evaluated(folders: Path, model: Model) -> dict[str, Any]:
    found = read_labelled(folders)
    return measure(found, model, model.card.operating_points["auto"])


def test_folders_name_site_patient_and_label(folders: Path) -> None:
    found = read_labelled(folders)
    assert len(found.slices) == 13
    first = found.slices[0]
    assert (first.path, first.label, first.patient, first.site) == ("north/no/p1/a.png", 0, "p1", "north")
    assert len(set(found.units().tolist())) == 13
    assert found.remarks == ()


def test_figures_count_refusals_by_the_contract(folders: Path, model: Model) -> None:
    found = evaluated(folders, model)
    assert found["slices"]["confusion"] == {"caught": 5, "alarms": 2, "quiet": 5, "missed": 1}
    assert found["studies"]["confusion"] == found["slices"]["confusion"], "every picture is a study of its own"
    assert found["refusals"] == {"unsupported_type": 1}
    assert [one["path"] for one in found["missed"]] == ["north/yes/p4/a.png"]
    assert {one["path"] for one in found["false_alarms"]} == {"south/no/p7/a.png", "south/no/p99/broken.png"}
    assert set(found["sites"]) == {"north", "south"}
    assert found["sites"]["north"]["confusion"] == {"caught": 2, "alarms": 0, "quiet": 3, "missed": 1}
    json.dumps(found, allow_nan=False)


def test_every_bad_line_is_named_and_the_rest_is_measured(folders: Path, model: Model) -> None:
    source = table(
        folders / "set.csv",
        ("north/yes/p0/a.png", "yes", "p0", "n"),
        ("north/no/p1/a.png", "maybe", "p1", "n"),
        ("gone.png", "no", "", ""),
        ("", "no", "", ""),
        ("north/no/p3/a.png", "no", "p0", "n"),
    )
    found = read_labelled(source)
    assert [fault.partition(": ")[0].rpartition(":")[2] for fault in found.faults] == ["3", "4", "5"]
    assert "p0" in " ".join(found.remarks), "a patient on both labels is named"
    measured = measure(found, model, model.card.operating_points["auto"])
    assert measured["slices"]["count"] == measured["studies"]["count"] == 2, "each picture is a study of its own"
    assert (measured["studies"]["positives"], measured["studies"]["units"]) == (1, 1)
    assert measured["faults"]


def test_lines_are_counted_as_an_editor_does(folders: Path) -> None:
    (folders / "set.csv").write_text('path,label,note\n\nnorth/yes/p0/a.png,yes,"two\nlines"\n\ngone.png,no,\n')
    assert "set.csv:6: path 'gone.png'" in read_labelled(folders / "set.csv").faults[0]


@pytest.mark.parametrize(
    ("label", "unknown", "known"), [("yes", "specificity", "sensitivity"), ("no", "sensitivity", "specificity")]
)
def test_one_class_gives_what_it_can_and_says_what_it_cannot(
    folders: Path, model: Model, label: str, unknown: str, known: str
) -> None:
    found = read_labelled(table(folders / "set.csv", ("north/yes/p0/a.png", label, "p0", "n")))
    assert unknown in found.remarks[0]
    measured = measure(found, model, model.card.operating_points["auto"])
    assert measured["slices"][unknown]["value"] is None
    assert measured["slices"][known]["value"] is not None
    assert measured["slices"]["auc"]["value"] is None
    json.dumps(measured, allow_nan=False)


def test_a_set_that_is_none_is_reported(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingFoundError, match="no labelled slice"):
        read_labelled(tmp_path / "empty")
    with pytest.raises(UsageError, match="does not exist"):
        read_labelled(tmp_path / "missing")
    with pytest.raises(UsageError, match="no column label"):
        read_labelled(table(tmp_path / "a.csv", head=("path",)))
    (tmp_path / "b.csv").write_bytes(b"\xff\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        read_labelled(tmp_path / "b.csv")


def test_ppv_and_npv_follow_bayes() -> None:
    labels = np.repeat([1, 0], [100, 100])
    scores = np.concatenate([np.repeat([0.9, 0.1], [90, 10]), np.repeat([0.9, 0.1], [20, 80])])
    found = figures(Scored(labels, scores, np.arange(200)), 0.5)["at_prevalence"]["0.05"]
    assert found["ppv"] == pytest.approx(0.05 * 0.9 / (0.05 * 0.9 + 0.95 * 0.2))
    assert found["npv"] == pytest.approx(0.95 * 0.8 / (0.95 * 0.8 + 0.05 * 0.1))


def line(evaluated: dict[str, Any], name: str, evidence: dict[str, Any] | None = None) -> Status:
    return {line.name: line.status for line in checklist(evaluated, evidence or {})}[name]


def measured(correct: int, wrong: int) -> dict[str, Any]:
    labels = np.repeat([1, 0], (correct + wrong))
    right = np.tile(np.arange(correct + wrong) < correct, 2)
    scored = Scored(labels, np.where(right, labels, 1 - labels).astype(float), np.arange(len(labels)))
    return {"studies": figures(scored, 0.5), "sites": {"": {}}, "model_sha256": "m"}


def test_a_line_passes_with_its_interval_or_not_at_all() -> None:
    assert line(measured(200, 2), "accuracy") is Status.PASS
    assert line(measured(19, 1), "accuracy") is Status.NOT_SHOWN
    assert line(measured(8, 2), "accuracy") is Status.FAIL
    assert line(measured(59, 0), "sensitivity") is Status.NOT_SHOWN, "a two-sided interval wants more than 59"
    assert line(measured(100, 0), "sensitivity") is Status.PASS


@pytest.mark.parametrize("patients", [1, 2, 5])
def test_a_few_patients_with_many_slices_show_nothing(patients: int) -> None:
    labels = np.repeat([1, 0], 500)
    scores = np.where(np.arange(1000) % 50 == 0, 1 - labels, labels).astype(float)
    evaluated = {"studies": figures(Scored(labels, scores, np.arange(1000) % patients), 0.5), "sites": {"": {}}}
    assert evaluated["studies"]["accuracy"]["value"] == 0.98
    assert [line(evaluated, name) for name in ("accuracy", "sensitivity", "specificity")] == [Status.NOT_SHOWN] * 3
    area = evaluated["studies"]["auc"]
    assert (area["low"], area["high"]) == (0, 1) if patients == 1 else 0 < area["low"] <= area["value"]


def test_sites_count_when_they_have_both_labels(folders: Path, model: Model) -> None:
    found = evaluated(folders, model)
    assert line(found, "sites") is Status.PASS
    found["sites"] = {"north": found["sites"]["north"]}
    assert line(found, "sites") is Status.FAIL
    found["sites"] = {"": found["sites"]["north"]}
    assert line(found, "sites") is Status.NOT_SHOWN


def test_people_are_believed_when_they_name_who_and_when_and_the_model(tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    entry = {"who": "Dr. A", "when": "2026-01-31", "what": "report 7", "model_sha256": "m"}
    path.write_text(json.dumps({"expert_review": entry}))
    evidence = read_evidence(path)
    assert line(measured(9, 1), "expert_review", evidence) is Status.PASS
    assert line(measured(9, 1), "surveillance", evidence) is Status.NOT_SHOWN
    assert line(measured(9, 1) | {"model_sha256": "other"}, "expert_review", evidence) is Status.NOT_SHOWN
    assert line(measured(9, 1), "limitations", read_evidence(None)) is Status.NOT_SHOWN


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"opinion": {}}',
        '{"expert_review": {"who": "A", "when": "2026-01-31"}}',
        '{"expert_review": {"who": "", "when": "2026-01-31", "what": "x", "model_sha256": "m"}}',
        '{"expert_review": {"who": "A", "when": "soon", "what": "x", "model_sha256": "m"}}',
        '{"expert_review": {"who": "A", "when": "9999-01-01", "what": "x", "model_sha256": "m"}}',
    ],
)
def test_evidence_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "evidence.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"evidence\.json"):
        read_evidence(path)


def test_what_is_required_must_pass() -> None:
    lines = checklist(measured(200, 0), {})
    assert lacking(lines, ["accuracy", "sensitivity"]) == []
    assert [missing.name for missing in lacking(lines, ["all"])] == ["sites", *LINES[4:]]
    with pytest.raises(UsageError, match="nothing is called 'luck'"):
        lacking(lines, ["luck"])


def test_the_page_shows_every_mistake_and_runs_nothing(folders: Path, model: Model) -> None:
    hostile = folders / f"north/yes/{HOSTILE}"
    write_slice(hostile / "a.png", 3)
    found = read_labelled(folders)
    measurement = measure(found, model, model.card.operating_points["auto"])
    measurement["checklist"] = []
    page = evaluation_page(found.root, measurement, model)
    assert "<script" not in page
    assert "&lt;script&gt;broken" in page
    assert page.count("<figure") == len(measurement["missed"]) + len(measurement["false_alarms"])
    assert page.count("<img") == page.count("<figure") - 1, "what cannot be decoded has no picture"
    assert any("missed" in part for part in tables(measurement) if isinstance(part, str))


def test_patients_are_found_as_a_certificate_counts_them(folders: Path, model: Model) -> None:
    found = evaluated(folders, model)["detection"]
    assert (found["units"], found["missed"], found["average"]) == (6, 1, pytest.approx(5 / 6))
    assert found["supports"] is None
    assert found["bound"] < 5 / 6
    unknown_patients = table(folders / "set.csv", ("north/yes/p0/a.png", "yes"), head=("path", "label"))
    unknown = measure(read_labelled(unknown_patients), model, model.card.operating_points["auto"])
    assert unknown["detection"] is None


def test_one_slice_of_each_patient_is_drawn() -> None:
    labels, patients = np.array([1] * 59 + [1, 0, 1]), np.array([f"p{n}" for n in range(59)] + ["p0", "p1", ""])
    scores = np.array([0.9] * 59 + [0.1, 0.1, 0.1])
    found = detected(Scored(labels, scores, np.arange(62)), patients, 0.5)
    assert found is not None
    assert found["units"] == 59, "who is unknown, or has no tumour, is no unit"
    assert found["average"] == pytest.approx(58.5 / 59)
    assert found["missed"] in {0, 1}
    sure = detected(Scored(labels[:59], scores[:59], np.arange(59)), patients[:59], 0.5)
    assert sure is not None
    assert (sure["missed"], sure["supports"], sure["usual"]) == (0, 0.95, (0, 0))


def test_a_slice_on_two_lines_counts_once_or_with_two_labels_not_at_all(folders: Path) -> None:
    source = table(
        folders / "set.csv",
        ("north/yes/p0/a.png", "yes", "p0", "n"),
        ("./north/yes//p0/a.png", "yes", "p0", "n"),
        ("north/yes/p2/a.png", "yes", "p2", "n"),
        ("north/yes/p2/a.png", "no", "p2", "n"),
    )
    found = read_labelled(source)
    assert [one.path for one in found.slices] == ["north/yes/p0/a.png"]
    assert "set.csv:3: path './north/yes//p0/a.png' stands on line 2 already, and counts once" in found.faults[0]
    assert "line 4 already, with another label: neither is used" in found.faults[1]
