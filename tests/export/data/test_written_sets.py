"""Who is in which set, as it is written and read again; and what the drawn heads and public sources are."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.data.dataset import Dataset, shorten
from export.data.groups import places, read_groups, sets_of
from export.data.phantoms import phantom
from export.data.sources import KNOWN, all_known, is_named, source
from export.data.splits import SETS, WITHHELD, Split, check_labels, write_groups, write_patients
from export.errors import DataError
from screener.evaluate.labelled import Record

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1, max_size=12)


@st.composite
def placed(draw: st.DrawFn) -> tuple[Dataset, Split]:
    """Draw a data set and where its slices are, with both labels in fit and tune."""
    paths = draw(st.lists(NAMES, min_size=6, max_size=12, unique=True))
    records = tuple(
        Record(path, index % 2, source=draw(NAMES), patient=draw(st.just("") | NAMES))
        for index, path in enumerate(paths)
    )
    sets = ["fit", "fit", "tune", "tune", *(draw(st.sampled_from((*SETS, WITHHELD))) for _ in paths[4:])]
    numbers = st.integers(0, 10**17)
    groups, units = (np.array([draw(numbers) for _ in paths], np.int64) for _ in range(2))
    return Dataset(Path(), records), Split(groups, units, np.array(sets, dtype="<U10"))


@settings(max_examples=15, deadline=None)
@given(placed())
def test_any_split_comes_back_from_its_file(case: tuple[Dataset, Split]) -> None:
    dataset, split = case
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "groups.csv"
        write_groups(path, dataset, split)
        again = read_groups(path, dataset)
        assert again.split.sets.tolist() == split.sets.tolist()
        assert again.split.units.tolist() == split.units.tolist()
        assert again.split.groups.tolist() == split.groups.tolist()
        assert sets_of(path) == {
            record.path: name for record, name in zip(dataset.records, split.sets.tolist(), strict=True)
        }
        found = places(Path(folder))
        assert {name: place.set for name, place in found.items()} == sets_of(path)
        assert [found[record.path].unit for record in dataset.records] == split.units.tolist()


def test_an_edited_file_of_a_run_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text("path,group,unit,set\na.png,1,2,fit\nb.png,1,two,fit\n")
    with pytest.raises(DataError, match=r"groups.csv:3: .*`int`.*`\$.unit`") as failure:
        places(tmp_path)
    assert failure.value.hint == "run: python -m export train"
    with pytest.raises(DataError, match=r"groups.csv cannot be read"):
        places(tmp_path / "elsewhere")


def test_patients_are_listed_once_and_only_those_with_volumes(tmp_path: Path) -> None:
    records = (
        Record("1.png", 1, source="s", patient="p1", site="HT", series="p1/FLAIR"),
        Record("2.png", 0, source="s", patient="p1", site="HT", series="p1/FLAIR"),
        Record("3.png", 0, source="s", patient="p2", site="DU", series=""),
        Record("4.png", 0, source="s", patient="", site="DU", series="x"),
        Record("5.png", 0, source="r", patient="p1", site="", series="p1/T1"),
    )
    numbers = np.arange(5)
    split = Split(numbers, numbers, np.array(["certify", "certify", "fit", "fit", "tune"], dtype="<U10"))
    write_patients(tmp_path / "patients.csv", Dataset(tmp_path, records), split)
    with (tmp_path / "patients.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["source", "patient", "site", "set"], ["r", "p1", "", "tune"], ["s", "p1", "HT", "certify"]]
    assert [item.name for item in tmp_path.iterdir()] == ["patients.csv"]


@pytest.mark.parametrize("missing", [0, 1])
def test_a_set_without_one_of_the_labels_is_named(missing: int) -> None:
    records = [Record(f"{index}.png", index % 2, source="s") for index in range(8)]
    sets = np.array(["fit", "fit", "tune", "tune", "certify", "certify", "test", "test"])
    check_labels(sets, records)
    lacking = [record if index != 2 + missing else Record("x.png", 1 - missing) for index, record in enumerate(records)]
    with pytest.raises(DataError, match=f"the tune set has no {'yes' if missing else 'no'!r} slice"):
        check_labels(sets, lacking)
    check_labels(sets, lacking, ("fit", "certify", "test"))


def test_a_fingerprint_follows_path_label_and_size(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1234")
    first = Dataset(tmp_path, (Record("a.png", 1),))
    assert first.fingerprint() == Dataset(tmp_path, (Record("a.png", 1, source="elsewhere"),)).fingerprint()
    assert first.fingerprint() != Dataset(tmp_path, (Record("a.png", 0),)).fingerprint()
    before = first.fingerprint()
    (tmp_path / "a.png").write_bytes(b"12345")
    assert first.fingerprint() != before
    assert before.startswith("sha256:")


def test_where_data_lie_is_told_to_nobody_and_long_lists_are_cut(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path, (), (f"{tmp_path}/m.csv:3: label 'y' read as 'yes'", "2 slices labelled none"))
    assert dataset.mended() == ["m.csv:3: label 'y' read as 'yes'", "2 slices labelled none"]
    assert shorten([str(number) for number in range(25)]) == [*map(str, range(20)), "… and 5 more"]
    assert shorten(["a", "b"]) == ["a", "b"]


@pytest.mark.parametrize("size", [64, 96, 256])
def test_a_drawn_head_is_the_same_each_time_and_lies_within_air(size: int) -> None:
    head = phantom(7, size)
    assert np.array_equal(head, phantom(7, size))
    assert not np.array_equal(head, phantom(8, size))
    assert (head.shape, head.dtype) == ((size, size), np.uint8)
    border = np.concatenate([head[0], head[-1], head[:, 0], head[:, -1]])
    assert border.mean() < 10 < head[size // 3 : -size // 3, size // 3 : -size // 3].mean()


def test_a_drawn_tumour_is_brighter_than_the_brain_around_it() -> None:
    for seed in range(5):
        without, tumour = phantom(seed, 128).astype(int), phantom(seed, 128, tumour=True).astype(int)
        brighter = tumour - without > 60
        assert 0.002 < brighter.mean() < 0.06
        assert tumour[brighter].mean() > 180


def test_a_site_is_named_by_itself_or_with_all_of_its_source() -> None:
    assert is_named(("tcga_lgg",), "tcga_lgg", "HT")
    assert is_named(("tcga_lgg:HT",), "tcga_lgg", "HT")
    assert not is_named(("tcga_lgg:HT",), "tcga_lgg", "DU")
    assert not is_named(("HT",), "tcga_lgg", "HT")


def test_what_is_not_public_is_its_owners() -> None:
    assert all_known(KNOWN)
    assert not all_known([*KNOWN, "clinic"])
    assert source("clinic").commercial is None
    assert "owner" in source("clinic").licence
    assert source("tcga_lgg").commercial is False
    assert all(found.licence and found.citation for found in KNOWN.values())
