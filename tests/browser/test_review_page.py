"""A session in a real browser: ten slices, ten verdicts, and nothing that gets lost on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser_lists import HOSTILE

from tests.conftest import write_slice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Page
    from selenium.webdriver import Chrome

pytest.importorskip("uvicorn", reason="needs the extra [review]")
pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
ENTER, ESCAPE = "\ue007", "\ue00c"


@dataclass
class ReviewSession:
    """A folder with an inbox and its log, and the server over it."""

    folder: Path
    model: Path
    blind: bool = False
    server: subprocess.Popen[str] | None = None
    address: str = ""

    @property
    def log(self) -> Path:
        return self.folder / "audit.jsonl"

    def screener(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "screener", *map(str, words), "--log", str(self.log)]

    def scan(self) -> None:
        command = self.screener("scan", self.folder / "inbox", "--model", self.model, "--quiet")
        assert subprocess.run(command, check=False, cwd=ROOT).returncode in (0, 4)

    def start(self, port: int = 0) -> None:
        words = ["review", "--doctor", "dr.a", "--sample", "1", "--model", self.model, "--port", port, "--lang", "en"]
        command = self.screener(*words, *(["--blind"] if self.blind else []))
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.server.stdout is not None
        self.address = self.server.stdout.readline().strip()
        assert self.address.startswith("http://127.0.0.1:")

    def stop(self, number: int = signal.SIGINT) -> None:
        if self.server is not None:
            self.server.send_signal(number)
            self.server.communicate(timeout=30)
            self.server = None

    def reviews(self) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [event for event in found if event["event"] == "REVIEW"]


@pytest.fixture
def session(tmp_path: Path, tiny_model: Path) -> Iterator[ReviewSession]:
    for number in range(9):
        write_slice(tmp_path / f"inbox/p{number}/a.png", number, bright=number % 2 == 0)
    write_slice(tmp_path / "inbox" / HOSTILE.replace("/", "∕") / "a.png", 9, bright=True)
    found = ReviewSession(tmp_path, tiny_model)
    found.scan()
    yield found
    found.stop(signal.SIGKILL)


def idle(page: Page) -> None:
    page.wait("document.querySelector('main').getAttribute('aria-busy') === 'false'")


def case(page: Page) -> str:
    """Return the file on show, once its picture is."""
    idle(page)
    assert page.ask("document.getElementById('window').textContent") != ""
    return str(page.ask("document.querySelectorAll('#facts dd')[1].textContent"))


def opened(page: Page, session: ReviewSession) -> str:
    page.chrome.get(session.address)
    return case(page)


def state(page: Page) -> str:
    return str(page.ask("document.getElementById('state').textContent"))


def pressed_verdict(page: Page) -> str | None:
    found = page.ask("document.querySelector('.verdict[aria-pressed=true]')?.dataset.diagnosis ?? null")
    return None if found is None else str(found)


def give(page: Page, key: str, done: int) -> None:
    """Press a verdict's key and wait until it is recorded and the next slice is on show."""
    page.press(key)
    page.wait(f"document.getElementById('progress').textContent.startsWith('{done} of ')")
    idle(page)


def test_ten_slices_end_with_ten_events_in_a_log_that_verifies(session: ReviewSession, page: Page) -> None:
    session.start()
    opened(page, session)
    assert page.ask("location.hash") == "", "the secret leaves the address bar"
    seen = [case(page)]
    time.sleep(0.3)
    for number, key in enumerate("tnubTtNnu", start=1):
        give(page, key, number)
        seen.append(case(page))
    page.press("t")
    page.wait("document.getElementById('missing').textContent.startsWith('Nothing')")
    events = session.reviews()
    assert len(events) == len(set(seen)) == 10
    words = {"t": "tumour", "n": "no_tumour", "u": "unsure", "b": "bad_image"}
    assert [event["final_diagnosis"] for event in events] == [words[key] for key in "tnubttnnut"]
    assert 0.3 <= float(events[0]["seconds"]) < 60
    assert {event["drawn"] for event in events} == {"flagged", "sample"}
    assert page.complaints() == []
    assert {url.split("/")[2] for url in page.requests() if url.startswith("http")} == {session.address.split("/")[2]}
    session.stop()
    found = subprocess.run(
        [sys.executable, "-m", "screener", "verify", str(session.log)], check=False, cwd=ROOT, capture_output=True
    )
    assert found.returncode == 0


