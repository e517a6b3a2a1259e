"""Whether a heatmap's maximum lies inside what somebody annotated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from export.evaluation.localisation import Pointing, boxed, pointed
from screener.domain.slice import Prediction
from screener.evaluate.labelled import Record
from screener.preprocess import Preprocessing

if TYPE_CHECKING:
    from pathlib import Path


def test_a_mask_counts_as_the_boxes_around_its_parts() -> None:
    mask = np.zeros((20, 20), np.float32)
    cv2.circle(mask, (5, 5), 3, 1.0, -1)
    cv2.circle(mask, (15, 14), 2, 1.0, -1)
    filled = boxed(mask)
    assert filled[2:9, 2:9].all()
    assert filled[12:17, 13:18].all()
    assert filled.sum() == 49 + 25


def test_maximum_and_energy() -> None:
    inside = np.zeros((4, 4), bool)
    inside[:2, :2] = True
    heatmap = np.full((4, 4), 0.1, np.float32)
    heatmap[1, 1] = 0.9
    assert pointed(heatmap, inside) == (1.0, pytest.approx(1.2 / 2.4))
    heatmap[3, 3] = 1.0
    assert pointed(heatmap, inside)[0] == 0.0
    assert pointed(np.zeros((4, 4), np.float32), inside)[1] == 0.0


def test_the_map_is_laid_back_over_the_slice_before_it_is_asked(tmp_path: Path) -> None:
    pixels = np.full((60, 120), 0.5, np.float32)  # shown letterboxed: a quarter of the view is padding on either side
    records = [
        Record("a.png", 1, boxes=((0.75, 0.0, 1.0, 0.5),)),
        Record("b.png", 0, boxes=((0.0, 0.0, 1.0, 1.0),)),
        Record("c.png", 1),
    ]
    look = Pointing(tmp_path, records, Preprocessing(64, pad="square"))
    heatmap = np.zeros((8, 8), np.float32)
    heatmap[2, 7] = 1.0
    for index in range(3):
        look(index, pixels, Prediction(0.9, heatmap))
    found = look.evidence()
    assert found.inside[0] == 1.0
    assert 0.5 < found.energy[0] <= 1.0
    assert found.size[0] == pytest.approx(0.5 * 0.25 * 0.5, rel=0.1)
    assert np.isnan(found.inside[1:]).all(), "no tumour, or nobody said where"
