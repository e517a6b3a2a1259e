"""Screening from Python."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from export.phantoms import phantom
from screener import Screener
from screener.errors import UsageError
from screener.types import Decision, Reason
from tests.conftest import write_slice

if TYPE_CHECKING:
    from pathlib import Path


def test_path_and_array_agree(tiny_model: Path, tmp_path: Path) -> None:
    tool = Screener(tiny_model)
    path = write_slice(tmp_path / "a.png", bright=True)
    from screener.inbox import decode

    pixels, _ = decode(path.read_bytes())
    by_path, by_array = tool.predict(path), tool.predict(pixels)
    assert by_path.decision is Decision.FLAGGED
    assert by_path.probability == pytest.approx(by_array.probability, abs=1e-6)
    eight = tool.predict(np.rint(pixels * 255).astype(np.uint8))
    assert eight.probability == pytest.approx(by_path.probability, abs=1e-6)


def test_colour_and_deep_arrays(tiny_model: Path) -> None:
    tool, image = Screener(tiny_model, threshold=0.5), phantom(1, 96)
    grey = tool.predict(image).probability
    assert tool.predict(np.dstack([image] * 3)).probability == pytest.approx(grey, abs=0.05)
    assert tool.predict(image.astype(np.uint16) * 16).probability is not None


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 4, 4), np.uint8),
        np.zeros((0, 5), np.uint8),
        np.zeros((64, 64), np.int32),
        np.full((64, 64), 2.0),
    ],
)
def test_what_is_no_image(tiny_model: Path, image: np.ndarray) -> None:
    with pytest.raises(UsageError):
        Screener(tiny_model).predict(image)


def test_nan_pixels_are_an_error(tiny_model: Path) -> None:
    with pytest.raises(UsageError):
        Screener(tiny_model).predict(np.full((64, 64), np.nan))


def test_blank_goes_to_a_person(tiny_model: Path) -> None:
    assert Screener(tiny_model).predict(np.zeros((64, 64), np.uint8)).reason is Reason.BLANK


def test_a_missing_file_goes_to_a_person(tiny_model: Path, tmp_path: Path) -> None:
    assert Screener(tiny_model).predict(tmp_path / "missing.png").reason is Reason.UNREADABLE


def test_scan_is_an_iterator(tiny_model: Path, inbox: Path) -> None:
    found = list(Screener(tiny_model).scan(inbox))
    assert [finding.decision for finding in found] == [Decision.FLAGGED, Decision.NOT_FLAGGED] * 2


def test_importing_is_light() -> None:
    code = "import sys, screener; sys.exit(any(n in sys.modules for n in ('numpy', 'cv2', 'onnxruntime', 'rich')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
