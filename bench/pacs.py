"""Measure receiving: instances a second, a clinic's day at a hundredfold speed, and kills at random moments.

Writes ``docs/results/pacs.json`` and ``pacs.md``. ``make bench-pacs`` runs it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402

from bench.dicom_slices import drawn  # noqa: E402 - the checkout's own
from bench.watch import SCREENER, processor  # noqa: E402
from screener.audit import read, verify  # noqa: E402
from screener.pacs.status import inbox_status  # noqa: E402
from screener.pipeline.config import ScanConfig  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_SIDE = 256
_DRAWN = 20
"""Heads that are drawn; every instance has one of them under UIDs of its own."""
_SENDERS = 4
_HOUR, _MINUTE = 3600.0, 60.0
_QUIET = 60.0
_PATIENCE = 600.0
"""Seconds after which what is not answered counts as lost."""
_MR = "1.2.840.10008.5.1.4.1.1.4"
_EXPLICIT = "1.2.840.10008.1.2.1"
_ROOT_UID = "1.2.826.0.1.3680043.10.1"


@dataclass(frozen=True)
class Terms:
    """How much is measured."""

    instances: int
    hours: float
    studies: int
    interrupted: int
    speed: float
    kills: int
    model: str | None = None


def main() -> None:
    """Measure what is asked for, keep the other figures, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=2000)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--interrupted", type=int, default=12)
    parser.add_argument("--speed", type=float, default=100.0)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--model")
    parser.add_argument("--only", choices=("throughput", "clinic", "kills"))
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/pacs")
    given = vars(parser.parse_args())
    only, out = given.pop("only"), given.pop("out")
    terms = Terms(**given)
    stored = out.with_suffix(".json")
    figures: dict[str, Any] = json.loads(stored.read_text()) if stored.exists() else {}
    measures: dict[str, Callable[[Path, Terms], dict[str, Any]]] = {
        "throughput": throughput,
        "clinic": clinic,
        "kills": kills,
    }
    for name, measure in measures.items():
        if only in {None, name}:
            with tempfile.TemporaryDirectory() as folder:
                figures[name] = measure(Path(folder), terms)
    figures["machine"] = {"processor": processor(), "cores": len(os.sched_getaffinity(0))}
    stored.parent.mkdir(parents=True, exist_ok=True)
    stored.write_text(json.dumps(figures, indent=1) + "\n")
    out.with_suffix(".md").write_text(report(figures))
    print(report(figures))


@dataclass
class Listener:
    """``screener listen`` as a process of its own, which can be killed and started again."""

    folder: Path
    quiet: float
    model: str | None = None
    options: tuple[str, ...] = ()
    port: int = 0
    peak: int = 0
    process: subprocess.Popen[bytes] | None = None
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.inbox.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def inbox(self) -> Path:
        """Where it stores."""
        return self.folder / "inbox"

    @property
    def log(self) -> Path:
        """What it writes."""
        return self.folder / "audit.jsonl"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [str(SCREENER), "listen", str(self.inbox), "--log", str(self.log), "--port", str(self.port)]
        command += ["--quiet-period", str(self.quiet), "--min-free", "0", "--nice", "0", "--threshold", "default"]
        command += [*self.options, *(() if self.model is None else ("--model", self.model))]
        with (self.folder / "journal").open("ab") as journal:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=journal)
        deadline = time.monotonic() + _PATIENCE
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the listener does not start: {(self.folder / 'journal').read_text()[-500:]}")
            time.sleep(0.05)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()

    def watch_memory(self) -> None:
        """Keep the peak of its resident memory, that of its children included, until it is over."""
        while not self.over.wait(0.1):
            with suppress(psutil.Error):
                root = psutil.Process(self.process.pid if self.process else None)
                tree = [root, *root.children(recursive=True)]
                self.peak = max(self.peak, sum(one.memory_info().rss for one in tree))

    def journal(self) -> str:
        """Return what it said."""
        return (self.folder / "journal").read_text()

    def waits(self) -> int:
        """Return how many folders have no answer."""
        return len(inbox_status(self.inbox, self.log, ScanConfig(), _PATIENCE).waiting)

    def _listens(self) -> bool:
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def listening(folder: Path, quiet: float, model: str | None, options: tuple[str, ...] = ()) -> Iterator[Listener]:
    """Run a listener for the block, with further options, and watch its memory."""
    found = Listener(folder, quiet, model, options)
    found.start()
    watcher = threading.Thread(target=found.watch_memory)
    watcher.start()
    try:
        yield found
        found.kill(signal.SIGTERM)
    finally:
        found.over.set()
        watcher.join()
        found.kill()


