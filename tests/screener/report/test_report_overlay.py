from __future__ import annotations

import time

import numpy as np
import pytest

from screener.errors import UsageError
from screener.preprocess import Preprocessing, frame
from screener.report.explanation_sheet import combined, plain
from screener.report.overlay import COLORMAPS, Look, colour, contours, grey, overlay, scale_bar, strongest


def blob(height: int = 60, width: int = 80, *, at: tuple[int, int] = (20, 50), peak: float = 1.0) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (peak * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / 60)).astype(np.float32)


@pytest.mark.parametrize("blend", [0.0, 0.4, 1.0])
def test_blend_is_the_weight_of_the_heatmap(blend: float) -> None:
    pixels = np.full((60, 80), 0.5, np.float32)
    evidence = blob()
    found = overlay(pixels, evidence, Look(blend=blend)).astype(float)
    expected = blend * colour(evidence).astype(float) + (1 - blend) * grey(pixels).astype(float)
    far = np.hypot(*np.mgrid[-20:40, -50:30]) > 14  # away from the line
    assert np.abs(found - expected)[far].max() <= 1


def test_default_map_is_perceptually_uniform_and_jet_is_there() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None]
    brightness = colour(ramp)[0].astype(float) @ (0.114, 0.587, 0.299)
    assert (np.diff(brightness) > 0).all()
    assert (np.diff(colour(ramp, "jet")[0].astype(float) @ (0.114, 0.587, 0.299)) < 0).any()


@pytest.mark.parametrize(("colormap", "blend"), [("rainbow", 0.4), ("jet", 1.5), ("jet", -0.1), ("jet", float("nan"))])
def test_a_look_that_does_not_exist_is_refused(colormap: str, blend: float) -> None:
    with pytest.raises(UsageError):
        Look(colormap, blend)


def test_every_map_is_one_that_opencv_has() -> None:
    assert all(colour(blob(), name).shape == (60, 80, 3) for name in COLORMAPS)


def test_contour_runs_at_half_the_peak_around_the_strongest_region_only() -> None:
    evidence = np.maximum(blob(at=(20, 20), peak=0.8), blob(at=(40, 60), peak=0.7))
    (line,) = contours(evidence)
    x, y = line[:, 0].T
    assert (x < 40).all()
    values = evidence[y.astype(int), x.astype(int)]
    assert values.min() >= 0.4
    assert values.max() < 0.5


@pytest.mark.parametrize("evidence", [np.zeros((30, 30)), np.full((30, 30), 0.04), np.full((30, 30), 0.9)])
def test_nothing_is_outlined_where_no_place_stands_out(evidence: np.ndarray) -> None:
    assert contours(evidence.astype(np.float32)) == []


def test_colours_span_the_evidence_of_the_slice_but_never_amplify_noise() -> None:
    assert strongest(blob(peak=0.2)) == pytest.approx(0.2)
    assert strongest(blob(peak=0.001)) == pytest.approx(0.05)


def test_not_a_number_in_evidence_draws_as_none() -> None:
    evidence = blob()
    evidence[0, 0] = np.nan
    assert overlay(np.zeros((60, 80), np.float32), np.nan_to_num(evidence), Look()).shape == (60, 80, 3)


def test_scale_has_the_last_colour_at_its_top() -> None:
    bar = scale_bar(240, 60, 0.5)
    assert bar.shape == (240, 60, 3)
    assert (bar[20, 8] == colour(np.ones((1, 1), np.float32))[0, 0]).all()


def test_sheet_holds_slice_overlay_scale_and_text() -> None:
    pixels = np.full((60, 80), 0.25, np.float32)
    over = overlay(pixels, blob(), Look())
    sheet = combined(grey(pixels), over, scale_bar(60, 58, 1.0), ["one", "two " * 60])
    assert (sheet[:60, :80] == 64).all()
    assert (sheet[:60, 88:168] == over).all()
    assert sheet.shape[0] > 60 + 3 * 20


def test_text_for_fonts_without_accents_loses_no_word() -> None:
    assert plain("Évidence \N{EN DASH} seuil ≥ 0,37 · d\u2019accord") == "Evidence - seuil >= 0,37 - d'accord"


def test_overlay_of_a_slice_stays_below_fifty_milliseconds() -> None:
    pixels = np.random.default_rng(0).random((512, 512), np.float32)
    where = frame(pixels, Preprocessing(160, crop="head", pad="square"))
    grid = blob(10, 10, at=(4, 4))
    best = min(_seconds(lambda: overlay(pixels, where.restore(grid), Look())) for _ in range(5))
    assert best < 0.05


def _seconds(work: object) -> float:
    started = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - started
