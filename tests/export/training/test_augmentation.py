"""What is done to a slice so that another hospital's will look familiar."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.data.phantoms import phantom
from export.errors import DataError
from export.training.augmentation import PLAIN, Augmentation, hospital, remapped, toned, with_acquisition_fault
from export.training.lesion_pasting import paste_tumour, spots
from export.training.skull_stripping import strip_skull

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 192


def head(*, skull: bool = True) -> NDArray[np.uint8]:
    """Draw a brain in a bright scalp, with a dark gap between them."""
    image = np.zeros((SIDE, SIDE), np.uint8)
    if skull:
        cv2.ellipse(image, (96, 96), (70, 85), 0, 0, 360, 230, cv2.FILLED)
        cv2.ellipse(image, (96, 96), (64, 79), 0, 0, 360, 20, cv2.FILLED)
    cv2.ellipse(image, (96, 96), (56, 70), 0, 0, 360, 140, cv2.FILLED)
    return image


def tumour(centre: tuple[int, int] = (96, 80), radius: int = 14) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a head with a bright mass, and its map."""
    image, drawn = head(), np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(image, centre, radius, 250, cv2.FILLED)
    cv2.circle(drawn, centre, radius, 255, cv2.FILLED)
    return image, np.asarray(cv2.resize(drawn, (48, 48), interpolation=cv2.INTER_AREA), np.uint8)


def test_stripping_by_tissue_keeps_the_brain_and_takes_the_scalp() -> None:
    image = head().astype(np.float32) / 255
    stripped, box = strip_skull(image, np.zeros_like(image), np.random.default_rng(0), 1.0)
    brain, scalp = head(skull=False) > 0, head() == 230
    assert (stripped[brain] > 0).mean() > 0.95
    assert (stripped[scalp] > 0).mean() < 0.02
    top, bottom, left, right = box
    assert stripped[top:bottom, left:right].sum() == pytest.approx(stripped.sum())


def test_a_tumour_at_the_rim_is_not_stripped_off() -> None:
    image = head().astype(np.float32) / 255
    mass = np.zeros_like(image)
    mass[10:24, 86:106] = 1
    stripped, box = strip_skull(image, mass, np.random.default_rng(0), 0.0)
    assert np.array_equal(stripped, image)
    assert box == (0, SIDE, 0, SIDE)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["phantom", "blank", "full", "noise"]))
