"""The place of slices in heads, from ``volumes.csv``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from export.data.dataset import read_dataset
from export.data.volumes import read_places, read_volumes
from export.errors import DataError
from screener.evaluate.labelled import LabelledRow
from screener.evaluate.levels import level_of, tenth_of

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
    def height(source: str, index: int | None, count: int | None) -> float | None:
        return LabelledRow("a.png", "no", source=source, slice_index=index, n_slices=count).height

    assert height("tcga_lgg", 1, 21) == 0.0
    assert height("tcga_lgg", 11, 21) == 0.5
    assert height("tcga_lgg", 1, 1) == 0.0
    assert height("tcga_gbm", 11, 21) is None
    assert height("oasis", 11, 21) is None
    assert height("tcga_lgg", None, None) is None


def test_a_manifest_takes_series_and_height_from_the_volumes_beside_it(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 4), np.uint8))
    (tmp_path / "manifest.csv").write_text("path,label,source\na.png,yes,s\nb.png,no,s\n")
    (tmp_path / "volumes.csv").write_text("path,label,source,series,slice_index,n_slices\na.png,yes,s,p/FLAIR,2,3\n")
    first, second = read_dataset(tmp_path).records
    assert (first.series, first.height) == ("p/FLAIR", 0.5)
    assert (second.series, second.height) == ("", None)
    assert read_places(tmp_path / "elsewhere") == {}


def test_a_slice_number_that_is_none_names_its_line(tmp_path: Path) -> None:
    table = tmp_path / "volumes.csv"
    table.write_text("path,label,source,series,slice_index,n_slices\na.png,no,s,p,two,3\nb.png,no,s,p,0,3\n")
    with pytest.raises(DataError) as caught:
        read_places(tmp_path)
    first, second = str(caught.value).splitlines()
    assert first.endswith("volumes.csv:2: slice_index 'two' cannot be used: expected `int | null`, got `str`")
    assert second.endswith("volumes.csv:3: slice_index '0' cannot be used: expected `int` >= 1")
    table.write_text("path,label\n")
    with pytest.raises(DataError, match="no column source, series"):
        read_volumes(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_volumes(tmp_path / "elsewhere")
