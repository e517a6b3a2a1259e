"""Screening from Python."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from export.data.phantoms import phantom
from screener import Screener
from screener.api import _from_array
from screener.domain.finding import Decision
from screener.domain.slice import Reason
from screener.errors import UsageError
from screener.inbox import decode
from tests.conftest import write_slice

if TYPE_CHECKING:
    from pathlib import Path


def test_path_and_array_agree(tiny_model: Path, tmp_path: Path) -> None:
    tool = Screener(tiny_model)
    path = write_slice(tmp_path / "a.png", bright=True)
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


@given(arrays(np.uint8, (48, 40, 3)) | arrays(np.uint16, (40, 48, 3)) | arrays(np.uint16, (40, 48)))
def test_an_array_is_read_by_the_rules_of_its_file(image: np.ndarray) -> None:
    stored = image[:, :, ::-1] if image.ndim == 3 else image  # OpenCV writes blue first
    pixels, saturation = decode(cv2.imencode(".png", stored)[1].tobytes())
    message = _from_array(image)
    assert message.saturation == pytest.approx(saturation, abs=1e-5)
    assert np.allclose(message.pixels, pixels, atol=1e-6)


def test_a_photograph_is_refused_as_an_array_too(tiny_model: Path) -> None:
    photo = np.dstack([phantom(1, 96), np.roll(phantom(1, 96), 20), phantom(2, 96)])
    assert Screener(tiny_model).predict(photo).reason is Reason.NOT_A_BRAIN_MRI
    assert Screener(tiny_model).predict(photo.astype(np.float64) / 255).reason is Reason.NOT_A_BRAIN_MRI


@pytest.mark.parametrize("kind", ["<u2", ">u2", "f2", "f4", "f8"])
def test_depth_and_byte_order_do_not_matter(tiny_model: Path, kind: str) -> None:
    tool, image = Screener(tiny_model), phantom(1, 96)
    scaled = image.astype(np.float64) / image.max()
    given_ = (scaled * 4095 if "u" in kind else scaled).astype(kind)
    expected = tool.predict(scaled).probability
    assert tool.predict(given_).probability == pytest.approx(expected, abs=5e-3)


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
