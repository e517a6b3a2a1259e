"""Studies on the page: the card, its key slices, and the curve over the strip of each series."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from report_models import screen, write_slice
from report_samples import Parsed
from test_report_from_log import rebuilt, scanned, with_heat
from test_report_page import HOSTILE, about

import screener.inbox as inbox_room
from export.data.phantoms import phantom
from screener.audit import AuditLog
from screener.audit.reader import EventReader
from screener.domain.finding import Urgency
from screener.domain.slice import Reason
from screener.domain.verdict import Verdict
from screener.finding_store import FindingStore
from screener.inbox import fetch
from screener.latest_results import latest_results
from screener.messages import RECOMMENDATION, TEXT
from screener.pipeline.study import Aggregation
from screener.report import html as page_file
from screener.report.html import ReportWriter
from screener.report.messages import PAGE, REASON
from screener.report.pictures import Thumbnail, encode
from screener.report.study_card import point_words, series_of
from tests.study_findings import study

if TYPE_CHECKING:
    from screener.domain.finding import Finding
    from screener.domain.study import StudyFinding
    from screener.messages import Language
    from screener.model.session import Model

SMALL = encode(Thumbnail(np.full((40, 40), 90, np.uint8), (0.0, 0.0, 40.0, 40.0)))
RISING = [0.1, 0.2, Reason.BLANK, 0.9, 0.95, 0.97, 0.9, 0.3]


def write(
    tmp_path: Path, *found: tuple[StudyFinding, list[Finding]], lang: Language = "en", pictures: bool = True
) -> Parsed:
    out = tmp_path / "list.html"
    with ReportWriter(out, about(tmp_path / "inbox"), lang) as report:
        for answer, findings in found:
            for finding in findings:
                shown = pictures and finding.reason is None
                report.add(finding, SMALL if shown else None, np.eye(4, dtype=np.float32) if shown else None)
            report.add_study(answer)
    return Parsed(out.read_text("utf-8"))


def with_class(parsed: Parsed, name: str) -> list[dict[str, str | None]]:
    return [attrs for _, attrs in parsed.elements if name in (attrs.get("class") or "").split()]


def strip_pictures(parsed: Parsed) -> list[str | None]:
    return [attrs["data-picture"] for _, attrs in parsed.elements if "data-picture" in attrs]


def test_a_card_a_study_in_reading_order(tmp_path: Path) -> None:
    parsed = write(
        tmp_path,
        study("low", {None: [0.1] * 9}),
        study("refused", {None: [Reason.BLANK] * 3}),
        study("high", {None: [0.97] * 9}),
        study("medium", {None: [0.1, 0.6, 0.6, 0.6, 0.6, 0.6, 0.1]}),
    )
    assert [attrs["data-patient"] for attrs in parsed.slices()] == ["high", "medium", "refused", "low"]
    assert [attrs["data-urgency"] for attrs in parsed.slices()] == [urgency.value for urgency in Urgency]
    text = " ".join(parsed.words)
    for urgency in Urgency:
        assert RECOMMENDATION["en"][urgency] in text


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_card_tells_numbers_names_and_key_slices(tmp_path: Path, lang: Language) -> None:
    found = study("anna/day", {"flair": RISING}, accession_number="A77", study_date="20260102")
    parsed = write(tmp_path, found, lang=lang)
    text = " ".join(parsed.words)
    counts = PAGE[lang]["counts"].format(total=8, assessed=7, flagged=4, refused=1)
    shown = PAGE[lang]["unknown_point"].format(name="auto")
    for message in (counts, shown, "A77", "2026-01-02", REASON[lang][Reason.BLANK], "004.png", "anna"):
        assert message in text, message
    assert len(with_class(parsed, "key")) == 3
    assert with_heat(parsed) == 3, "only key slices carry their evidence"


def test_a_long_identifier_gives_way_to_accession_number_and_date(tmp_path: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498.18130911735376109789410453630"
    known = write(tmp_path, study(uid, {None: [0.9]}, patient="P7", accession_number="A77", study_date="20260102"))
    text = " ".join(known.words)
    assert "2026-01-02" in text
    assert [attrs["data-study"] for attrs in known.slices()] == [uid], "search and the opened slice know it"
    assert not with_class(known, "study-id")
    (bare,) = with_class(write(tmp_path, study(uid, {None: [0.9]}, patient="P7")), "study-id")
    assert bare


def test_curve_and_strip_follow_the_slices(tmp_path: Path) -> None:
    answer, findings = study("anna", {"flair": RISING})
    parsed = write(tmp_path, (answer, findings))
    (curve,) = with_class(parsed, "probability")
    assert (curve["d"] or "").count("M") == 2, "broken where a slice is not assessable"
    heights = [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", curve["d"] or "")]
    message = [value for value in answer.series[0].curve if value is not None]
    assert heights == pytest.approx([100 * (1 - value) for value in message], abs=0.05)
    (gap,) = with_class(parsed, "gap")
    assert (gap["x"], gap["width"]) == ("2", "1")
    (limit,) = with_class(parsed, "limit-line")
    assert limit["d"] == "M0 60.0H8"
    places = [attrs["data-path"] for tag, attrs in parsed.elements if tag == "li" and "data-path" in attrs]
    assert places == [f"anna/flair/{place:03}.png" for place in range(8)]
    assert len(strip_pictures(parsed)) == 7
    keys = {attrs["data-key"] for tag, attrs in parsed.elements if tag == "li" and "data-key" in attrs}
    assert keys == {attrs["id"] for attrs in with_class(parsed, "key")}


def test_series_are_tabs_the_strongest_first_and_unused_ones_say_why(tmp_path: Path) -> None:
    found = study(
        "anna",
        {"t1": [0.2] * 6, "flair": [0.9] * 6, "sag": [Reason.PLANE_NOT_SUPPORTED] * 4, "loc": [Reason.LOCALIZER] * 2},
    )
    parsed = write(tmp_path, found)
    tabs = [attrs for tag, attrs in parsed.elements if attrs.get("role") == "tab"]
    panels = [attrs for tag, attrs in parsed.elements if attrs.get("role") == "tabpanel"]
    assert [attrs["aria-controls"] for attrs in tabs] == [attrs["id"] for attrs in panels]
    assert [attrs["aria-selected"] for attrs in tabs] == ["true", "false"]
    text = " ".join(parsed.words)
    assert "flair" in text
    for reason in (Reason.PLANE_NOT_SUPPORTED, Reason.LOCALIZER):
        assert f". {REASON['en'][reason]}" in text


def test_series_of_a_plane_without_figures_is_named_though_it_was_scored(tmp_path: Path) -> None:
    axial = Aggregation(planes=("axial",))
    answer, findings = study("a", {"x": [0.9] * 6, "y": [0.9] * 6}, axial, plane={"x": "axial", "y": "coronal"})
    assert [one.used for one in series_of(answer, findings, axial)] == [True, False]
    parsed = write(tmp_path, (answer, findings))
    assert "coronal (6 slices)" in " ".join(parsed.words)


def test_a_study_of_one_slice_has_no_curve(tmp_path: Path) -> None:
    parsed = write(tmp_path, study("anna", {None: [0.95]}))
    assert len(with_class(parsed, "key")) == 1
    assert not with_class(parsed, "panel")


def test_copies_of_a_slice_stand_once_where_the_study_counts_them_once() -> None:
    answer, findings = study("anna", {"s": [0.9] * 5})
    copies = [replace(finding, path=f"copy/{finding.path}") for finding in findings]
    (series,) = series_of(answer, [*findings, *copies], Aggregation())
    assert len(series.slices) == 5


def test_page_is_bounded_and_says_what_it_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_file, "URGENT_PICTURES", 4)
    monkeypatch.setattr(page_file, "STRIP_PICTURES", 20)
    monkeypatch.setattr(page_file, "STRIP_SLICES", 40)
    monkeypatch.setattr(page_file, "LOW_PICTURES", 1)
    monkeypatch.setattr(page_file, "LOW_ROWS", 2)
    high = [study(f"h{number}", {None: [0.99 - number / 100] * 9}) for number in range(6)]
    low = [study(f"l{number}", {None: [0.1 - number / 100] * 9}) for number in range(4)]
    parsed = write(tmp_path, *high, *low)
    assert len(parsed.slices()) == 8
    large = [attrs for tag, attrs in parsed.elements if tag == "svg" and attrs.get("class") == "picture"]
    assert len(large) == 5
    assert len(strip_pictures(parsed)) == 18, "whole strips only"
    assert len(with_class(parsed, "curve")) == 4
    text = " ".join(parsed.words)
    assert "2 further studies that were not flagged" in text
    assert PAGE["en"]["beyond"].format(count=4) in text


@pytest.mark.parametrize("evil", HOSTILE)
def test_hostile_names_of_studies_stay_text(tmp_path: Path, evil: str) -> None:
    answer, findings = study(
        f"{evil}/{evil}", {evil: [0.9, 0.95, Reason.CORRUPT], f"2{evil}": [0.9, 0.9]}, accession_number=evil,
        study_date=evil, plane={evil: evil},
    )  # fmt: skip
    parsed = write(tmp_path, (replace(answer, operating_point=evil), findings))
    assert sum(tag == "script" for tag, _ in parsed.elements) == 2
    assert not [tag for tag, _ in parsed.elements if tag in ("iframe", "object", "base", "form")]
    assert not [name for _, attrs in parsed.elements for name in attrs if name.startswith("on") or name == "style"]
    addresses = [
        attrs[name] for _, attrs in parsed.elements for name in ("href", "src", "data-picture") if attrs.get(name)
    ]
    assert all(one and one.startswith(("data:image/", "#")) for one in addresses)
    assert not re.search("[\u202e\x1b]", (tmp_path / "list.html").read_text("utf-8"))


def test_page_of_the_scan_and_page_from_the_log_show_the_same_studies(bright: Model, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    for number in range(9):
        write_slice(inbox / "p1" / f"s{number}.png", phantom(number, 128, tumour=number > 3))
    write_slice(inbox / "p1" / "s9.png", np.zeros((64, 64), np.uint8))
    log = tmp_path / "log.jsonl"
    live = scanned(inbox, bright, log, tmp_path / "live.html")
    again = rebuilt(log, bright)
    for name in ("probability", "gap", "key", "limit-line", "key-slice"):
        assert with_class(live, name) == with_class(again, name)
        assert with_class(live, name), name
    assert strip_pictures(live) == strip_pictures(again)
    assert len(strip_pictures(live)) == 10, "a blank slice was decoded and is shown"
    assert TEXT["en"]["study_uncertified"].format(name="auto") in " ".join(live.words)


def verdict_on_study(log: Path, diagnosis: str) -> None:
    with FindingStore() as store:
        latest_results(EventReader(log), store)
        (item,) = store.studies.items()
    with AuditLog(log, exclusive=False) as writer:
        writer.reviews([Verdict(item.result, "dr-7", diagnosis, agreement=True)])


def test_verdicts_on_a_study_stand_on_its_card(bright: Model, tmp_path: Path) -> None:
    inbox, log = tmp_path / "inbox", tmp_path / "log.jsonl"
    for number in range(3):
        write_slice(inbox / "p1" / f"s{number}.png", phantom(number, 128, tumour=True))
    screen(inbox, bright, log)
    verdict_on_study(log, "glioma")
    message = PAGE["en"]["verdict"].format(diagnosis="glioma", doctor="dr-7")
    assert any(message in word for word in rebuilt(log, bright).words)
    again = scanned(inbox, bright, log, tmp_path / "live.html")
    assert any(message in word for word in again.words), "the same answer, shown again"
    assert [attrs["data-reviewed"] for attrs in again.slices()] == ["yes"]
    write_slice(inbox / "p1" / "s3.png", phantom(9, 128, tumour=True))
    more = scanned(inbox, bright, log, tmp_path / "live.html")
    assert [attrs["data-reviewed"] for attrs in more.slices()] == ["no"]
    earlier = f"{PAGE['en']['earlier_verdict']}: "
    assert any(earlier in word for word in more.words)
    assert any(earlier in word for word in rebuilt(log, bright).words)


def test_point_is_said_to_be_certified_only_by_the_model_that_judged(bright: Model) -> None:
    answer, _ = study("a", {None: [0.9] * 5})
    unknown = point_words(answer, bright, Aggregation(), "en")
    assert unknown == (PAGE["en"]["unknown_point"].format(name="auto"),)
    own = replace(answer, model_sha256=bright.sha256)
    slices = point_words(own, bright, Aggregation(), "en")
    assert any("certified for sensitivity" in line for line in slices), "the threshold of a slice"
    assert slices[0] == TEXT["en"]["study_uncertified"].format(name="auto")
    point = replace(bright.card.operating_points["auto"])
    by_patient = Aggregation(points={"auto": point})
    certified, *_ = point_words(own, bright, by_patient, "en")
    assert certified.startswith("studies, auto: certified for sensitivity")
    assert point_words(replace(own, threshold=0.123), bright, by_patient, "en")[0].endswith("not certified by patient")


def test_dicom_is_pictured_frame_by_frame_and_burnt_in_text_is_not(
    bright: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pydicom")
    sys.path.append(str(Path(__file__).parents[1] / "inbox"))
    from dicom_files import dataset, encode

    inbox, log = tmp_path / "inbox", tmp_path / "log.jsonl"
    inbox.mkdir()
    for number in range(4):
        drawn = phantom(number, 96, tumour=True).astype(np.int32)
        known = {"ImagePositionPatient": [0, 0, 5.0 * number], "WindowCenter": 128, "WindowWidth": 256}
        (inbox / f"{number}").write_bytes(encode(dataset(drawn, **known)))
    frames = np.stack([phantom(number, 96, tumour=True).astype(np.int32) for number in (5, 6)])
    (inbox / "frames").write_bytes(encode(dataset(frames, StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1")))
    burnt = dataset(phantom(3, 96).astype(np.int32), StudyInstanceUID="1.8", BurnedInAnnotation="YES")
    (inbox / "burnt").write_bytes(encode(burnt))
    live = scanned(inbox, bright, log, tmp_path / "live.html")
    opened: list[str] = []
    monkeypatch.setattr(inbox_room, "fetch", lambda entry: opened.append(entry.path) or fetch(entry))
    again = rebuilt(log, bright)
    assert sorted(opened) == ["0", "1", "2", "3", "frames"], "a file of many frames is read once"
    for parsed in (live, again):
        pictures = [attrs for tag, attrs in parsed.elements if tag == "svg" and attrs.get("class") == "picture"]
        assert len(pictures) == 5, "three key slices, two frames, nothing of the burnt-in picture"
        assert len(strip_pictures(parsed)) == 6
    text = (tmp_path / "live.html").read_text("utf-8")
    assert "Doe" not in text
    assert "19700101" not in text
    shown = [attrs["href"] for tag, attrs in live.elements if tag == "image" and "height" in attrs]
    assert len(set(shown)) == len(shown), "each frame is its own picture"
