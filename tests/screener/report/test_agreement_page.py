"""The agreement report: what it says, what it shows, and what it never does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from report_models import screen
from report_models import write_model as write_bright
from report_samples import Parsed

from screener.agreement import page as agreement_page
from screener.agreement.messages import DECISION, DIAGNOSIS, FIGURE, METHOD, REPORT, SELECTION, UNKNOWN
from screener.agreement.opinions import collect
from screener.agreement.page import Report, ReportOptions, write_agreement
from screener.audit.events import seal
from screener.audit.reader import EventReader
from screener.domain.finding import Decision
from screener.domain.verdict import Diagnosis, SelectionReason
from screener.errors import AuditLogError, UsageError
from screener.model.session import Model
from screener.report.document import save
from screener.report.messages import PAGE
from tests.agreement_logs import clinic, finding, said, sampled, write_results, write_verdicts

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m"


def made(log: Path, model: Model | None = None, **options: object) -> tuple[Parsed, Report]:
    out = log.parent / "page.html"
    report = write_agreement(out, ReportOptions(log, **({"level": "slice"} | options)), model)  # type: ignore[arg-type]
    return Parsed(out.read_text("utf-8")), report


def pictures(page: Parsed) -> list[tuple[int, int]]:
    """Return the width and height of every picture."""
    from base64 import b64decode

    data = [b64decode(str(attrs["src"]).partition("base64,")[2]) for tag, attrs in page.elements if tag == "img"]
    decoded = [cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR) for one in data]
    return [(one.shape[1], one.shape[0]) for one in decoded]


def events(log: Path, kind: str = "RESULT") -> dict[str, dict[str, object]]:
    found = [json.loads(line) for line in log.read_text().splitlines()]
    return {event["path"]: event for event in found if event["event"] == kind}


@pytest.fixture
def read(inbox: Path, bright: Model, tmp_path: Path) -> Path:
    """Return a log with a miss that was not assessable, a false alarm, and two readers who differ."""
    log = tmp_path / "log.jsonl"
    screen(inbox, bright, log)
    result = {path: str(event["hash"]) for path, event in events(log).items()}
    write_verdicts(
        log,
        [
            said(result["p000/letter.png"], "tumour", note=HOSTILE, drawn="not_assessable", blind=True),
            said(result["p000/s000.png"], "no_tumour", HOSTILE, drawn="flagged"),
            said(result["p001/s000.png"], "tumour", drawn="flagged"),
            said(result["p001/s000.png"], "no_tumour", "dr-2", drawn="flagged"),
            said(result["p002/s000.png"], "glioma", drawn="flagged"),
            said(result["p000/s001.png"], "no_tumour", drawn="sample", sampling="0.5"),
        ],
    )
    return log


def test_disagreements_are_shown_misses_first_with_pictures_and_evidence(read: Path, bright: Model) -> None:
    page, report = made(read, bright)
    captions = [word for word in page.words if " · " in word and ".png" in word]
    assert [caption.split(" · ")[0] for caption in captions] == ["p000/letter.png", "p000/s000.png", "p001/s000.png"]
    assert pictures(page) == [(512, 256)] * 2
    assert "0.971 ≥ 0.4" in captions[1]
    assert f"bright 1.0.0 · {bright.sha256[:12]}" in captions[1]
    assert {name: report.figures[name] for name in ("misses", "false_alarms", "contested")} == {
        "misses": 1, "false_alarms": 1, "contested": 1
    }  # fmt: skip
    assert pictures(made(read)[0]) == [(256, 256)] * 2, "no model, no evidence"


def test_evidence_comes_from_the_model_that_judged_or_from_none(read: Path, tmp_path: Path) -> None:
    other = Model.load(write_bright(tmp_path / "other", heatmap=False), threads=1)
    assert pictures(made(read, other)[0]) == [(256, 256)] * 2


def test_what_a_reader_wrote_stays_text(read: Path, bright: Model) -> None:
    page, _ = made(read, bright)
    assert not any(tag == "script" or "onerror" in attrs for tag, attrs in page.elements)
    message = "".join(page.words)
    assert message.count("<script>alert(1)</script>") == 2, "a note and the name of a doctor"
    assert "\u202e" not in message
    assert "\x1b" not in message


def test_pictures_that_moved_are_said_to_be_missing(read: Path, inbox: Path, bright: Model, tmp_path: Path) -> None:
    inbox.rename(tmp_path / "archive")
    page, _ = made(read, bright)
    assert pictures(page) == []
    assert page.words.count(PAGE["en"]["moved"]) == 3
    assert len(pictures(made(read, bright, images=tmp_path / "archive")[0])) == 2
    assert len(pictures(made(read, bright, images=tmp_path / "archive", inbox=inbox)[0])) == 2


def test_words_that_are_no_verdict_are_counted_apart(read: Path) -> None:
    _, report = made(read)
    verdicts = report.figures["overall"]["figures"]["verdicts"]
    assert verdicts == {"tumour": 1, "no_tumour": 2, "unsure": 2, "bad_image": 0, "other": 1}
    assert report.figures["overall"]["figures"]["blind"] == 1


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_every_word_is_there_in_both_languages(read: Path, lang: str) -> None:
    page, _ = made(read, lang=lang)
    assert ("html", {"lang": lang}) in page.elements
    message = [word for word in page.words if not word.lstrip().startswith(":root")]
    for words in (*FIGURE[lang].values(), *METHOD[lang]):  # type: ignore[index]
        assert words in message
    assert not any("{" in word for word in message), "a blank was left unfilled"


def test_both_languages_say_the_same_things() -> None:
    for words in (DECISION, DIAGNOSIS, SELECTION, FIGURE, REPORT, UNKNOWN):
        assert words["en"].keys() == words["fr"].keys()  # type: ignore[attr-defined, index]
    assert len(METHOD["en"]) == len(METHOD["fr"])
    assert set(DECISION["en"]) == set(Decision)
    assert set(DIAGNOSIS["en"]) == set(Diagnosis)
    assert set(SELECTION["en"]) == set(SelectionReason)


def test_nobody_read_anything(inbox: Path, bright: Model, tmp_path: Path) -> None:
    screen(inbox, bright, tmp_path / "log.jsonl")
    page, report = made(tmp_path / "log.jsonl", bright)
    assert REPORT["en"]["nothing"] in page.words
    assert report.figures["overall"]["reviewed"]["HIGH"] == {"screened": 3, "reviewed": 0}
    assert report.problem is None


def test_no_unflagged_slice_was_read(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    hashes = write_results(log, [finding(n, 0.95 if n < 20 else 0.1) for n in range(60)])
    write_verdicts(log, [said(result, drawn="flagged") for result in hashes[:20]])
    page, report = made(log)
    headline = report.figures["overall"]["figures"]["headline"]
    assert headline["sensitivity"]["value"] is None
    assert headline["sensitivity"]["unknown"] == "not_flagged_unread"
    assert UNKNOWN["en"]["not_flagged_unread"] in page.words
    assert report.figures["overall"]["reviewed"]["HIGH"] == {"screened": 20, "reviewed": 20}


def test_figures_of_a_log_are_near_the_truth(tmp_path: Path) -> None:
    of, log = clinic(4, 2000), tmp_path / "log.jsonl"
    hashes = write_results(log, of.findings)
    verdicts = [
        said(hashes[c["number"]], "tumour" if of.truths[c["number"]] else "no_tumour", drawn=c["drawn"],
             **({"sampling": repr(c["sampling"])} if "sampling" in c else {}))
        for c in sampled(of, 4)
    ]  # fmt: skip
    write_verdicts(log, verdicts)
    page, report = made(log)
    for name, truth in (("sensitivity", of.sensitivity()), ("specificity", of.specificity())):
        figure = report.figures["overall"]["figures"]["headline"][name]
        assert figure["low"] <= truth <= figure["high"]
    assert report.figures["thin"] is None
    assert report.figures["overall"]["screened"] == 2000
    assert len([word for word in page.words if word.startswith("probability against")]) == 0
    assert agreement_page.SHOWN == 200


def test_more_disagreements_than_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement_page, "SHOWN", 3)
    log = tmp_path / "log.jsonl"
    hashes = write_results(log, [finding(n, 0.95 if n < 4 else 0.1) for n in range(6)])
    truths = ["no_tumour"] * 4 + ["tumour"] * 2
    write_verdicts(log, [said(result, truth) for result, truth in zip(hashes, truths, strict=True)])
    page, _ = made(log)
    assert REPORT["en"]["capped"].format(shown=3, total=6) in page.words
    captions = [word for word in page.words if " · " in word and ".png" in word]
    assert ["not flagged" in caption for caption in captions] == [True, True, False]


def test_each_of_several_models_has_its_figures(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    hashes = write_results(log, [finding(n, 0.95) for n in range(3)])
    write_verdicts(log, [said(hashes[0])])
    name = f"lite 1.0.0 ≥ 0.4 · {'b' * 12}"
    assert made(log)[0].words.count(name) == 1
    write_results(log, [finding(n, 0.95, model="next", model_sha256="c" * 64) for n in range(4)])
    page, report = made(log)
    assert page.words.count(name) == 2
    models = [(model["name"], model["screened"]) for model in report.figures["models"]]
    assert models == [("lite 1.0.0 ≥ 0.4", 3), ("next ≥ 0.4", 4)]
    assert REPORT["en"]["left_out"] in page.words
    assert report.figures["overall"]["screened"] == 3


def test_another_threshold_is_another_test(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    hashes = write_results(log, [finding(1, 0.5), finding(2, 0.5)])
    write_results(log, [finding(1, 0.5, threshold=0.7, decision=Decision.NOT_FLAGGED)])
    write_verdicts(log, [said(hashes[0])])
    models = {model["name"]: model for model in made(log)[1].figures["models"]}
    assert [models[f"lite 1.0.0 ≥ {threshold}"]["screened"] for threshold in (0.4, 0.7)] == [2, 1]
    assert models["lite 1.0.0 ≥ 0.4"]["figures"]["headline"]["sensitivity"]["value"] == 1
    assert models["lite 1.0.0 ≥ 0.7"]["figures"]["read"] == 0


def test_damaged_log_shows_what_stands_before(read: Path, bright: Model) -> None:
    lines = read.read_bytes().splitlines(keepends=True)
    read.write_bytes(b"".join([*lines[:-2], lines[-1]]))
    page, report = made(read, bright)
    assert isinstance(report.problem, AuditLogError)
    assert any("chain breaks" in word for word in page.words)
    assert report.figures["problem"] is not None
    assert report.figures["verdicts"] == 4
    with pytest.raises(AuditLogError, match="no audit log"):
        made(read.with_name("missing.jsonl"))


def test_verdict_about_a_result_that_is_not_there(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    hashes = write_results(log, [finding(0, 0.95), finding(1, 0.1)])
    write_verdicts(log, [said(hashes[0])])
    last = json.loads(log.read_text().splitlines()[-1])
    forged = {name: value for name, value in last.items() if name not in ("hash", "prev")}
    head = last["hash"]
    with log.open("ab") as file:
        for evil in (
            {"result": "f" * 64},
            {"result": ["x"]},
            {"doctor_id": None, "note": 7, "drawn": {}, "sampling": []},
        ):
            line, head = seal(forged | evil, head)
            file.write(line)
    page, report = made(log)
    assert (report.figures["verdicts"], report.figures["unattached"]) == (4, 2)
    assert REPORT["en"]["unattached"].format(count=2) in page.words
    assert report.problem is None


def test_corrections_second_looks_and_results_given_again(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    slices = [finding(0, 0.95), finding(1, 0.1)]
    first = write_results(log, slices)
    again = write_results(log, slices)
    write_verdicts(
        log,
        [
            said(first[1], "no_tumour", drawn="sample", sampling="0.25"),
            said(again[1], "tumour", note="x" * 900),
            said(first[0], "tumour", drawn="flagged", sampling="0.5"),
        ],
    )
    reader = EventReader(log)
    study = collect(reader)
    assert sum(study.population.values()) == len(study.readings) == 2
    quiet, loud = study.readings
    assert (quiet.reference, quiet.drawn, quiet.sampling) == (Diagnosis.TUMOUR, SelectionReason.SAMPLE, 0.25)
    assert len(quiet.opinions["dr-1"].note) == 500
    assert (loud.drawn, loud.sampling) == (SelectionReason.FLAGGED, None)


@pytest.mark.parametrize("sampling", ["0", "-1", "1.5", "nan", "often", "1e-300", None])
def test_a_chance_that_is_none_counts_as_not_recorded(tmp_path: Path, sampling: str | None) -> None:
    log = tmp_path / "log.jsonl"
    (result,) = write_results(log, [finding(1, 0.1)])
    write_verdicts(log, [said(result, drawn="sample", sampling=sampling)])
    assert collect(EventReader(log)).readings[0].sampling is None


def test_one_inbox_of_several(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    (first,) = write_results(log, [finding(0, 0.95)], "/one")
    (second,) = write_results(log, [finding(0, 0.95)], "/two")
    write_verdicts(log, [said(first), said(second, "no_tumour")])
    assert made(log)[1].figures["overall"]["screened"] == 2
    from pathlib import Path as AnyPath

    figures = made(log, inbox=AnyPath("/two"))[1].figures
    assert (figures["overall"]["screened"], figures["verdicts"], figures["unattached"]) == (1, 1, 0)
    with pytest.raises(UsageError, match="no run"):
        made(log, inbox=AnyPath("/three"))


def test_the_page_replaces_its_like_only_and_stays_out_of_inboxes(read: Path, inbox: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.html"
    thesis.write_text("years of work")
    missing = tmp_path / "missing" / "page.html"
    for out, why in ((thesis, "no document"), (inbox / "page.html", "inside the inbox"), (missing, "does not exist")):
        with pytest.raises(UsageError, match=why):
            write_agreement(out, ReportOptions(read))
    save(thesis.with_name("own.html"), "<!doctype html>\n<!-- screener document -->\n")
    write_agreement(thesis.with_name("own.html"), ReportOptions(read))
