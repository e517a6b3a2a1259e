"""Series with several echoes, b-values, time points or planes are divided into volumes."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.domain.slice import Reason
from screener.inbox.dicom import DicomFrame, DicomHeader, PixelLayout
from screener.inbox.volumes import arrange

if TYPE_CHECKING:
    import random

LAYOUT = PixelLayout("1.2.840.10008.1.2.1", 100, 8192, True, 1, 16, 12, False, "MONOCHROME2")


def header(
    position: float | None,
    *,
    echo: float | None = 10.0,
    b_value: float | None = None,
    time: int | None = None,
    plane: str | None = "axial",
    instance: int | None = None,
    refusal: Reason | None = None,
) -> DicomHeader:
    frame = DicomFrame(1, position, plane, "T1", echo, b_value, time, 1.0, 0.0, None)
    return DicomHeader(
        *("1.2", "1.2.3", None, "p", None, None, "MR", instance, 64, 64, None, None, refusal, (frame,), 1, LAYOUT)
    )


def volumes(headers: list[DicomHeader]) -> dict[str | None, list[float | None]]:
    found: defaultdict[str | None, list[float | None]] = defaultdict(list)
    for one in arrange(headers):
        found[one.frames[0].volume].append(one.position)
    return dict(found)


def test_one_volume_keeps_its_name() -> None:
    assert volumes([header(place, echo=10 + place) for place in (0.0, 5.0, 10.0)]) == {None: [0.0, 5.0, 10.0]}


@pytest.mark.parametrize(
    ("kind", "values", "labels"),
    [
        ("echo", (15.0, 90.0), {"echo=15", "echo=90"}),
        ("b_value", (0.0, 1000.0), {"b=0", "b=1000"}),
        ("time", (1, 2, 3), {"t=1", "t=2", "t=3"}),
    ],
)
def test_what_repeats_at_each_place_is_divided(kind: str, values: tuple[float, ...], labels: set[str]) -> None:
    headers = [header(float(place), **{kind: value}) for place in range(6) for value in values]  # type: ignore[arg-type]
    found = volumes(headers)
    assert set(found) == labels
    assert all(places == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0] for places in found.values())


def test_phases_without_a_tag_are_divided_by_their_order() -> None:
    headers = [header(float(place), instance=10 * place + phase) for place in range(5) for phase in range(3)]
    assert {label: len(places) for label, places in volumes(headers).items()} == {
        "volume=1": 5,
        "volume=2": 5,
        "volume=3": 5,
    }


def test_one_slice_taken_twice_makes_no_volume_of_its_own() -> None:
    assert volumes([header(float(place)) for place in (0, 1, 2, 2, 3, 4)]) == {None: [0.0, 1.0, 2.0, 2.0, 3.0, 4.0]}


def test_planes_are_divided_and_refused_slices_take_no_part() -> None:
    headers = [header(1.0), header(2.0), header(1.0, plane="sagittal"), header(1.0, refusal=Reason.DERIVED_MAP)]
    assert volumes(headers) == {"axial": [1.0, 2.0], "sagittal": [1.0], None: [1.0]}


def test_missing_positions_give_way_to_instance_numbers() -> None:
    assert volumes([header(None, instance=7), header(3.0, instance=5)]) == {None: [7.0, 5.0]}
    assert volumes([header(None), header(3.0, instance=5)]) == {None: [None, None]}
    several = [header(None, echo=echo, instance=one) for one, echo in enumerate((10.0, 10.0, 80.0, 80.0))]
    assert volumes(several) == {"echo=10": [0.0, 1.0], "echo=80": [2.0, 3.0]}


@given(st.integers(2, 12), st.integers(1, 4), st.integers(1, 3), st.randoms(use_true_random=False))
def test_each_place_once_a_volume_whatever_the_order(
    places: int, echoes: int, times: int, chance: random.Random
) -> None:
    headers = [
        header(place * 3.0, echo=10.0 + echo, time=time, instance=number)
        for number, (place, echo, time) in enumerate(itertools.product(range(places), range(echoes), range(times)))
    ]
    chance.shuffle(headers)
    found = arrange(headers)
    assert [one.instance for one in found] == [one.instance for one in headers]
    counts = Counter((one.frames[0].volume, one.position) for one in found)
    assert set(counts.values()) == {1}
    assert len({volume for volume, _ in counts}) == echoes * times
