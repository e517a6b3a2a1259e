"""A scan on workers: the findings of one machine, one RESULT a slice and one STUDY a study, whatever is cut short."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from screener.audit import AuditLog, read, verify
from screener.cluster import worker
from screener.cluster.dispatch import Limits, Lost
from screener.cluster.executor import ClusterExecutor, question_for
from screener.domain.finding import Finding
from screener.domain.study import StudyFinding
from screener.errors import ClusterError
from screener.model.session import Model
from screener.pipeline.config import ScanConfig
from screener.pipeline.scan import Scan, summary_counts
from screener.triage import TriagePolicy
from tests.conftest import write_slice
from tests.screener.cluster.fake_workers import FakeWorkers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from screener.audit.events import Event
    from screener.cluster.orders import Order


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    return Model.load(tiny_model)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return pictures, DICOM of two studies in one folder, single pictures and files that cannot be read."""
    folder = tmp_path / "archive"
    for study in range(4):
        for number in range(2 + study * 3):
            write_slice(folder / f"p{study}/s{number % 2}/{number}.png", study * 20 + number, bright=number % 3 == 0)
    (folder / "p1/s0/bad.png").write_bytes(b"no picture")
    (folder / "p2/empty.png").write_bytes(b"")
    write_slice(folder / "single.png", 99, bright=True)
    return folder


def policy(model: Model) -> TriagePolicy:
    return TriagePolicy(model.card.operating_points["auto"], 0.7, model.card.title, model.sha256)


def honest(_: str, order: Order, name: str) -> object:
    return worker.screen(order, name)


def screen(
    archive: Path,
    model: Model,
    log: Path,
    compute: Callable[[str, Order, str], object] | None = None,
    *,
    seed: int = 0,
    stop_after: int | None = None,
    **options: object,
) -> Scan:
    """Screen with fake workers, or on one machine where nobody computes; break off after so many results."""
    config = ScanConfig.of(model=str(model.location.folder), **options)
    with AuditLog(log) as audit:
        audit.start({"inbox": str(archive)})
        if compute is None:
            scan = Scan(archive, model, policy(model), audit, config)
        else:
            workers = FakeWorkers(["w0", "w1", "w2"], compute, seed)
            question = question_for(archive, model, config)
            make = ClusterExecutor(workers, question, config, policy(model), log, files=3, limits=Limits(10_000))
            scan = Scan(archive, model, policy(model), audit, config, executor=lambda *_: make)
        for number, _ in enumerate(scan.results(), 1):
            if number == stop_after:
                break
        else:
            audit.end(summary_counts(scan.counts), "complete")
    return scan


VOLATILE = {"timestamp", "run_id", "hash", "prev", "results_sha256", "earlier_results", "schema"}


def content(log: Path, kind: str) -> list[str]:
    """Return the events of a kind without what differs between two runs, in an order of their own."""
    return sorted(str({k: v for k, v in event.items() if k not in VOLATILE}) for event in events(log, kind))


def events(log: Path, kind: str) -> list[Event]:
    return [event for event in read(log) if event["event"] == kind]


def assert_same(log: Path, expected: Path) -> None:
    assert verify(log).ok
    for kind in ("RESULT", "STUDY"):
        assert content(log, kind) == content(expected, kind)


@pytest.fixture
def alone(archive: Path, model: Model, tmp_path: Path) -> Path:
    """Return the log of a scan on one machine."""
    screen(archive, model, tmp_path / "alone.jsonl")
    return tmp_path / "alone.jsonl"


def test_findings_are_those_of_one_machine(archive: Path, model: Model, alone: Path, tmp_path: Path) -> None:
    for seed in range(3):
        scan = screen(archive, model, tmp_path / f"{seed}.jsonl", honest, seed=seed)
        assert_same(tmp_path / f"{seed}.jsonl", alone)
    assert scan.counts["files"] == len(events(alone, "RESULT"))
    assert scan.counts["studies"] == len(events(alone, "STUDY"))


def write_dicom(path: Path, study: str, place: int) -> None:
    pytest.importorskip("pydicom")
    from tests.screener.inbox.dicom_files import dataset, encode, values

    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.9", "ImagePositionPatient": [0, 0, float(place)]}
    path.write_bytes(encode(dataset(values(500 + place), **about)))


