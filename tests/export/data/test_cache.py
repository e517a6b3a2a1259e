"""Framed slices on disk, annotations as maps, and drawn heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from export.data import cache
from export.data.cache import TARGET_STRIDE, frame_folder, load_views, tumour_map
from export.data.dataset import read_dataset
from export.data.duplicates import GROUPING
from export.data.phantoms import phantom
from screener.evaluate.labelled import Record
from screener.preprocess import Preprocessing
from tests.conftest import write_slice

if TYPE_CHECKING:
    from pathlib import Path

HOW = Preprocessing(64, crop="head", pad="square", intensity="percentile")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write one positive with a box, one without, a negative and a cut file."""
    for number, name in enumerate(("boxed", "bare", "negative")):
        write_slice(tmp_path / f"{name}.png", number, bright=True)
    (tmp_path / "cut.png").write_bytes((tmp_path / "boxed.png").read_bytes()[:150])
    (tmp_path / "manifest.csv").write_text(
        "path,label,boxes\nboxed.png,yes,0.4 0.4 0.6 0.6\nbare.png,yes,\nnegative.png,no,\ncut.png,no,\n"
    )
    return tmp_path


def test_views_hold_pictures_maps_and_what_is_known(root: Path) -> None:
    views = load_views(read_dataset(root), HOW, 64, root / "cache")
    assert views.images.shape == (4, 64, 64)
    assert views.tumours.shape == (4, 64 // TARGET_STRIDE, 64 // TARGET_STRIDE)
    assert views.readable.tolist() == [True, True, True, False]
    assert views.located.tolist() == [True, False, True, False]
    assert [bool(each.any()) for each in views.tumours] == [True, False, False, False]
    assert [bool(each.any()) for each in views.images] == [True, True, True, False]


def test_slices_are_decoded_once_until_data_or_framing_change(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = read_dataset(root)
    first = load_views(dataset, HOW, 64, root / "cache")
    decoded: list[int] = []
    monkeypatch.setattr(cache, "_decode_one", lambda *arguments: decoded.append(arguments[-1]))
    again = load_views(dataset, HOW, 64, root / "cache")
    assert np.array_equal(first.images, again.images)
    assert decoded == []
    load_views(dataset, HOW, 32, root / "cache")
    assert len(decoded) == 4
    (root / "manifest.csv").write_text("path,label\nboxed.png,yes\nnegative.png,no\n")
    load_views(read_dataset(root), HOW, 64, root / "cache")
    assert len(decoded) == 6


def test_the_side_of_stored_views_is_independent_of_the_models_input(root: Path) -> None:
    dataset = read_dataset(root)
    load_views(dataset, HOW, 64, root / "cache")
    load_views(dataset, Preprocessing(32, crop="head", pad="square", intensity="percentile"), 64, root / "cache")
    assert len(list((root / "cache").iterdir())) == 1


def test_a_box_covers_every_pixel_that_it_touches(tmp_path: Path) -> None:
    record = Record("a.png", 1, boxes=((0.25, 0.5, 0.55, 0.8), (0.0, 0.0, 0.1, 0.1)))
    drawn = tumour_map(tmp_path, record, (10, 20))
    assert drawn is not None
    assert drawn.shape == (10, 20)
    assert drawn[5:8, 5:11].all()
    assert drawn[0, :2].all()
    assert drawn.sum() == 3 * 6 + 2


def test_a_mask_of_another_shape_gives_way_to_the_box(tmp_path: Path) -> None:
    mask = np.zeros((10, 20), np.uint8)
    mask[2:4, 2:6] = 255
    (tmp_path / "mask.png").write_bytes(cv2.imencode(".png", np.kron(mask, np.ones((8, 8), np.uint8)))[1].tobytes())
    record = Record("a.png", 1, boxes=((0.0, 0.0, 0.5, 0.5),), mask="mask.png")
    same = tumour_map(tmp_path, record, (80, 160))
    assert same is not None
    assert same.sum() == 16 * 32
    other = tumour_map(tmp_path, record, (40, 40))
    assert other is not None
    assert other.sum() == 20 * 20
    assert tumour_map(tmp_path, Record("a.png", 1), (8, 8)) is None


def test_a_folder_is_framed_whatever_lies_in_it(tmp_path: Path) -> None:
    assert frame_folder(tmp_path, GROUPING).shape == (0, 192, 192)
    write_slice(tmp_path / "p1/a.png", 1)
    write_slice(tmp_path / "p2/b.png", 2)
    (tmp_path / "p2/notes.txt").write_text("no picture")
    framed = frame_folder(tmp_path, GROUPING)
    assert framed.shape == (2, 192, 192)
    assert framed.max() == 255


@pytest.mark.parametrize("size", [64, 256])
def test_a_drawn_head_follows_its_seed_and_shows_its_tumour(size: int) -> None:
    head, again = phantom(3, size), phantom(3, size)
    assert head.shape == (size, size)
    assert head.dtype == np.uint8
    assert np.array_equal(head, again)
    assert not np.array_equal(head, phantom(4, size))
    centre = slice(size // 4, 3 * size // 4)
    assert (phantom(3, size, tumour=True)[centre, centre] > 200).sum() > (head[centre, centre] > 200).sum() + size // 4
    assert head[: size // 16, : size // 16].mean() < 10
