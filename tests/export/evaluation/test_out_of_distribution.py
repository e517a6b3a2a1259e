"""What quality control keeps of brains and refuses of everything else; the tiny model checks pixels alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from export.evaluation import out_of_distribution
from export.evaluation.out_of_distribution import _generated, _pixels, _share, evaluate_quality_control
from export.reports.render import markdown

if TYPE_CHECKING:
    from pathlib import Path

    from tests.export.conftest import Labelled


class File(dict[str, object]):
    """Stands for a DICOM data set."""

    @property
    def pixel_array(self) -> np.ndarray:
        pixels = self["PixelData"]
        if isinstance(pixels, np.ndarray):
            return pixels
        raise NotImplementedError("no decoder")


def image(**tags: object) -> File:
    ramp = np.tile(np.arange(40, dtype=np.int16), (40, 1))
    return File({"Modality": "CT", "PixelData": ramp} | tags)


def test_pixels_are_stretched_to_eight_bits() -> None:
    grey = _pixels(image())
    assert grey is not None
    assert (grey.dtype, grey.min(), grey.max(), grey.shape) == (np.uint8, 0, 255, (40, 40))


def test_the_first_frame_stands_for_a_volume_and_colour_becomes_grey() -> None:
    frames = np.stack([np.eye(40), np.zeros((40, 40))])
    first = _pixels(image(PixelData=frames))
    assert first is not None
    assert first[0, 0] == 255
    colour = np.zeros((40, 40, 3))
    colour[:20, :, 0] = 90
    grey = _pixels(image(PixelData=colour, SamplesPerPixel=3))
    assert grey is not None
    assert grey.shape == (40, 40)
    assert (grey[0, 0], grey[-1, 0]) == (255, 0)


@pytest.mark.parametrize(
    "tags",
    [
        {"Modality": "MR"},
        {"Modality": ""},
        {"PixelData": b"compressed"},
        {"PixelData": np.zeros((8, 40))},
        {"PixelData": np.full((40, 40), 7.0)},
    ],
)
def test_what_proves_nothing_about_the_checks_is_left_out(tags: dict[str, object]) -> None:
    assert _pixels(image(**tags)) is None


def test_generated_pictures_are_the_same_each_time_and_of_every_kind() -> None:
    first, again = list(_generated()), list(_generated())
    assert {kind for kind, _, _ in first} == {"noise", "text", "drawn heads"}
    assert len({name for _, name, _ in first}) == len(first)
    assert all(np.array_equal(one, other) for (_, _, one), (_, _, other) in zip(first, again, strict=True))


def test_a_share_of_nothing_is_unknown_and_others_have_an_exact_interval() -> None:
    assert _share([]) == {"value": None, "low": None, "high": None, "hits": 0, "count": 0, "units": 0}
    share = _share([True] * 9 + [False])
    assert share["value"] == 0.9
    assert share["low"] == pytest.approx(0.555, abs=1e-3)
    assert share["high"] == pytest.approx(0.9975, abs=1e-3)


def test_brains_are_kept_and_noise_and_text_refused(
    labelled: Labelled, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out_of_distribution, "_photographs", lambda: iter(()))
    monkeypatch.setattr(out_of_distribution, "_dicom_files", lambda _: iter(()))
    result = evaluate_quality_control(labelled.data, labelled.run, tiny_model)
    kept = result["kept"]["by_source"]
    assert kept["north"]["value"] == kept["south"]["value"] == 1.0
    assert kept["south, fitted on"]["count"] == 12
    assert "north, fitted on" not in kept
    assert result["refused"]["noise"]["hits"] == result["refused"]["noise"]["count"] == 12
    assert result["refused"]["text"]["value"] == 1.0
    drawn = result["refused"]["drawn heads"]["count"]
    every = sum(share["count"] for share in result["refused"].values())
    assert result["refused_all"]["count"] == every - drawn
    assert len(result["passed"]) == drawn
    text = markdown("quality_control", result=result)
    assert "| south, fitted on | 1.000 (" in text
    assert "Refused: none." in text
    assert "Not refused: drawn heads: phantom 0, " in text
