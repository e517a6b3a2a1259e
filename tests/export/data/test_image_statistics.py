"""Statistics of files, and which check refuses each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from export.data.dataset import read_dataset
from export.data.image_statistics import LEVELS, measure_images
from screener.model.session import Model
from tests.conftest import write_slice

if TYPE_CHECKING:
    from pathlib import Path

    from export.data.dataset import Dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Write two heads, noise and a cut file."""
    write_slice(tmp_path / "yes/bright.png", 1, bright=True, size=80)
    write_slice(tmp_path / "no/dark.png", 2)
    noise = np.random.default_rng(0).integers(0, 255, (96, 96)).astype(np.uint8)
    (tmp_path / "no/noise.png").write_bytes(cv2.imencode(".png", noise)[1].tobytes())
    (tmp_path / "no/cut.png").write_bytes((tmp_path / "no/dark.png").read_bytes()[:100])
    return read_dataset(tmp_path)


def rows(dataset: Dataset) -> dict[str, int]:
    return {record.path.rsplit("/", 1)[-1]: index for index, record in enumerate(dataset.records)}


def test_each_file_is_described_and_the_check_that_refused_it_is_named(dataset: Dataset, tiny_model: Path) -> None:
    statistics, place = measure_images(dataset, Model.load(tiny_model)), rows(dataset)
    assert {name: statistics.checks[index] for name, index in place.items()} == {
        "bright.png": "",
        "dark.png": "",
        "noise.png": "pixels",
        "cut.png": "reader",
    }
    assert [bool(reason) for reason in statistics.reasons] == [bool(check) for check in statistics.checks]
    assert statistics.sizes[place["bright.png"]].tolist() == [80, 80]
    assert statistics.means[place["bright.png"]] > statistics.means[place["dark.png"]] > 0
    assert statistics.embeddings is None
    assert len({digest for digest in statistics.sha256 if digest}) == 4


def test_histograms_are_shares_and_an_unreadable_file_has_none(dataset: Dataset) -> None:
    statistics, place = measure_images(dataset, None), rows(dataset)
    assert statistics.levels.shape == (4, LEVELS)
    readable = statistics.readable
    assert readable.sum() == 3
    assert not readable[place["cut.png"]]
    assert statistics.levels[readable].sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert not statistics.levels[place["cut.png"]].any()
    assert statistics.levels[place["dark.png"]].argmax() < LEVELS // 8  # air