@dataclass
class Study:
    """A study to send.

    Attributes
    ----------
    number, slices : int
    acknowledged : set of int
        Slices that the listener took.
    last : float
        When the last of them was, seconds since the epoch.
    """

    number: int
    slices: int
    acknowledged: set[int] = field(default_factory=set)
    last: float = 0.0

    @property
    def uid(self) -> str:
        """StudyInstanceUID."""
        return f"{_ROOT_UID}.{self.number + 1}"

    def instance(self, number: int) -> Any:  # noqa: ANN401 - pydicom ships no types
        """Return a slice of it."""
        from pydicom.dataset import FileMetaDataset

        made = drawn(number % _DRAWN, _SIDE)
        made.StudyInstanceUID, made.SeriesInstanceUID = self.uid, f"{self.uid}.1"
        made.SOPInstanceUID, made.InstanceNumber = f"{self.uid}.1.{number + 1}", number + 1
        made.PatientID, made.AccessionNumber = f"P{self.number}", f"A{self.number}"
        made.ImagePositionPatient = [-100, -100, 5.0 * number]
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = _EXPLICIT
        made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        return made

    def send(self, port: int, *, until: int | None = None, pause: float = 0.0) -> None:
        """Send what is not acknowledged yet in one association; abort it after so many slices."""
        from pynetdicom import AE

        entity = AE("MR1")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        entity.add_requested_context(_MR, _EXPLICIT)
        association = entity.associate("127.0.0.1", port, ae_title="SCREENER")
        if not association.is_established:
            return
        for number in sorted(set(range(self.slices)) - self.acknowledged)[:until]:
            time.sleep(pause)
            # A peer that was killed leaves an empty answer, or none.
            try:
                answer = association.send_c_store(self.instance(number))
            except (RuntimeError, ValueError):
                break
            if getattr(answer, "Status", None) != 0:
                break
            self.acknowledged.add(number)
            self.last = time.time()
        if association.is_established:
            association.abort() if until is not None else association.release()

    def send_all(self, port: int) -> None:
        """Send until everything is acknowledged, as a sender with a queue does."""
        while len(self.acknowledged) < self.slices:
            self.send(port)
            time.sleep(0.2)


def throughput(folder: Path, terms: Terms) -> dict[str, Any]:
    """Send as fast as four senders can, nothing being screened meanwhile."""
    each = terms.instances // _SENDERS
    for sender in range(_SENDERS):
        study = Study(sender, each)
        (folder / f"send{sender}").mkdir()
        for number in range(each):
            study.instance(number).save_as(folder / f"send{sender}/{number}.dcm", enforce_file_format=True)
    tool = shutil.which("storescu")
    with listening(folder, _HOUR, terms.model) as listener:
        started = time.perf_counter()
        if tool is not None:
            command = [tool, "-aec", "SCREENER", "+sd", "127.0.0.1", str(listener.port)]
            senders = [subprocess.Popen([*command, str(folder / f"send{number}")]) for number in range(_SENDERS)]
            codes = [sender.wait() for sender in senders]
            if any(codes):
                raise SystemExit("storescu failed")
        else:
            _together([Study(number, each) for number in range(_SENDERS)], listener.port)
        seconds = time.perf_counter() - started
        stored = len(list(listener.inbox.glob("*/*.dcm")))
    if stored != each * _SENDERS:
        raise SystemExit(f"{stored} of {each * _SENDERS} instances are stored")
    return {
        "instances": stored,
        "bytes_each": (folder / "send0/0.dcm").stat().st_size,
        "senders": _SENDERS,
        "tool": "pynetdicom" if tool is None else "storescu",
        "instances_per_second": stored / seconds,
        "peak_megabytes": listener.peak / 1e6,
    }


