"""What verdicts say of the tool: figures against a truth that the test knows, and the page that shows them."""

from __future__ import annotations

import html.parser
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from review_night import HIGH, LOW, LOWER, finding

from screener.audit import AuditLog, Verdict
from screener.evaluate.agreement import (
    Opinion,
    Reading,
    Readings,
    collect,
    disagreements,
    figures,
    reader_pairs,
    report,
    weights,
)
from screener.evaluate.metrics import Scored, operating_figures
from screener.report.agreement import agreement_page
from screener.report.spool import Item
from screener.review.verdicts import chance
from screener.types import Decision

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from review_night import Night

    from screener.types import Finding

HOSTILE = '"><script>window.broken=1</script>'


def opinion(diagnosis: str, doctor: str = "dr.a", drawn: str = "flagged", sampling: float | None = None) -> Opinion:
    return Opinion(doctor, diagnosis, "", "2026-W48", drawn, sampling)


def reading(path: str, probability: float | None, *opinions: Opinion) -> Reading:
    return Reading(Item(finding(path, "a" * 64, probability), "/inbox"), "tiny", opinions)


def review(log: Path, *verdicts: Verdict) -> None:
    with AuditLog(log, exclusive=False) as writer:
        writer.reviews(list(verdicts))


def screened(folder: Path, findings: Sequence[Finding]) -> tuple[Path, list[str]]:
    log = folder / "audit.jsonl"
    with AuditLog(log) as writer:
        writer.start({"inbox": "/inbox", "model": "tiny"})
        hashes = writer.results(findings, doctor_id=None, preprocessing="p")
    return log, hashes


def test_a_sample_of_the_unflagged_gives_the_true_sensitivity_and_the_naive_figure_does_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tumour = rng.random(4000) < 0.3
    flagged = np.where(tumour, rng.random(4000) < 0.8, rng.random(4000) < 0.1)
    log, hashes = screened(
        tmp_path,
        [finding(f"p{number}/a.png", f"{number:064x}", HIGH if flagged[number] else LOW) for number in range(4000)],
    )
    verdicts = []
    for number, result in enumerate(hashes):
        said = "tumour" if tumour[number] else "no_tumour"
        if flagged[number]:
            verdicts.append(Verdict(result, "dr.a", said, agreement=None, details={"drawn": "flagged"}))
        elif chance(result) < 0.2:
            details = {"drawn": "sample", "sampling": 0.2}
            verdicts.append(Verdict(result, "dr.a", said, agreement=None, details=details))
    review(log, *verdicts)
    told = report(collect(log))["overall"]
    for name, truth in (
        ("sensitivity", flagged[tumour].mean()),
        ("specificity", 1 - flagged[~tumour].mean()),
        ("ppv", tumour[flagged].mean()),
        ("npv", 1 - tumour[~flagged].mean()),
    ):
        assert told[name]["low"] < truth < told[name]["high"], name
        assert told[name]["value"] == pytest.approx(truth, abs=0.06), name
    counts = told["counts"]
    naive = counts["flagged:tumour"] / (counts["flagged:tumour"] + counts["not_flagged:tumour"])
    assert naive > flagged[tumour].mean() + 0.1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([HIGH, LOW, None]), st.booleans(), st.integers(0, 4)), min_size=1, max_size=30)
)
def test_with_everything_read_the_figures_are_the_plain_ones(cases: list[tuple[float | None, bool, int]]) -> None:
    readings = [
        reading(f"p{patient}/{n}.png", score, opinion("tumour" if truth else "no_tumour", drawn="sample", sampling=1.0))
        for n, (score, truth, patient) in enumerate(cases)
    ]
    found = Readings(readings)
    for row in readings:
        found.totals["tiny", row.item.finding.decision.value] += 1
    stands_for = weights(found)
    assert stands_for == pytest.approx([1.0] * len(cases))
    told = figures(readings, stands_for)
    scores = np.array([np.nan if score is None else score for score, _, _ in cases])
    labels = np.array([int(truth) for _, truth, _ in cases])
    plain = operating_figures(Scored(labels, scores, np.array([patient for *_, patient in cases])), 0.4)
    if any(score == LOW for score, _, _ in cases):
        for name in ("sensitivity", "specificity", "assessable_sensitivity", "assessable_specificity"):
            wanted = plain[name]["value"]
            assert told[name]["value"] == (None if wanted is None else pytest.approx(wanted)), name
    else:
        assert told["sensitivity"]["why"] == "no_unflagged"


def test_without_a_reading_of_the_unflagged_sensitivity_is_not_known() -> None:
    rows = [reading(f"p{n}/a.png", HIGH, opinion("tumour")) for n in range(5)]
    told = figures(rows, [1.0] * 5)
    assert told["sensitivity"] == {"value": None, "low": None, "high": None, "why": "no_unflagged"}
    assert told["ppv"]["value"] == 1.0
    assert told["ppv"]["low"] == pytest.approx(0.025 ** (1 / 5))


def test_slices_opened_on_purpose_do_not_speak_for_the_others() -> None:
    asked = [reading(f"q{n}/a.png", LOW, opinion("tumour", drawn="asked")) for n in range(4)]
    drawn = [reading(f"s{n}/a.png", LOW, opinion("no_tumour", drawn="sample", sampling=0.1)) for n in range(10)]
    found = Readings([*asked, *drawn])
    found.totals["tiny", Decision.NOT_FLAGGED.value] = 104
    assert weights(found) == pytest.approx([1.0] * 4 + [10.0] * 10)


