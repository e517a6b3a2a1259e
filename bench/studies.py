"""Measure studies: how long one takes, whether killed scans lose or double any, and memory over many files.

Writes ``docs/results/studies.json`` and ``studies.md``. ``make bench`` runs it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.inboxes import flat  # noqa: E402 - the checkout's own
from export.data.phantoms import phantom  # noqa: E402
from screener.audit import read, verify  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SLICES = 200
_RUNS = 5
_STUDIES, _EACH = 10, 24
_SETTLED = (0, 3, 4)
"""Exit codes of a scan that went through."""


def main() -> None:
    """Measure what is asked for, keep the other figures, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--only", choices=("answer", "kills", "memory"))
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/studies")
    arguments = parser.parse_args()
    stored = arguments.out.with_suffix(".json")
    figures: dict[str, Any] = json.loads(stored.read_text()) if stored.exists() else {}
    measures: dict[str, Callable[[Path], dict[str, Any]]] = {
        "answer": answer,
        "kills": lambda folder: kills(folder, arguments.kills),
        "memory": lambda folder: memory(folder, arguments.files),
    }
    for name, measure in measures.items():
        if arguments.only in {None, name}:
            with tempfile.TemporaryDirectory() as folder:
                figures[name] = measure(Path(folder))
    stored.parent.mkdir(parents=True, exist_ok=True)
    stored.write_text(json.dumps(figures, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(report(figures))
    print(report(figures))


def answer(folder: Path) -> dict[str, Any]:
    """Time a scan of one study of 200 slices, and of the same slices as studies of one, in turn."""
    inbox = folder / "inbox"
    _draw(inbox / "patient", SLICES)
    seconds: dict[str, list[float]] = {"folder": [], "file": []}
    for run in range(_RUNS):
        for grouping, found in seconds.items():
            started = time.perf_counter()
            done = _scan(inbox, folder / f"{grouping}{run}.jsonl", "--group-by", grouping)
            found.append(time.perf_counter() - started)
            if done.returncode not in _SETTLED:
                raise SystemExit(f"the scan ended with {done.returncode}: {done.stderr}")
    return {
        "slices": SLICES,
        "runs": _RUNS,
        "cores": os.cpu_count() or 1,
        "study_seconds": statistics.median(seconds["folder"]),
        "slices_alone_seconds": statistics.median(seconds["file"]),
    }


def kills(folder: Path, count: int) -> dict[str, Any]:
    """Kill scans at random moments until `count` were hit, let each log's last scan end, and look at what it holds.

    A round is one log: scans of ten studies are killed until one goes through. Then every study must have been
    answered once, on all of its slices, each of which stands in the log once; and the log must verify.
    """
    inbox = folder / "inbox"
    for number in range(_STUDIES):
        _draw(inbox / f"patient-{number}", _EACH, first=number * _EACH)
    started = time.perf_counter()
    _scan(inbox, folder / "whole.jsonl")
    whole = time.perf_counter() - started
    rng = random.Random(1)  # noqa: S311 - moments to kill at
    found: Counter[str] = Counter(kills=0, rounds=0, studies=0, lost=0, doubled=0, other_slices=0, broken_logs=0)
    while found["kills"] < count:
        log = folder / f"round{found['rounds']}.jsonl"
        while _killed(inbox, log, rng.uniform(0.1, 1.2) * whole):
            found["kills"] += 1
        found["rounds"] += 1
        _check(log, found)
    return dict(found)


def _killed(inbox: Path, log: Path, after: float) -> bool:
    """Scan and kill after so many seconds; say whether the scan was hit before it ended."""
    with subprocess.Popen(
        _command(inbox, log), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
    if process.returncode not in _SETTLED:
        raise SystemExit(f"the scan ended with {process.returncode}")
    return False


def _check(log: Path, found: Counter[str]) -> None:
    """Count what a finished log lacks or holds twice."""
    studies: Counter[str] = Counter()
    results: Counter[str] = Counter()
    for event in read(log):
        if event["event"] == "STUDY":
            studies[event["study_id"]] += 1
            found["other_slices"] += event["slices"]["total"] != _EACH
        elif event["event"] == "RESULT":
            results[event["path"]] += 1
    found["studies"] += len(studies)
    found["lost"] += _STUDIES - len(studies) + _STUDIES * _EACH - len(results)
    found["doubled"] += sum(studies.values()) - len(studies) + sum(results.values()) - len(results)
    found["broken_logs"] += not verify(log).ok


def memory(folder: Path, count: int) -> dict[str, Any]:
    """Scan so many files, a study of 100 each, and a tenth of them: peak memory of both."""
    picture = folder / "slice.png"
    _write(picture, 1)
    peaks = {}
    for files in (count // 10, count):
        inbox = folder / f"inbox{files}"
        whole = flat(picture, files, folder / f"flat{files}")
        for number, file in enumerate(sorted(whole.iterdir())):
            study = inbox / f"patient-{number // 100:05}"
            study.mkdir(parents=True, exist_ok=True)
            file.rename(study / file.name)
        peaks[files] = _peak(inbox, folder / f"{files}.jsonl")
    return {"files": count, "peak_mb": peaks[count], "tenth_peak_mb": peaks[count // 10]}


def _peak(inbox: Path, log: Path) -> float:
    """Return the peak memory of a scan in MB, its workers not counted."""
    code = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000); sys.exit(done.returncode)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *_command(inbox, log)], capture_output=True, text=True, check=False
    )
    if done.returncode not in _SETTLED:
        raise SystemExit(f"the scan ended with {done.returncode}: {done.stderr}")
    return float(done.stdout)


def _command(inbox: Path, log: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "screener", "scan", str(inbox), "--log", str(log), "--quiet", "--nice", "0", *options]


def _scan(inbox: Path, log: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(inbox, log, *options), capture_output=True, text=True, check=False)


def _draw(folder: Path, count: int, first: int = 0) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        _write(folder / f"{number:04}.png", first + number)


def _write(path: Path, seed: int) -> None:
    import cv2

    path.write_bytes(cv2.imencode(".png", phantom(seed))[1].tobytes())


def report(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Return the figures as Markdown."""
    lines = ["# Studies", "", "Written by `python bench/studies.py`, which `make bench` runs, on drawn heads.", ""]
    if one := figures.get("answer"):
        ratio = one["study_seconds"] / one["slices_alone_seconds"]
        lines += [
            (
                f"- A study of {one['slices']} slices is answered {one['study_seconds']:.2f} s after the command "
                f"starts ({one['cores']} cores, median of {one['runs']}; aim: 3 s): {ratio:.2f} of what the same "
                "slices take as studies of one slice."
            )
        ]
    if killed := figures.get("kills"):
        lines += [
            (
                f"- {killed['kills']} scans killed at random moments, over {killed['rounds']} logs with "
                f"{killed['studies']} studies: {killed['lost']} studies or slices lost, {killed['doubled']} doubled, "
                f"{killed['other_slices']} studies resting on other slices than their own, {killed['broken_logs']} "
                "logs that do not verify."
            )
        ]
    if peak := figures.get("memory"):
        lines += [
            (
                f"- {peak['files']:,} files in studies of 100: at most {peak['peak_mb']:.0f} MB of memory; a tenth of "
                f"them: {peak['tenth_peak_mb']:.0f} MB."
            )
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
