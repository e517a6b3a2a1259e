"""A groups.csv from the audit or a person: taken as it is, or refused with file and line."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from export.data.dataset import Dataset
from export.data.duplicates import Pairs, find_pairs, orientations, thumbnails
from export.data.groups import read_groups, sets_of
from export.data.splits import Split, write_groups
from export.errors import DataError
from screener.evaluate.labelled import Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = ("fit", "fit", "tune", "tune", "certify", "certify", "test", "test")
NONE = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, bool))


def dataset(root: Path, *patients: str) -> Dataset:
    known = [*patients, *[""] * (len(NAMES) - len(patients))]
    return Dataset(
        root, tuple(Record(f"{place}.png", place % 2, source="a", patient=known[place]) for place in range(len(NAMES)))
    )


def written(root: Path, change: Callable[[list[dict[str, str]]], object] | None = None) -> Path:
    path = root / "groups.csv"
    numbers = np.arange(len(NAMES))
    write_groups(path, dataset(root), Split(numbers, numbers, np.array(NAMES, dtype="<U10")))
    if change is not None:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        change(rows)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path, lambda rows: rows.reverse())
    given = read_groups(path, dataset(tmp_path))
    assert given.split.sets.tolist() == list(NAMES)
    assert given.split.units.tolist() == list(range(8))
    assert given.lines.tolist() == list(range(9, 1, -1))
    given.refuse_leaks(dataset(tmp_path), NONE)
    assert sets_of(path) == {f"{place}.png": name for place, name in enumerate(NAMES)}


@pytest.mark.parametrize(
    ("change", "result"),
    [
        (lambda rows: rows[2].update(set="training"), ":4: set 'training' is none of"),
        (lambda rows: rows[2].update(path="gone.png"), ":4: 'gone.png' is no slice of the data"),
        (lambda rows: rows[2].update(path="0.png"), ":4: '0.png' stands on line 2 already"),
        (lambda rows: rows[2].update(unit="x"), ":4: unit 'x' is no number"),
        (lambda rows: rows[2].update(group=""), ":4: group '' is no number"),
        (lambda rows: rows[2].update(unit="9" * 30), f":4: unit '{'9' * 30}' is no number"),
        (lambda rows: rows[2].update(label="yes"), ":4: label 'yes', but 2.png is labelled 'no'"),
        (lambda rows: rows.pop(), "no line says where 7.png belongs"),
        (lambda rows: [row.update(set="test") for row in rows if row["set"] == "tune"], "the tune set has no"),
    ],
)
def test_a_bad_row_is_named_with_its_line(
    tmp_path: Path, change: Callable[[list[dict[str, str]]], object], result: str
) -> None:
    with pytest.raises(DataError) as caught:
        read_groups(written(tmp_path, change), dataset(tmp_path))
    assert result in str(caught.value)


def test_a_missing_column_or_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "short.csv").write_text("path,set\n0.png,fit\n")
    with pytest.raises(DataError, match=r"short.csv:1: no column group, unit"):
        read_groups(tmp_path / "short.csv", dataset(tmp_path))
    with pytest.raises(DataError, match="cannot be read"):
        read_groups(tmp_path / "gone.csv", dataset(tmp_path))
    (tmp_path / "long.csv").write_text("path,group,unit,set\n" + "x" * 200_000 + ",0,0,fit\n")
    with pytest.raises(DataError, match=r"long.csv cannot be read"):
        read_groups(tmp_path / "long.csv", dataset(tmp_path))


def test_a_unit_in_two_sets_is_refused_with_both_lines(tmp_path: Path) -> None:
    given = read_groups(written(tmp_path, lambda rows: rows[7].update(unit="0")), dataset(tmp_path))
    with pytest.raises(DataError, match=r"groups.csv:9: unit 0 is in test here and in fit on line 2"):
        given.refuse_leaks(dataset(tmp_path), NONE)


def test_what_is_withheld_leaks_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, lambda rows: rows[6].update(unit="0", set="withheld"))
    read_groups(path, dataset(tmp_path)).refuse_leaks(dataset(tmp_path), NONE)


def test_a_patient_and_a_twin_in_two_sets_are_refused_whatever_the_file_says(tmp_path: Path) -> None:
    given = read_groups(written(tmp_path), dataset(tmp_path))
    with pytest.raises(DataError, match=r":4: patient p or .* is in tune here and in fit on line 2"):
        given.refuse_leaks(dataset(tmp_path, "p", "", "p"), NONE)
    twins = Pairs(np.array([1]), np.array([7]), np.array([True]))
    with pytest.raises(DataError, match=r":9: a near-duplicate of 7.png is in test here and in fit on line 3"):
        given.refuse_leaks(dataset(tmp_path), twins)


def test_a_quarter_turn_is_found_from_either_side() -> None:
    rng = np.random.default_rng(0)
    noise = rng.random((3, 8, 8), dtype=np.float32)
    views = np.stack([cv2.resize(one, (64, 64)) * 255 for one in noise]).astype(np.uint8)
    for number, turned in enumerate(orientations(views[1:2].astype(np.float32))):
        for both in ((views[0], turned[0]), (turned[0], views[0])):
            assert not len(find_pairs(thumbnails(np.stack(both).astype(np.uint8))).first)
        for both in ((views[1], turned[0], views[2]), (turned[0], views[1], views[2])):
            pairs = find_pairs(thumbnails(np.stack(both).astype(np.uint8)))
            assert (pairs.first.tolist(), pairs.second.tolist()) == ([0], [1])
            assert pairs.turned.tolist() == [number > 0]
