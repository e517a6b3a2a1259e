"""Measure a cluster: cost a slice, two workers beside one, kills, overhead of a shard, 64 simulated workers.

Writes ``docs/results/cluster.json`` and ``cluster.md``. ``make bench-cluster`` runs it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import pickle
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.dicom_slices import encoded  # noqa: E402 - the checkout's own
from bench.log import grouped  # noqa: E402
from bench.machines import Machines, kill  # noqa: E402
from screener.audit import AuditLog, read, verify  # noqa: E402
from screener.cluster.dask_workers import DaskWorkers, WorkerFunctions  # noqa: E402
from screener.cluster.dispatch import Dispatcher, Limits  # noqa: E402
from screener.cluster.executor import executor_for, question_for  # noqa: E402
from screener.cluster.orders import Answer, Canary, Order, Proof, Question, Unfit  # noqa: E402
from screener.cluster.shards import FEWEST, StudyGroups, cut, files_for  # noqa: E402
from screener.domain.slice import Identity, Prediction  # noqa: E402
from screener.inbox import Entry, find  # noqa: E402
from screener.inbox import Limits as FileLimits  # noqa: E402
from screener.inbox.header_index import HeaderIndex  # noqa: E402
from screener.model.session import Model  # noqa: E402
from screener.pipeline.config import ScanConfig  # noqa: E402
from screener.pipeline.scan import Scan  # noqa: E402
from screener.pipeline.slice import AnsweredFile, PipelineSettings, ScoredSlice, build_finding  # noqa: E402
from screener.triage import TriagePolicy  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from screener.audit.events import Event

_STUDY = 20
"""Slices of a study."""
_SIDE = 256
_SETTLED = (0, 4)
_SIZES = (10**6, 10**8, 10**9)
EUROS_PER_CORE_HOUR = 0.04
"""What a provider of machines asks for a core and 2 GB, about, in 2026; electricity of one's own machines is less."""
CORES = 16
"""Of a machine."""
STORAGE_BYTES = 1e9
"""A second that a shared file system delivers to all together."""
WANTED_HOURS = 24.0
SLICE_SECONDS = 0.016
"""That a simulated worker takes for a slice: about what a core takes for a real one."""


