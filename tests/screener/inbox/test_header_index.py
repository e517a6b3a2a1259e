"""The header pass: files in the order of their studies, each study once, and nothing that still arrives."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("pydicom")
from typing import TYPE_CHECKING

from dicom_files import dataset, encode, values
from inbox_pictures import png

from screener.domain.slice import Identity, Reason, Refused
from screener.inbox import Entry, FileBytes, Limits, fetch, find
from screener.inbox.header_index import HeaderIndex

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = Limits()


def write(path: Path, study: str = "1.1", place: float = 0.0, **changes: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.9", "ImagePositionPatient": [0, 0, place]}
    path.write_bytes(encode(dataset(values(), **(about | changes))))
    return path


def order(inbox: Path) -> list[tuple[str, str | None]]:
    """Return path and study of each file, as the index yields them."""
    with HeaderIndex(LIMITS) as index:
        found = list(index.ordered(find(inbox)))
    assert all(isinstance(item, Entry) for item in found)
    return [(item.path, study_of(item)) for item in found if isinstance(item, Entry)]


def study_of(item: Entry) -> str | None:
    header = None if item.known is None else item.known.header
    return item.study_id if header is None else header.study_uid


def test_a_flat_export_comes_study_by_study_in_anatomical_order(tmp_path: Path) -> None:
    for number in range(12):
        write(tmp_path / f"{number * 7 % 12:02}.dcm", f"1.{number % 3}", 10.0 - number)
    found = order(tmp_path)
    assert [study for _, study in found] == sorted((study for _, study in found), key=[s for _, s in found].index)
    assert len({study for _, study in found}) == 3
    with HeaderIndex(LIMITS) as index:
        places = [item.known.header.position for item in index.ordered(find(tmp_path))]  # type: ignore[union-attr]
    assert all(places[at : at + 4] == sorted(places[at : at + 4]) for at in (0, 4, 8))


def test_a_folder_is_trusted_and_goes_on_before_the_next_is_walked(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(3):
            write(tmp_path / f"{name}/s{number}/{number}.dcm", f"1.{name == 'b'}.{number}")
    walked = []

    def walk() -> object:
        for item in find(tmp_path):
            walked.append(item.path)  # type: ignore[union-attr]
            yield item

    with HeaderIndex(LIMITS) as index:
        found = index.ordered(walk())  # type: ignore[arg-type]
        assert next(found).path == "a/s0/0.dcm"  # type: ignore[union-attr]
        assert walked == ["a/s0/0.dcm", "a/s1/1.dcm", "a/s2/2.dcm", "b/s0/0.dcm"]


def test_a_study_that_a_mixed_folder_holds_too_waits_for_the_end(tmp_path: Path) -> None:
    write(tmp_path / "a/1.dcm", "1.1")
    write(tmp_path / "a/2.dcm", "1.2")
    write(tmp_path / "b/3.dcm", "1.1", 5.0)
    write(tmp_path / "c/4.dcm", "1.3")
    assert [path for path, _ in order(tmp_path)] == ["c/4.dcm", "a/1.dcm", "b/3.dcm", "a/2.dcm"]


def test_pictures_pass_at_once_and_damaged_files_go_with_their_folder(tmp_path: Path) -> None:
    write(tmp_path / "a/2.dcm", "1.1")
    data = (tmp_path / "a/2.dcm").read_bytes()
    (tmp_path / "a/1.dcm").write_bytes(data[:200])
    (tmp_path / "a/readme.txt").write_text("text")
    (tmp_path / "a/DICOMDIR").write_bytes(data)
    (tmp_path / "a/9.png").write_bytes(png())
    found = order(tmp_path)
    assert found[0] == ("a/9.png", "a")
    assert ("a/2.dcm", "1.1") in found
    assert ("a/1.dcm", "1.1") in found
    assert len(found) == 4


def test_two_patients_are_two_studies(tmp_path: Path) -> None:
    write(tmp_path / "1.dcm")
    write(tmp_path / "2.dcm", PatientID="P8")
    write(tmp_path / "3.dcm", place=1.0)
    with HeaderIndex(LIMITS) as index:
        headers = [item.known.header for item in index.ordered(find(tmp_path))]  # type: ignore[union-attr]
    assert [one.study_uid for one in headers if one] == ["1.1", "1.1", "1.1 (P8)"]
    assert {one.warning for one in headers if one} == {Reason.SEVERAL_PATIENTS}


def test_the_same_instance_twice(tmp_path: Path) -> None:
    first = write(tmp_path / "1.dcm", SOPInstanceUID="1.9")
    (tmp_path / "2.dcm").write_bytes(first.read_bytes())
    write(tmp_path / "3.dcm", SOPInstanceUID="1.9", EchoTime=11)
    with HeaderIndex(LIMITS) as index:
        found = [(item.path, item.known.header.refusal) for item in index.ordered(find(tmp_path))]  # type: ignore[union-attr]
    assert sorted(found) == [("1.dcm", None), ("2.dcm", None), ("3.dcm", Reason.DUPLICATE_INSTANCE)]


def test_a_study_with_a_young_file_is_left_out(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path / f"{number}.dcm", f"1.{number % 2}", float(number))
    young = Entry(tmp_path / "2.dcm", "2.dcm", None, "2.dcm")
    others = [Entry(tmp_path / f"{number}.dcm", f"{number}.dcm", None) for number in (0, 1, 3)]
    late = Refused(Identity("2.dcm", "", None, study_id="2.dcm"), Reason.STILL_BEING_WRITTEN)
    with HeaderIndex(LIMITS) as index:
        index.arrive(young)
        found = list(index.ordered(iter([*others, late])))
    assert [item.path for item in found if isinstance(item, Entry)] == ["1.dcm", "3.dcm"]
    assert [item.identity.study_id for item in found if isinstance(item, Refused)] == ["1.0"]
    with HeaderIndex(LIMITS) as index:
        index.arrive(young)
        assert len(list(index.ordered(iter([*others, young])))) == 4, "it was complete by the end of the walk"


@pytest.mark.parametrize("change", ["size", "time", "header"])
def test_a_file_that_changed_since_its_header_was_read_is_still_being_written(tmp_path: Path, change: str) -> None:
    path = write(tmp_path / "1.dcm")
    with HeaderIndex(LIMITS) as index:
        (entry,) = index.ordered(find(tmp_path))
    assert isinstance(entry, Entry)
    assert isinstance(fetch(entry), FileBytes)
    status, data = path.stat(), path.read_bytes()
    if change == "size":
        path.write_bytes(data + b"\0")
    elif change == "header":
        path.write_bytes(data.replace(b"1.1.9", b"1.1.8"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + (change == "time")))
    refused = fetch(entry)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.STILL_BEING_WRITTEN


def test_long_headers_are_read_to_their_end(tmp_path: Path) -> None:
    path = tmp_path / "1.dcm"
    path.write_bytes(encode(dataset(values(), ImageComments="x" * 300_000)))
    assert order(tmp_path) == [("1.dcm", "1.2.3")]
