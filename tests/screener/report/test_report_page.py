"""The page as text: order, words, escaping, and the file itself. What a browser makes of it is in tests/browser."""

from __future__ import annotations

import html.parser
import json
import os
import re
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from report_samples import Parsed, finding

from screener.domain.finding import Urgency
from screener.domain.slice import Reason
from screener.domain.verdict import Verdict
from screener.errors import ScreenerError, UsageError
from screener.finding_store import Item
from screener.messages import NOTICE, RECOMMENDATION
from screener.report import html as page_file
from screener.report.html import ReportWriter
from screener.report.messages import EXPLAIN, PAGE, REASON, WORKLIST
from screener.report.page import MARK, About
from screener.report.pictures import encode, thumbnail

if TYPE_CHECKING:
    from pathlib import Path

    from screener.messages import Language

HOSTILE = (
    '"><img src=x onerror=boom()>',
    "</script><script>boom()</script>",
    "</title></style><svg onload=boom()>",
    "javascript:boom()//",
    "<!--",
    "&lt;b&gt; {title}",
    "\u202egnp.exe\x1b[31m\u2028",
    "' autofocus onfocus=boom() x='",
    "\ud800",
)


def about(inbox: Path) -> About:
    return About(str(inbox), "lite 1.0.0", "b" * 64, 0.4, "auto", "0.1.0", "/var/log/audit.jsonl", "e" * 64)


def write(tmp_path: Path, *found: tuple[str, float | None, str | None], lang: Language = "en") -> Parsed:
    out = tmp_path / "list.html"
    with ReportWriter(out, about(tmp_path / "inbox"), lang) as report:
        for path, probability, patient in found:
            report.add(finding(path, probability, patient))
    return Parsed(out.read_text("utf-8"))


def test_cards_come_in_reading_order(tmp_path: Path) -> None:
    parsed = write(
        tmp_path,
        ("b/1", 0.1, "b"), ("b/2", None, "b"), ("a/1", 0.5, "a"), ("a/2", 0.05, "a"), ("c/1", 0.95, "c"),
    )  # fmt: skip
    assert [attrs["data-urgency"] for attrs in parsed.slices()] == ["HIGH", "MEDIUM", "REVIEW", "LOW", "LOW"]
    assert [attrs["id"] for attrs in parsed.slices()] == ["s1", "s2", "s3", "s4", "s5"]


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_a_probability_just_below_the_threshold_does_not_look_above_it(tmp_path: Path, lang: Language) -> None:
    text = "".join(write(tmp_path, ("p/1", 0.39999, "p"), lang=lang).words)
    assert ("0,39999 < 0,4" if lang == "fr" else "0.39999 < 0.4") in text


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_words_of_the_contract_stand_on_the_page(tmp_path: Path, lang: Language) -> None:
    found = tuple((f"p/{probability}", probability, "p") for probability in (0.95, 0.5, None, 0.1))
    text = "".join(write(tmp_path, *found, lang=lang).words)
    assert NOTICE[lang] in text
    for urgency in (Urgency.HIGH, Urgency.MEDIUM, Urgency.REVIEW):
        assert RECOMMENDATION[lang][urgency] in text
    assert ("0,950" if lang == "fr" else "0.950") in text
    for fact in ("e" * 64, "lite 1.0.0", "/var/log/audit.jsonl"):
        assert fact in text


@pytest.mark.parametrize("words", [EXPLAIN, PAGE, REASON, WORKLIST])
def test_both_languages_say_the_same_things(words: dict[str, dict[object, str]]) -> None:
    assert words["en"].keys() == words["fr"].keys()
    for name, text in words["en"].items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", words["fr"][name])), name
    forbidden = re.compile(r"\b(normal|normale|clear|healthy|saine?)\b", re.IGNORECASE)
    assert not [text for texts in words.values() for text in texts.values() if forbidden.search(text)]


def test_every_reason_is_explained() -> None:
    assert set(REASON["en"]) == set(Reason)


@pytest.mark.parametrize("evil", HOSTILE)
def test_hostile_names_and_notes_stay_text(tmp_path: Path, evil: str) -> None:
    out = tmp_path / "list.html"
    with ReportWriter(out, replace(about(tmp_path / "inbox"), log=evil, warnings=(evil,)), "en") as report:
        small = encode(thumbnail(np.zeros((40, 40), np.float32)))
        report.add(finding(f"{evil}/{evil}", 0.95, evil, model=evil), small)
        report.store.add(
            Item(
                finding(evil, None, reason=Reason.CORRUPT), report.about.inbox, "r", evil, Verdict("", evil, evil, None)
            )
        )
    parsed = Parsed(out.read_text("utf-8"))
    assert sum(tag == "script" for tag, _ in parsed.elements) == 2
    assert not [tag for tag, _ in parsed.elements if tag in ("img", "iframe", "object", "base", "form")]
    assert not [name for _, attrs in parsed.elements for name in attrs if name.startswith("on") or name == "style"]
    hrefs = [attrs["href"] for _, attrs in parsed.elements if attrs.get("href")]
    assert all(href and href.startswith(("data:image/", "#")) for href in hrefs)
    assert not re.search("[\u202e\x1b]", out.read_text("utf-8"))