def main() -> None:
    """Measure what is asked for, keep the other figures, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=2000, help="Real slices, for one and two workers.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--shards", type=int, default=2000, help="Shards that cost nothing, for the overhead.")
    parser.add_argument("--workers", type=int, default=64, help="Simulated workers.")
    parser.add_argument("--seconds", type=float, default=240.0, help="That each simulation takes, about.")
    parser.add_argument("--only", choices=("cost", "kills", "overhead", "simulation", "client"))
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/cluster")
    given = parser.parse_args()
    stored = given.out.with_suffix(".json")
    figures: dict[str, Any] = json.loads(stored.read_text()) if stored.exists() else {}
    measures: dict[str, Callable[[Path], dict[str, Any]]] = {
        "cost": lambda folder: cost(folder, given.slices),
        "client": lambda folder: client_bounds(folder, given.slices),
        "overhead": lambda folder: overhead(folder, given.shards),
        "simulation": lambda folder: simulation(folder, given.workers, given.seconds),
        "kills": lambda folder: kills(folder, given.kills),
    }
    for name, measure in measures.items():
        if given.only in {None, name}:
            with tempfile.TemporaryDirectory() as folder:
                figures[name] = measure(Path(folder))
            stored.parent.mkdir(parents=True, exist_ok=True)
            stored.write_text(json.dumps(figures, indent=1) + "\n")
    if figures.keys() >= measures.keys():
        given.out.with_suffix(".md").write_text(report(figures))
        print(report(figures))


def archive(folder: Path, slices: int) -> Path:
    """Write heads of 256 × 256 as DICOM files, a folder a study."""
    for number in range(slices):
        path = folder / f"study-{number // _STUDY:05}/{number % _STUDY:03}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(number, _SIDE))
    return folder


def _policy(model: Model) -> TriagePolicy:
    points = model.card.operating_points
    return TriagePolicy(points["screening"], points["confirmation"].threshold, model.card.title, model.sha256)


def _timed(place: Path, folder: Path, workers: int) -> dict[str, float]:
    """Screen an archive with so many processes; the time runs from the first file to the last answer in the log."""
    model, config = Model.load(), ScanConfig(threshold="screening", cluster=f"local:{workers}")
    policy, log = _policy(model), folder / f"{workers}.jsonl"
    with DaskWorkers(f"local:{workers}", question_for(place, model, config), print) as cluster, AuditLog(log) as audit:
        audit.start({"inbox": str(place)})
        made = executor_for(cluster, config, policy, log)
        scan = Scan(place, model, policy, audit, config, executor=made)
        started, used = time.perf_counter(), time.process_time()
        count = sum(1 for _ in scan.findings())
        seconds, client = time.perf_counter() - started, time.process_time() - used
        busy = [one for one in cluster.health() if one.slices]
    if not verify(log).ok or len(busy) != workers:
        raise SystemExit(f"{len(busy)} of {workers} workers answered, or the log does not verify")
    return {"slices": count, "seconds": seconds, "client_cpu_seconds": client, "log_bytes": log.stat().st_size}


def cost(folder: Path, slices: int) -> dict[str, Any]:
    """Screen with one worker and with two, alternating; the better of two runs each."""
    place = archive(folder / "archive", slices)
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for run in range(2):
        for workers, runs in found.items():
            (folder / str(run)).mkdir(exist_ok=True)
            runs.append(_timed(place, folder / str(run), workers))
    one, two = (min(runs, key=lambda run: run["seconds"]) for runs in found.values())
    return {
        "slices": slices,
        "slices_of_a_study": _STUDY,
        "cores": os.cpu_count() or 1,
        "file_bytes": sum(file.stat().st_size for file in place.rglob("*.dcm")) / slices,
        "one_worker_seconds": one["seconds"],
        "two_workers_seconds": two["seconds"],
        "speedup": one["seconds"] / two["seconds"],
        "worker_seconds_per_slice": one["seconds"] / slices,
        "client_cpu_seconds_per_slice": two["client_cpu_seconds"] / slices,
        "log_bytes_per_slice": two["log_bytes"] / slices,
    }


def client_bounds(folder: Path, slices: int) -> dict[str, Any]:
    """Measure what only the client does: walk and header pass, and the writing of the log."""
    place = archive(folder / "archive", slices)
    started = time.perf_counter()
    with HeaderIndex(FileLimits()) as index:
        walked = sum(1 for _ in index.ordered(find(place)))
    headers = walked / (time.perf_counter() - started)
    written = grouped(folder / "log.jsonl", 40_960)
    return {"headers_per_second": headers, "log_events_per_second": written["grouped_per_second"]}


@dataclass(frozen=True, slots=True)
class Simulated:
    """A worker that takes its time instead of scoring; picklable.

    Attributes
    ----------
    seconds : float
        That a file takes.
    slow, failing : float
        Share of shards for which the storage is five times as slow, and for which it fails.
    """

    seconds: float = 0.0
    slow: float = 0.0
    failing: float = 0.0

    def __call__(self, data: bytes) -> Answer | Unfit:
        """Answer an order.

        Raises
        ------
        OSError
            The storage fails.
        """
        from distributed import get_worker

        order: Order = pickle.loads(data)  # noqa: S301 - our own
        chance = random.random()  # noqa: S311 - faults are drawn
        time.sleep(self.seconds * len(order.entries) * (5.0 if chance < self.slow else 1.0))
        if chance > 1.0 - self.failing:
            raise OSError("the storage does not answer")
        files = tuple(_scored(entry) for entry in order.entries)
        return Answer(str(get_worker().address), files, self.seconds, 0)


def _scored(entry: Entry) -> AnsweredFile:
    digest = hashlib.sha256(entry.path.encode()).hexdigest()
    who = Identity(entry.path, digest, entry.patient_id, study_id=entry.study_id, series_id=entry.series_id)
    return AnsweredFile([ScoredSlice(who, Prediction(int(digest[:6], 16) / 16**6))], entry.study_id)


def _proven(question: Question) -> Proof:
    return Proof(question.tool_version, question.settings.model_sha256, question.preprocessing, None)


def _forgotten(_: Question) -> None:
    """Nothing was kept."""


_QUESTION = Question(PipelineSettings("lite", "0" * 64), "simulated", "simulated", Canary("", 0, ""))


def _entries(slices: int) -> Iterator[Entry]:
    """Yield the files of studies of 32 slices."""
    for number in range(slices):
        study = f"study-{number // FEWEST:07}"
        yield Entry(Path("/archive") / study / f"{number}.dcm", f"{study}/{number}.dcm", study, study)


def _simulate(folder: Path, slices: int, workers: int, how: Simulated, *, processes: bool = False) -> dict[str, float]:
    """Dispatch slices and log every answer; return the time of it and what the dispatcher counted."""
    import dask
    from distributed import LocalCluster

    # What each worker watches about itself is a machine's own work; here one process would do it for all of them.
    dask.config.set({"distributed.worker.profile.enabled": False, "distributed.admin.system-monitor.interval": "5s"})
    model = Model.load()
    policy = _policy(model)
    work = WorkerFunctions(_proven, how, _forgotten)
    log = folder / f"{workers}.jsonl"
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=processes,
        dashboard_address=":0",
        silence_logs=50,
        memory_limit=0,
    )
    with (
        cluster,
        DaskWorkers("simulated", _QUESTION, print, cluster=cluster, work=work) as pool,
        AuditLog(log) as audit,
    ):
        audit.start({"inbox": "simulated"})
        dispatcher = Dispatcher(pool, _QUESTION, lambda _: frozenset(), Limits(100_000))
        started, used = time.perf_counter(), time.process_time()
        count = 0
        for files in dispatcher.run(cut(_entries(slices), StudyGroups("folder"), files_for(workers))):
            found = [
                build_finding(item, policy) for file in files for item in file.items if isinstance(item, ScoredSlice)
            ]
            audit.results(found, doctor_id=None, preprocessing="simulated")
            count += len(found)
        seconds, cpu = time.perf_counter() - started, time.process_time() - used
    paths = Counter(event["path"] for event in read(log) if event["event"] == "RESULT")
    if len(paths) != slices or set(paths.values()) != {1} or not verify(log).ok:
        raise SystemExit(f"{len(paths)} of {slices} slices, {sum(paths.values()) - len(paths)} doubled")
    return {"seconds": seconds, "cpu_seconds": cpu, "slices": count, **dispatcher.counts}


def overhead(folder: Path, shards: int) -> dict[str, Any]:
    """Dispatch shards that cost nothing to one process: what is left is Dask's, the client's and the log's."""
    found = _simulate(folder, shards * FEWEST, 1, Simulated(), processes=True)
    return {
        "shards": shards,
        "files_of_a_shard": FEWEST,
        "seconds_per_shard": found["seconds"] / shards,
        "client_cpu_seconds_per_shard": found["cpu_seconds"] / shards,
        "seconds_per_batch": found["seconds"] / shards / (FEWEST / 2),
    }


