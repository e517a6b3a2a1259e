"""The worklist page in a browser, opened from disk."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from browser_lists import hostile, large, mixed

from screener.messages import NOTICE, RECOMMENDATION

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Page

pytestmark = pytest.mark.long

BY_PATIENT = [
    *("bert/b1.png", "bert/b2.png", "anna/a2.png", "anna/a1.png", "anna/a3.png", "Zoé/z1.png"),
    *("carla/c1.png", "carla/c3.txt", "carla/c2.png", "loose.png"),
]
ONE_LIST = [
    *("bert/b1.png", "anna/a2.png", "bert/b2.png", "anna/a1.png", "Zoé/z1.png", "carla/c1.png", "carla/c3.txt"),
    *("loose.png", "carla/c2.png", "anna/a3.png"),
]


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lists")
    mixed(folder / "en.html")
    mixed(folder / "fr.html", "fr")
    return folder


@pytest.fixture
def opened(page: Page, lists: Path) -> Page:
    page.open(lists / "en.html")
    return page


SELECTED = "(document.activeElement.querySelector?.('.file')?.textContent ?? '')"


def selected(page: Page) -> str:
    return str(page.ask(SELECTED))


def heat(page: Page, path: str) -> bool:
    script = (
        "getComputedStyle([...document.querySelectorAll('.slice')].find(s => "
        "s.querySelector('.file').textContent === arguments[0]).querySelector('.heat')).display !== 'none'"
    )
    return bool(page.ask(script, path))


def test_opens_from_disk_without_a_word_and_without_the_network(opened: Page, lists: Path) -> None:
    opened.click("#heatmaps")
    opened.press("j", "\ue007")
    assert opened.complaints() == []
    assert set(opened.requests()) == {(lists / "en.html").as_uri()}
    broken = "[...document.querySelectorAll('svg.picture image')].filter(i => !i.getBBox().width).length"
    assert opened.ask(broken) == 0


def test_order_is_that_of_the_contract_in_both_arrangements(opened: Page) -> None:
    assert opened.shown() == BY_PATIENT
    opened.choose("#view", "one_list")
    assert opened.shown() == ONE_LIST
    opened.choose("#view", "by_patient")
    assert opened.shown() == BY_PATIENT


def test_filters_and_search_narrow_the_list_together(opened: Page) -> None:
    opened.click(".chip.low")
    opened.click(".chip.review")
    assert opened.shown() == [
        path for path in BY_PATIENT if path not in ("anna/a3.png", "carla/c2.png", "carla/c3.txt", "loose.png")
    ]
    assert opened.ask("document.querySelector('.chip.low').getAttribute('aria-pressed')") == "false"
    opened.type("#search", "zoe")
    assert opened.shown() == ["Zoé/z1.png"], "accents and case do not matter"
    opened.type("#search", "A .PNG an")
    assert opened.shown() == ["anna/a2.png", "anna/a1.png"]
    assert "2" in opened.ask("document.querySelector('#shown').textContent")
    opened.type("#search", "nobody")
    assert opened.shown() == []
    assert opened.ask("document.querySelector('#none').checkVisibility()")


def test_folder_and_verdict_filters(opened: Page) -> None:
    opened.choose("#reviewed", "done")
    assert opened.shown() == ["loose.png"]
    opened.choose("#reviewed", "open")
    assert opened.shown() == BY_PATIENT[:-1]
    opened.choose("#folder", "carla")
    assert opened.shown() == ["carla/c1.png", "carla/c3.txt", "carla/c2.png"]
    assert opened.ask("[...document.querySelectorAll('.patient')].filter(p => p.checkVisibility()).length") == 1
    opened.choose("#reviewed", "all")
    opened.choose("#folder", "/")
    assert opened.shown() == ["loose.png"]
    opened.choose("#folder", "")
    assert opened.shown() == BY_PATIENT


def test_keys_move_over_what_is_shown_and_toggle_the_heatmap(opened: Page) -> None:
    opened.press("j")
    assert selected(opened) == "bert/b1.png"
    opened.press("j", "J", "k")
    assert selected(opened) == "bert/b2.png"
    assert not heat(opened, "bert/b2.png")
    opened.press(" ")
    assert heat(opened, "bert/b2.png")
    assert not heat(opened, "bert/b1.png")
    assert opened.ask("scrollY") == 0, "the space bar does not scroll as well"
    opened.press(" ")
    assert not heat(opened, "bert/b2.png")
    opened.click(".chip.high")
    opened.press("k", "k", "k")
    assert selected(opened) == "anna/a1.png", "hidden slices are passed over"


def test_enter_opens_a_slice_and_keys_work_inside(opened: Page) -> None:
    opened.press("j", "\ue007")
    assert opened.ask("document.querySelector('#viewer').open")
    assert "bert/b1.png" in opened.ask("document.querySelector('#viewer dl').textContent")
    assert RECOMMENDATION["en"]["HIGH"] in opened.ask("document.querySelector('#viewer dl').textContent")  # type: ignore[index]
    opened.press(" ")
    assert opened.ask("document.querySelector('.stage').classList.contains('heat-on')")
    assert heat(opened, "bert/b1.png")
    opened.press("j")
    assert "bert/b2.png" in opened.ask("document.querySelector('#viewer dl').textContent")
    opened.press("\ue00c")
    assert not opened.ask("document.querySelector('#viewer').open")
    # A dialog tells that it was closed a moment after it is.
    opened.wait(f"{SELECTED} !== 'bert/b1.png'")
    assert selected(opened) == "bert/b2.png", "the list goes on where the viewer was"
    opened.press("/")
    assert opened.ask("document.activeElement.id") == "search"
    opened.press("j", "k")
    assert opened.ask("document.querySelector('#search').value") == "jk", "keys in a field are text"


def test_all_heatmaps_and_the_line_of_the_most_suspicious_region(opened: Page) -> None:
    opened.click("#heatmaps")
    assert heat(opened, "anna/a3.png")
    inside = (
        "[...document.querySelectorAll('.slice')].every(s => {const p = s.querySelector('svg.picture'); if (!p) return"
        " true; const l = p.querySelector('.line').getBBox(); const v = p.viewBox.baseVal; return l.x >= 0 && l.y >= 0"
        " && l.x + l.width <= v.width && l.y + l.height <= v.height})"
    )
    assert opened.ask(inside)
    opened.click("#heatmaps")
    assert not heat(opened, "anna/a3.png")


@pytest.mark.parametrize("lang", ["en", "fr"])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1366, 420])
def test_no_serious_violation_of_accessibility(
    page: Page, lists: Path, axe: str, lang: str, *, dark: bool, width: int
) -> None:
    page.media(dark=dark)
    page.size(width, 768)
    page.open(lists / f"{lang}.html")
    assert page.violations(axe) == []
    page.press("j", "\ue007")
    assert page.violations(axe) == []


@pytest.mark.parametrize("width", [1366, 1024, 420])
@pytest.mark.parametrize("lang", ["en", "fr"])
def test_nothing_is_cut_off_at_any_width(page: Page, lists: Path, lang: str, width: int) -> None:
    page.size(width, 768)
    page.open(lists / f"{lang}.html")
    assert page.ask("document.documentElement.scrollWidth") <= width
    cut = (
        "[...document.querySelectorAll('.figures, .figures p, header, .tools, .notice')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.outerHTML.slice(0, 200))"
    )
    assert page.ask(cut) == []


def test_theme_can_be_chosen_against_the_system(opened: Page) -> None:
    def background() -> str:
        return str(opened.ask("getComputedStyle(document.body).backgroundColor"))

    light = background()
    opened.choose("#theme", "theme_dark")
    dark = background()
    assert dark != light
    opened.media(dark=True)
    opened.choose("#theme", "theme_light")
    assert background() == light
    opened.choose("#theme", "theme_auto")
    assert background() == dark


def test_printed_on_a4_with_the_notice_on_every_sheet(page: Page, tmp_path: Path) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext here: install poppler-utils")
    page.open(large(tmp_path / "list.html", 40))
    file = tmp_path / "list.pdf"
    file.write_bytes(page.pdf())
    sheets = subprocess.run(["pdftotext", "-layout", str(file), "-"], check=True, capture_output=True, text=True).stdout
    told = [re.sub(r"\s+", " ", sheet) for sheet in sheets.split("\f") if sheet.strip()]
    assert len(told) > 2
    assert all(NOTICE["en"] in sheet for sheet in told)
    assert sum(sheet.count("patient-") for sheet in told) >= 40
    assert not any("Search" in sheet or "next, previous" in sheet for sheet in told), "switches are not printed"
    info = subprocess.run(["pdfinfo", str(file)], check=True, capture_output=True, text=True).stdout
    assert "A4" in info


def test_print_shows_what_the_filters_leave(page: Page, lists: Path, tmp_path: Path) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext here: install poppler-utils")
    page.open(lists / "fr.html")
    page.click(".chip.low")
    (tmp_path / "list.pdf").write_bytes(page.pdf())
    told = subprocess.run(
        ["pdftotext", str(tmp_path / "list.pdf"), "-"], check=True, capture_output=True, text=True
    ).stdout
    assert "b1.png" in told
    assert "a3.png" not in told
    assert NOTICE["fr"] in re.sub(r"\s+", " ", told)


def test_hostile_names_and_notes_do_not_run(page: Page, tmp_path: Path) -> None:
    page.open(hostile(tmp_path / "list.html"))
    for _ in range(4):
        page.press("j", "\ue007", " ", "\ue00c")
    page.choose("#view", "one_list")
    page.click("#heatmaps")
    assert page.ask("window.broken === undefined")
    assert page.ask("document.querySelectorAll('img, iframe, script:not(#words)').length") == 1
    assert page.complaints() == []
    assert {url.partition(":")[0] for url in page.requests()} == {"file"}
    links = page.ask(
        "[...document.querySelectorAll('[data-file]')].map(s => new URL(s.dataset.file, location).protocol)"
    )
    assert set(links) == {"file:"}
    assert len(links) == 4


def test_policy_stops_what_would_be_slipped_in(opened: Page) -> None:
    opened.chrome.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.broken = 1'; document.body.append(s);"
        "const b = document.createElement('b'); b.setAttribute('onclick', 'window.broken = 1');"
        "document.body.append(b); b.click();"
    )
    assert opened.ask("window.broken === undefined")
    assert any("Content Security Policy" in text for text in opened.complaints())


def test_a_thousand_flagged_slices_stay_light_and_open(page: Page, tmp_path: Path) -> None:
    out = large(tmp_path / "list.html")
    assert out.stat().st_size <= 50 << 20
    page.open(out)
    assert len(page.shown()) == 1_000
    assert page.complaints() == []


def test_list_can_be_read_without_scripts(lists: Path) -> None:
    text = (lists / "en.html").read_text("utf-8")
    body = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert body.count("<article") == 10
    assert 'class="controls" hidden' in body, "switches that would do nothing are not shown"