def test_hostile_names_and_notes_stay_text(session: ReviewSession, page: Page) -> None:
    session.start()
    opened(page, session)
    hostile = ""
    for number in range(1, 10):
        if "onerror" in case(page):
            hostile = case(page)
            page.press("m")
            page.chrome.switch_to.active_element.send_keys(HOSTILE)
            page.press(ESCAPE)
        give(page, "u", number)
    assert hostile or "onerror" in case(page)
    for _ in range(10):
        page.press("k")
        idle(page)
    assert page.ask("window.broken") is None
    assert page.ask("document.querySelectorAll('img, body script:not([src]):not([type])').length") == 0
    assert not page.complaints()
    assert any(event["note"] == HOSTILE for event in session.reviews()) or "onerror" in case(page)


def test_a_reload_a_killed_server_and_a_second_tab_lose_nothing(
    session: ReviewSession, page: Page, chrome: Chrome
) -> None:
    session.start()
    opened(page, session)
    give(page, "t", 1)
    here = case(page)
    page.press("m")
    chrome.switch_to.active_element.send_keys("half a note")
    chrome.refresh()
    assert case(page) == here
    assert page.ask("document.getElementById('note').value") == "half a note"

    port = int(session.address.split(":")[2].partition("/")[0])
    session.stop(signal.SIGKILL)
    page.press("n")
    page.wait("document.getElementById('state').className === 'bad'")
    assert "Not recorded" in state(page)
    assert page.ask("document.getElementById('note').value") == "half a note"
    assert len(session.reviews()) == 1
    session.start(port)
    page.press("n")
    page.wait("!document.getElementById('trouble').hidden || document.getElementById('state').className === 'bad'")
    assert "not valid" in page.ask("document.body.innerText"), "another session has another secret"
    chrome.get(session.address)
    assert case(page) == here
    assert page.ask("document.getElementById('note').value") == "half a note"
    give(page, "n", 1)
    assert [event["note"] for event in session.reviews()] == ["", "half a note"]

    first, third = chrome.current_window_handle, case(page)
    chrome.switch_to.new_window("tab")
    try:
        chrome.get(session.address)
        assert case(page) == third
        page.press("t")
        page.wait("document.getElementById('progress').textContent.startsWith('2 of ')")
    finally:
        chrome.close()
        chrome.switch_to.window(first)
    give(page, "n", 2)
    assert [event["final_diagnosis"] for event in session.reviews()] == ["tumour", "no_tumour", "tumour", "no_tumour"]
    results = [event["result"] for event in session.reviews()]
    assert results[2] == results[3], "the second tab and the first judged the same slice: both stay in the log"


def test_a_wrong_secret_shows_a_sentence_and_no_slice(session: ReviewSession, page: Page) -> None:
    session.start()
    page.chrome.get(session.address.partition("#")[0] + "#wrong")
    page.wait("!document.getElementById('trouble').hidden")
    assert "not valid" in page.ask("document.getElementById('trouble').textContent")
    assert page.ask("document.querySelectorAll('#facts dd').length") == 0
    page.press("t")
    assert session.reviews() == []


def pixel(page: Page) -> list[int]:
    script = (
        "(() => {const c = document.getElementById('canvas');"
        "return [...c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data]})()"
    )
    return [int(value) for value in page.ask(script)]


def test_contrast_zoom_heatmap_and_going_back(session: ReviewSession, page: Page) -> None:
    from selenium.webdriver import ActionChains

    session.start()
    opened(page, session)
    before, view = pixel(page), page.ask("document.getElementById('window').textContent")
    canvas = page.chrome.find_element("css selector", "#canvas")
    ActionChains(page.chrome).drag_and_drop_by_offset(canvas, -60, 40).perform()
    assert page.ask("document.getElementById('window').textContent") != view
    assert pixel(page) != before
    page.press("r")
    assert page.ask("document.getElementById('window').textContent") == view
    assert pixel(page) == before
    page.press("+", "+")
    assert "zoom 1.3" in page.ask("document.getElementById('window').textContent")
    page.press("r", " ")
    page.wait("document.getElementById('heat').getAttribute('aria-pressed') === 'true'")
    end = time.monotonic() + 10
    while pixel(page)[0] == pixel(page)[1] == pixel(page)[2] and time.monotonic() < end:
        time.sleep(0.05)
    red, green, blue, _ = pixel(page)
    assert len({red, green, blue}) > 1, "evidence has colour, the slice has none"
    first = case(page)
    give(page, "t", 1)
    page.press("k")
    page.wait("document.querySelector('.verdict[aria-pressed=true]') !== null")
    assert case(page) == first
    assert pressed_verdict(page) == "tumour"
    page.press("n")
    page.wait("document.querySelector('.verdict[aria-pressed=true]') === null")
    assert [event["final_diagnosis"] for event in session.reviews()] == ["tumour", "no_tumour"]


