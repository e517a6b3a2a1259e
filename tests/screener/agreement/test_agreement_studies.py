"""Agreement by study: which verdicts count, for what, and what is shown of a disagreement."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from screener.agreement.figures import agreement
from screener.agreement.opinions import collect
from screener.agreement.page import ReportOptions, write_agreement
from screener.audit.reader import EventReader
from screener.domain.verdict import Diagnosis, SelectionReason
from tests.agreement_logs import finding, said, write_results, write_verdicts
from tests.conftest import write_slice
from tests.study_logs import StudyLog

if TYPE_CHECKING:
    from pathlib import Path

HIGH, LOW, REFUSED = [0.95] * 6, [0.1] * 6, [None] * 6


@pytest.fixture
def log(tmp_path: Path) -> StudyLog:
    found = StudyLog(tmp_path / "audit.jsonl")
    found.run({"p1": HIGH, "p2": HIGH, "p3": LOW, "p4": LOW, "p5": REFUSED})
    return found


def test_sensitivity_and_specificity_are_those_of_studies(log: StudyLog) -> None:
    for study, diagnosis, drawn in (
        ("p1", "tumour", "flagged"),
        ("p2", "no_tumour", "flagged"),
        ("p3", "no_tumour", "sample"),
        ("p5", "tumour", "not_assessable"),
    ):
        log.review(log.studies[study], diagnosis, drawn=drawn, **({"sampling": "0.5"} if drawn == "sample" else {}))
    log.review(log.results["p1/0.png"], "no_tumour", drawn="asked")
    found = agreement(collect(EventReader(log.log)))
    assert (found.level, found.overall.screened, found.overall.refused, found.verdicts) == ("study", 5, 1, 4)
    headline = found.overall.figures.headline
    assert (headline["sensitivity"].value, headline["sensitivity"].count) == (0.5, 2)
    # One study that was not flagged stands for both.
    assert headline["specificity"].value == pytest.approx(2 / 3)
    assert headline["specificity"].low is not None
    assert found.overall.figures.assessable["sensitivity"].value == 1
    assert found.overall.reviewed["HIGH"].screened == found.overall.reviewed["HIGH"].reviewed == 2
    assert [reading.item.finding.path for reading in found.misses] == ["p5"]
    assert found.unattached == 0


def test_slices_count_on_demand_only(log: StudyLog) -> None:
    log.review(log.studies["p1"])
    log.review(log.results["p1/0.png"], "no_tumour", drawn="asked")
    found = collect(EventReader(log.log), level="slice")
    assert sum(found.population.values()) == 30
    assert (found.verdicts, found.unattached) == (1, 0)
    assert found.readings[0].reference is Diagnosis.NO_TUMOUR


def test_a_study_that_was_judged_again_keeps_its_verdicts_and_counts_once(log: StudyLog) -> None:
    log.review(log.studies["p3"], "no_tumour", drawn="sample", sampling="0.25")
    log.run({"p3": [*LOW, *HIGH]})
    log.review(log.studies["p3"], "tumour", doctor="dr.b", drawn="flagged")
    found = collect(EventReader(log.log))
    assert sum(found.population.values()) == 5
    (reading,) = found.readings
    assert reading.item.finding.decision == "flagged"
    assert (reading.drawn, reading.sampling) == (SelectionReason.SAMPLE, 0.25)
    assert reading.contested
    log.run({"p3": LOW}, threshold=0.2)
    assert sum(collect(EventReader(log.log)).population.values()) == 6, "another threshold is another test"


def test_a_log_without_studies_is_counted_by_slice(tmp_path: Path) -> None:
    log = tmp_path / "old.jsonl"
    hashes = write_results(log, [finding(n, 0.95) for n in range(3)])
    write_verdicts(log, [said(hashes[0])])
    found = collect(EventReader(log))
    assert (found.level, sum(found.population.values()), found.verdicts) == ("slice", 3, 1)


def test_readers_are_compared_by_study(log: StudyLog) -> None:
    for study, first, second in (
        ("p1", "tumour", "tumour"),
        ("p3", "no_tumour", "no_tumour"),
        ("p4", "unsure", "tumour"),
    ):
        log.review(log.studies[study], first, "dr.a")
        log.review(log.studies[study], second, "dr.b")
    (pair,) = agreement(collect(EventReader(log.log))).pairs
    assert (pair.shared, pair.decided, pair.kappa.value) == (3, 2, 1.0)


def test_a_disagreement_shows_the_key_slice(tmp_path: Path) -> None:
    inbox, hashes = tmp_path / "inbox", {}
    for number in range(9):
        path = f"p1/{number}.png"
        hashes[path] = hashlib.sha256(write_slice(inbox / path, number).read_bytes()).hexdigest()
    log = StudyLog(tmp_path / "audit.jsonl", str(inbox))
    log.run({"p1": [*LOW[:4], 0.99, *LOW[:4]], "p2": REFUSED}, hashes=hashes, threshold=0.2)
    log.review(log.studies["p1"], "no_tumour", drawn="flagged")
    log.review(log.studies["p2"], "tumour", drawn="not_assessable")
    out = tmp_path / "page.html"
    report = write_agreement(out, ReportOptions(log.log))
    page = out.read_text("utf-8")
    assert page.count("<img ") == 1
    assert "the study has no key slice" in page
    assert "Cases are studies" in page
    assert (report.figures["level"], report.figures["misses"], report.figures["false_alarms"]) == ("study", 1, 1)
    json.dumps(report.figures)


@pytest.mark.long
def test_memory_grows_little_with_what_was_screened(tmp_path: Path) -> None:
    import tracemalloc

    log = StudyLog(tmp_path / "audit.jsonl")
    log.run({f"p{number:05d}": [0.1] for number in range(2_000)})
    log.review(log.studies["p00000"])
    tracemalloc.start()
    found = collect(EventReader(log.log))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(found.population.values()) == 2_000
    assert peak < 2 << 20
    assert np.isfinite(agreement(found).overall.figures.headline["ppv"].count)
