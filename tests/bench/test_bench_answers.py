"""What the bench of answers reports, and that it measures against a real Orthanc."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("pynetdicom")
from bench import answers

if TYPE_CHECKING:
    from pathlib import Path


def test_the_report_gives_every_figure() -> None:
    text = answers.report(
        {
            "slices": 200,
            "studies": 5,
            "first_seconds": 9.25,
            "median_seconds": 4.5,
            "longest_seconds": 9.25,
            "objects": 20,
            "megabytes": 12.34,
            "peak_megabytes": 333.0,
            "orthanc": "1.10.1",
            "machine": {"processor": "a CPU", "cores": 2},
        }
    )
    for expected in ("4.5, 9.2, 9.2", "20, 12.3 MB", "333 MB", "Orthanc 1.10.1", "a CPU, 2 cores"):
        assert expected in text


@pytest.mark.pacs
def test_a_small_measurement(tmp_path: Path, tiny_model: Path) -> None:
    if shutil.which("Orthanc") is None and shutil.which("Orthanc", path="/usr/sbin") is None:
        pytest.skip("needs Debian's orthanc")
    found = answers.delays(tmp_path, 3, 1, str(tiny_model))
    assert found["objects"] == 4
    assert 0 < found["median_seconds"] < 120
