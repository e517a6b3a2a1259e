"""Pages and lists made from the log."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from report_models import screen, triage_policy, write_model, write_slice
from report_samples import Parsed

from export.data.phantoms import phantom
from screener.audit import AuditLog
from screener.audit.events import seal
from screener.audit.reader import EventReader
from screener.domain.finding import Urgency
from screener.domain.verdict import Verdict
from screener.errors import AuditLogError, ScreenerError, UsageError
from screener.finding_store import FindingStore
from screener.latest_results import latest_results
from screener.messages import TEXT
from screener.model.session import Model
from screener.report.from_log import finish, write_report
from screener.report.html import ReportWriter
from screener.report.messages import PAGE
from screener.report.page import About
from screener.worklist import waiting

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from screener.finding_store import Item


def page(path: Path) -> Parsed:
    return Parsed(path.read_text("utf-8"))


def rebuilt(log: Path, model: Model | None = None, **options: Path) -> Parsed:
    out = log.parent / "rebuilt.html"
    write_report(log, options.pop("inbox", None), out, "en", model=model, **options)
    return page(out)


def with_pictures(parsed: Parsed) -> int:
    return sum(tag == "svg" and attrs.get("class") == "picture" for tag, attrs in parsed.elements)


def with_heat(parsed: Parsed) -> int:
    return sum(tag == "g" and attrs.get("class") == "heat" for tag, attrs in parsed.elements)


def verdicts(parsed: Parsed) -> int:
    return sum(attrs.get("class") == "verdict" for _, attrs in parsed.elements)


def open_items(log: Path) -> list[Item]:
    with FindingStore() as store:
        waiting(EventReader(log), store)
        return list(store.first(None))


def results(log: Path) -> dict[str, str]:
    """Return the hash of the latest RESULT by path."""
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return {event["path"]: event["hash"] for event in events if event["event"] == "RESULT"}


def verdict(log: Path, path: str, diagnosis: str = "glioma") -> None:
    with AuditLog(log, exclusive=False) as writer:
        writer.reviews([Verdict(results(log)[path], "dr-7", diagnosis, agreement=True)])


def writer(inbox: Path, model: Model, out: Path) -> ReportWriter:
    point = triage_policy(model).point
    return ReportWriter(
        out, About(str(inbox.absolute()), model.card.title, model.sha256, point.threshold, point.name, "0.1.0")
    )


def scanned(inbox: Path, model: Model, log: Path, out: Path, *, rescan: bool = False) -> Parsed:
    with writer(inbox, model, out) as report:
        scan = screen(inbox, model, log, observer=report, rescan=rescan)
        with AuditLog(log) as reading:
            finish(report, scan, reading)
    return page(out)


def comparable(parsed: Parsed) -> Sequence[object]:
    return [
        {name: value for name, value in attrs.items() if name != "data-judged"}
        for tag, attrs in parsed.elements
        if tag in ("article", "image", "g")
    ]


def test_page_of_the_scan_and_page_from_the_log_show_the_same(inbox: Path, bright: Model, tmp_path: Path) -> None:
    live = scanned(inbox, bright, tmp_path / "log.jsonl", tmp_path / "live.html")
    again = rebuilt(tmp_path / "log.jsonl", bright)
    assert comparable(live) == comparable(again)
    assert with_pictures(live) == with_heat(live) == 6
    assert [attrs["data-urgency"] for attrs in live.slices()].count("HIGH") == 3
    assert "".join(live.words).count(head_of(tmp_path / "log.jsonl")) == 1


def head_of(log: Path) -> str:
    reader = EventReader(log)
    list(reader.events())
    return reader.head


def test_slices_seen_before_bring_their_pictures_and_verdicts(inbox: Path, bright: Model, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    scanned(inbox, bright, log, tmp_path / "live.html")
    verdict(log, "p000/s000.png")
    again = scanned(inbox, bright, log, tmp_path / "live.html")
    assert with_heat(again) == 6
    assert verdicts(again) == 1
    assert PAGE["en"]["seen_before"] in again.words
    anew = scanned(inbox, bright, log, tmp_path / "live.html", rescan=True)
    assert verdicts(anew) == 0, "a new result has no verdict yet"


def test_pictures_that_moved_or_changed_are_said_to_be_missing(inbox: Path, bright: Model, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    screen(inbox, bright, log)
    (inbox / "p000" / "s000.png").unlink()
    write_slice(inbox / "p001" / "s000.png", phantom(99))
    found = rebuilt(log, bright)
    assert len(found.slices()) == 3
    assert with_pictures(found) == 4
    assert found.words.count(PAGE["en"]["moved"]) == 2
    shutil.move(inbox, tmp_path / "archive")
    assert with_pictures(rebuilt(log, bright)) == 0
    assert with_pictures(rebuilt(log, bright, images=tmp_path / "archive")) == 4


def test_heatmaps_come_from_the_model_that_judged_or_from_none(inbox: Path, bright: Model, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    screen(inbox, bright, log)
    assert with_heat(rebuilt(log, None)) == 0
    other = Model.load(write_model(tmp_path / "other", heatmap=False), threads=1)
    found = rebuilt(log, other)
    assert (with_pictures(found), with_heat(found)) == (6, 0)
    (tmp_path / "later").mkdir()
    screen(inbox, other, tmp_path / "later" / "log.jsonl")
    assert with_heat(rebuilt(tmp_path / "later" / "log.jsonl", other)) == 0


def test_each_inbox_has_its_page(inbox: Path, bright: Model, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    other = tmp_path / "second"
    write_slice(other / "x" / "one.png", phantom(4, tumour=True))
    screen(inbox, bright, log)
    screen(other, bright, log)
    assert len(rebuilt(log).slices()) == 1
    assert len(rebuilt(log, inbox=inbox).slices()) == 3
    with pytest.raises(UsageError, match="no run"):
        rebuilt(log, inbox=tmp_path / "third")


def test_what_stands_before_the_damage_is_shown(inbox: Path, bright: Model, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    screen(inbox, bright, log)
    lines = log.read_bytes().splitlines(keepends=True)
    out = tmp_path / "list.html"
    for damaged in (
        [*lines[:4], lines[4].replace(b"0.", b"1."), *lines[5:]],
        [*lines[:4], *lines[5:]],
    ):
        log.write_bytes(b"".join(damaged))
        problem = write_report(log, None, out)
        assert isinstance(problem, AuditLogError)
        assert len(page(out).slices()) == 3
        assert any(attrs.get("role") == "alert" for _, attrs in page(out).elements)
    log.write_bytes(b"nonsense\n")
    with pytest.raises(AuditLogError):
        write_report(log, None, out)
    with pytest.raises(AuditLogError):
        write_report(tmp_path / "none.jsonl", None, out)


def test_log_without_a_scan_is_no_inbox(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with AuditLog(log) as empty:
        empty.start({"tool_version": "0.1.0"})
    with pytest.raises(UsageError, match="no run"):
        write_report(log, None, tmp_path / "list.html")
    assert open_items(log) == []


def test_interrupted_scan_leaves_a_page_that_says_so(inbox: Path, bright: Model, tmp_path: Path) -> None:
    with writer(inbox, bright, tmp_path / "list.html") as report:
        scan = screen(inbox, bright, tmp_path / "log.jsonl", observer=report)
        scan.stop()
        with AuditLog(tmp_path / "log.jsonl") as reading:
            finish(report, scan, reading)
    assert TEXT["en"]["stopped"] in page(tmp_path / "list.html").words


def test_a_full_disk_for_pictures_ends_the_page_but_not_the_scan(
    inbox: Path, bright: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.jsonl"

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    def scan_on_a_full_disk() -> None:
        with writer(inbox, bright, tmp_path / "list.html") as report:
            monkeypatch.setattr(report.store, "add", full)
            screen(inbox, bright, log, observer=report)

    with pytest.raises(ScreenerError, match="disk is full"):
        scan_on_a_full_disk()
    assert len(results(log)) == 7
    assert not (tmp_path / "list.html").exists()


def test_worklist_holds_what_no_one_has_judged(inbox: Path, bright: Model, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    screen(inbox, bright, log)
    items = open_items(log)
    assert [item.finding.urgency for item in items] == [Urgency.HIGH] * 3 + [Urgency.REVIEW]
    assert {item.inbox for item in items} == {str(inbox)}
    verdict(log, items[0].finding.path)
    verdict(log, "p000/letter.png", "no picture")
    assert [item.finding.path for item in open_items(log)] == [item.finding.path for item in items[1:3]]


def test_only_a_person_takes_a_slice_off_the_worklist(inbox: Path, bright: Model, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    screen(inbox, bright, log)
    before = open_items(log)
    lower = [replace(item.finding, decision="not_flagged", urgency=Urgency.LOW, probability=0.1) for item in before]
    with AuditLog(log) as later:
        later.start({"inbox": str(inbox)})
        later.results(lower, doctor_id=None, preprocessing="x")
    assert [item.finding.path for item in open_items(log)] == [item.finding.path for item in before]
    screen(inbox, bright, log, rescan=True)
    assert len(open_items(log)) == 4, "judged twice, listed once"
    verdict(log, "p000/s000.png")
    assert len(open_items(log)) == 3
    screen(inbox, bright, log, rescan=True)
    assert len(open_items(log)) == 4, "a new result waits for a verdict of its own"


def start_of(log: Path) -> dict[str, object]:
    """Return the first START as it was before it was sealed."""
    events = map(json.loads, log.read_text().splitlines())
    found = next(event for event in events if event["event"] == "START")
    return {name: value for name, value in found.items() if name not in ("hash", "prev")}


def urgencies(parsed: Parsed) -> list[str]:
    return [str(attrs["data-urgency"]) for attrs in parsed.slices()]


def test_what_the_last_run_showed_again_is_listed_as_it_showed_it(inbox: Path, bright: Model, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    screen(inbox, bright, log)
    low = {"decision": "not_flagged", "urgency": Urgency.LOW, "threshold": 0.99}
    flagged = [item.finding for item in open_items(log) if item.finding.urgency is Urgency.HIGH]
    with AuditLog(log) as other:
        other.start({"inbox": str(inbox), "model_sha256": bright.sha256, "threshold": "0.99"})
        other.results([replace(found, **low) for found in flagged], doctor_id=None, preprocessing="x")
    assert urgencies(rebuilt(log)).count("LOW") == 3, "slices that no answer about their study rests on"
    verdict(log, flagged[0].path)
    screen(inbox, bright, log)
    assert urgencies(rebuilt(log)) == ["HIGH"] * 3, "seen before at this threshold, whatever another one said since"
    assert "glioma" not in " ".join(rebuilt(log).words), "a verdict holds for the result that it was given on"
    with log.open("ab") as file:
        file.write(seal({**start_of(log), "threshold": "0.99"}, "0" * 64)[0])
    out = log.parent / "damaged.html"
    assert write_report(log, None, out, "en") is not None
    assert urgencies(page(out)).count("HIGH") == 3, "what stands behind the damage decides nothing"


def test_slices_that_the_log_has_under_another_inbox_are_reported(inbox: Path, bright: Model, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    screen(inbox, bright, log)
    moved = inbox.rename(tmp_path / "moved")
    screen(moved, bright, log)
    message = "7 slices of the last run were judged before in another inbox"
    assert any(message in word for word in rebuilt(log).words)
    assert not any("another inbox" in word for word in rebuilt(log, inbox=inbox).words)
    screen(moved, bright, log, rescan=True)
    screen(moved, bright, log)
    assert urgencies(rebuilt(log)).count("HIGH") == 3
    assert not any("another inbox" in word for word in rebuilt(log).words), "it has results of its own now"


def test_forged_results_are_reported_and_hide_nothing(inbox: Path, bright: Model, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    screen(inbox, bright, log)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    sound = next(event for event in events if event["event"] == "RESULT" and event["urgency"] == "HIGH")
    head = events[-1]["hash"]
    with log.open("ab") as file:
        for evil in ({"path": 7}, {"path": "x"}, {"urgency": "URGENT"}, {"model": None}):
            forged = {name: value for name, value in sound.items() if name not in ("hash", "prev")} | evil
            line, head = seal(forged, head)
            file.write(line)
    reader = EventReader(log)
    with FindingStore() as store:
        latest_results(reader, store)
        assert store.count() == 8
    assert reader.problem is not None


def test_speed_of_a_scan_with_a_page(bright: Model, tmp_path: Path) -> None:
    """Pictures of a scan are made while it runs: nothing is read or scored twice."""
    from report_models import write_inbox

    inbox = write_inbox(tmp_path / "inbox", patients=4)
    calls = []
    predict = bright.predict

    def counted(batch: object, **options: object) -> object:
        calls.append(len(batch))  # type: ignore[arg-type]
        return predict(batch, **options)  # type: ignore[arg-type]

    bright.predict = counted  # type: ignore[assignment,method-assign]
    try:
        scanned(inbox, bright, tmp_path / "log.jsonl", tmp_path / "list.html")
    finally:
        del bright.predict
    assert sum(calls) == 8