def test_any_picture_can_be_stripped(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    pictures = {
        "phantom": lambda: phantom(seed, SIDE).astype(np.float32) / 255,
        "blank": lambda: np.zeros((SIDE, SIDE), np.float32),
        "full": lambda: np.ones((SIDE, SIDE), np.float32),
        "noise": lambda: rng.random((SIDE, SIDE), dtype=np.float32),
    }
    image = pictures[kind]()
    stripped, (top, bottom, left, right) = strip_skull(image, np.zeros_like(image), rng, 0.5)
    assert stripped.shape == image.shape
    assert 0 <= top < bottom <= SIDE
    assert 0 <= left < right <= SIDE
    assert ((stripped == image) | (stripped == 0)).all()


def test_a_transplanted_tumour_is_where_its_map_says() -> None:
    donor, drawn = tumour()
    view = head()
    made = paste_tumour(view, donor, drawn, np.random.default_rng(3))
    assert made is not None
    image, where = made
    changed = np.abs(image.astype(int) - view) > 25
    large = np.asarray(cv2.resize(where, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))
    assert changed.sum() > 100
    assert large[changed].mean() > 128
    assert not changed[large == 0].any()
    assert (where.shape, where.dtype, image.dtype) == ((48, 48), np.uint8, np.uint8)
    assert np.array_equal(view, head()), "the slice itself is left as it was"


def test_a_box_gives_an_ellipse_and_not_a_square_patch() -> None:
    donor, _ = tumour()
    box = np.zeros((48, 48), np.uint8)
    box[16:24, 20:28] = 255
    made = paste_tumour(head(), donor, box, np.random.default_rng(0))
    assert made is not None
    where = made[1] > 127
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    filled = where[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean()
    assert filled < 0.93


@pytest.mark.parametrize("area", [0, 1, 48])
def test_a_tumour_too_small_or_too_large_is_not_moved(area: int) -> None:
    drawn = np.zeros((48, 48), np.uint8)
    drawn[:area, :area] = 255
    assert paste_tumour(head(), head(), drawn, np.random.default_rng(0)) is None
    assert paste_tumour(np.zeros((SIDE, SIDE), np.uint8), *tumour(), np.random.default_rng(0)) is None


def test_spots_are_small_bright_and_inside_the_tissue() -> None:
    view = head(skull=False)
    made = spots(view, np.random.default_rng(1)).astype(int) - view
    assert made.min() >= 0
    assert 0 < (made > 15).mean() < 0.03
    assert not made[view == 0].any()


def test_augmentation_is_set_by_name_and_nothing_else_is_taken() -> None:
    changed = PLAIN.with_changes(["paste=0.1", "strip=0"])
    assert changed == Augmentation(strip=0.0, paste=0.1)
    for wrong in ("luck=0.1", "paste", "paste=2", "paste=-1", "paste=nan"):
        with pytest.raises(DataError, match="sets no augmentation setting"):
            PLAIN.with_changes([wrong])


def test_pasting_makes_positives_of_some_tumour_free_slices() -> None:
    pytest.importorskip("tensorflow", reason="needs the extra [train]")
    from export.architectures import recipe
    from export.data.cache import Views
    from export.training.batches import Sampler, TrainingBatches
    from screener.evaluate.labelled import Record

    donor, drawn = tumour()
    views = Views(
        np.stack([head(), donor]), np.stack([np.zeros_like(drawn), drawn]), np.ones(2, bool), np.ones(2, bool)
    )
    labels = np.array([0, 1])
    sampler = Sampler.over([Record("a", 0), Record("b", 1)], np.arange(2), np.arange(2), {})
    shares = {}
    for chance in (0.0, 0.5):
        chosen = replace(recipe("lite"), augmentation=Augmentation(paste=chance), steps=1)
        batches = TrainingBatches(chosen, views, labels, sampler, locate=True, seed=0, batch_size=200)
        _, targets, _ = batches[0]
        shares[chance] = float(targets["probability"].mean())
        marked = targets["heatmap"].max(axis=(1, 2)) > 0
        assert marked[targets["probability"][:, 0] == 1].mean() > 0.95
        assert not marked[targets["probability"][:, 0] == 0].any()
    assert shares[0.0] == pytest.approx(0.5, abs=0.1)
    assert shares[0.5] == pytest.approx(0.75, abs=0.1)


def test_tissue_laid_in_as_a_tumour_would_be_stays_tumour_free() -> None:
    pytest.importorskip("tensorflow", reason="needs the extra [train]")
    from export.architectures import recipe
    from export.data.cache import Views
    from export.training.batches import Sampler, TrainingBatches
    from screener.evaluate.labelled import Record

    donor, drawn = tumour()
    other = head()
    other[60:140, 60:140] = 70
    views = Views(np.stack([head(), other, donor]), np.stack([drawn * 0, drawn * 0, drawn]), *np.ones((2, 3), bool))
    sampler = Sampler.over([Record("a", 0), Record("b", 0), Record("c", 1)], np.arange(3), np.arange(3), {})
    chosen = replace(recipe("lite"), augmentation=Augmentation(decoy=1.0), steps=1)
    batches = TrainingBatches(chosen, views, np.array([0, 0, 1]), sampler, locate=True, seed=0, batch_size=2)
    made = [batches._laid_in(head(), drawn * 0, np.random.default_rng(seed)) for seed in range(20)]
    assert any(not np.array_equal(view, head()) for view, _, _ in made)
    assert all(label == 0 and not where.any() for _, where, label in made)


@pytest.mark.parametrize("augmentation", [PLAIN, Augmentation(strip=1, extraction=1, spots=1, coarse=1)])
def test_the_same_draw_gives_the_same_slice_within_its_range(augmentation: Augmentation) -> None:
    view, drawn = tumour()
    for seed in range(8):
        image, target = hospital(view, drawn, 160, np.random.default_rng(seed), augmentation)
        again, _ = hospital(view, drawn, 160, np.random.default_rng(seed), augmentation)
        assert np.array_equal(image, again)
        assert (image.shape, target.shape, image.dtype) == ((160, 160), (10, 10), np.float32)
        assert 0 <= image.min() <= image.max() <= 1
        assert 0 <= target.min() <= target.max() <= 1


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["phantom", "blank", "full", "noise"]))
def test_any_picture_takes_on_tones(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    pictures = {
        "phantom": lambda: phantom(seed, SIDE),
        "blank": lambda: np.zeros((SIDE, SIDE), np.uint8),
        "full": lambda: np.full((SIDE, SIDE), 255, np.uint8),
        "noise": lambda: rng.integers(0, 256, (SIDE, SIDE)).astype(np.uint8),
    }
    image, like = pictures[kind](), phantom(seed + 1, SIDE)
    for made in (toned(image, like, rng), toned(like, image, rng)):
        assert made.shape == image.shape
        assert made.dtype == np.uint8
    sent = remapped(image.astype(np.float32) / 255, rng)
    assert sent.shape == image.shape
    assert sent.dtype == np.float32
    assert np.isfinite(sent).all()
    assert 0 <= sent.min() <= sent.max() <= 1


def test_tones_keep_the_order_of_brightness_and_come_near_the_other_slice() -> None:
    image, _ = tumour()
    like = (head() * 0.5).astype(np.uint8)
    made = toned(image, like, np.random.default_rng(0)).astype(int)
    assert made[96, 96 + 40] < made[80, 96]
    assert (made[image == 0] == 0).all()
    inside = image > 20
    assert abs(np.median(made[inside]) - np.median(like[inside])) < abs(np.median(image[inside]) - 70)


def test_a_remapped_slice_keeps_air_and_shape_but_not_which_tissue_is_bright() -> None:
    image, mass = tumour()
    inside = cv2.resize(mass, (SIDE, SIDE)) > 200
    brain = (image == 140) & ~inside
    darker = 0
    for seed in range(40):
        made = remapped(image.astype(np.float32) / 255, np.random.default_rng(seed))
        assert made[:8].max() < 0.05
        darker += float(made[inside].mean()) < float(made[brain].mean())
    assert 3 <= darker <= 30


def test_augmentation_that_is_off_draws_nothing() -> None:
    image, mass = tumour()
    assert PLAIN.tones == PLAIN.remap == 0
    one, two = (hospital(image, mass, 64, np.random.default_rng(3), replace(PLAIN, remap=how))[0] for how in (0.0, 1.0))
    assert np.array_equal(one, hospital(image, mass, 64, np.random.default_rng(3), PLAIN)[0])
    assert not np.array_equal(one, two)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_an_acquisition_fault_keeps_range_shape_and_label(seed: int) -> None:
    image, drawn = tumour()
    where = np.asarray(cv2.resize(drawn, (10, 10), interpolation=cv2.INTER_AREA), np.float32) / np.float32(255)
    before = np.asarray(cv2.resize(image, (160, 160)), np.float32) / np.float32(255)
    after, target = with_acquisition_fault(before, where, np.random.default_rng(seed))
    assert after.shape == before.shape
    assert after.dtype == target.dtype == np.float32
    assert after.min() >= 0
    assert not np.array_equal(after, before)
    assert target.sum() >= where.sum() / 2, "at least half of the tumour stays in view"


def test_a_field_of_view_that_ends_inside_the_head_takes_the_map_with_it() -> None:
    bright, full = np.full((160, 160), 0.5, np.float32), np.full((10, 10), 1, np.float32)
    cut = [with_acquisition_fault(bright, full, np.random.default_rng(seed)) for seed in range(40)]
    ended = [(image, target) for image, target in cut if (image == 0).any()]
    assert ended
    for image, target in ended:
        gone = np.asarray(cv2.resize((image == 0).astype(np.float32), (10, 10), interpolation=cv2.INTER_AREA))
        assert target == pytest.approx(1 - gone, abs=1e-5)


def test_what_lies_outside_a_small_field_of_view_wraps_around() -> None:
    bright, none = np.full((160, 160), 0.5, np.float32), np.zeros((10, 10), np.float32)
    drawn = [with_acquisition_fault(bright, none, np.random.default_rng(seed))[0] for seed in range(40)]
    wrapped = [image for image in drawn if (image == 0).any() and (image > 0.5).any()]
    assert wrapped
    for image in wrapped:
        assert (image == 0).sum() == (image > 0.5).sum()
