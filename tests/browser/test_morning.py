"""A morning with the demo inbox, and the screenshots of ``docs/tutorial/morning.md``.

They are written to ``build/morning``; with ``SCREENER_RENEW_DOCS=1`` also to ``docs/tutorial/morning``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from browser_lists import studies

if TYPE_CHECKING:
    from conftest import Page

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "docs" / "demo" / "inbox"
SHOTS = ROOT / "build" / "morning"


@pytest.fixture
def morning(tmp_path: Path) -> Path:
    """Return a folder in which the demo inbox has just been screened."""
    if not (ROOT / "models" / "lite" / "model.onnx").is_file():
        pytest.skip("the shipped model is not here")
    shutil.copytree(DEMO, tmp_path / "inbox")
    screener(tmp_path, "scan", "inbox", "--log", "audit.jsonl", "--report", "worklist.html", code=4)
    return tmp_path


def screener(folder: Path, *words: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "screener", *words]
    found = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=os.environ | {"LANG": "C"}
    )
    assert found.returncode == code, found.stderr
    return found.stdout


def keep(page: Page, name: str) -> None:
    """Take a screenshot, small enough for a repository, without the paths of the machine that ran the test."""
    page.chrome.execute_script(
        "document.querySelectorAll('.identity dd').forEach(d => {if (d.textContent.startsWith('/'))"
        " d.textContent = '/srv/' + d.textContent.split('/').pop()})"
    )
    small(page.picture(), name)


def small(picture: bytes, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    (SHOTS / name).write_bytes(cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, 85))[1].tobytes())


def test_a_morning_from_scan_to_page_to_explanation(morning: Path, page: Page) -> None:
    page.open(morning / "worklist.html")
    studies_in_log = (morning / "audit.jsonl").read_text("utf-8").count('"event":"STUDY"')
    cards = "document.querySelectorAll('.study').length"
    assert page.ask(cards) == studies_in_log
    keep(page, "worklist.jpg")
    page.click("#heatmaps")
    page.press("j", "\ue007")
    keep(page, "slice.jpg")
    page.press(" ")
    assert not page.ask("document.querySelector('.stage').classList.contains('heat-on')"), "space works at once"
    page.press(" ", "\ue00c")
    page.media(dark=True)
    keep(page, "dark.jpg")
    assert page.complaints() == []

    output = screener(morning, "explain", "inbox/patient-05/Te-gl_0014.jpg", "--out", "explained")
    (sheet,) = (morning / "explained").glob("*.combined.png")
    assert str(sheet.relative_to(morning)) in output
    small(sheet.read_bytes(), "explained.jpg")

    waiting = screener(morning, "worklist", "--log", "audit.jsonl")
    flagged = page.ask("document.querySelectorAll('.study:not(.low)').length")
    assert f"{flagged} studies wait" in waiting
    assert screener(morning, "report", "again.html", "--log", "audit.jsonl").strip() == "again.html"
    page.open(morning / "again.html")
    assert page.ask(cards) == studies_in_log
    if os.environ.get("SCREENER_RENEW_DOCS"):
        shutil.copytree(SHOTS, ROOT / "docs" / "tutorial" / "morning", dirs_exist_ok=True)


def test_a_study_of_several_series_as_the_guide_shows_it(page: Page, tmp_path: Path) -> None:
    page.open(studies(tmp_path / "list.html"))
    page.press("j", "j")
    page.wait("document.querySelector('.looked')")
    page.chrome.execute_script("document.querySelector('.study:focus').scrollIntoView({block: 'center'})")
    small(page.picture(), "study.jpg")
    assert page.ask("document.querySelectorAll('.cine > *').length") > 0
    if os.environ.get("SCREENER_RENEW_DOCS"):
        shutil.copy(SHOTS / "study.jpg", ROOT / "docs/tutorial/morning/study.jpg")


def test_every_screenshot_of_the_walk_through_is_there_and_used() -> None:
    text = (ROOT / "docs" / "tutorial" / "morning.md").read_text("utf-8")
    shots = {path.name for path in (ROOT / "docs" / "tutorial" / "morning").iterdir()}
    assert shots
    assert all(f"(morning/{name})" in text for name in shots)