def simulation(folder: Path, workers: int, seconds: float) -> dict[str, Any]:
    """Compare many simulated workers with one, on slow and failing storage."""
    how = Simulated(SLICE_SECONDS, slow=0.02, failing=0.01)
    slices = FEWEST * max(1, round(seconds / SLICE_SECONDS / FEWEST))
    one = _simulate(folder, slices, 1, how)
    many = _simulate(folder, slices * workers, workers, how)
    rates = [run["slices"] / run["seconds"] for run in (one, many)]
    return {
        "workers": workers,
        "slice_seconds": SLICE_SECONDS,
        "files_of_a_shard": files_for(workers),
        "slow": how.slow,
        "failing": how.failing,
        "one_slices_per_second": rates[0],
        "slices_per_second": rates[1],
        "speedup": rates[1] / rates[0],
        "repeated": many.get("repeated", 0),
        "doubled": many.get("doubled", 0),
        "share_of_a_core": many["cpu_seconds"] / many["seconds"],
    }


def kills(folder: Path, count: int) -> dict[str, Any]:
    """Kill workers, scheduler and client at random moments until `count` were hit; look at what each log holds."""
    place = archive(folder / "archive", 400)
    alone = folder / "alone.jsonl"
    options = ("--threshold", "screening", "--quiet")
    subprocess.run(
        [sys.executable, "-m", "screener", "scan", str(place), "--log", str(alone), *options],
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    chances = random.Random(1)  # noqa: S311 - kills are drawn
    killed: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    rounds = 0
    with Machines(folder / "machines", 2) as machines:
        while killed.total() < count:
            log = folder / f"{rounds}.jsonl"
            rounds += 1
            _scan_under_fire(machines, place, log, options, chances=chances, killed=killed, count=count)
            wrong.update(_compare(log, alone))
    return {"kills": dict(killed), "rounds": rounds, "slices": 400, "studies": 400 // _STUDY, **wrong}


def _scan_under_fire(
    machines: Machines,
    place: Path,
    log: Path,
    options: tuple[str, ...],
    *,
    chances: random.Random,
    killed: Counter[str],
    count: int,
) -> None:
    """Screen until one client goes through, killing what chance says meanwhile."""
    while True:
        machines.keep()
        client = machines.client(place, log, *options)
        while client.poll() is None:
            try:
                client.wait(timeout=chances.uniform(1.0, 8.0))
            except subprocess.TimeoutExpired:
                if killed.total() < count:
                    victim = chances.choice(["worker0", "worker1", "scheduler", "client"])
                    killed[victim.rstrip("01")] += 1
                    kill(client) if victim == "client" else machines.kill(victim)
                machines.keep()
        if client.returncode in _SETTLED:
            return


def _compare(log: Path, alone: Path) -> dict[str, int]:
    """Count what a log lacks, doubles or says otherwise than that of one machine."""
    found = {"lost": 0, "doubled": 0, "different": 0, "unsound": int(not verify(log).ok)}
    for kind, name in (("RESULT", "path"), ("STUDY", "study_id")):
        expected = {event[name]: _judgement(event) for event in read(alone) if event["event"] == kind}
        events = [event for event in read(log) if event["event"] == kind]
        counts = Counter(event[name] for event in events)
        found["lost"] += len(expected.keys() - counts.keys())
        found["doubled"] += sum(number - 1 for number in counts.values())
        found["different"] += sum(_judgement(event) != expected.get(event[name]) for event in events)
    return found


def _judgement(event: Event) -> tuple[object, ...]:
    return event["decision"], event["probability"], event["urgency"], event["reason"]


def report(figures: Mapping[str, Any]) -> str:
    """Return the figures as Markdown, with what archives cost by them."""
    cost, client = figures["cost"], figures["client"]
    overhead, simulated, killed = figures["overhead"], figures["simulation"], figures["kills"]
    rows = "".join(_row(size, figures) for size in _SIZES)
    hits = ", ".join(f"{number} {name}s" for name, number in sorted(killed["kills"].items()))
    return (
        "# Clusters\n\nWritten by `make bench-cluster`, on drawn heads of 256 × 256 as DICOM files, with the shipped "
        f"model, on {cost['cores']} cores.\n\n| what | measured | aim |\n|---|---|---|\n"
        f"| two workers of one core beside one, {cost['slices']:,} slices | {cost['speedup']:.2f} × | 1.7 × |\n"
        f"| {simulated['workers']} simulated workers of {simulated['slice_seconds'] * 1e3:.0f} ms a slice beside one, "
        f"{simulated['slow']:.0%} of shards slow and {simulated['failing']:.0%} failing | {simulated['speedup']:.1f} × "
        "| 55 × |\n"
        "| overhead of a batch of 2 slices (Dask, client, log) "
        f"| {overhead['seconds_per_batch'] * 1e3:.2f} ms | 2 ms |\n"
        f"| overhead of a shard of {overhead['files_of_a_shard']} files "
        f"| {overhead['seconds_per_shard'] * 1e3:.1f} ms | – |\n"
        f"| {sum(killed['kills'].values())} kills ({hits}): lost, doubled, different, unsound | {killed['lost']}, "
        f"{killed['doubled']}, {killed['different']}, {killed['unsound']} | 0 |\n"
        f"| log, grouped | {client['log_events_per_second']:,.0f} events/s | 10,000 events/s |\n"
        "\n## What a slice costs\n\n| what | measured |\n|---|---|\n"
        f"| a core of a worker | {cost['worker_seconds_per_slice'] * 1e3:.1f} ms |\n"
        f"| the client's core | {cost['client_cpu_seconds_per_slice'] * 1e3:.2f} ms |\n"
        f"| bytes read | {cost['file_bytes']:,.0f} |\n"
        f"| bytes of the log, studies of {cost['slices_of_a_study']} slices included "
        f"| {cost['log_bytes_per_slice']:,.0f} |\n"
        f"| lines of the log | {1 + 1 / cost['slices_of_a_study']:.2f} |\n"
        f"\n## What archives cost\n\nMachines of {CORES} cores, {EUROS_PER_CORE_HOUR} € a core and hour, as many as it "
        f"takes for {WANTED_HOURS:.0f} hours, or as one client can feed. The last columns say what limits the rate, "
        "and the rate.\n\n"
        "| slices | core hours | € | log | machines | hours | limit | slices/s |\n|---|---|---|---|---|---|---|---|\n"
        f"{rows}"
    )


def limits(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return how many slices a second each part that exists once can take."""
    cost, client, overhead = figures["cost"], figures["client"], figures["overhead"]
    return {
        "client": 1 / cost["client_cpu_seconds_per_slice"],
        "header pass": client["headers_per_second"],
        "log": client["log_events_per_second"] / (1 + 1 / cost["slices_of_a_study"]),
        "scheduler": overhead["files_of_a_shard"] / overhead["seconds_per_shard"],
        "storage": STORAGE_BYTES / cost["file_bytes"],
    }


def _row(size: int, figures: Mapping[str, Any]) -> str:
    cost = figures["cost"]
    core_hours = size * cost["worker_seconds_per_slice"] / 3600
    name, most = min(limits(figures).items(), key=lambda item: item[1])
    a_core = 1 / cost["worker_seconds_per_slice"]
    wanted = size / (WANTED_HOURS * 3600)
    machines = max(1, math.ceil(min(wanted, most) / (a_core * CORES)))
    rate = min(machines * CORES * a_core, most)
    limit = name if rate >= most else "workers"
    log = size * cost["log_bytes_per_slice"]
    return (
        f"| {size:,} | {core_hours:,.0f} | {core_hours * EUROS_PER_CORE_HOUR:,.0f} | {log / 1e9:,.1f} GB | {machines} "
        f"| {size / rate / 3600:,.1f} | {limit} | {rate:,.0f} |\n"
    )


if __name__ == "__main__":
    main()
