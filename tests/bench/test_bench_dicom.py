"""The bench of DICOM: the same pixels twice, and a page with every figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

pytest.importorskip("pydicom")
from bench import dicom
from bench.dicom_slices import encoded
from screener.inbox import Limits, decode

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = Limits()


def test_a_slice_as_dicom_and_as_png_are_the_same_pixels() -> None:
    stored = (np.mgrid[:96, :80][0] * 40).astype(np.uint16)
    ours, _ = decode(encoded(3, 96, stored=stored), LIMITS)
    png, _ = decode(dicom._png16(stored), LIMITS)
    assert ours.shape == png.shape == stored.shape
    assert np.ptp(ours) > 0.8
    # Both are stretched between percentiles before the model sees them.
    assert np.corrcoef(ours.ravel(), png.ravel())[0, 1] > 0.9999


def test_compared_pictures_are_spread_over_the_manifest(tmp_path: Path) -> None:
    lines = ["path,label,source"]
    for number in range(12):
        image = np.full((8, 8), number, np.uint8)
        (tmp_path / f"{number:02}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
        lines.append(f"{number:02}.png,{'yes' if number % 2 else 'no'},s")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    found = list(dicom._pictures(tmp_path, 4))
    assert [int(values[0, 0]) >> 4 for values in found] == [0, 3, 6, 9]
    assert found[0].dtype == np.uint16
    assert list(dicom._pictures(None, 4)) == []


def test_the_report_gives_every_figure_beside_its_aim() -> None:
    head = {"bare_per_processor_second": 2000.0, "pass_per_processor_second": 2500.0, "pass_per_second": 2400.0}
    text = dicom.report(
        {
            "headers": {**head, "share": 1.25},
            "scan": {"slices": 400, "dicom_per_second": 110.0, "png_per_second": 100.0, "share": 1.1},
            "same_pixels": {"slices": 600, "pictures": 300, "largest": 0.0031, "beyond": 0, "refused_one_way": 2},
            "first": {"files": 8000, "studies": 400, "seconds": 1.9},
            "flat": [{"files": files, "seconds": 58.4, "peak_memory_mb": 252.3} for files in (800, 8000)],
            "machine": {"processor": "a processor", "cores": 2},
            "rounds": 3,
        }
    )
    for row in (
        "| header pass, with others beside it | 2400 files/s | 1500 files/s |",
        "| header pass against bare pydicom | 1.25 | 0.71 |",
        "at most 0.0031 apart, 0 more than the aim, 2 refused one way only | 0.02 |",
        "| first of 400 studies answered, a folder each | 1.9 s after the start | 5 s |",
        "| flat export of 8,000 files, peak memory | 252 MB | 350 MB |",
    ):
        assert row in text
