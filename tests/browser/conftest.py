"""A real browser, started once: Debian's chromium without a window. Tests skip where there is none."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "build" / "axe-core" / "axe.min.js"
AXE_VERSION = "4.14.1"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs the extra [dev]")
    from selenium.webdriver.chrome.service import Service

    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no browser here: install chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--window-size=1366,768"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=Service(driver)) as started:
        yield started


@pytest.fixture
def page(chrome: Chrome) -> Iterator[Page]:
    """Return a browser at 1366 x 768 in light colours, its logs empty."""
    chrome.get("about:blank")
    found = Page(chrome)
    found.size(1366, 768)
    found.media()
    found.complaints()
    found.requests()
    yield found
    chrome.get("about:blank")


@pytest.fixture(scope="session")
def axe() -> str:
    """Return axe-core, fetched from the npm registry on first use and kept in build/."""
    if not AXE.is_file():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("no npm here to fetch axe-core with")
        AXE.parent.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(
                [npm, "pack", f"axe-core@{AXE_VERSION}", "--pack-destination", str(AXE.parent)],
                check=True,
                capture_output=True,
                timeout=120,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"axe-core cannot be fetched: {error}")
        with tarfile.open(AXE.parent / f"axe-core-{AXE_VERSION}.tgz") as archive:
            member = archive.extractfile("package/axe.min.js")
            assert member is not None
            AXE.write_bytes(member.read())
    return AXE.read_text("utf-8")


class Page:
    """What the tests do with a page, in one word each."""

    def __init__(self, chrome: Chrome) -> None:
        self.chrome = chrome

    def open(self, path: Path) -> None:
        self.chrome.get(path.as_uri())

    def size(self, width: int, height: int) -> None:
        self._command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def media(self, *, dark: bool = False, kind: str = "") -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._command("Emulation.setEmulatedMedia", media=kind, features=[scheme])

    def ask(self, script: str, *values: object) -> Any:  # noqa: ANN401 - whatever the page answers
        return self.chrome.execute_script(f"return {script}", *values)

    def wait(self, script: str, seconds: float = 15.0) -> Any:  # noqa: ANN401 - whatever the page answers
        """Ask until the answer is true: a page does some things in the background."""
        end = time.monotonic() + seconds
        while not (found := self.ask(script)):
            assert time.monotonic() < end, f"{script}: {self.ask('document.body.innerText')}"
            time.sleep(0.05)
        return found

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.chrome).send_keys(key).perform()

    def click(self, selector: str) -> None:
        self.chrome.find_element("css selector", selector).click()

    def choose(self, selector: str, value: str) -> None:
        from selenium.webdriver.support.select import Select

        Select(self.chrome.find_element("css selector", selector)).select_by_value(value)

    def type(self, selector: str, text: str) -> None:
        field = self.chrome.find_element("css selector", selector)
        field.clear()
        field.send_keys(text)

    def shown(self) -> list[str]:
        """Return the files of the slices that are to be seen, in the order of the page."""
        return list(
            self.ask("[...document.querySelectorAll('.slice')].filter(s => s.checkVisibility())"
                     ".map(s => s.querySelector('.file').textContent)")
        )  # fmt: skip

    def complaints(self) -> list[str]:
        """Return what the console said since last asked."""
        return [entry["message"] for entry in self.chrome.get_log("browser")]

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since last asked, but not what is inside the page itself."""
        events = [json.loads(entry["message"])["message"] for entry in self.chrome.get_log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [event["request"]["url"] for event in sent if not event["request"]["url"].startswith("data:")]

    def pdf(self) -> bytes:
        import base64

        return base64.b64decode(self._command("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])

    def picture(self) -> bytes:
        return bytes(self.chrome.get_screenshot_as_png())

    def violations(self, axe: str) -> list[str]:
        """Return the serious and critical findings of axe-core."""
        self.chrome.execute_script(axe)
        found = self.chrome.execute_async_script("axe.run(document).then(arguments[arguments.length - 1])")
        return [
            f"{rule['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
            for rule in found["violations"]
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"][:3]
        ]

    def _command(self, name: str, **values: object) -> Any:  # noqa: ANN401 - whatever the protocol answers
        return self.chrome.execute_cdp_cmd(name, values)
