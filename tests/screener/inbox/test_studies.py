"""Which study and series a file belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.errors import UsageError
from screener.inbox.studies import MAX_UNLIKE, MAX_VOLUMES, FolderNames, Grouping, natural_key

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("path", "study", "series"),
    [
        ("a.png", "a.png", None),
        ("p1/a.png", "p1", None),
        ("p1/FLAIR/a.png", "p1", "FLAIR"),
        ("p1/FLAIR/part/a.png", "p1", "FLAIR/part"),
        ("p1/2026-03-01/a.png", "p1/2026-03-01", None),
        ("p1/20260301/T1/a.png", "p1/20260301", "T1"),
        ("p1/20261301/a.png", "p1", "20261301"),  # no such month
    ],
)
def test_folders_name_study_and_series(path: str, study: str, series: str | None) -> None:
    assert Grouping().membership(path) == (study, series)


def test_every_picture_may_be_a_study() -> None:
    assert Grouping.read("file").membership("yes/a.png") == ("yes/a.png", None)


def test_an_expression_names_the_study() -> None:
    grouping = Grouping.read(r"(S\d+)")
    assert grouping.membership("x/S12/a.png") == ("S12", "x/S12")
    assert grouping.membership("x/a.png").study_id == "x/a.png"


@pytest.mark.parametrize("text", ["(", "nothing", "(a)(b)"])
def test_an_expression_needs_one_group(text: str) -> None:
    with pytest.raises(UsageError, match="--group-by"):
        Grouping.read(text)


@given(st.lists(NAMES, min_size=1, max_size=5))
def test_files_of_one_folder_share_their_study(parts: list[str]) -> None:
    folder = "/".join(parts)
    first, second = (Grouping().membership(f"{folder}/{name}") for name in ("1.png", "2.png"))
    assert first == second
    assert folder.startswith(first.study_id)


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=30, unique=True))
def test_names_are_ordered_by_their_numbers(numbers: list[int]) -> None:
    names = [f"slice{number}.png" for number in numbers]
    assert sorted(names, key=natural_key) == [f"slice{number}.png" for number in sorted(numbers)]


def names(paths: list[str]) -> FolderNames:
    found = FolderNames("x")
    for path in paths:
        found.add(path)
    return found


def test_a_numbered_series_of_any_length_is_a_study() -> None:
    assert not names([f"p/IM-{number:04}.png" for number in range(5000)]).collection


def test_many_unlike_names_are_a_collection() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    paths = [f"p/{first}{second}.png" for first in letters for second in letters]
    assert not names(paths[:MAX_UNLIKE]).collection
    assert names(paths).collection


def test_many_volumes_in_a_folder_are_of_many_patients() -> None:
    volumes = [f"p/{number:03}_T1.nii.gz" for number in range(MAX_VOLUMES + 1)]
    assert not names(volumes[:-1]).collection
    assert names(volumes).collection


def test_a_label_names_no_patient() -> None:
    assert names(["yes/1.png", "yes/2.png"]).collection
    assert not names(["yes/1.png"]).collection
    assert not names(["yesterday/1.png", "yesterday/2.png"]).collection
