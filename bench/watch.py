"""Run processes and look at them from outside: wall time, memory of the whole tree, time to the first line."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parent.parent
SCREENER = Path(sys.executable).with_name("screener")
SCAN = (str(SCREENER), "scan", "--nice", "0", "--threshold", "default")
"""A scan as polite as everybody else, at a threshold that no model must be certified for."""
_GOOD = (0, 4)
_READY_SECONDS = 300.0
_JOB_SECONDS = 600.0


def timed(work: Callable[[], object]) -> float:
    """Return the wall time of some work, in seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def run(command: Sequence[str]) -> None:
    """Run a process to its end; one that fails ends the bench."""
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode not in _GOOD:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")


@dataclass(frozen=True)
class Watched:
    """A process that ran to its end: wall time, and peak of the resident memory of the process and its children."""

    seconds: float
    megabytes: float


def watched(command: Sequence[str], every: float = 0.02) -> Watched:
    """Run a process to its end while looking at its memory every so many seconds, which takes a little time itself."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        root, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                tree = [root, *root.children(recursive=True)]
                peak = max(peak, sum(member.memory_info().rss for member in tree))
            time.sleep(every)
        seconds = time.perf_counter() - started
    if process.returncode not in _GOOD:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Watched(seconds, peak / 1e6)


def first_line(command: Sequence[str]) -> float:
    """Return the seconds from the start of a process to its first line on stdout, then stop it."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - opened with a pipe
        line = process.stdout.readline()
        seconds = time.perf_counter() - started
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    if not line:
        raise SystemExit(f"{' '.join(command)} said nothing and ended with {process.returncode}")
    return seconds


def processor() -> str:
    """Return the processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


class FailedError(Exception):
    """A contestant that cannot be measured; the message says why."""


class Contestant:
    """A process of `bench.contestant`; it waits, without using a core, while others are measured.

    Attributes
    ----------
    slices : dict of str to int
        How many each of its jobs goes through.

    Raises
    ------
    FailedError
        From every method: the process does not start, or ended.
    """

    def __init__(self, python: Path, kind: str, listing: Path) -> None:
        self._errors = listing.with_name(f"{kind}.err")
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [str(python), "-P", str(ROOT / "bench/contestant.py"), kind, str(listing)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.slices: dict[str, int] = json.loads(self._answer(_READY_SECONDS))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def seconds(self, job: str) -> float:
        """Run a job and return the seconds it took."""
        assert self._process.stdin is not None  # noqa: S101 - opened with a pipe
        try:
            self._process.stdin.write(f"{job}\n")
            self._process.stdin.flush()
        except OSError:
            raise FailedError(self._last_words()) from None
        return float(self._answer(_JOB_SECONDS))

    def _answer(self, patience: float) -> str:
        assert self._process.stdout is not None  # noqa: S101 - opened with a pipe
        timer = threading.Timer(patience, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            self._process.wait()
            raise FailedError(self._last_words())
        return line.strip()

    def _last_words(self) -> str:
        lines = self._errors.read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "ended without a word")[:200]