def test_blind_shows_the_opinion_after_the_verdict(session: ReviewSession, page: Page) -> None:
    session.blind = True
    session.start()
    opened(page, session)
    text = page.ask("document.body.innerText")
    assert not any(word in text for word in ("SUSPECTED", "POSSIBLE", "NOT FLAGGED", "≥", "Probability"))
    page.press(" ")
    assert page.ask("document.getElementById('heat').disabled")
    page.press("u")
    page.wait("!document.getElementById('tool').hidden")
    assert pressed_verdict(page) == "unsure"
    assert any(word in page.ask("document.body.innerText") for word in ("SUSPECTED", "POSSIBLE", "NOT FLAGGED"))
    before = case(page)
    page.press(ENTER)
    page.wait("document.getElementById('tool').hidden")
    assert case(page) != before
    assert session.reviews()[0]["blind"] is True


def test_no_serious_barrier_for_whoever_uses_other_means(session: ReviewSession, page: Page, axe: str) -> None:
    session.start()
    opened(page, session)
    # Selenium's own script is not bound by the page's policy.
    assert page.violations(axe) == []
    page.size(1366, 768)
    assert page.ask("document.documentElement.scrollWidth <= innerWidth")
    assert page.ask("document.querySelector('.verdicts').getBoundingClientRect().bottom < innerHeight")


def test_a_study_opens_on_its_key_slice_and_scrolls_through_the_others(
    tmp_path: Path, tiny_model: Path, page: Page
) -> None:
    for number in range(9):
        write_slice(tmp_path / f"inbox/p/{number}.png", number, bright=number in {5, 6, 7})
    session = ReviewSession(tmp_path, tiny_model)
    session.scan()
    session.start()
    try:
        assert opened(page, session) == "p"

        def on_show() -> str:
            return str(page.ask("document.getElementById('position').textContent")).strip()

        first = on_show()
        page.press("]")
        page.wait(f"document.getElementById('position').textContent.trim() !== '{first}'")
        assert on_show() == f"Slice {int(first.split()[1]) + 1} of 9"
        page.press("x")
        page.press("l", "n")
        page.wait("document.getElementById('state').textContent.startsWith('Recorded')")
        assert page.ask("document.getElementById('progress').textContent").startswith("0 of ")
        page.press("t")
        page.wait("document.getElementById('progress').textContent.startsWith('1 of ')")
        assert [event["final_diagnosis"] for event in session.reviews()] == ["no_tumour", "tumour"]
        kinds = {e["hash"]: e["event"] for e in map(json.loads, session.log.read_text().splitlines())}
        assert [kinds[event["result"]] for event in session.reviews()] == ["RESULT", "STUDY"]
        assert page.complaints() == []
    finally:
        session.stop(signal.SIGKILL)


def test_the_picture_of_the_walk_through(tmp_path: Path, page: Page) -> None:
    if not (ROOT / "models/lite/model.onnx").is_file():
        pytest.skip("the shipped model is not here")
    from test_morning import small

    shutil.copytree(ROOT / "docs/demo/inbox", tmp_path / "inbox")
    session = ReviewSession(tmp_path, ROOT / "models/lite")
    session.scan()
    session.start()
    try:
        opened(page, session)
        page.press(" ")
        page.wait("document.getElementById('heat').getAttribute('aria-pressed') === 'true'")
        time.sleep(0.5)
        small(page.picture(), "review.jpg")
        assert page.complaints() == []
    finally:
        session.stop()
    if os.environ.get("SCREENER_RENEW_DOCS"):
        shutil.copy(ROOT / "build/morning/review.jpg", ROOT / "docs/tutorial/morning/review.jpg")
