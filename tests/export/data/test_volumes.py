"""The place of slices in heads, from ``volumes.csv``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from export.data.dataset import read_dataset
from export.data.volumes import read_places
from export.errors import DataError
from screener.evaluate.levels import height_of, level_of, tenth_of

if TYPE_CHECKING:
    from pathlib import Path


def test_levels_follow_the_contract() -> None:
    assert [level_of(height) for height in (0.0, 0.39, 0.4, 0.79, 0.8, 1.0, None)] == [
        "lower",
        "lower",
        "middle",
        "middle",
        "top",
        "top",
        "",
    ]
    assert [tenth_of(height) for height in (0.0, 0.55, 1.0, None)] == ["0", "5", "9", ""]


def test_no_height_where_the_order_of_slices_tells_none() -> None:
    assert height_of("tcga_lgg", "1", "21") == 0.0
    assert height_of("tcga_lgg", "11", "21") == 0.5
    assert height_of("tcga_gbm", "11", "21") is None
    assert height_of("oasis", "11", "21") is None
    assert height_of("tcga_lgg", "", "") is None


def test_a_manifest_takes_series_and_height_from_the_volumes_beside_it(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 4), np.uint8))
    (tmp_path / "manifest.csv").write_text("path,label,source\na.png,yes,s\nb.png,no,s\n")
    (tmp_path / "volumes.csv").write_text("path,source,series,slice_index,n_slices\na.png,s,p/FLAIR,2,3\n")
    first, second = read_dataset(tmp_path).records
    assert (first.series, first.height) == ("p/FLAIR", 0.5)
    assert (second.series, second.height) == ("", None)
    assert read_places(tmp_path / "elsewhere") == {}


def test_a_slice_number_that_is_none_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "volumes.csv").write_text("path,source,series,slice_index,n_slices\na.png,s,p,two,3\n")
    with pytest.raises(DataError, match=r"volumes\.csv:2"):
        read_places(tmp_path)
