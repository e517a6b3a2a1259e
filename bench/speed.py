"""Measure screener on this machine, beside bounds taken in the same run: ``make bench [DATA=folder]``.

Wall times of whole processes, medians over repeats after a warm-up; memory is the peak sum of resident sets over the
process tree. Without data, drawn phantoms stand in for slices.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parent.parent
SCREENER = Path(sys.executable).with_name("screener")
REPEATS = 5
_PHANTOMS = 250


def main() -> None:
    """Measure everything and write ``docs/results/bench.json`` and ``bench.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder whose kaggle253/ is screened")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/bench")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        inbox = _inbox(arguments.data, Path(scratch))
        figures = measure(inbox, Path(scratch), "kaggle253" if arguments.data else f"{_PHANTOMS} drawn phantoms")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(report(figures))
    print(report(figures))


def _inbox(data: Path | None, scratch: Path) -> Path:
    """Return the folder to screen: copied, so that the page cache and the disk are the same for all."""
    inbox = scratch / "inbox"
    if data is not None:
        shutil.copytree(data / "kaggle253", inbox)
        return inbox
    sys.path.insert(0, str(ROOT))
    import cv2

    from export.phantoms import phantom

    inbox.mkdir()
    for seed in range(_PHANTOMS):
        image = cv2.imencode(".jpg", phantom(seed, tumour=seed % 2 == 0))[1]
        (inbox / f"phantom-{seed}.jpg").write_bytes(image.tobytes())
    return inbox


def measure(inbox: Path, scratch: Path, slices_of: str) -> dict[str, Any]:
    """Return every figure."""
    single = scratch / "single"
    single.mkdir()
    files = sorted(path for path in inbox.rglob("*") if path.is_file())
    shutil.copy(files[len(files) // 2], single)
    logs = (scratch / f"log-{number}.jsonl" for number in range(10_000))

    def scan(folder: Path) -> list[str]:
        return [str(SCREENER), "scan", str(folder), "--quiet", "--log", str(next(logs))]

    seconds, alone, bounds = _median(lambda: scan(inbox)), _median(lambda: scan(single)), _bounds(files)
    cores = len(os.sched_getaffinity(0))
    ideal = 1 / (1 / (bounds["prepare_per_core"] * cores) + 1 / bounds["inference"])
    return {
        "machine": {
            "processor": _processor(),
            "cores": cores,
            "python": platform.python_version(),
            "system": platform.platform(terse=True),
        },
        "slices_of": slices_of,
        "slices": len(files),
        "help_seconds": _median(lambda: [str(SCREENER), "--help"]),
        "version_seconds": _median(lambda: [str(SCREENER), "--version"]),
        "one_slice_seconds": alone,
        "whole_seconds": seconds,
        "slices_per_second": len(files) / seconds,
        "steady_slices_per_second": len(files) / (seconds - alone),
        "peak_memory_mb": max(_peak_megabytes(scan(inbox)) for _ in range(3)),
        "bounds": bounds | {"ideal": ideal},
        "share_of_ideal": len(files) / (seconds - alone) / ideal,
    }


def _median(command: Callable[[], Sequence[str]]) -> float:
    """Return the median wall time of a process over the repeats, after one warm-up."""
    return statistics.median([_timed(lambda: _run(command())) for _ in range(REPEATS + 1)][1:])


def _run(command: Sequence[str], watch: Callable[[subprocess.Popen[bytes]], None] | None = None) -> None:
    """Run a process to its end; one that fails ends the bench."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    if watch is not None:
        watch(process)
    if process.wait() not in (0, 4):
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")


def _peak_megabytes(command: Sequence[str]) -> float:
    """Return the peak memory of a process and its children: in a run of its own, since looking takes time."""
    peak = [0]
    _run(command, lambda process: _watch(process, peak))
    return peak[0] / 1e6


def _watch(process: subprocess.Popen[bytes], peak: list[int]) -> None:
    """Sample the resident memory of a process and its children until it ends."""
    root = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            tree = [root, *root.children(recursive=True)]
            peak[0] = max(peak[0], sum(member.memory_info().rss for member in tree))
        except psutil.NoSuchProcess:
            return
        time.sleep(0.01)


def _bounds(files: Sequence[Path]) -> dict[str, float]:
    """Return slices/s of the two stages alone: read + decode + gate + prepare on one core, inference on all."""
    import numpy as np

    from screener.gate import refuse
    from screener.inbox import Entry, read
    from screener.model.session import Model
    from screener.preprocess import prepare
    from screener.types import Slice

    model = Model.load()
    entries = [Entry(path, path.name, None) for path in files]

    def stage() -> list[Any]:
        tensors = []
        for entry in entries:
            found = read(entry)
            if isinstance(found, Slice) and refuse(found) is None:
                tensors.append(prepare(found.pixels, model.card.preprocessing))
        return tensors

    tensors = stage()
    batches = [np.stack(tensors[start : start + 16]) for start in range(0, len(tensors), 16)]
    prepare_seconds = statistics.median(_timed(stage) for _ in range(3))
    infer_seconds = statistics.median(_timed(lambda: [model.predict(batch) for batch in batches]) for _ in range(3))
    return {"prepare_per_core": len(entries) / prepare_seconds, "inference": len(tensors) / infer_seconds}


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _processor() -> str:
    """Return the processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def report(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    machine, bounds = figures["machine"], figures["bounds"]
    rows = [
        ("`--help`", f"{figures['help_seconds']:.2f} s", "0.3 s"),
        ("`--version`", f"{figures['version_seconds']:.2f} s", "0.3 s"),
        ("one slice, process start to exit", f"{figures['one_slice_seconds']:.2f} s", "1.2 s"),
        ("end to end, start-up included", f"{figures['slices_per_second']:.0f} slices/s", "100 slices/s"),
        ("end to end, start-up taken off", f"{figures['steady_slices_per_second']:.0f} slices/s", "–"),
        ("peak memory, process tree", f"{figures['peak_memory_mb']:.0f} MB", "350 MB"),
        ("bound: read, decode, gate, prepare, one core", f"{bounds['prepare_per_core']:.0f} slices/s", "–"),
        ("bound: inference on ready tensors, all cores", f"{bounds['inference']:.0f} slices/s", "–"),
        ("ideal of both on the same cores", f"{bounds['ideal']:.0f} slices/s", "–"),
        ("share of the ideal, start-up taken off", f"{figures['share_of_ideal']:.2f}", "–"),
    ]
    table = "\n".join(f"| {what} | {value} | {aim} |" for what, value, aim in rows)
    return (
        f"# Speed\n\nWritten by `make bench`: {figures['slices']} slices ({figures['slices_of']}), medians of "
        f"{REPEATS} runs, on {machine['cores']} cores of {machine['processor']}, Python {machine['python']}.\n\n"
        f"| what | measured | aim |\n|---|---|---|\n{table}\n"
    )


if __name__ == "__main__":
    main()