def test_the_last_verdict_of_each_reader_counts_and_the_majority_decides(night: Night) -> None:
    result = night.results["p1/b.png"]
    review(night.log, Verdict(result, "dr.a", "no_tumour", agreement=False))
    review(
        night.log, Verdict(result, "dr.a", "tumour", agreement=True), Verdict(result, "dr.b", "unsure", agreement=None)
    )
    (row,) = collect(night.log).readings
    assert row.truth is True
    assert not row.disputed
    review(night.log, Verdict(result, "dr.b", "no_tumour", agreement=False))
    (row,) = collect(night.log).readings
    assert row.truth is None
    assert row.disputed
    assert weights(collect(night.log)) == [0.0]


def test_kappa_of_two_readers_is_cohens() -> None:
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(1)
    first, second = rng.random(60) < 0.5, rng.random(60) < 0.6
    words = np.array(["no_tumour", "tumour"])
    rows = [
        reading(f"p{n}/a.png", HIGH, opinion(words[int(a)], "dr.a"), opinion(words[int(b)], "dr.b"))
        for n, (a, b) in enumerate(zip(first, second, strict=True))
    ]
    (pair,) = reader_pairs(rows)
    assert pair["kappa"] == pytest.approx(cohen_kappa_score(first, second))
    assert (pair["slices"], pair["agree"]) == (60, int((first == second).sum()))


def test_kappa_of_tool_and_reader_is_cohens() -> None:
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(2)
    tool, truth = rng.random(80) < 0.4, rng.random(80) < 0.5
    rows = [
        reading(f"p{n}/a.png", HIGH if flag else LOWER, opinion("tumour" if said else "no_tumour", drawn="sample"))
        for n, (flag, said) in enumerate(zip(tool, truth, strict=True))
    ]
    told = figures(rows, [1.0] * 80)["kappa"]
    assert told["value"] == pytest.approx(cohen_kappa_score(tool, truth))
    assert told["low"] < told["value"] < told["high"]


def test_misses_come_first_and_refused_tumours_are_misses() -> None:
    rows = [
        reading("p1/a.png", HIGH, opinion("no_tumour")),
        reading("p2/a.png", LOW, opinion("tumour")),
        reading("p3/a.png", None, opinion("tumour")),
        reading("p4/a.png", HIGH, opinion("tumour", "dr.a"), opinion("no_tumour", "dr.b")),
    ]
    found = disagreements(Readings(rows))
    assert list(found) == ["missed", "alarms", "disputed"]
    paths = {name: [row.item.finding.path for row in group] for name, group in found.items()}
    assert paths == {"missed": ["p3/a.png", "p2/a.png"], "alarms": ["p1/a.png"], "disputed": ["p4/a.png"]}


def test_everything_is_told_by_version_and_week_and_group(night: Night) -> None:
    other = finding("p1/b.png", "d" * 64, HIGH, model="tiny 2.0.0", model_sha256="e" * 64)
    (second,) = night.more(other)
    review(
        night.log,
        Verdict(night.results["p1/b.png"], "dr.a", "tumour", agreement=True),
        Verdict(second, "dr.a", "glioblastoma", agreement=None),
    )
    told = report(collect(night.log))
    assert sorted(told["versions"]) == ["tiny 1.0.0 (bbbbbbbb) ≥ 0.4", "tiny 2.0.0 (eeeeeeee) ≥ 0.4"]
    assert len(told["weeks"]) == 1
    assert told["groups"]["HIGH"] == {"results": 2, "read": 2, "share": 1.0}
    assert told["groups"]["LOW"]["read"] == 0
    assert told["overall"]["undecided"] == 1
    json.dumps(told, allow_nan=False)


class Parsed(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the parser's
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_the_page_shows_disagreements_with_pictures_and_notes_as_text(night: Night, lang: str) -> None:
    for path, said in (("p1/a.png", "tumour"), ("p1/b.png", "no_tumour"), ("p2/b.png", "tumour")):
        details = {"note": HOSTILE, "drawn": "sample", "sampling": 1.0}
        review(night.log, Verdict(night.results[path], HOSTILE, said, agreement=None, details=details))
    found = collect(night.log)
    parsed = Parsed(agreement_page(found, report(found), night.log, "fr" if lang == "fr" else "en"))
    assert "script" not in parsed.tags
    assert parsed.tags.count("img") == parsed.tags.count("figure") == 3
    text = " ".join(parsed.words)
    assert HOSTILE in text
    assert text.index("p1/a.png") < text.index("p1/b.png")
    assert ("VPP" if lang == "fr" else "PPV") in text


def test_a_page_without_verdicts_and_one_of_a_damaged_log_say_so(night: Night) -> None:
    found = collect(night.log)
    assert "no verdict yet" in agreement_page(found, report(found), night.log, "en")
    review(night.log, Verdict(night.results["p1/b.png"], "dr.a", "tumour", agreement=True))
    with night.log.open("ab") as file:
        file.write(b"garbage\n")
    found = collect(night.log)
    page = agreement_page(found, report(found), night.log, "en")
    assert found.problem is not None
    assert "screener verify" in page
    assert "PPV" in page
