from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from screener import quality
from screener.domain.slice import Identity, Reason, Refused, Slice

Array = NDArray[Any]
DOCS = Path(__file__).parents[2] / "docs" / "reference" / "reasons.md"


def judged(pixels: Array, saturation: float = 0.0) -> Refused | None:
    return quality.refuse(Slice(Identity("a.png", "ab", "P"), pixels.astype(np.float32), saturation))


def head(height: int = 256, width: int = 256, fill: float = 0.85, seed: int = 0) -> Array:
    """Return a made-up head: bright rim, textured inside with two dark ventricles, air around it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    radius = np.hypot(x / (0.8 * fill), y / fill)
    tissue = cv2.GaussianBlur(rng.random((height, width)).astype(np.float32), (0, 0), height / 60)
    tissue = (tissue - tissue.min()) / (tissue.max() - tissue.min())
    picture = np.where(radius < 0.9, 0.2 + 0.5 * tissue, np.where(radius < 1, 0.9, 0.02))
    ventricles = np.hypot((np.abs(x) - 0.12) / 0.08, y / 0.25) < 1
    picture[ventricles] = 0.1
    noisy: Array = (picture + rng.normal(0, 0.01, picture.shape)).clip(0, 1)
    return noisy


def text(foreground: float, background: float, side: int, size: float) -> Array:
    page = np.full((side, side), int(255 * background), np.uint8)
    for y in range(30, side - 10, int(40 * size)):
        words = f"Findings of the day, line {y}"
        cv2.putText(page, words, (12, y), cv2.FONT_HERSHEY_SIMPLEX, size, int(255 * foreground), 1)
    return page / 255


RNG = np.random.default_rng(7)
RAMP = np.linspace(0, 1, 256)
Y, X = np.mgrid[:256, :256]

HEADS = {
    "plain": head(),
    "small in the field": head(fill=0.45),
    "touching every side": head(fill=1.0),
    "tall": head(320, 200),
    "wide": head(180, 300),
    "tiny matrix": head(64, 64),
    "large matrix": head(1024, 1024),
    "dark": head() * 0.2,
    "white frame": np.pad(head(), 4, constant_values=1.0),
    "white wings": np.pad(head(), ((0, 0), (90, 90)), constant_values=1.0),
    "burnt-in text": np.maximum(head(), text(1.0, 0.0, 256, 0.4) * (Y > 236)),
}
OTHERS = {
    "uniform noise": RNG.random((256, 256)),
    "speckle": RNG.rayleigh(0.1, (300, 300)).clip(0, 1),
    "black page": text(1.0, 0.1, 512, 0.8),
    "white page": text(0.0, 1.0, 800, 1.2),
    "grey page": text(0.2, 0.9, 256, 0.5),
    "gradient across": np.tile(RAMP, (256, 1)),
    "gradient down": np.tile(RAMP[:, None], (1, 256)),
    "gradient from the centre": (1 - np.hypot(Y - 128, X - 128) / 180).clip(0, 1),
    "chessboard": (Y // 32 + X // 32) % 2 * 1.0,
    "disc": (np.hypot(Y - 128, X - 128) < 90) * 0.8,
    "texture to the rim": 0.5 + 0.4 * np.sin(X / 9) * np.cos(Y / 7),
    "stars": cv2.dilate((RNG.random((256, 256)) < 0.002).astype(np.uint8), np.ones((4, 4))) * 0.8 + 0.01,
    "ribbon": head(100, 300),
}
BLANKS = {
    "black": np.zeros((256, 256)),
    "grey": np.full((256, 256), 0.5),
    "white": np.ones((256, 256)),
    "nearly flat": 0.1 + RNG.normal(0, 0.004, (256, 256)),
    "few specks": np.where((Y % 100 == 10) & (X % 90 == 10), 1.0, 0.01),
    "not a number": np.full((64, 64), np.nan),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_kept(name: str) -> None:
    assert judged(HEADS[name]) is None
    assert judged(HEADS[name], saturation=0.05) is None


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_head_is_refused(name: str) -> None:
    refused = judged(OTHERS[name])
    assert refused is not None
    assert refused.reason is Reason.NOT_A_BRAIN_MRI
    assert refused.detail
    assert refused.identity == Identity("a.png", "ab", "P")


@pytest.mark.parametrize("name", BLANKS)
def test_blank_pictures_are_refused(name: str) -> None:
    refused = judged(BLANKS[name])
    assert refused is not None
    assert refused.reason is Reason.BLANK


def test_colour_pictures_are_refused() -> None:
    refused = judged(head(), saturation=0.15)
    assert refused is not None
    assert refused.detail == "a colour picture"


@pytest.mark.parametrize("shape", [(1, 1), (31, 200), (200, 31), (2, 2)])
def test_small_pictures_are_refused(shape: tuple[int, int]) -> None:
    refused = judged(np.zeros(shape))
    assert refused is not None
    assert refused.reason is Reason.TOO_SMALL


def test_pixels_are_left_alone() -> None:
    pixels = HEADS["plain"].astype(np.float32)
    pixels.flags.writeable = False
    before = pixels.copy()
    judged(pixels)
    assert np.array_equal(pixels, before)


def test_a_slice_costs_little_whatever_its_size() -> None:
    for side in (256, 512, 1024):
        slice_ = Slice(Identity("", "", None), head(side, side).astype(np.float32))
        quality.refuse(slice_)
        best = min(_seconds(slice_) for _ in range(20))
        # Ten times what it takes on an idle core, so that a busy machine does not fail the test.
        assert best < 0.003


def _seconds(slice_: Slice) -> float:
    start = time.perf_counter()
    quality.refuse(slice_)
    return time.perf_counter() - start


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(["noise", "flat", "head", "rows"]), st.integers(0, 99))
def test_any_shape_gives_an_answer(height: int, width: int, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pictures = {
        "noise": rng.random((height, width)),
        "flat": np.full((height, width), seed / 99),
        "head": head(max(2, height), max(2, width), seed=seed),
        "rows": np.repeat(rng.random((height, 1)) > 0.5, width, axis=1) * 1.0,
    }
    refused = judged(pictures[kind])
    assert refused is None or refused.reason in {Reason.TOO_SMALL, Reason.BLANK, Reason.NOT_A_BRAIN_MRI}
    if min(height, width) >= 32 and kind in {"noise", "flat"}:
        assert refused is not None


def test_reasons_and_their_documentation_agree() -> None:
    documented = re.findall(r"^\| `(\w+)` \|(.+)\|(.+)\|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name, _, _ in documented] == [reason.value for reason in Reason]
    assert all(meaning.strip() and action.strip() for _, meaning, action in documented)


def in_grey_air(level: float, seed: int = 3) -> Array:
    """Return a head whose air is grey, with tissue on both sides of it, as real-part reconstruction leaves it."""
    picture = head(seed=seed)
    air = cv2.GaussianBlur((picture > 0.08).astype(np.float32), (0, 0), 3) < 0.5
    noise = np.random.default_rng(seed).normal(0, 0.01, picture.shape)
    return np.where(air, level + noise, picture)


@pytest.mark.parametrize("level", [0.15, 0.3, 0.45])
def test_air_may_be_grey_when_it_is_even(level: float) -> None:
    assert judged(in_grey_air(level)) is None


def test_grey_corners_that_differ_are_no_air() -> None:
    picture = in_grey_air(0.45)
    picture[:128, :128] += 0.3
    picture[128:, 128:] -= 0.25
    refused = judged(picture.clip(0, 1))
    assert refused is not None
    assert refused.detail == "no dark or even surround"
