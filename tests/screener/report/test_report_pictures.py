from __future__ import annotations

import base64
import re

import cv2
import numpy as np
import pytest

from export.data.phantoms import phantom
from screener.preprocess import Preprocessing, frame
from screener.report.overlay import contours
from screener.report.pictures import SIDE, STRIP_SIDE, Thumbnail, drawing, encode, thumbnail
from screener.report.rendering import environment

HOW = Preprocessing(160, crop="head", pad="square")


def head(size: int = 512) -> np.ndarray:
    return phantom(3, size, tumour=True).astype(np.float32) / 255


def draw(small: Thumbnail, grid: np.ndarray | None, label: str) -> str:
    """Return the markup of a slice, as the template draws it."""
    module = environment().get_template("picture.html").module
    return str(module.picture(drawing(encode(small), grid, label), ""))  # type: ignore[attr-defined]


def embedded(markup: str) -> list[np.ndarray]:
    found = re.findall(r'href="data:image/\w+;base64,([^"]+)"', markup)
    return [cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED) for data in found]


@pytest.mark.parametrize("shape", [(512, 512), (700, 300), (100, 90)])
def test_thumbnail_keeps_the_aspect_ratio_and_does_not_enlarge(shape: tuple[int, int]) -> None:
    pixels = cv2.resize(head(), shape[::-1])
    small = thumbnail(pixels, frame(pixels, HOW)).pixels
    assert max(small.shape) == min(SIDE, max(shape))
    assert small.shape[0] / small.shape[1] == pytest.approx(shape[0] / shape[1], rel=0.01)


@pytest.mark.parametrize(
    "how", [HOW, Preprocessing(160), Preprocessing(224, crop="head"), Preprocessing(96, pad="square")]
)
@pytest.mark.parametrize("shape", [(512, 512), (480, 360)])
def test_heatmap_lies_where_the_full_size_overlay_puts_it(how: Preprocessing, shape: tuple[int, int]) -> None:
    pixels = cv2.resize(head(), shape[::-1])
    grid = np.zeros((10, 10), np.float32)
    grid[6, 4] = 1.0
    small = thumbnail(pixels, frame(pixels, how))
    left, top, width, height = small.view
    restored = frame(pixels, how).restore(grid)
    y, x = np.unravel_index(int(restored.argmax()), restored.shape)
    scale = small.pixels.shape[0] / shape[0]
    assert left + width * 4.5 / 10 == pytest.approx((x + 0.5) * scale, abs=2.5)
    assert top + height * 6.5 / 10 == pytest.approx((y + 0.5) * scale, abs=2.5)


def test_picture_of_the_strip_is_small() -> None:
    small = encode(thumbnail(head())).small
    pixels = cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels.shape == (STRIP_SIDE, STRIP_SIDE)
    assert len(small) < 4_000
    assert encode(Thumbnail(np.zeros((50, 40), np.uint8), (0, 0, 40, 50))).small


def test_picture_carries_slice_evidence_and_line() -> None:
    small = thumbnail(head(), frame(head(), HOW))
    grid = np.zeros((10, 10), np.float32)
    grid[5, 5] = 0.5
    markup = draw(small, grid, 'Slice "a"')
    assert "Slice &#34;a&#34;" in markup
    slice_, evidence = embedded(markup)
    assert np.abs(slice_.astype(int) - small.pixels).mean() < 3
    assert evidence.shape == (40, 40)
    assert evidence.max() > 200, "colours span the evidence of the slice"
    assert markup.count('class="line') == 2
    assert 'data-strongest="0.50"' in markup
    assert len(markup) < 20_000


def test_slice_without_evidence_has_no_line_and_without_heatmap_nothing_to_switch() -> None:
    small = thumbnail(head(), frame(head(), HOW))
    assert 'class="line' not in draw(small, np.zeros((10, 10), np.float32), "x")
    assert 'class="heat"' not in draw(small, None, "x")
    assert thumbnail(head()).view == (0.0, 0.0, 256.0, 256.0)


def test_line_of_the_page_follows_the_line_of_the_sheet() -> None:
    pixels = head()
    grid = np.zeros((10, 10), np.float32)
    grid[3:5, 6] = 0.9
    (line,) = contours(frame(pixels, HOW).restore(grid))
    path = re.search(r'd="M([^"]+)Z"', draw(thumbnail(pixels, frame(pixels, HOW)), grid, "x"))
    assert path
    points = np.array([[float(number) for number in point.split()] for point in path[1].split("L")])
    assert points.mean(axis=0) == pytest.approx(line[:, 0].mean(axis=0) / 2, abs=3)
    assert np.ptp(points, axis=0) == pytest.approx(np.ptp(line[:, 0], axis=0) / 2, abs=4)


@pytest.mark.parametrize("side", [7, 10, 14, 20, 28, 56])
def test_heatmaps_of_any_grid_are_large_enough_to_print(side: int) -> None:
    small = thumbnail(head(), frame(head(), HOW))
    grid = np.linspace(0, 1, side * side, dtype=np.float32).reshape(side, side)
    _, evidence = embedded(draw(small, grid, "x"))
    assert evidence.shape[0] >= 40
    assert evidence.shape[0] % side == 0