def test_dicom_studies_are_those_of_one_machine(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "dicom"
    for number in range(9):
        write_dicom(folder / f"mixed/{number}.dcm", f"1.2.{number % 2}", number)
        write_dicom(folder / f"own/{number}.dcm", "1.2.9", number + 50)
    screen(folder, model, tmp_path / "alone.jsonl")
    screen(folder, model, tmp_path / "cluster.jsonl", honest, seed=3)
    assert_same(tmp_path / "cluster.jsonl", tmp_path / "alone.jsonl")


class Dying:
    """Workers that die, leave, or keep their answer, at random."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - faults are drawn

    def __call__(self, attempt: str, order: Order, name: str) -> object:
        chance = self._random.random()
        if chance < 0.2:
            return Lost(attempt, "the worker left", "cancelled")
        return None if chance < 0.3 else worker.screen(order, name)


def test_a_client_that_is_killed_goes_on(archive: Path, model: Model, alone: Path, tmp_path: Path) -> None:
    """The log is the only record: each run finds in it what those before had done."""
    chances = random.Random(7)  # noqa: S311 - faults are drawn
    for seed in range(2):
        log = tmp_path / f"{seed}.jsonl"
        for _ in range(5):
            screen(archive, model, log, Dying(seed), seed=seed, stop_after=chances.randrange(1, 12))
        scan = screen(archive, model, log, Dying(seed), seed=seed)
        assert scan.counts["seen_before"] > 0
        assert verify(log).ok
        paths = Counter(event["path"] for event in events(log, "RESULT"))
        # What could not be hashed is not recognised, on one machine neither.
        assert {path: count for path, count in paths.items() if count > 1 and not path.endswith("empty.png")} == {}
        assert set(Counter(event["study_id"] for event in events(log, "STUDY")).values()) == {1}
        assert set(content(log, "RESULT")) == set(content(alone, "RESULT"))


def test_a_second_run_scores_nothing(archive: Path, model: Model, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    first = screen(archive, model, log, honest)
    scored: list[int] = []

    def counting(_: str, order: Order, name: str) -> object:
        found = worker.screen(order, name)
        scored.append(sum(type(item).__name__ == "ScoredSlice" for file in found.files for item in file.items))  # type: ignore[union-attr]
        return found

    again = screen(archive, model, log, counting)
    assert sum(scored) == 0
    assert again.counts["files"] == first.counts["files"]
    assert again.counts["studies_seen_before"] == first.counts["studies"]
    rescanned = screen(archive, model, log, counting, rescan=True)
    assert sum(scored) > 0
    assert rescanned.counts["seen_before"] == 0


def test_a_limit_leaves_the_last_study_open(archive: Path, model: Model, tmp_path: Path) -> None:
    for limit in (1, 3, 8, 14):
        screen(archive, model, tmp_path / f"{limit}-alone.jsonl", limit=limit)
        screen(archive, model, tmp_path / f"{limit}.jsonl", honest, seed=limit, limit=limit)
        assert_same(tmp_path / f"{limit}.jsonl", tmp_path / f"{limit}-alone.jsonl")


def test_what_ends_the_run_leaves_a_sound_log(archive: Path, model: Model, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    calls: list[str] = []

    def failing(attempt: str, order: Order, name: str) -> object:
        calls.append(attempt)
        return worker.screen(order, name) if len(calls) < 4 else worker.Unfit(name, "lost the model")

    with pytest.raises(ClusterError):
        screen(archive, model, log, failing)
    assert verify(log).ok
    screen(archive, model, log, honest)
    counts = Counter(event["path"] for event in events(log, "RESULT"))
    assert set(counts.values()) == {1}


def test_results_are_yielded_only_once_they_are_in_the_log(archive: Path, model: Model, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    config = ScanConfig.of(model=str(model.location.folder))
    question = question_for(archive, model, config)
    with AuditLog(log) as audit:
        audit.start({})
        make = ClusterExecutor(FakeWorkers(["w"], honest), question, config, policy(model), log, files=3)
        for result in Scan(archive, model, policy(model), audit, config, executor=lambda *_: make).results():
            text = log.read_text()
            name = result.path if isinstance(result, Finding) else result.study_id
            assert isinstance(result, Finding | StudyFinding)
            assert name in text
