"""Small machines: half a gigabyte, one core, 64-bit ARM, the oldest libraries. Never another score."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from bench.venvs import UnavailableError, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "docs/demo/inbox"
HALF_A_GIGABYTE = 512 << 20
_ARM = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")

pytestmark = pytest.mark.skipif(
    not (ROOT / "models/lite/model.onnx").exists(), reason="no shipped model in this checkout"
)


_PROGRAM = (
    "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
    "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)); sys.exit(code)"
)
TELLING = (sys.executable, "-c", _PROGRAM)
"""Runs what follows and tells its largest resident memory in KiB: this process has other, larger children."""


def scan(
    inbox: Path,
    log: Path,
    *options: str,
    python: str | Path = sys.executable,
    before: Callable[[], None] | None = None,
    within: Sequence[str] = (),
) -> tuple[int, dict[str, dict[str, Any]], str]:
    """Scan with the shipped model; return exit code, findings by path, and stderr."""
    done = subprocess.run(
        [
            *within,
            str(python),
            "-m",
            "screener",
            "scan",
            str(inbox),
            "--json",
            "--threshold",
            "default",
            "--log",
            str(log),
            *options,
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=before,
    )
    found = [line for line in map(json.loads, done.stdout.splitlines()) if line["level"] == "slice"]
    return done.returncode, {finding["path"]: finding for finding in found}, done.stderr


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return what the demo inbox gives on this machine as it is."""
    code, found, _ = scan(DEMO, tmp_path_factory.mktemp("usual") / "log.jsonl")
    assert code == 4
    return found


def same(found: dict[str, dict[str, Any]], usual: dict[str, dict[str, Any]]) -> bool:
    """Tell whether all decisions are equal and all probabilities too, to 1e-5."""
    assert found.keys() == usual.keys()
    for path, finding in found.items():
        expected = usual[path]
        if (finding["decision"], finding["reason"]) != (expected["decision"], expected["reason"]):
            return False
        if finding["probability"] is not None and abs(finding["probability"] - expected["probability"]) > 1e-5:
            return False
    return True


def half_a_gigabyte() -> None:
    """Bound what a process may write to: heap, stacks, arenas. Mapped files, such as libraries, can always be dropped.

    The address space (RLIMIT_AS) is no measure of memory: libraries reserve much that they never touch.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (HALF_A_GIGABYTE, HALF_A_GIGABYTE))


def one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


@pytest.mark.long
def test_half_a_gigabyte_is_enough(usual: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    code, found, said = scan(DEMO, tmp_path / "log.jsonl", before=half_a_gigabyte, within=TELLING)
    assert code == 4
    assert same(found, usual)
    # Libraries included.
    assert said.isdecimal(), said
    assert 0 < int(said) * 1024 < HALF_A_GIGABYTE


def test_a_picture_too_large_for_the_memory_costs_that_picture(
    usual: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "huge.png").write_bytes(cv2.imencode(".png", np.zeros((7800, 8000, 3), np.uint8))[1].tobytes())
    (inbox / "slice.jpg").write_bytes((DEMO / "patient-01/Te-gl_0010.jpg").read_bytes())
    code, found, said = scan(inbox, tmp_path / "log.jsonl", before=half_a_gigabyte)
    assert (code, said) == (4, "")
    # Which of them depends on the memory that is left, and on how busy the machine is.
    assert found["huge.png"]["reason"] in {"too_large", "blank", "decoder_crashed", "decoder_timeout"}
    assert found["slice.jpg"]["probability"] == pytest.approx(
        usual["patient-01/Te-gl_0010.jpg"]["probability"], abs=1e-5
    )


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a core")
def test_one_core_and_far_too_many_jobs(usual: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    code, found, said = scan(DEMO, tmp_path / "one.jsonl", "--jobs", "64", before=one_core)
    assert (code, said) == (4, "")
    assert same(found, usual)


def pictures(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Leave DICOM out."""
    return {path: line for path, line in found.items() if not path.endswith(".dcm")}


def requirements() -> list[str]:
    declared: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return declared


@pytest.mark.long
def test_the_oldest_libraries_give_the_same_scores(usual: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    # "numpy>=1.26,<3" becomes "numpy==1.26.*".
    oldest = [f"{one.split(',')[0].replace('>=', '==')}.*" for one in requirements()]
    try:
        python = environment(tmp_path / "venv", *oldest, constraints=None)
    except UnavailableError as error:
        pytest.skip(f"the oldest libraries cannot be installed here: {error}")
    code, found, said = scan(DEMO, tmp_path / "log.jsonl", python=python)
    assert (code, said) == (4, "")
    # Without the extra that reads DICOM.
    assert same(pictures(found), pictures(usual))
    assert {line["reason"] for path, line in found.items() if path.endswith(".dcm")} == {"unsupported_type"}


@pytest.mark.long
def test_every_requirement_has_a_wheel_for_64_bit_arm(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    platforms = [part for name in _ARM for part in ("--platform", name)]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--ignore-installed",
        "--only-binary=:all:",
        "--quiet",
    ]
    where = ["--target", str(tmp_path / "nowhere"), "--report", str(report), "--constraint", "constraints.txt"]
    done = subprocess.run(
        [*command, *platforms, "--python-version", "3.11", *where, *requirements()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if any(sign in done.stderr for sign in ("Failed to establish", "Temporary failure", "timed out")):
        pytest.skip("no package index within reach")
    assert done.returncode == 0, done.stderr
    names = [one["download_info"]["url"].rsplit("/", 1)[-1] for one in json.loads(report.read_text())["install"]]
    assert all(name.endswith(("aarch64.whl", "none-any.whl")) for name in names)
    assert {"numpy", "onnxruntime", "opencv_python_headless"} <= {name.split("-")[0] for name in names}
