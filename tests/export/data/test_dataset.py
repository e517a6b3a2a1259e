"""Labelled folders and manifests, good and bad."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from export.data.cache import load_views, tumour_map
from export.data.dataset import read_dataset
from export.errors import DataError
from screener.preprocess import Preprocessing
from tests.conftest import write_slice

if TYPE_CHECKING:
    from pathlib import Path


def folders(root: Path) -> Path:
    for label in ("yes", "no"):
        write_slice(root / label / "1.png", bright=label == "yes")
        write_slice(root / "clinic b" / label / "2.jpg", bright=label == "yes")
    return root


def manifest(root: Path, *rows: str, header: str = "path,label,boxes,mask") -> Path:
    (root / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


def test_folders_at_any_depth_become_sources(tmp_path: Path) -> None:
    found = read_dataset(folders(tmp_path / "mine")).records
    assert {(record.path, record.label, record.source) for record in found} == {
        ("yes/1.png", 1, "mine"),
        ("no/1.png", 0, "mine"),
        ("clinic b/yes/2.jpg", 1, "clinic b"),
        ("clinic b/no/2.jpg", 0, "clinic b"),
    }


def test_a_folder_inside_a_label_names_the_patient(tmp_path: Path) -> None:
    write_slice(tmp_path / "mine/yes/p1/a.png", bright=True)
    write_slice(tmp_path / "mine/no/p2/deep/a.png")
    found = read_dataset(tmp_path / "mine").records
    assert [(one.path, one.label, one.patient) for one in found] == [
        ("no/p2/deep/a.png", 0, "p2"),
        ("yes/p1/a.png", 1, "p1"),
    ]


def test_slices_that_count_neither_way_are_left_out_and_said(tmp_path: Path) -> None:
    for name in "abcd":
        write_slice(tmp_path / f"{name}.png")
    rows = ("a.png,yes,,", "b.png,no,,", "c.png,none,,", "d.png,border,,")
    found = read_dataset(manifest(tmp_path, *rows))
    assert [(one.path, one.label) for one in found.records] == [("a.png", 1), ("b.png", 0)]
    assert found.warnings == ("1 slices labelled none are left out", "1 slices labelled border are left out")


def test_a_missing_folder_or_class_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_dataset(tmp_path / "missing")
    write_slice(tmp_path / "yes/1.png")
    with pytest.raises(DataError, match="'no'"):
        read_dataset(tmp_path)


def test_every_bad_row_is_named_with_its_line(tmp_path: Path) -> None:
    root = folders(tmp_path)
    manifest(root, "yes/1.png,maybe,,", "gone.png,yes,,", "no/1.png,no,0 0 1,", "yes/1.png,yes,0.5 0.5 0.5 0.9,")
    with pytest.raises(DataError) as caught:
        read_dataset(root)
    result = str(caught.value).splitlines()
    assert [line.split(":")[1] for line in result] == ["2", "3", "4", "5"]
    assert "maybe" in result[0]
    assert "gone.png" in result[1]


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    root = manifest(folders(tmp_path), "", "yes/1.png,yes,,", "", "no/1.png,no,,", "yes/1.png,no,,")
    with pytest.raises(DataError) as caught:
        read_dataset(root)
    assert str(caught.value).endswith(
        "manifest.csv:6: path 'yes/1.png' stands on line 3 already, with another label: neither is used"
    )


@pytest.mark.parametrize("content", [b"path,label\n\xff,yes\n", b"path,label\n" + b"x" * 200_000 + b",yes\n"])
def test_a_manifest_that_is_no_table_is_reported(tmp_path: Path, content: bytes) -> None:
    (folders(tmp_path) / "manifest.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"manifest.csv cannot be read"):
        read_dataset(tmp_path)


def test_a_box_past_the_edge_is_clipped_and_said(tmp_path: Path) -> None:
    root = manifest(folders(tmp_path), "yes/1.png,yes,0.8 0.4 1.1 0.7,", "no/1.png,no,,")
    dataset = read_dataset(root)
    assert dataset.records[0].boxes == ((0.8, 0.4, 1.0, 0.7),)
    assert "manifest.csv:2" in dataset.warnings[0]
    assert all(str(tmp_path) not in text for text in dataset.mended())
    assert len(dataset.mended()) == len(dataset.warnings)


@pytest.mark.parametrize(
    ("box", "result"),
    [
        ("1.2 0.1 1.5 0.4", "empty inside the image"),
        ("120 160 400 460", "empty inside the image"),
        ("-3 -3 4 4", "mostly outside"),
        ("0.9 0.1 1.3 0.4", "mostly outside"),
        ("0 0 nan 1", "no number"),
        ("0 0 inf 1", "no number"),
        ("0 0 x 1", "could not convert"),
    ],
)
def test_a_box_outside_the_image_is_an_error(tmp_path: Path, box: str, result: str) -> None:
    root = manifest(folders(tmp_path), "no/1.png,no,,", f"yes/1.png,yes,{box},")
    with pytest.raises(DataError, match=rf"manifest.csv:3: .*{result}"):
        read_dataset(root)


def test_a_manifest_without_its_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="label"):
        read_dataset(manifest(tmp_path, "a.png", header="path"))


def test_the_fingerprint_follows_the_labels(tmp_path: Path) -> None:
    root = manifest(folders(tmp_path), "yes/1.png,yes,,", "no/1.png,no,,")
    before = read_dataset(root).fingerprint()
    manifest(root, "yes/1.png,no,,", "no/1.png,yes,,")
    assert read_dataset(root).fingerprint() != before


def test_views_are_kept_and_unreadable_files_marked(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    (root / "yes/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    dataset = read_dataset(root)
    views = load_views(dataset, Preprocessing(32, "head", "square", "percentile"), 32, tmp_path / "cache")
    broken = [record.path for record in dataset.records].index("yes/broken.png")
    assert not views.readable[broken]
    assert views.readable.sum() == 4
    again = load_views(dataset, Preprocessing(32, "head", "square", "percentile"), 32, tmp_path / "cache")
    assert np.array_equal(views.images, again.images)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_masks_and_boxes_say_where(tmp_path: Path) -> None:
    root = folders(tmp_path)
    mask = np.zeros((96, 96), np.uint8)
    mask[10:20, 30:40] = 255
    (root / "mask.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    manifest(root, "yes/1.png,yes,0 0 0.5 0.25,mask.png", "no/1.png,no,,")
    record, negative = read_dataset(root).records
    drawn = tumour_map(root, record, (96, 96))
    assert drawn is not None
    assert np.array_equal(drawn > 0, mask > 0)
    assert tumour_map(root, negative, (96, 96)) is None