def _together(studies: list[Study], port: int) -> None:
    threads = [threading.Thread(target=study.send_all, args=(port,)) for study in studies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def clinic(folder: Path, terms: Terms) -> dict[str, Any]:
    """Let a clinic's day pass: studies come at random, some are interrupted and sent again later."""
    chance = random.Random(20260102)  # noqa: S311 - no secret
    studies = [Study(number, chance.randint(20, 200)) for number in range(terms.studies)]
    begins = sorted(chance.uniform(0, terms.hours * _HOUR) / terms.speed for _ in studies)
    broken = set(chance.sample(range(terms.studies), terms.interrupted))
    with listening(folder, _QUIET / terms.speed, terms.model) as listener:
        opened, threads = time.monotonic(), []
        for study, begin in zip(studies, begins, strict=True):
            cut = chance.randint(1, study.slices - 1) if study.number in broken else None
            later = chance.uniform(5, 30) * _MINUTE / terms.speed
            threads.append(threading.Thread(target=_one_study, args=(listener.port, study, cut, later)))
            time.sleep(max(0.0, opened + begin - time.monotonic()))
            threads[-1].start()
        for thread in threads:
            thread.join()
        _wait_for_answers(listener)
    found = losses(listener.log, studies)
    delays = answer_delays(listener.log, studies, _QUIET / terms.speed)
    return {
        "hours": terms.hours,
        "speed": terms.speed,
        "interrupted": terms.interrupted,
        **found,
        "median_seconds_to_answer": statistics.median(delays) if delays else None,
        "longest_seconds_to_answer": max(delays, default=None),
        "peak_megabytes": listener.peak / 1e6,
    }


def _one_study(port: int, study: Study, cut: int | None, later: float) -> None:
    if cut is not None:
        study.send(port, until=cut)
        time.sleep(later)
    study.send_all(port)


def kills(folder: Path, terms: Terms) -> dict[str, Any]:
    """Kill the listener again and again while studies are sent to it."""
    chance = random.Random(20260103)  # noqa: S311 - no secret
    over = threading.Event()
    studies: list[Study] = []

    def send() -> None:
        while not over.is_set():
            studies.append(Study(len(studies), chance.randint(5, 40)))
            studies[-1].send_all(listener.port)

    with listening(folder, 0.5, terms.model) as listener:
        sender = threading.Thread(target=send)
        sender.start()
        for _ in range(terms.kills):
            time.sleep(chance.uniform(0.2, 4.0))
            listener.kill()
            listener.start()
        over.set()
        sender.join()
        _wait_for_answers(listener)
    return {"kills": terms.kills, **losses(listener.log, studies), "peak_megabytes": listener.peak / 1e6}


def _wait_for_answers(listener: Listener) -> None:
    """Wait until nothing is left to answer, or patience ends."""
    deadline = time.monotonic() + _PATIENCE
    while listener.waits() and time.monotonic() < deadline:
        time.sleep(1)


def losses(log: Path, studies: list[Study]) -> dict[str, int]:
    """Count what the log lacks of studies that were sent, and what it has twice.

    Returns
    -------
    dict of str to int
        ``studies`` and ``instances`` sent; ``lost``: studies whose last answer does not rest on every slice, and slices
        without a result; ``doubled``: slices with two results, and answers given twice from the same results.
    """
    results: Counter[tuple[str, str]] = Counter()
    answers: Counter[tuple[str, str]] = Counter()
    total: dict[str, int] = {}
    for event in read(log):
        if event["event"] == "RESULT":
            results[event["path"], event["sha256"]] += 1
        elif event["event"] == "STUDY":
            answers[event["study_id"], event["results_sha256"]] += 1
            total[event["study_id"]] = event["slices"]["total"]
    if not verify(log).ok:
        raise SystemExit("the log does not verify")
    paths = {path for path, _ in results}
    lost = sum(total.get(study.uid) != study.slices for study in studies)
    lost += sum(f"{one.uid}/{one.uid}.1.{n + 1}.dcm" not in paths for one in studies for n in range(one.slices))
    doubled = sum(count - 1 for counter in (results, answers) for count in counter.values())
    instances = sum(study.slices for study in studies)
    return {"studies": len(studies), "instances": instances, "lost": lost, "doubled": doubled}


def answer_delays(log: Path, studies: list[Study], quiet: float) -> list[float]:
    """Return the seconds from the last instance of each study to its last answer, the quiet period apart."""
    answered = {
        event["study_id"]: datetime.fromisoformat(event["timestamp"]).timestamp()
        for event in read(log)
        if event["event"] == "STUDY"
    }
    return [answered[study.uid] - study.last - quiet for study in studies if study.uid in answered]


def report(figures: Mapping[str, Any]) -> str:
    """Return the page."""
    machine = figures["machine"]
    rows = [row for name, rows_of in _ROWS.items() if name in figures for row in rows_of(figures[name])]
    return "\n".join(
        (
            "# Receiving studies",
            "",
            f"`make bench-pacs`, {machine['processor']}, {machine['cores']} cores.",
            "",
            "| what | figure |",
            "|---|---|",
            *(f"| {what} | {figure} |" for what, figure in rows),
            "",
            _REMARKS,
            "",
        )
    )


def _throughput_rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    sent = f"{found['instances']} instances of {found['bytes_each'] / 1e3:.0f} kB by {found['senders']} senders"
    yield (
        f"instances a second over loopback, each on the disk before it is acknowledged ({sent}, {found['tool']})",
        f"{found['instances_per_second']:.0f}",
    )
    yield "peak memory meanwhile", f"{found['peak_megabytes']:.0f} MB"


def _clinic_rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    sent = f"{found['studies']} studies, {found['instances']} instances, {found['interrupted']} studies interrupted"
    yield (
        f"{found['hours']:g} hours of a clinic at speed ×{found['speed']:g}: {sent} and sent again",
        f"{found['lost']} lost, {found['doubled']} doubled",
    )
    delays = (_seconds(found[f"{which}_seconds_to_answer"]) for which in ("median", "longest"))
    yield "seconds from the last instance to the answer, quiet period apart: median, longest", ", ".join(delays)
    yield "peak memory meanwhile, screening included", f"{found['peak_megabytes']:.0f} MB"


def _kills_rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    sent = f"{found['studies']} studies ({found['instances']} instances)"
    yield (
        f"{found['kills']} kills of the listener at random moments while {sent} were sent",
        f"{found['lost']} lost, {found['doubled']} doubled",
    )


_ROWS = {"throughput": _throughput_rows, "clinic": _clinic_rows, "kills": _kills_rows}
_REMARKS = (
    "Lost: a study whose last answer does not rest on every slice, or an acknowledged slice without a result. "
    "Doubled: a slice with two results, or an answer given twice from the same results. "
    "The model is no faster when a clinic's day is: studies then wait while others are screened."
)


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    main()
