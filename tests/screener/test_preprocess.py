"""Slice → tensor: the range, the shape, and the head wherever it lies."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from export.data.phantoms import phantom
from screener.errors import ModelError
from screener.preprocess import Preprocessing, _median, enlarged, frame, head_box, prepare
from tests.conftest import parsed_card

LITE = Preprocessing(64, "head", "square", "percentile")
PLAIN = Preprocessing(64)


def drawn(seed: int = 0, size: int = 128) -> np.ndarray:
    return phantom(seed, size).astype(np.float32) / 255


@given(
    arrays(np.float32, st.tuples(st.integers(1, 80), st.integers(1, 80)), elements=st.floats(0, 1, width=32)),
    st.sampled_from([LITE, PLAIN]),
)
def test_any_slice_becomes_a_tensor(pixels: np.ndarray, how: Preprocessing) -> None:
    tensor = prepare(pixels, how)
    assert tensor.shape == (64, 64, 1)
    assert tensor.dtype == np.float32
    assert np.isfinite(tensor).all()
    assert tensor.min() >= 0
    assert tensor.max() <= 1 + 1e-6


def test_the_slice_is_not_touched() -> None:
    pixels = drawn()
    before = pixels.copy()
    prepare(pixels, LITE)
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("seed", range(5))
def test_margins_do_not_matter(seed: int) -> None:
    pixels = drawn(seed)
    wide = np.pad(pixels, ((30, 70), (90, 10)))
    (top, bottom, left, right), _ = head_box(pixels)
    shifted = (top + 30, bottom + 30, left + 90, right + 90)
    assert np.abs(np.subtract(head_box(wide)[0], shifted)).max() <= 5  # two pixels of the coarse copy


def test_brightness_and_contrast_do_not_matter() -> None:
    pixels = drawn()
    assert np.abs(prepare(pixels, LITE) - prepare(pixels * 0.3 + 0.1, LITE)).max() < 0.02


def test_inverted_slices_are_cropped_alike() -> None:
    pixels = drawn()
    box, background = head_box(pixels)
    turned, white = head_box(1 - pixels)
    assert np.abs(np.subtract(box, turned)).max() <= 2
    assert (background < 0.1, white > 0.9) == (True, True)


def test_text_beside_the_head_is_left_out() -> None:
    pixels = np.pad(drawn(), ((0, 0), (0, 60)))
    box, _ = head_box(pixels)
    pixels[4:12, -20:-4] = 1.0
    assert np.abs(np.subtract(head_box(pixels)[0], box)).max() <= 2


def test_a_heatmap_finds_its_way_back() -> None:
    pixels = np.zeros((200, 120), np.float32)
    pixels[40:180, 20:100] = 0.5
    pixels[60:90, 60:90] = 1.0
    where = frame(pixels, LITE)
    restored = where.restore(where.cut((pixels == 1).astype(np.float32)))
    assert restored.shape == pixels.shape
    assert restored[70:80, 70:80].min() > 0.9
    assert restored[100:, :].max() < 0.1


def test_a_heatmap_peaks_between_two_cells_that_say_the_same() -> None:
    grid = np.full((10, 10), 0.01, np.float32)
    grid[4, 3:5] = 0.9
    fine = enlarged(grid, 160, 320)
    row, column = np.unravel_index(int(fine.argmax()), fine.shape)
    assert (row, column) == (pytest.approx(16 * 4.5, abs=1), pytest.approx(32 * 4, abs=1))
    assert enlarged(fine, 160, 320) is fine


@given(arrays(np.float32, (5, 7), elements=st.floats(0, 1, width=32)))
def test_an_enlarged_heatmap_stays_in_its_range(grid: np.ndarray) -> None:
    fine = enlarged(grid, 40, 56)
    assert fine.dtype == np.float32
    assert 0 <= fine.min() <= fine.max() <= 1


@pytest.mark.parametrize(
    "change", [{"crop": "hat"}, {"size": 7}, {"size": "64"}, {"version": 99}, {"colour": 1}, {"pad": None}]
)
def test_a_card_that_describes_it_wrongly(change: dict[str, object]) -> None:
    with pytest.raises(ModelError):
        parsed_card(preprocessing=msgspec.to_builtins(LITE) | change)


def test_a_card_brings_it_back() -> None:
    assert parsed_card(preprocessing=msgspec.to_builtins(LITE)).preprocessing == LITE
    assert LITE.fingerprint() != PLAIN.fingerprint()


def plainly(pixels: np.ndarray, how: Preprocessing) -> np.ndarray:
    """Prepare by the definition of version 1, written for reading instead of for speed."""
    view = frame(pixels, how).cut(pixels)
    if how.intensity == "unit":
        return view[:, :, None]
    ranked = np.sort(view.astype(np.float64), axis=None)
    low, high = ranked[view.size // 100], ranked[view.size - 1 - view.size // 100]
    stretched = np.zeros_like(view) if high - low < 1e-6 else np.clip((view - low) / (high - low), 0, 1)
    return stretched[:, :, None]


@given(
    arrays(np.float32, st.tuples(st.integers(1, 80), st.integers(1, 80)), elements=st.floats(0, 1, width=32)),
    st.sampled_from([LITE, PLAIN]),
)
def test_speed_changes_no_pixel(pixels: np.ndarray, how: Preprocessing) -> None:
    assert np.abs(prepare(pixels, how) - plainly(pixels, how)).max() <= 1e-6


@given(arrays(np.float32, st.integers(1, 400), elements=st.floats(0, 1, width=32)))
def test_the_background_is_the_median_of_the_rim(values: np.ndarray) -> None:
    assert _median(values) == float(np.median(values))
