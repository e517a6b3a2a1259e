"""Image statistics and the compressed embedding: what the log keeps of a slice to see change over time."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.data.phantoms import phantom
from screener.audit import verify
from screener.audit.events import measurements_of
from screener.domain.slice import SliceMeasurements
from screener.measurements import LENGTH, compress, decompress, image_statistics, with_embedding

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Command


def head(size: int = 256) -> np.ndarray:
    return phantom(1, size).astype(np.float32) / 255


def numbers(pixels: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in image_statistics(pixels.astype(np.float32)).items()}


def test_statistics_are_those_of_the_pixels() -> None:
    pixels = head()
    found = numbers(pixels)
    edges = cv2.Laplacian(pixels, cv2.CV_32F)
    assert found == {
        "brightness": pytest.approx(pixels.mean(), rel=1e-3),
        "contrast": pytest.approx(pixels.std(), rel=1e-3),
        "sharpness": pytest.approx(edges.std() / pixels.std(), rel=1e-3),
        "height": 256,
        "width": 256,
    }


def test_statistics_see_what_a_scanner_changes() -> None:
    pixels = head()
    usual = numbers(pixels)
    assert numbers(1 - pixels)["brightness"] > usual["brightness"] + 0.2
    assert numbers(pixels**0.5)["brightness"] > usual["brightness"]
    half = cv2.resize(cv2.resize(pixels, (128, 128), interpolation=cv2.INTER_AREA), (256, 256))
    assert numbers(half)["sharpness"] < 0.8 * usual["sharpness"]
    assert numbers(pixels * 0.5)["sharpness"] == pytest.approx(usual["sharpness"], rel=1e-3)


def test_a_large_slice_has_the_statistics_of_all_of_it() -> None:
    pixels = np.tile(head(), (3, 3))
    assert numbers(pixels)["brightness"] == pytest.approx(pixels.mean(), rel=0.02)
    assert numbers(pixels)["contrast"] == pytest.approx(pixels.std(), rel=0.02)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_what_is_no_number_is_left_out(value: float) -> None:
    found = image_statistics(np.full((40, 50), value, np.float32))
    assert "sharpness" not in found
    assert (found["height"], found["width"]) == ("40", "50")
    assert ("brightness" in found) == (value == 0)


@given(st.integers(1, 700), st.integers(0, 2**32 - 1), st.floats(1e-3, 1e4))
@settings(max_examples=20, deadline=None)
def test_a_compressed_embedding_is_short_and_keeps_distances(size: int, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.normal(size=(2, size)) * scale).astype(np.float32)
    texts = compress(one), compress(other)
    assert texts[0] is not None
    assert texts[1] is not None
    assert max(map(len, texts)) <= 92
    found = [decompress(text) for text in texts]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].size == min(size, LENGTH)
    distance = float(np.linalg.norm(found[0] - found[1]))
    # 64 signs keep a distance to within about one part in eleven (one standard deviation), quantisation far better.
    assert distance == pytest.approx(float(np.linalg.norm(one - other)), rel=0.5 if size > LENGTH else 0.05)


def test_a_short_embedding_is_kept_to_half_a_step() -> None:
    values = np.linspace(-3, 2, 49, dtype=np.float32)
    text = compress(values)
    assert text is not None
    found = decompress(text)
    assert found is not None
    assert np.abs(found - values).max() <= 3 / 127 * 0.51


def test_the_projection_is_the_documented_one() -> None:
    """By its description alone: another program must be able to do the same."""
    values = np.random.default_rng(3).normal(size=100)
    bits = "".join(f"{byte:08b}" for byte in hashlib.shake_256(b"screener embedding projection 1").digest(800))
    projected = [sum(-v if bits[64 * i + j] == "1" else v for i, v in enumerate(values)) / 8 for j in range(64)]
    text = compress(values.astype(np.float64))
    assert text is not None
    data = base64.b64decode(text)
    version, divisor = struct.unpack_from("<Be", data)
    assert version == 1
    assert divisor == pytest.approx(max(map(abs, projected)) / 127, rel=1e-3)
    steps = [round(value / divisor) for value in projected]
    assert list(struct.unpack_from("<64b", data, 3)) == [max(-127, min(127, step)) for step in steps]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_an_embedding_of_no_number_is_none(value: float) -> None:
    assert compress(np.array([1.0, value], np.float32)) is None


def test_an_embedding_of_zeros_is_kept() -> None:
    text = compress(np.zeros(5, np.float32))
    assert text is not None
    found = decompress(text)
    assert found is not None
    assert found.tolist() == [0] * 5


@given(st.text(max_size=120) | st.binary(max_size=90).map(lambda data: base64.b64encode(data).decode()))
def test_a_hostile_text_is_no_embedding_or_finite_numbers(text: str) -> None:
    found = decompress(text)
    assert found is None or (np.isfinite(found).all() and 0 < found.size <= LENGTH)


def test_nothing_is_compressed_where_nothing_is_measured() -> None:
    values = np.ones(4, np.float32)
    assert with_embedding(None, values) is None
    measured = SliceMeasurements({"width": "4"})
    assert with_embedding(measured, None) == measured
    found = with_embedding(measured, values)
    assert found is not None
    assert found.embedding == compress(values)


def test_a_scan_logs_what_it_measured_and_the_log_verifies(screener: Command, inbox: Path) -> None:
    cv2.imwrite(str(inbox / "p0" / "blank.png"), np.zeros((96, 96), np.uint8))
    (inbox / "p0" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    screener.scan(inbox)
    events = {event["path"]: event for event in screener.events()}
    for path, event in events.items():
        statistics = event["statistics"]
        assert (statistics is None) == (path == "p0/cut.png"), "what was refused for its pixels is measured, too"
        if statistics is not None:
            assert {"brightness", "height", "width"} <= statistics.keys()
            assert all(isinstance(value, str) for value in statistics.values())
        assert event["embedding"] is None, "the tiny model has none"
    assert verify(screener.log).ok
    (inbox / "p0" / "copy.png").write_bytes((inbox / "p0" / "0.png").read_bytes())
    screener.scan(inbox)
    copied = next(event for event in screener.events() if event["path"] == "p0/copy.png")
    assert copied["statistics"] == events["p0/0.png"]["statistics"], "a score that is used again brings them along"


def test_a_site_can_leave_it_out(screener: Command, inbox: Path) -> None:
    screener.scan(inbox, "--no-measurements")
    assert [event["statistics"] for event in screener.events()] == [None] * 4
    assert screener.events("START")[0]["options"]["measurements"] is False


def test_what_a_log_records_is_read_back() -> None:
    event: dict[str, Any] = json.loads('{"statistics": {"width": "4"}, "embedding": "AAA="}')
    assert measurements_of(event) == SliceMeasurements({"width": "4"}, "AAA=")
    assert measurements_of(event | {"statistics": None}) is None
    assert measurements_of({}) is None, "schema 1 had no such fields"