def test_policy_names_exactly_the_style_and_the_script_of_the_page(tmp_path: Path) -> None:
    import base64
    import hashlib

    write(tmp_path, ("a", 0.5, None))
    text = (tmp_path / "list.html").read_text("utf-8")
    policy = html.parser.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1])  # type: ignore[index,attr-defined]
    for tag in ("style", "script"):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]  # type: ignore[index]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    json.loads(re.search(r'<script type="application/json" id="words">(.*?)</script>', text)[1])  # type: ignore[index]


def test_page_is_private_and_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "list.html"
    former = os.umask(0)
    try:
        write(tmp_path, ("a", 0.5, None))
    finally:
        os.umask(former)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    before = out.read_bytes()
    assert before.endswith(b"</html>\n")

    with pytest.raises(KeyError), ReportWriter(out, about(tmp_path / "inbox"), "en") as report:
        {}["a scan that fails"]
    report.store.__exit__()

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page_file.page, "page", full)
    with pytest.raises(ScreenerError, match="No space left"):
        write(tmp_path, ("c", 0.5, None))
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["list.html"]


def test_only_an_earlier_page_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, ("a", 0.5, None))
    write(tmp_path, ("b", 0.5, None))
    assert MARK in (tmp_path / "list.html").read_text("utf-8")
    (tmp_path / "list.html").write_text("my thesis")
    with pytest.raises(UsageError, match="is no worklist"):
        write(tmp_path, ("c", 0.5, None))
    assert (tmp_path / "list.html").read_text() == "my thesis"


def test_page_in_the_inbox_or_in_no_folder_is_refused(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    (inbox / "p1").mkdir(parents=True)
    (tmp_path / "way").symlink_to(inbox)
    for out in (inbox / "l.html", inbox / "p1" / "l.html", tmp_path / "way" / "l.html", tmp_path / "no" / "l.html"):
        with pytest.raises(UsageError), ReportWriter(out, about(inbox), "en"):
            pass
    assert not list(tmp_path.rglob("*.html"))


def test_link_to_the_original_is_relative_and_quoted(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    (inbox / "p 1").mkdir(parents=True)
    (inbox / "p 1" / "a#b?.png").write_bytes(b"x")
    (attrs,) = write(tmp_path, ("p 1/a#b?.png", 0.5, "p 1")).slices()
    assert attrs["data-file"] == "./inbox/p%201/a%23b%3F.png"
    (attrs,) = write(tmp_path, ("p 1/gone.png", 0.5, "p 1")).slices()
    assert "data-file" not in attrs


@pytest.mark.parametrize("name", ["x.html", "x.svg", "x", "x.png.xhtml"])
def test_no_link_leads_to_what_a_browser_would_run(tmp_path: Path, name: str) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / name).write_bytes(b"x")
    (attrs,) = write(tmp_path, (name, 0.5, None)).slices()
    assert "data-file" not in attrs


def test_no_link_leads_to_what_broke_a_decoder(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "x.png").write_bytes(b"x")
    out = tmp_path / "list.html"
    for reason in (Reason.BLANK, Reason.DECODER_CRASHED):
        with ReportWriter(out, about(tmp_path / "inbox"), "en") as report:
            report.add(finding("x.png", None, reason=reason))
        (attrs,) = Parsed(out.read_text("utf-8")).slices()
        assert ("data-file" in attrs) == (reason is Reason.BLANK)


def test_what_the_list_leaves_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_file, "LOW_ROWS", 3)
    monkeypatch.setattr(page_file, "LOW_PICTURES", 1)
    monkeypatch.setattr(page_file, "URGENT_PICTURES", 1)
    out = tmp_path / "list.html"
    with ReportWriter(out, replace(about(tmp_path / "inbox"), deferred=7), "en") as report:
        for number in range(10):
            report.add(finding(f"l{number}", number / 100))
        report.add(finding("h", 0.95, threshold=0.2))
    text = out.read_text("utf-8")
    assert text.count("<article") == 4
    for words in ("7 further studies that were not flagged", "7 files were still being written", "another model or"):
        assert words in text


def test_empty_list_says_so(tmp_path: Path) -> None:
    assert PAGE["en"]["nothing"] in "".join(write(tmp_path).words)
