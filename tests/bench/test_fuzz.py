"""Mutated DICOM and NIfTI files: pixels or a reason, whatever the bytes."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("pydicom")
pytest.importorskip("nibabel")
from bench import fuzz


@pytest.mark.parametrize("seeds", [fuzz.dicom_seeds, fuzz.volume_seeds])
def test_untouched_seeds_are_decoded(seeds: object) -> None:
    assert {fuzz.read_slices(seed) for seed in seeds()} == {"decoded"}  # type: ignore[operator]


@pytest.mark.parametrize(
    ("count", "seed"), [(100, 1), pytest.param(5_000, 2, marks=pytest.mark.long)], ids=["some", "a tenth"]
)
def test_mutated_dicom_is_decoded_or_refused(count: int, seed: int) -> None:
    found = fuzz.attack(fuzz.read_slices, fuzz.dicom_seeds(), count, random.Random(seed))  # noqa: S311 - no secret
    assert found.inputs == sum(found.answers.values()) == count
    assert found.answers["decoded"] > 0


@pytest.mark.long
def test_mutated_volumes_are_decoded_or_refused() -> None:
    found = fuzz.attack(fuzz.read_slices, fuzz.volume_seeds(), 1_000, random.Random(3))  # noqa: S311 - no secret
    assert found.inputs == sum(found.answers.values()) == 1_000


def test_a_reader_stops_when_its_time_is_over() -> None:
    assert fuzz.attack(lambda _: "read", [b"x"], 10, random.Random(4), minutes=-1).inputs == 0  # noqa: S311
