"""``screener scan`` on DICOM: studies by their headers, wherever the files lie."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("pydicom")
sys.path.append(str(Path(__file__).parents[1] / "screener/inbox"))
from dicom_files import dataset, encode

from export.data.phantoms import phantom
from screener.audit import verify

if TYPE_CHECKING:
    from tests.conftest import Command


def write(path: Path, study: str, place: float, *, bright: bool = False, **changes: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = phantom(round(place * 7) + len(study), 96).astype(np.float32)
    stored = np.clip(drawn * (1.9 if bright else 0.9), 0, 255).astype(np.int32)
    about = {
        "StudyInstanceUID": study,
        "SeriesInstanceUID": f"{study}.9",
        "ImagePositionPatient": [0, 0, place],
        "PatientID": f"P{study}",
        "AccessionNumber": f"A{study}",
        "StudyDate": "20260102",
        # So that brightness survives, by which the tiny model flags.
        "WindowCenter": 128,
        "WindowWidth": 256,
    }
    path.write_bytes(encode(dataset(stored, **(about | changes))))


def scan(screener: Command, inbox: Path, *options: object) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """Return studies, slices and the exit code."""
    done = screener.scan(inbox, "--json", *options)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert not done.stderr.count("Traceback")
    assert verify(screener.log).ok
    return [x for x in lines if x["level"] == "study"], [x for x in lines if x["level"] == "slice"], done.returncode


def test_a_flat_export_is_answered_study_by_study(screener: Command, tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    for number in range(24):
        write(inbox / f"{number * 11 % 24:02}", f"1.{number % 3}", float(number))
    studies, slices, code = scan(screener, inbox)
    assert code == 0
    assert [one["slices"]["total"] for one in studies] == [8, 8, 8]
    assert [one["accession_number"] for one in studies] == [f"A{one['study_id']}" for one in studies]
    assert {one["study_date"] for one in studies} == {"20260102"}
    assert [event["accession_number"] for event in screener.events("STUDY")] == [
        one["accession_number"] for one in studies
    ]
    order = [one["study_id"] for one in slices]
    assert order == sorted(order, key=order.index)
    again, _, _ = scan(screener, inbox)
    assert all(one["seen_before"] for one in again)
    assert len(screener.events("STUDY")) == 3
    assert len(screener.events()) == 24


def test_members_found_elsewhere_later_make_a_new_answer_on_all(screener: Command, tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    for number in range(6):
        write(inbox / f"a/{number}.dcm", "1.1", float(number), bright=True)
        write(inbox / f"b/{number}.dcm", "1.2", float(number))
        write(inbox / f"c/{number}.dcm", "1.1", 10.0 + number)
    studies, _, _ = scan(screener, inbox)
    assert [(one["study_id"], one["slices"]["total"], one["decision"]) for one in studies] == [
        ("1.1", 6, "flagged"),
        ("1.2", 6, studies[1]["decision"]),
        ("1.1", 12, "flagged"),
    ]
    assert screener.events("END")[-1]["counts"]["studies"] == 2
    scan(screener, inbox)
    assert len(screener.events("STUDY")) == 3


def test_localizers_are_logged_once_and_their_study_too(screener: Command, tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    for number in range(5):
        write(inbox / f"{number}.dcm", "1.1", float(number))
    write(inbox / "loc.dcm", "1.1", 3.0, SeriesInstanceUID="1.1.8", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    for _ in range(2):
        (study,), slices, code = scan(screener, inbox)
        assert (code, len(slices), study["slices"]["not_assessable"]) == (0, 6, 1)
    assert (len(screener.events()), len(screener.events("STUDY"))) == (6, 1)


def test_two_patients_under_one_study_are_never_one(screener: Command, tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    for number in range(6):
        write(inbox / f"{number}.dcm", "1.1", float(number), PatientID=f"P{number % 2}", bright=number % 2 == 1)
    studies, _, _ = scan(screener, inbox)
    assert [(one["study_id"], one["patient_id"], one["reason"]) for one in studies] == [
        ("1.1", "P0", "several_patients"),
        ("1.1 (P1)", "P1", "several_patients"),
    ]
    assert [one["decision"] for one in studies][1] == "flagged"


def test_a_second_patient_found_after_the_first_was_answered_is_told_of_once_more(
    screener: Command, tmp_path: Path
) -> None:
    inbox = tmp_path / "in"
    for number in range(5):
        write(inbox / f"a/{number}.dcm", "1.1", float(number), PatientID="P0", bright=True)
        write(inbox / f"b/{number}.dcm", "1.1", float(number), PatientID="P1")
    answers = [
        ("1.1", "P0", None, "flagged"),
        ("1.1 (P1)", "P1", "several_patients", "not_flagged"),
        ("1.1", "P0", "several_patients", "flagged"),
    ]
    for seen in (False, True):
        studies, slices, code = scan(screener, inbox)
        assert [(one["study_id"], one["patient_id"], one["reason"], one["decision"]) for one in studies] == answers
        assert [one["slices"]["total"] for one in studies] == [5, 5, 5]
        assert (code, len(slices), {one["seen_before"] for one in studies}) == (0, 10, {seen})
        assert (len(screener.events()), len(screener.events("STUDY"))) == (10, 3)
        assert screener.events("END")[-1]["counts"]["studies"] == 2
    (tmp_path / "key").write_bytes(b"k" * 32)
    (tmp_path / "key").chmod(0o600)
    hidden, _, _ = scan(screener, inbox, "--pseudonymise", tmp_path / "key", "--log", tmp_path / "other.jsonl")
    assert [one["reason"] for one in hidden] == [None, "several_patients", "several_patients"]
    assert hidden[0]["study_id"] == hidden[2]["study_id"] != "1.1"


def test_copies_count_once_and_contradictions_are_refused(screener: Command, tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    for number in range(4):
        write(inbox / f"{number}.dcm", "1.1", float(number), SOPInstanceUID=f"1.1.7.{number}")
    (inbox / "copy.dcm").write_bytes((inbox / "2.dcm").read_bytes())
    write(inbox / "other.dcm", "1.1", 3.0, SOPInstanceUID="1.1.7.3", EchoTime=12)
    (study,), slices, _ = scan(screener, inbox)
    assert study["slices"]["total"] == 5
    assert len(slices) == 6
    assert [one["path"] for one in slices if one["reason"] == "duplicate_instance"] == ["other.dcm"]
    assert scan(screener, inbox)[0][0]["seen_before"]


def test_echoes_and_planes_are_series_of_their_own(screener: Command, tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    for number in range(6):
        for echo in (15, 90):
            write(inbox / f"{number}-{echo}.dcm", "1.1", float(number), EchoTime=echo, RepetitionTime=3000)
        sagittal = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "SeriesInstanceUID": "1.1.8"}
        write(inbox / f"sag{number}.dcm", "1.1", 0.0, **sagittal, ImagePositionPatient=[number, 0, 0])
    (study,), slices, code = scan(screener, inbox)
    assert code == 0
    message = {one["series_id"]: (one["plane"], one["slices"], one["probability"] is None) for one in study["series"]}
    assert message == {
        "1.1.9/echo=15": ("axial", 6, False),
        "1.1.9/echo=90": ("axial", 6, False),
        "1.1.8": ("sagittal", 6, True),
    }
    assert Counter(one["reason"] for one in slices) == {None: 12, "plane_not_supported": 6}
    assert next(one for one in study["series"] if one["series_id"] == "1.1.8")["reason"] == "plane_not_supported"


def test_a_study_without_a_usable_series_is_never_low(screener: Command, tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    for number in range(6):
        write(inbox / f"{number}.dcm", "1.1", 0.0, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    write(inbox / "loc.dcm", "1.1", 3.0, SeriesDescription="Survey", SeriesInstanceUID="1.1.8")
    (study,), _, code = scan(screener, inbox)
    assert (study["decision"], study["reason"], study["urgency"], code) == (
        "not_assessable",
        "no_usable_series",
        "REVIEW",
        4,
    )


def test_slices_without_positions_follow_their_instance_numbers(screener: Command, tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    for number in range(12):
        name = f"{(number * 5) % 12:02}.dcm"
        write(inbox / name, "1.1", float(number), ImagePositionPatient=None, InstanceNumber=12 - number)
    (study,), slices, _ = scan(screener, inbox)
    assert [one["position"] for one in slices] == [float(number) for number in range(1, 13)]
    assert len(study["series"][0]["curve"]) == 12


def test_pseudonyms_hide_what_headers_say(screener: Command, tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    for number in range(3):
        write(inbox / f"Doe/{number}.dcm", "1.1", float(number))
    (tmp_path / "key").write_bytes(b"k" * 32)
    (tmp_path / "key").chmod(0o600)
    studies, slices, _ = scan(screener, inbox, "--pseudonymise", tmp_path / "key")
    text = json.dumps([studies, slices, screener.events("STUDY"), screener.events()])
    assert len(studies) == 1
    assert studies[0]["accession_number"] is not None
    assert not any(word in text for word in ("Doe", '"P1.1"', '"A1.1"', '"1.1"', "20260102"))


def test_a_study_that_still_arrives_waits_as_a_whole(screener: Command, tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    for number in range(10):
        write(inbox / f"{number}.dcm", f"1.{number % 2}", float(number))
    # Change times cannot be set back: let all grow old enough, then touch one.
    time.sleep(1.2)
    os.utime(inbox / "4.dcm")
    studies, slices, code = scan(screener, inbox, "--settle", 1)
    assert code in {0, 5}
    if code == 5:  # on a busy machine the file may have grown old before the walk ended
        assert [one["study_id"] for one in studies] == ["1.1"]
        assert {one["study_id"] for one in slices} == {"1.1"}
    studies, _, code = scan(screener, inbox)
    assert (len(studies), code) == (2, 0)
