"""Shards: whole studies, in the order of the walk, of bounded size."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from screener.cluster.shards import Shard, StudyGroups, cut
from screener.domain.slice import Identity, Reason, Refused
from screener.inbox import Entry
from screener.inbox.dicom import DicomHeader
from screener.inbox.walk import HeaderRead
from tests.screener.cluster.fake_workers import entry

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZES = st.lists(st.integers(1, 12), max_size=12)


def shards(sizes: Sequence[int], files: int) -> list[Shard]:
    items = [entry(f"p{study}/{number}.png") for study, size in enumerate(sizes) for number in range(size)]
    return list(cut(iter(items), StudyGroups("folder"), files))


@given(SIZES, st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_nothing_is_lost_nor_moved_and_no_shard_is_too_large(sizes: list[int], files: int) -> None:
    found = shards(sizes, files)
    paths = [item.path for shard in found for item in shard.items if isinstance(item, Entry)]
    assert paths == [f"p{study}/{number}.png" for study, size in enumerate(sizes) for number in range(size)]
    assert [shard.number for shard in found] == list(range(len(found)))
    assert all(0 < len(shard.items) <= files for shard in found)


@given(SIZES, st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_the_shards_of_a_study_bear_its_number_and_the_last_one_says_so(sizes: list[int], files: int) -> None:
    found = shards(sizes, files)
    where: dict[str, set[int]] = {}
    for shard in found:
        for item in shard.items:
            assert isinstance(item, Entry)
            where.setdefault(item.path.partition("/")[0], set()).add(shard.number)
    for study, numbers in where.items():
        assert len({found[number].group for number in numbers}) == 1
        end = max(numbers)
        # What the walk ended with may have been cut short.
        assert found[end].last == (study != f"p{len(sizes) - 1}")
        assert not any(found[number].last for number in numbers - {end})
        if len(numbers) > 1:
            items = [item for number in numbers for item in found[number].items]
            assert {item.path.partition("/")[0] for item in items if isinstance(item, Entry)} == {study}
    groups = [shard.group for shard in found]
    assert groups == sorted(groups)


def dicom(path: str, study: str | None, folder: str = "") -> Entry:
    about: dict[str, object] = dict.fromkeys(DicomHeader.__struct_fields__)
    header = DicomHeader(**about | {"study_uid": study}) if study else None  # type: ignore[arg-type]
    known = HeaderRead(header, 1, 1, 1, 1)
    return Entry(entry(path).file, path, None, folder or path.partition("/")[0], None, known)


def names(groups: StudyGroups, items: Sequence[Entry | Refused]) -> list[int]:
    """Return how many files follow each other in each group."""
    return [len(list(found)) for _, found in groupby([groups(item) for item in items])]


def test_a_header_names_the_study_and_files_without_one_stay_with_it() -> None:
    items = [dicom("a/1", "1.2"), dicom("b/1", "1.2"), dicom("a/x", None, "1.2"), dicom("a/2", "1.3"), entry("a/3.png")]
    assert names(StudyGroups("folder"), items) == [3, 1, 1]
    assert names(StudyGroups("folder", str.upper), [dicom("a/1", "uid"), dicom("a/x", None, "UID")]) == [2]


def test_pictures_stay_with_their_first_folder() -> None:
    refused = Refused(Identity("a/broken", "", None), Reason.UNREADABLE)
    items = [entry("a/20200101/1.png"), entry("a/20200202/1.png"), refused, entry("b/1.png"), entry("c.png")]
    assert names(StudyGroups("folder"), items) == [3, 1, 1]


def test_studies_of_a_file_and_of_an_expression_may_be_divided_anywhere() -> None:
    items = [entry(f"a/{number}.png") for number in range(5)]
    for by in ("file", "^([a-z])"):
        found = list(cut(iter(items), StudyGroups(by), 2))
        assert [shard.last for shard in found] == [True, True, False]
