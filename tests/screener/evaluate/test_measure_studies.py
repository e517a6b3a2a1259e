"""Measuring by study: whole heads in the columns of ``volumes.csv``."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest

from screener.evaluate.labelled import LabelledSet, read_labelled
from screener.evaluate.measure import measure
from screener.evaluate.score import score_files
from screener.evaluate.studies import StudyScorer
from screener.model.session import Model
from screener.report.evaluation import evaluation_page, tables
from tests.conftest import write_slice

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("few_resamples")
SLICES = 20
TUMOUR = range(8, 13)
COLUMNS = "path,label,source,sequence,plane,patient,site,series,slice_index,n_slices,boxes,mask"


def write_heads(data: Path) -> Path:
    """Write four heads of two sites: two with a bright mass in one series of two, one with a bright slice."""
    rows = []
    for patient, site in enumerate("ABAB"):
        for sequence in ("FLAIR", "T1"):
            for index in range(SLICES):
                mass = patient < 2 and index in TUMOUR
                bright = (mass and sequence == "FLAIR") or (patient == 3 and index == 10 and sequence == "T1")
                path = f"p{patient}/{sequence}/{index}.png"
                write_slice(data / path, 100 * patient + index, bright=bright)
                label = "yes" if mass else "border" if patient < 2 and index == TUMOUR.stop else "no"
                series = f"p{patient}/{sequence}"
                rows.append(
                    [path, label, "drawn", sequence, "axial", f"p{patient}", site, series, index + 1, SLICES, "", ""]
                )
    (data / "p3/T1/0.png").write_bytes(b"no picture")
    rows = [[*row[:1], "none", *row[2:]] if row[0] == "p3/T1/0.png" else row for row in rows]
    with (data / "volumes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS.split(","), *rows])
    return data / "volumes.csv"


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    return write_heads(tmp_path / "data")


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    return Model.load(str(tiny_model), threads=1)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, model: Model) -> dict[str, Any]:
    """Measure the heads as they were written."""
    return measured(write_heads(tmp_path_factory.mktemp("heads") / "data"), model)[1]


def measured(source: Path, model: Model) -> tuple[LabelledSet, dict[str, Any]]:
    found = read_labelled(source)
    return found, measure(found, model, model.card.operating_points["auto"])


def test_studies_are_judged_as_a_scan_judges_them(evaluated: dict[str, Any]) -> None:
    assert evaluated["studies"]["count"] == 4
    assert evaluated["studies"]["confusion"] == {"caught": 2, "alarms": 0, "quiet": 2, "missed": 0}
    assert evaluated["studies"]["sensitivity"]["value"] == evaluated["studies"]["auc"]["value"] == 1
    assert evaluated["studies"]["sensitivity"]["low"] < 0.5, "two patients show little"
    assert evaluated["slices"]["count"] == 160 - 4 - 1, "border counts neither way, and none apart"
    assert evaluated["slices"]["confusion"]["caught"] == 10
    json.dumps(evaluated, allow_nan=False)


def test_figures_by_sequence_level_and_site(evaluated: dict[str, Any]) -> None:
    assert evaluated["sequences"]["FLAIR"]["confusion"]["caught"] == 2
    assert evaluated["sequences"]["T1"]["confusion"]["missed"] == 2
    assert {name: found["count"] for name, found in evaluated["sites"].items()} == {"A": 2, "B": 2}
    middle = evaluated["levels"]["middle"]
    assert (middle["sensitivity"]["hits"], middle["sensitivity"]["count"], middle["sensitivity"]["units"]) == (
        10,
        20,
        2,
    )
    assert evaluated["levels"]["lower"]["specificity"]["value"] == 1
    assert middle["specificity"]["hits"] == middle["specificity"]["count"] - 1


def test_figures_that_the_hospital_cannot_give_away(evaluated: dict[str, Any]) -> None:
    assert evaluated["heads"]["adjusted"]["drawn FLAIR"]["alone"] > 0.95
    assert evaluated["heads"]["parts"]["auc"] == 1.0
    assert 0.2 < evaluated["heads"]["random_parts"] < 0.8
    assert evaluated["heads"]["key_slices"]["drawn FLAIR"]["hits"] == 2
    assert evaluated["acquisition_baseline"]["patients"] == 4
    assert evaluated["acquisition_baseline"]["auc"] is not None


def test_refusing_what_holds_no_anatomy_is_right_and_flagging_it_a_false_alarm(
    evaluated: dict[str, Any], heads: Path, model: Model
) -> None:
    assert evaluated["refusals"] == {"unsupported_type": 1}
    assert not any(one["path"] == "p3/T1/0.png" for one in evaluated["false_alarms"])
    assert evaluated["slices"]["refused"]["hits"] == 0
    assert evaluated["without_anatomy"] == {"slices": 1, "refused": 1, "flagged": 0}
    write_slice(heads.parent / "p3/T1/0.png", 1, bright=True)
    _, flagged = measured(heads, model)
    assert any(one["path"] == "p3/T1/0.png" for one in flagged["false_alarms"])


def test_a_study_with_a_sliver_only_counts_neither_way(heads: Path, model: Model) -> None:
    text = heads.read_text().replace(",yes,", ",border,")
    heads.write_text("\n".join(line for line in text.splitlines() if "p1/" not in line) + "\n")
    _, evaluated = measured(heads, model)
    assert (evaluated["studies"]["count"], evaluated["studies"]["positives"]) == (2, 0)
    assert evaluated["heads"] == {}
    assert evaluated["acquisition_baseline"] is None
    assert any("border" in remark for remark in evaluated["remarks"])


def test_a_study_that_is_not_assessable_counts_by_the_contract(heads: Path, model: Model) -> None:
    for patient in (0, 2):
        for file in (heads.parent / f"p{patient}").rglob("*.png"):
            file.write_bytes(b"no picture")
    _, evaluated = measured(heads, model)
    assert evaluated["studies"]["confusion"] == {"caught": 1, "alarms": 1, "quiet": 1, "missed": 1}
    assert [one["reason"] for one in evaluated["missed_studies"]] == ["unsupported_type"]
    assert evaluated["studies"]["refused"]["hits"] == 2


def test_examinations_of_one_patient_are_studies_of_one_unit(heads: Path, model: Model) -> None:
    lines = heads.read_text().splitlines()
    dated = [f"{line},study" if not number else f"{line},{number % 2}" for number, line in enumerate(lines)]
    heads.write_text("\n".join(dated) + "\n")
    found = read_labelled(heads)
    answers = score_files([found.root / row.path for row in found.rows], model)
    triage_policy = StudyScorer.of(found, answers, model.card, model.sha256, model.card.operating_points["auto"])
    studies = triage_policy.studies()
    assert len(studies) == 8
    assert len({one.unit for one in studies}) == 4


@pytest.mark.parametrize(("old", "new"), [(",1,20,", ",first,20,"), (",1,20,", ",1,0,"), (",no,", ",perhaps,")])
def test_a_line_that_cannot_be_used_is_named(heads: Path, old: str, new: str) -> None:
    heads.write_text(heads.read_text().replace(old, new, 1))
    (fault,) = read_labelled(heads).faults
    assert "volumes.csv:2:" in fault


def test_the_page_and_the_tables_show_studies_first(evaluated: dict[str, Any], tmp_path: Path, model: Model) -> None:
    shown = evaluated | {"checklist": [], "missed": [], "false_alarms": []}
    page = evaluation_page(tmp_path, shown, model)
    parts = (
        ">studies</th>",
        "sequence FLAIR",
        "site A",
        ">slices</th>",
        "Acquisition baseline",
        "covariate-adjusted AUC",
    )
    places = [page.index(words) for words in (*parts, "lower 40 %", "Missed studies (0)")]
    assert places == sorted(places)
    lines = [part for part in tables(shown) if isinstance(part, str)]
    assert any("Acquisition baseline" in line for line in lines)
