"""Measure what showing findings costs, overlays, a scan that writes its page, the page in a browser: ``make bench``.

The inbox is drawn from the demo tumours, turned, flipped and shifted, and screened at threshold 0, so that every slice
is flagged and gets its picture and heatmap: the most that a page can cost. Times are medians; the scans with and
without a page take turns, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.watch import ROOT, processor, run, timed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

SLICES = 1_000
REPEATS = 5
OPENED = 5
_OVERLAYS = 4
"""Overlays drawn of a slice, for each repeat of a scan: they take no time."""
_DEMO = ROOT / "docs/demo/inbox"
_SETTLED = "return performance.getEntriesByType('navigation')[0].loadEventEnd"


def main() -> None:
    """Write ``docs/results/pages.json`` and ``pages.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=SLICES)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/pages")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), arguments.slices, arguments.repeats)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(report(figures))
    print(report(figures))


def measure(scratch: Path, slices: int, repeats: int) -> dict[str, Any]:
    """Return every figure."""
    before = os.getloadavg()[0]
    inbox, page = fill(scratch / "inbox", slices), scratch / "worklist.html"
    plain, shown = scans(inbox, page, scratch, repeats)
    # Every slice of a study stands in its strip.
    flagged = len(re.findall(r"data-path=", page.read_text("utf-8")))
    return {
        "machine": {
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "load_average": max(before, os.getloadavg()[0]),
        },
        "slices": slices,
        "flagged": flagged,
        "repeats": repeats,
        "scan_seconds": plain,
        "scan_with_page_seconds": shown,
        "speed_with_page": plain / shown,
        "overlay": overlays(repeats),
        "page_mb": page.stat().st_size / 1e6,
        "open_seconds": opening(page),
    }


def fill(inbox: Path, count: int) -> Path:
    """Write an inbox of slices no two of which are the same, five a patient."""
    import cv2

    for number, picture in zip(range(count), pictures(), strict=False):
        file = inbox / f"patient-{number // 5:04d}" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, 95))[1].tobytes())
    return inbox


def pictures() -> Iterator[NDArray[np.uint8]]:
    """Yield the demo tumours, turned and flipped, then all of them again a pixel further along."""
    import cv2
    import numpy as np

    found = [np.asarray(cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_GRAYSCALE)) for file in tumours()]
    shift = 0
    while True:
        for turn in range(8):
            for slice_ in found:
                turned = np.rot90(slice_ if turn < 4 else np.fliplr(slice_), turn)
                yield np.ascontiguousarray(np.roll(turned, shift, axis=1), dtype=np.uint8)
        shift += 1


def tumours() -> list[Path]:
    """Return the demo slices that show a tumour."""
    return sorted(_DEMO.glob("patient-*/*.jpg"))


def scans(inbox: Path, page: Path, scratch: Path, repeats: int) -> tuple[float, float]:
    """Return the seconds of a scan without and with a page, process start to exit, after one of each to warm up."""
    screener = str(Path(sys.executable).with_name("screener"))
    plain: list[float] = []
    shown: list[float] = []
    for number in range(repeats + 1):
        for seconds, option in ((plain, []), (shown, ["--report", str(page)])):
            log = scratch / f"{number}-{len(option)}.jsonl"
            command = [screener, "scan", str(inbox), "--threshold", "0", "--quiet", "--log", str(log), *option]
            seconds.append(timed(partial(run, command)))
    return statistics.median(plain[1:]), statistics.median(shown[1:])


def overlays(repeats: int) -> dict[str, float]:
    """Return the milliseconds that explaining a slice takes beyond its prediction: the median slice and the slowest."""
    from screener.domain.slice import Slice
    from screener.inbox import Entry, read
    from screener.model.session import Model
    from screener.preprocess import prepare
    from screener.report.explain import explain, pipeline_with_evidence
    from screener.report.overlay import Look
    from screener.triage import TriagePolicy, operating_point

    model = Model.load()
    points = model.card.operating_points
    policy = TriagePolicy(
        operating_point("auto", points), points["confirmation"].threshold, model.card.title, model.sha256
    )
    pipeline = pipeline_with_evidence(model)
    beyond = []
    for file in tumours():
        slice_ = read(Entry(file, file.name, None))
        if not isinstance(slice_, Slice):
            raise SystemExit(f"{file} cannot be read")
        tensor = prepare(slice_.pixels, model.card.preprocessing)[None]
        predict = partial(model.predict, tensor, heatmaps=True)
        whole = partial(explain, slice_, pipeline, policy, Look(), "en")
        seconds = [(timed(whole), timed(predict)) for _ in range(_OVERLAYS * repeats + 1)][1:]
        beyond.append(statistics.median(both - alone for both, alone in seconds) * 1000)
    return {"slices": len(beyond), "median_ms": statistics.median(beyond), "slowest_ms": max(beyond)}


def opening(page: Path) -> float | None:
    """Return the seconds from opening the page to its load event in a browser without a window; None without one."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        return None
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1366,768"):
        options.add_argument(flag)
    with webdriver.Chrome(options=options, service=Service(driver, log_output=subprocess.DEVNULL)) as chrome:
        took = []
        for _ in range(OPENED):
            chrome.get(page.as_uri())
            took.append(float(chrome.execute_script(_SETTLED)) / 1000)
    return statistics.median(took)


def report(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    machine, overlay, opened = figures["machine"], figures["overlay"], figures["open_seconds"]
    rows = [
        ("overlay and sheet beyond the prediction, median slice", f"{overlay['median_ms']:.0f} ms", "50 ms"),
        ("overlay and sheet beyond the prediction, slowest slice", f"{overlay['slowest_ms']:.0f} ms", "50 ms"),
        ("speed of a scan that writes its page, of one that does not", f"{figures['speed_with_page']:.2f}", "0.80"),
        (f"page of {figures['flagged']:,} flagged slices", f"{figures['page_mb']:.1f} MB", "50 MB"),
        ("that page opened in a browser", "no browser here" if opened is None else f"{opened:.2f} s", "2 s"),
    ]
    table = "\n".join(f"| {what} | {value} | {aim} |" for what, value, aim in rows)
    return (
        f"# Pages and overlays\n\nWritten by `make bench`: {figures['slices']:,} slices made from the demo tumours, "
        f"all flagged, medians of {figures['repeats']} runs, on {machine['cores']} cores of {machine['processor']}, "
        f"Python {machine['python']}, the machine's load average being up to {machine['load_average']:.1f}.\n\n"
        f"| what | measured | aim |\n|---|---|---|\n{table}\n"
    )


if __name__ == "__main__":
    main()
