"""What the bench of clusters counts in a log, and what it makes of its figures."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("distributed")
from bench import cluster

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Command

FIGURES: dict[str, Any] = {
    "cost": {
        "slices": 2000,
        "slices_of_a_study": 20,
        "cores": 2,
        "file_bytes": 100_000.0,
        "speedup": 1.875,
        "worker_seconds_per_slice": 0.02,
        "client_cpu_seconds_per_slice": 0.0005,
        "log_bytes_per_slice": 1200.0,
    },
    "client": {"headers_per_second": 1500.0, "log_events_per_second": 21_000.0},
    "overhead": {"files_of_a_shard": 32, "seconds_per_shard": 0.016, "seconds_per_batch": 0.001},
    "simulation": {"workers": 64, "slice_seconds": 0.016, "slow": 0.02, "failing": 0.01, "speedup": 60.25},
    "kills": {
        "kills": {"worker": 30, "client": 12, "scheduler": 8},
        "lost": 0,
        "doubled": 1,
        "different": 2,
        "unsound": 3,
    },
}


def test_the_slowest_part_limits_the_rate() -> None:
    found = cluster.limits(FIGURES)
    assert found == pytest.approx(
        {"client": 2000, "header pass": 1500, "log": 20_000, "scheduler": 2000, "storage": 10_000}
    )
    small, large = cluster._row(10**6, FIGURES), cluster._row(10**9, FIGURES)
    # 10⁶ slices of 20 ms are 5.6 core hours: one machine of 16 cores takes 0.35 h at 800 slices a second.
    assert small.startswith("| 1,000,000 | 6 | 0 | 1.2 GB | 1 | 0.3 | workers | 800 |")
    # 1,500 slices a second keep 30 cores busy, and 10⁹ slices then take 185 hours.
    assert large.startswith("| 1,000,000,000 | 5,556 | 222 | 1,200.0 GB | 2 | 185.2 | header pass | 1,500 |")


def test_the_report_gives_every_figure() -> None:
    text = cluster.report(FIGURES)
    assert "two workers of one core beside one, 2,000 slices | 1.88 × | 1.7 ×" in text
    assert "64 simulated workers of 16 ms a slice beside one, 2% of shards slow and 1% failing | 60.2 × | 55 ×" in text
    assert "overhead of a batch of 2 slices (Dask, client, log) | 1.00 ms | 2 ms" in text
    assert "50 kills (12 clients, 8 schedulers, 30 workers): lost, doubled, different, unsound | 0, 1, 2, 3 | 0" in text


def test_a_log_is_held_to_that_of_one_machine(screener: Command, inbox: Path, tmp_path: Path) -> None:
    screener.scan(inbox)
    same = tmp_path / "same.jsonl"
    shutil.copy(screener.log, same)
    assert cluster._compare(same, screener.log) == {"lost": 0, "doubled": 0, "different": 0, "unsound": 0}
    screener.scan(inbox, "--rescan")
    assert cluster._compare(screener.log, same)["doubled"] == 4 + 2
    lines = same.read_text().splitlines(keepends=True)
    same.write_text("".join(lines[:3]))
    assert cluster._compare(same, screener.log)["lost"] == 2 + 2


def test_a_simulated_archive_has_studies_of_equal_size() -> None:
    entries = list(cluster._entries(100))
    assert len({entry.path for entry in entries}) == 100
    assert [sum(entry.study_id == f"study-{number:07}" for entry in entries) for number in range(4)] == [32, 32, 32, 4]
