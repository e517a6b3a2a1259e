"""Cores that may really be used: affinity, and cgroup quotas of both versions."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from screener.cores import available_cores, workers

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the root of a machine of eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path


def group(machine: Path, path: str, **files: str) -> None:
    folder = machine / "sys/fs/cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def member(machine: Path, lines: str) -> None:
    (machine / "proc/self/cgroup").write_text(lines)


def test_without_quota_the_affinity_counts(machine: Path) -> None:
    assert available_cores(machine) == 8
    member(machine, "0::/\n")
    group(machine, "", cpu__max="max 100000\n")
    assert available_cores(machine) == 8


@pytest.mark.parametrize(("quota", "cores"), [("150000", 2), ("100000", 1), ("20000", 1), ("900000", 8)])
def test_a_quota_of_version_2(machine: Path, quota: str, cores: int) -> None:
    member(machine, "0::/\n")
    group(machine, "", cpu__max=f"{quota} 100000\n")
    assert available_cores(machine) == cores


def test_the_tightest_group_above_counts(machine: Path) -> None:
    member(machine, "0::/clinic.slice/night.service\n")
    group(machine, "clinic.slice", cpu__max="300000 100000\n")
    group(machine, "clinic.slice/night.service", cpu__max="max 100000\n")
    assert available_cores(machine) == 3


def test_a_quota_of_version_1(machine: Path) -> None:
    member(machine, "4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n")
    group(machine, "cpu,cpuacct/job", cpu__cfs_quota_us="250000\n", cpu__cfs_period_us="100000\n")
    assert available_cores(machine) == 3
    group(machine, "cpu,cpuacct/job", cpu__cfs_quota_us="-1\n")
    assert available_cores(machine) == 8


def test_a_path_that_leads_nowhere_falls_back_to_the_mount(machine: Path) -> None:
    member(machine, "0::/host/only/path\n")
    group(machine, "", cpu__max="200000 100000\n")
    assert available_cores(machine) == 2


def test_more_jobs_than_cores_are_not_started() -> None:
    assert workers(10_000) == workers(None) == available_cores()
    assert workers(1) == 1


def test_blas_starts_no_threads() -> None:
    program = (
        "import sys, os\nfrom screener.cli import main\nsys.argv = ['screener', '--help']\n"
        "try: main.main()\nexcept SystemExit: pass\n"
        "import numpy\nsys.stderr.write(str(len(os.listdir('/proc/self/task'))))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == "1"
