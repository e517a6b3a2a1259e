"""One reader of labelled slices: training and evaluation see the same slices, patients, sites and faults."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.data.dataset import read_dataset
from export.errors import DataError
from screener.evaluate.labelled import LabelledRow, Record, read_labelled, read_table
from screener.evaluate.measure import measure
from screener.model.session import Model
from tests.conftest import write_slice

HEAD = "path,label,source,sequence,plane,patient,site,series,slice_index,n_slices,boxes,mask"


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Return a table with a slice of every label, beside it a manifest of two of them."""
    for name in ("a", "b", "c", "d"):
        write_slice(tmp_path / f"{name}.png", bright=name == "a")
    rows = [
        "a.png,yes,s,FLAIR,axial,p1,DU,p1/FLAIR,3,3,0.1 0.1 0.4 0.5,",
        "b.png,no,s,FLAIR,axial,p1,DU,p1/FLAIR,2,3,,",
        "c.png,none,s,FLAIR,axial,p1,DU,p1/FLAIR,1,3,,",
        "d.png,Border,s,FLAIR,axial,p2,DU,p2/FLAIR,1,1,,",
    ]
    (tmp_path / "volumes.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    return tmp_path / "volumes.csv"


def test_every_label_and_column_of_a_table_of_volumes_is_read(volumes: Path) -> None:
    found = read_labelled(volumes)
    assert found.faults == ()
    assert [(one.path, one.label, one.height) for one in found.slices] == [("a.png", 1, 1.0), ("b.png", 0, 0.5)]
    assert found.slices[0] == Record(
        "a.png", 1, "s", "FLAIR", "axial", "p1", "DU", "", ((0.1, 0.1, 0.4, 0.5),), "", "p1/FLAIR", 1.0
    )
    assert [one.path for one in found.without_anatomy] == ["c.png"]
    assert found.border == 1
    assert "1 slices are labelled border" in found.remarks[-1]


def test_slices_without_anatomy_are_screened_and_count_in_no_other_figure(volumes: Path, tiny_model: Path) -> None:
    model = Model.load(str(tiny_model), threads=1)
    measured = measure(read_labelled(volumes), model, model.card.operating_points["auto"])
    assert measured["slices"]["count"] == 2
    assert measured["without_anatomy"] == {"slices": 1, "refused": 0, "flagged": 0}


def test_training_and_evaluation_read_the_same(volumes: Path) -> None:
    read, dataset = read_labelled(volumes), read_dataset(volumes)
    assert dataset.records == read.slices
    assert dataset.fingerprint() == read.fingerprint()
    (volumes.parent / "manifest.csv").write_text("path,label\na.png,yes\nb.png,no\n")
    from_folder = read_labelled(volumes.parent)
    assert [one.path for one in from_folder.slices] == ["a.png", "b.png"]
    assert [one.series for one in read_dataset(volumes.parent).records] == ["p1/FLAIR", "p1/FLAIR"]


names = st.text(
    st.characters(codec="ascii", exclude_characters="/\\\0", categories=["L", "N", "Zs"]), min_size=1, max_size=4
)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.sampled_from(["yes", "NO", "p1", "clinic b"]), max_size=4),
    st.sampled_from(["a.png", "b.JPG", "notes.txt"]),
)
def test_the_label_folder_names_site_patient_and_label(
    tmp_path_factory: pytest.TempPathFactory, way: list[str], name: str
) -> None:
    root = tmp_path_factory.mktemp("set")
    path = PurePosixPath(*way, name)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(b"")
    (root / "z/yes").mkdir(parents=True)
    (root / "z/yes/known.png").write_bytes(b"")
    found = {one.path: one for one in read_labelled(root).slices}
    at = next((index for index, part in enumerate(way) if part.lower() in {"yes", "no"}), None)
    if at is None or name == "notes.txt":
        assert set(found) == {"z/yes/known.png"}
        return
    one = found[str(path)]
    assert one.label == (way[at].lower() == "yes")
    assert one.site == "/".join(way[:at])
    assert one.patient == (way[at + 1] if at + 1 < len(way) else "")


@pytest.mark.parametrize(
    ("row", "evaluated"),
    [
        ("a.png,maybe,,,,,,,,,,", "label 'maybe' is none of yes, no, none, border"),
        ("a.png,,,,,,,,,,,", "label '' is none of"),
        (",no,,,,,,,,,,", "path '' is not a file"),
        ("gone.png,no,,,,,,,,,,", "path 'gone.png' is not a file"),
        ("a.png,no,,,,,,,x,,,", "slice_index 'x' cannot be used: expected `int | null`"),
        ("a.png,no,,,,,,,0,,,", "slice_index '0' cannot be used: expected `int` >= 1"),
        ("a.png,yes,,,,,,,,,0 0 1,", "box '0 0 1' is not the four numbers"),
        ("a.png,yes,,,,,,,,,,no.png", "mask 'no.png' is not a file"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_by_both(volumes: Path, row: str, evaluated: str) -> None:
    table = volumes.parent / "own.csv"
    table.write_text(f"{HEAD}\n{row}\nb.png,no,,,,,,,,,,\nd.png,yes,,,,,,,,,,\n")
    found = read_labelled(table)
    assert found.faults[0].startswith(f"{table}:2: {evaluated}")
    assert [one.path for one in found.slices] == ["b.png", "d.png"]
    with pytest.raises(DataError) as caught:
        read_dataset(table)
    assert str(caught.value) == found.faults[0]


def test_a_file_with_two_labels_is_used_with_neither(volumes: Path) -> None:
    table = volumes.parent / "own.csv"
    table.write_text("path,label\na.png,yes\n./a.png,none\nb.png,no\na.png,yes\n")
    found = read_labelled(table)
    assert [one.path for one in found.slices] == ["b.png"]
    assert all("stands on line 2 already, with another label: neither is used" in fault for fault in found.faults)
    assert len(found.faults) == 2


def test_patients_of_two_sources_or_sites_are_two(volumes: Path) -> None:
    table = volumes.parent / "own.csv"
    table.write_text(
        "path,label,source,patient,site\na.png,yes,s,1,x\nb.png,no,s,1,y\nc.png,no,t,1,x\nd.png,no,s,1,x\n"
    )
    assert read_labelled(table).units().tolist() == [0, 1, 2, 0]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(names, st.sampled_from(["yes", "no", "none", "border"])), max_size=6))
def test_rows_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    table = tmp_path_factory.mktemp("table") / "t.csv"
    table.write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in rows))
    read = [row for _, row in read_table(table)]
    assert read == [
        LabelledRow(path.strip(), label) if path.strip() else read[index]  # type: ignore[arg-type]
        for index, (path, label) in enumerate(rows)
    ]
    assert all(isinstance(row, str) == (not path.strip()) for row, (path, _) in zip(read, rows, strict=True))
    assert msgspec.json.schema(LabelledRow)["$defs"]["LabelledRow"]["required"] == ["path", "label"]
