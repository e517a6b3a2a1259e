"""The worklist page in a browser, opened from disk."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from browser_lists import hostile, large, large_studies, mixed, studies

from screener.messages import NOTICE, RECOMMENDATION

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Page

pytestmark = pytest.mark.long

IN_ORDER = [
    *("bert/b1.png", "anna/a2.png", "bert/b2.png", "anna/a1.png", "Zoé/z1.png", "carla/c1.png", "carla/c3.txt"),
    *("loose.png", "carla/c2.png", "anna/a3.png"),
]


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lists")
    mixed(folder / "en.html")
    mixed(folder / "fr.html", "fr")
    studies(folder / "studies-en.html")
    studies(folder / "studies-fr.html", "fr")
    return folder


@pytest.fixture
def opened(page: Page, lists: Path) -> Page:
    page.open(lists / "en.html")
    return page


@pytest.fixture
def of_studies(page: Page, lists: Path) -> Page:
    page.open(lists / "studies-en.html")
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


def test_order_is_that_of_the_contract(opened: Page) -> None:
    assert opened.shown() == IN_ORDER


def test_filters_and_search_narrow_the_list_together(opened: Page) -> None:
    opened.click(".chip.low")
    opened.click(".chip.review")
    assert opened.shown() == [
        path for path in IN_ORDER if path not in ("anna/a3.png", "carla/c2.png", "carla/c3.txt", "loose.png")
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
    assert opened.shown() == [path for path in IN_ORDER if path != "loose.png"]
    opened.choose("#folder", "carla")
    assert opened.shown() == ["carla/c1.png", "carla/c3.txt", "carla/c2.png"]
    opened.choose("#reviewed", "all")
    opened.choose("#folder", "/")
    assert opened.shown() == ["loose.png"]
    opened.choose("#folder", "")
    assert opened.shown() == IN_ORDER


def test_keys_move_over_what_is_shown_and_toggle_the_heatmap(opened: Page) -> None:
    opened.press("j")
    assert selected(opened) == "bert/b1.png"
    opened.press("j", "J", "k")
    assert selected(opened) == "anna/a2.png"
    assert not heat(opened, "anna/a2.png")
    opened.press(" ")
    assert heat(opened, "anna/a2.png")
    assert not heat(opened, "bert/b1.png")
    assert opened.ask("scrollY") == 0, "the space bar does not scroll as well"
    opened.press(" ")
    assert not heat(opened, "anna/a2.png")
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
    assert "anna/a2.png" in opened.ask("document.querySelector('#viewer dl').textContent")
    opened.press("\ue00c")
    assert not opened.ask("document.querySelector('#viewer').open")
    # A dialog tells that it was closed a moment after it is.
    opened.wait(f"{SELECTED} !== 'bert/b1.png'")
    assert selected(opened) == "anna/a2.png", "the list goes on where the viewer was"
    opened.press("/")
    assert opened.ask("document.activeElement.id") == "search"
    opened.press("j", "k")
    assert opened.ask("document.querySelector('#search').value") == "jk", "keys in a field are text"


def test_a_viewer_that_is_closed_and_opened_at_once_knows_its_slice(opened: Page) -> None:
    opened.press("j")
    # The event of closing comes after the viewer is open again.
    opened.ask(
        "(() => { const enter = () => document.activeElement.dispatchEvent(new KeyboardEvent('keydown',"
        " {key: 'Enter', bubbles: true})); const item = document.activeElement; enter();"
        " document.querySelector('#viewer').close(); item.focus(); enter(); })()"
    )
    opened.wait("new Promise(done => setTimeout(() => done(true), 100))")
    assert opened.ask("document.querySelector('#viewer').open")
    opened.click("#viewer .heatmap")
    assert opened.ask("document.querySelector('.stage').classList.contains('heat-on')")
    assert opened.complaints() == []


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


@pytest.mark.parametrize("lang", ["en", "fr", "studies-en", "studies-fr"])
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
@pytest.mark.parametrize("lang", ["en", "fr", "studies-en", "studies-fr"])
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
    output = [re.sub(r"\s+", " ", sheet) for sheet in sheets.split("\f") if sheet.strip()]
    assert len(output) > 2
    assert all(NOTICE["en"] in sheet for sheet in output)
    assert sum(sheet.count("patient-") for sheet in output) >= 40
    assert not any("Search" in sheet or "next, previous" in sheet for sheet in output), "switches are not printed"
    info = subprocess.run(["pdfinfo", str(file)], check=True, capture_output=True, text=True).stdout
    assert "A4" in info


def test_print_shows_what_the_filters_leave(page: Page, lists: Path, tmp_path: Path) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext here: install poppler-utils")
    page.open(lists / "fr.html")
    page.click(".chip.low")
    (tmp_path / "list.pdf").write_bytes(page.pdf())
    output = subprocess.run(
        ["pdftotext", str(tmp_path / "list.pdf"), "-"], check=True, capture_output=True, text=True
    ).stdout
    assert "b1.png" in output
    assert "a3.png" not in output
    assert NOTICE["fr"] in re.sub(r"\s+", " ", output)


def test_hostile_names_and_notes_do_not_run(page: Page, tmp_path: Path) -> None:
    page.open(hostile(tmp_path / "list.html"))
    for _ in range(4):
        page.press("j", "\ue007", " ", "\ue00c")
    page.click("#heatmaps")
    assert page.ask("window.broken === undefined")
    assert (
        page.ask("document.querySelectorAll('img:not(.strip img, .cine img), iframe, script:not(#words)').length") == 1
    )
    assert page.complaints() == []
    assert {url.partition(":")[0] for url in page.requests()} == {"file"}
    links = page.ask(
        "[...document.querySelectorAll('[data-file]')].map(s => new URL(s.dataset.file, location).protocol)"
    )
    assert set(links) == {"file:"}
    assert len(links) == 4
    assert page.ask("document.querySelectorAll('[role=tab]').length") == 8


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


TOLD = "document.querySelector('.panel:not([hidden]) .looked-at').textContent"
CINE = "document.querySelector('.panel:not([hidden]) .cine > *').localName"


def test_studies_come_in_order_and_are_searched_by_name(of_studies: Page) -> None:
    patients = "[...document.querySelectorAll('.item')].filter(s => s.checkVisibility()).map(s => s.dataset.patient)"
    assert of_studies.ask(patients) == ["bert", "anna", "carla", "dora", "emil"]
    of_studies.type("#search", "2026-01")
    assert of_studies.ask(patients) == ["anna"]
    assert of_studies.complaints() == []


def test_series_are_looked_through_with_keys_wheel_and_pointer(of_studies: Page) -> None:
    of_studies.press("j", "j")
    of_studies.wait(f"{TOLD}.startsWith('Slice 6 of 12')")
    assert of_studies.ask(CINE) == "svg", "a key slice in its large size, with its evidence"
    of_studies.press("\ue014")
    assert of_studies.ask(TOLD).startswith("Slice 7 of 12")
    of_studies.press("\ue012", "\ue012", "\ue012")
    assert of_studies.ask(TOLD).startswith("Slice 4 of 12")
    assert "hardly any contrast" in of_studies.ask(TOLD)
    of_studies.press("\ue012")
    assert of_studies.ask(CINE) == "img"
    of_studies.ask(
        "document.querySelector('.cine').dispatchEvent(new WheelEvent('wheel', {deltaY: 9, cancelable: true}))"
    )
    assert of_studies.ask(TOLD).startswith("Slice 4 of 12")
    of_studies.click(".panel:not([hidden]) .strip li:nth-child(6)")
    assert of_studies.ask(TOLD).startswith("Slice 6 of 12")
    of_studies.ask(
        "(() => {const c = document.querySelector('.curve'), b = c.getBoundingClientRect();"
        "c.dispatchEvent(new PointerEvent('pointermove', {clientX: b.left + b.width * 0.79, clientY: b.top}))})()"
    )
    assert of_studies.ask(TOLD).startswith("Slice 10 of 12")


def test_series_are_tabs_for_the_keyboard(of_studies: Page) -> None:
    of_studies.press("j", "j")
    of_studies.click("[role=tab][aria-selected=true]")
    of_studies.press("\ue014")
    assert of_studies.ask("document.activeElement.textContent").startswith("t1")
    assert of_studies.ask("document.querySelectorAll('.tabbed .panel:not([hidden])').length") == 1
    of_studies.wait(f"{TOLD}.startsWith('Slice 1 of 12')")
    of_studies.press("\ue014", "\ue014")
    assert of_studies.ask("document.activeElement.getAttribute('aria-selected')") == "true"


def test_key_slice_opens_with_its_numbers(of_studies: Page) -> None:
    of_studies.press("j", "j", "\ue007")
    output = of_studies.ask("document.querySelector('#viewer dl').textContent")
    assert "anna" in output
    assert "005.png" in output
    of_studies.press("\ue00c")
    of_studies.ask("document.querySelectorAll('.key')[2].querySelector('svg').dispatchEvent("
                   "new MouseEvent('click', {bubbles: true}))")  # fmt: skip
    assert of_studies.ask("document.querySelector('#viewer').open")
    assert of_studies.complaints() == []


def test_ten_thousand_slices_stay_light_and_open(page: Page, tmp_path: Path) -> None:
    out = large_studies(tmp_path / "list.html")
    assert out.stat().st_size <= 50 << 20
    page.open(out)
    assert page.ask("document.querySelectorAll('.study').length") == 200
    assert page.complaints() == []
