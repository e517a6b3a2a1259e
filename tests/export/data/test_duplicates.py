"""Near-duplicates are found whatever their orientation, and remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from export.data import duplicates
from export.data.duplicates import find_pairs, join, orientations, remembered_pairs, thumbnails
from export.data.phantoms import phantom

if TYPE_CHECKING:
    from pathlib import Path


def head(seed: int) -> np.ndarray:
    """Draw a head that looks like no other one, whichever way it is turned."""
    image = phantom(seed, 96)
    rng = np.random.default_rng(seed)
    for _ in range(12):
        at = tuple(int(value) for value in rng.integers(27, 69, 2))
        cv2.circle(image, at, int(rng.integers(4, 9)), int(rng.integers(20, 250)), cv2.FILLED)
    return image


def pairs_of(*images: np.ndarray) -> list[tuple[int, int, bool]]:
    pairs = find_pairs(thumbnails(np.stack(images)))
    return list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.turned.tolist(), strict=True))


def test_thumbnails_have_zero_mean_and_unit_norm_and_a_blank_one_is_zero() -> None:
    thumbs = thumbnails(np.stack([head(1), np.full((96, 96), 80, np.uint8)]))
    assert thumbs.shape == (2, 32, 32)
    assert thumbs[0].mean() == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(thumbs[0]) == pytest.approx(1, abs=1e-5)
    assert not thumbs[1].any()


def test_the_eight_orientations_are_all_different_and_the_first_is_upright() -> None:
    thumbs = thumbnails(head(2)[None])
    shown = list(orientations(thumbs))
    assert np.array_equal(shown[0], thumbs)
    assert len({view.tobytes() for view in map(np.ascontiguousarray, shown)}) == 8


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_copy_is_found_in_every_orientation(turns: int, *, mirrored: bool) -> None:
    image = head(3)
    copy = np.rot90(image[:, ::-1] if mirrored else image, turns)
    assert pairs_of(image, head(4), copy) == [(0, 2, mirrored or turns > 0)]


def test_an_upright_match_wins_over_a_turned_one() -> None:
    image = head(5)
    symmetric = np.maximum(image, image[:, ::-1])
    assert pairs_of(symmetric, symmetric.copy()) == [(0, 1, False)]


def test_compression_and_another_size_hide_no_copy() -> None:
    image = head(6)
    small = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)
    coded = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, 40))[1]
    again = cv2.resize(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), (96, 96))
    assert pairs_of(image, np.asarray(again, np.uint8)) == [(0, 1, False)]


def test_blocks_give_the_pairs_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [head(seed) for seed in range(7)]
    images += [np.rot90(images[0]), images[3], images[5][:, ::-1]]
    whole = pairs_of(*images)
    monkeypatch.setattr(duplicates, "_BLOCK", 3)
    assert pairs_of(*images) == whole == [(0, 7, True), (3, 8, False), (5, 9, True)]


def test_pairs_are_computed_once_for_the_same_thumbnails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    thumbs = thumbnails(np.stack([head(1), head(1)[:, ::-1]]))
    first = remembered_pairs(thumbs, tmp_path)
    monkeypatch.setattr(duplicates, "find_pairs", None)
    again = remembered_pairs(thumbs, tmp_path)
    assert again.turned.tolist() == first.turned.tolist() == [True]
    with pytest.raises(TypeError):
        remembered_pairs(thumbs[:1], tmp_path)


def test_links_join_transitively() -> None:
    groups = join(6, [(0, 1), (1, 2)], np.array([[4, 5]]))
    assert groups[0] == groups[1] == groups[2]
    assert groups[4] == groups[5]
    assert len(set(groups.tolist())) == 3
