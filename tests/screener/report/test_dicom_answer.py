"""Answers in DICOM: valid, in the study of their images, the same bytes each time, and never screened themselves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs the extra [pacs]")
from export.data.phantoms import phantom
from screener.audit import AuditLog, verify
from screener.cli.answers import Answers, tell_missing
from screener.errors import UsageError
from screener.pipeline.config import ScanConfig
from screener.report.dicom_answer import DicomAnswer, Missing, NoAnswer, dicom_answers, judging_model, write_answer
from tests.conftest import write_slice
from tests.dicom_site import FLAGGED, NAMES, REFUSED, dataset, encode, screen, write

if TYPE_CHECKING:
    from collections.abc import Collection

    from pydicom.dataset import Dataset


def answers(log: Path, model: Path, lang: str = "en", wanted: Collection[str] | None = None) -> list[DicomAnswer]:
    found = list(dicom_answers(log, judging_model(str(model)), lang, wanted=wanted))  # type: ignore[arg-type]
    assert all(isinstance(one, DicomAnswer) for one in found), found
    return found  # type: ignore[return-value]


def opened(data: bytes) -> Dataset:
    import pydicom

    return pydicom.dcmread(BytesIO(data))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, Path, Path]:
    """Screen a flagged study with a Japanese name and one that is not assessable: inbox, log, model."""
    folder = tmp_path_factory.mktemp("site")
    for place in range(7):
        name, charset = NAMES["\\ISO 2022 IR 87"], ["", "ISO 2022 IR 87"]
        about = {"PatientName": name, "SpecificCharacterSet": charset}
        write(folder / f"in/a/{place}.dcm", FLAGGED, place, bright=place in {2, 3, 4}, **about)
    write(folder / "in/b/0.dcm", REFUSED, 0, ImageOrientationPatient=[0, 1, 0, 0, 0, -1], TimezoneOffsetFromUTC="+0000")
    screen(folder / "in", tiny_model, folder / "log.jsonl")
    return folder / "in", folder / "log.jsonl", tiny_model


@pytest.fixture(scope="module")
def made(site: tuple[Path, Path, Path]) -> dict[str, DicomAnswer]:
    _, log, model = site
    return {one.line.study_instance_uid: one for one in answers(log, model)}


def report_of(answer: DicomAnswer) -> Dataset:
    return opened(answer.objects[answer.line.report])


def test_the_report_says_what_the_log_says(made: dict[str, DicomAnswer]) -> None:
    import highdicom as hd

    line = made[FLAGGED].line
    report = hd.sr.Comprehensive3DSR.from_dataset(report_of(made[FLAGGED]))
    assert (report.CompletionFlag, report.PreliminaryFlag, report.VerificationFlag) == (
        *("COMPLETE", "PRELIMINARY", "UNVERIFIED"),
    )
    groups = report.content.get_image_measurement_groups()
    assert len(groups) == 1 + len(line.captures)
    numbers = {one.name.value: one.value for one in groups[0].get_measurements()}
    assert numbers["probability"] == pytest.approx(line.probability, abs=1e-12)
    assert numbers["threshold"] == line.threshold
    told = {one.name.value: one.value.value for one in groups[0].get_qualitative_evaluations()}
    assert told == {"decision": "flagged", "urgency": line.urgency.value}
    texts = [item.TextValue for item in groups[0][0].ContentSequence if item.ValueType == "TEXT"]
    assert f"model_sha256={line.model_sha256}" in texts
    assert line.notice in texts
    referred = [str(one.referenced_sop_instance_uid) for one in groups[0].source_images]
    assert len(referred) == len(line.captures)
    assert set(referred) <= {f"{FLAGGED}.9.{place + 1}" for place in range(7)}
    assert {str(one[2]) for one in report.get_evidence()} >= set(referred)


def test_a_study_without_an_answer_gets_a_report_without_probability(made: dict[str, DicomAnswer]) -> None:
    import highdicom as hd

    answer = made[REFUSED]
    assert (answer.line.decision, answer.line.priority, answer.line.captures) == ("not_assessable", 3, ())
    report = hd.sr.Comprehensive3DSR.from_dataset(report_of(answer))
    (group,) = report.content.get_image_measurement_groups()
    assert [one.name.value for one in group.get_measurements()] == ["threshold"]
    assert any("(no_usable_series)" in str(item.get("TextValue")) for item in group[0].ContentSequence)


def test_everything_is_in_the_study_and_of_the_patient(made: dict[str, DicomAnswer]) -> None:
    for data in made[FLAGGED].objects.values():
        one = opened(data)
        assert (one.StudyInstanceUID, one.PatientID, one.AccessionNumber, one.StudyID) == (FLAGGED, "P7", "ACC-7", "S1")
        assert (str(one.PatientName), one.SpecificCharacterSet) == (NAMES["\\ISO 2022 IR 87"], "ISO_IR 192")
        assert (one.StudyDate, one.StudyTime, one.PatientSex) == ("20260102", "101500", "F")
        assert (one.SeriesNumber in {9901, 9902}, one.PatientWeight) == (True, 70.5)
        assert one.SeriesInstanceUID not in {FLAGGED, f"{FLAGGED}.9"}
    report = report_of(made[FLAGGED])
    # 9 hours ahead of the log.
    hour = int(made[FLAGGED].line.judged[11:13])
    assert int(report.ContentTime[:2]) == (hour + 9) % 24
    capture = opened(made[FLAGGED].objects[made[FLAGGED].line.captures[0]])
    assert capture.pixel_array.shape[2] == 3
    assert capture.pixel_array.std() > 10
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID.startswith(f"{FLAGGED}.9.")


def test_the_same_answer_is_the_same_bytes(site: tuple[Path, Path, Path], made: dict[str, DicomAnswer]) -> None:
    _, log, model = site
    (again,) = answers(log, model, wanted={FLAGGED})
    assert again == made[FLAGGED]
    (french,) = answers(log, model, "fr", wanted={made[FLAGGED].line.event})
    assert french.objects.keys().isdisjoint(again.objects)
    (group, *_) = report_of(french).ContentSequence[-1].ContentSequence
    told = [item.TextValue for item in group.ContentSequence if item.ValueType == "TEXT"]
    assert any(text.startswith("TUMEUR") for text in told)


def test_files_are_written_once_and_the_json_names_them(tmp_path: Path, made: dict[str, DicomAnswer]) -> None:
    place = write_answer(tmp_path / "out", made[FLAGGED])
    before = {path: path.stat().st_mtime_ns for path in place.parent.iterdir()}
    assert write_answer(tmp_path / "out", made[FLAGGED]) == place
    assert {path: path.stat().st_mtime_ns for path in place.parent.iterdir()} == before
    assert {path.stat().st_mode & 0o777 for path in before} == {0o600}
    told = json.loads(place.read_text())
    written = {str(opened(path.read_bytes()).SOPInstanceUID) for path in before if path.suffix == ".dcm"}
    assert written == {told["report"], *told["captures"]}
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_answer(tmp_path / "file/out", made[FLAGGED])


def test_the_json_for_routers_names_nobody(made: dict[str, DicomAnswer]) -> None:
    import msgspec

    text = msgspec.json.encode(made[FLAGGED].line).decode()
    assert not any(word in text for word in ("P7", "ACC-7", "Yamada", "山田", "1970", "Roe"))
    capture = opened(made[FLAGGED].objects[made[FLAGGED].line.captures[0]])
    assert capture.BurnedInAnnotation == "NO"
    assert "Yamada" not in capture.ImageComments


def test_answers_that_come_back_change_nothing(
    site: tuple[Path, Path, Path], made: dict[str, DicomAnswer], tmp_path: Path
) -> None:
    inbox, log, model = site
    shutil.copytree(inbox, tmp_path / "in")
    shutil.copy(log, tmp_path / "log.jsonl")
    for number, data in enumerate(made[FLAGGED].objects.values()):
        (tmp_path / f"in/a/3-{number}.dcm").write_bytes(data)
    (tmp_path / "in/alone").mkdir()
    (tmp_path / "in/alone/x.dcm").write_bytes(made[FLAGGED].objects[made[FLAGGED].line.report])
    for grouping in ("folder", "file"):
        found = screen(tmp_path / "in", model, tmp_path / "log.jsonl", group_by=grouping)
        assert len(found) == (2 if grouping == "folder" else 8)
    first = screen(tmp_path / "in", model, tmp_path / "log.jsonl")[0]
    assert (first.slices.total, first.seen_before) == (7, True)
    text = (tmp_path / "log.jsonl").read_text()
    assert '"own_answers":5' in text
    assert 'own_answer",' not in text
    assert verify(tmp_path / "log.jsonl").ok


def test_a_new_answer_names_the_one_before(
    site: tuple[Path, Path, Path], made: dict[str, DicomAnswer], tmp_path: Path
) -> None:
    inbox, log, model = site
    shutil.copytree(inbox, tmp_path / "in")
    shutil.copy(log, tmp_path / "log.jsonl")
    write(tmp_path / "in/a/9.dcm", FLAGGED, 9, bright=True)
    screen(tmp_path / "in", model, tmp_path / "log.jsonl")
    (later,) = answers(tmp_path / "log.jsonl", model, wanted={FLAGGED})
    before = made[FLAGGED].line
    assert later.line.replaces == before.report != later.line.report
    (study,) = report_of(later).PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (FLAGGED, report_of(made[FLAGGED]).SeriesInstanceUID)
    assert [one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence] == [before.report]


def test_what_cannot_be_answered_is_told(
    site: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from screener.model.session import Model

    inbox, log, model = site
    write_slice(tmp_path / "in/p/1.png", bright=True)
    screen(tmp_path / "in", model, tmp_path / "log.jsonl")
    (none,) = dicom_answers(tmp_path / "log.jsonl", judging_model(str(model)), "en")
    assert none == NoAnswer(none.event, Missing.NO_DICOM)  # type: ignore[union-attr]
    moved = [one.why for one in dicom_answers(log, judging_model(str(model)), "en", images=tmp_path)]  # type: ignore[union-attr]
    assert moved == [Missing.MOVED, Missing.MOVED]

    class Other:
        sha256 = "0" * 64

    def other() -> Model:
        return Other()  # type: ignore[return-value]

    assert next(dicom_answers(log, other, "en", wanted={FLAGGED})).why is Missing.OTHER_MODEL  # type: ignore[union-attr]
    answers_ = Answers(tmp_path / "out")
    answers_.note(screen(tmp_path / "in", model, tmp_path / "log.jsonl")[0])
    answers_.make(tmp_path / "log.jsonl", Model.load(str(model)), "en")
    assert "no answer in DICOM about 1 of the studies: its images are no DICOM" in capsys.readouterr().err
    tell_missing({})  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""
    assert inbox.exists()


def test_identity_is_never_put_together_again(site: tuple[Path, Path, Path], tmp_path: Path) -> None:
    inbox, _, model = site
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o600)
    screen(inbox, model, tmp_path / "log.jsonl", pseudonymise=key)
    found = {one.why for one in dicom_answers(tmp_path / "log.jsonl", judging_model(str(model)), "en")}  # type: ignore[union-attr]
    assert found == {Missing.PSEUDONYMS}
    with pytest.raises(UsageError, match="identity that --pseudonymise hides"):
        Answers(tmp_path / "out").refuse(inbox, ScanConfig.of(pseudonymise=key))
    with pytest.raises(UsageError, match="inside the inbox"):
        Answers(inbox / "out").refuse(inbox, ScanConfig.of())
    Answers(None).refuse(inbox, ScanConfig.of(pseudonymise=key))


def dciodvfy(path: Path) -> list[str]:
    """Return the errors that David Clunie's validator finds."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs dciodvfy, of Debian's dicom3tools")
    done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Abort"))]


def test_objects_are_valid(tmp_path: Path, made: dict[str, DicomAnswer]) -> None:
    for answer in made.values():
        for number, data in enumerate(answer.objects.values()):
            path = tmp_path / f"{answer.line.event[:4]}{number}.dcm"
            path.write_bytes(data)
            assert dciodvfy(path) == []


def test_what_is_not_needed_costs_no_pass_over_the_log(
    site: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from screener.report import answered_studies

    batches: list[int] = []
    monkeypatch.setattr(answered_studies, "_with_results", lambda _, batch: iter(batches.append(len(batch)) or ()))
    found = answered_studies.answered_studies(site[1], skip=lambda event: event["study_id"] == FLAGGED)
    assert (list(found), batches) == ([], [1])


@pytest.mark.parametrize("extra", ["highdicom", "pynetdicom", "dicomweb_client"])
def test_a_missing_extra_is_named(extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, extra, None)
    with pytest.raises(UsageError) as error:
        Answers(None, ("PACS@127.0.0.1:104",)).refuse(tmp_path, ScanConfig.of())
    assert "screener[pacs]" in error.value.hint


def test_no_answer_is_made_of_a_shadow_run(tmp_path: Path, tiny_model: Path) -> None:
    log = tmp_path / "audit.shadow.jsonl"
    with AuditLog(log) as writer:
        writer.start({"inbox": str(tmp_path), "shadow_of": "0" * 16})
        writer.end({}, "complete")
    with pytest.raises(UsageError, match="shadow runs"):
        next(dicom_answers(log, judging_model(str(tiny_model)), "en"))


@pytest.mark.long
def test_answers_about_real_studies_are_valid(tmp_path: Path) -> None:
    """Headers of scanners hold what no drawn one does; the shipped model judges."""
    data = Path(os.environ.get("SCREENER_DATA", "")) / "dicom"
    if not (data / "brain").is_dir():
        pytest.skip("needs the DICOM studies of SCREENER_DATA")
    model = Path(__file__).parents[3] / "models/lite"
    count = 0
    for name in ("brain", "brain_tumour"):
        screen(data / name, model, tmp_path / "log.jsonl")
    for answer in answers(tmp_path / "log.jsonl", model):
        for data_ in answer.objects.values():
            (tmp_path / "x.dcm").write_bytes(data_)
            assert dciodvfy(tmp_path / "x.dcm") == []
            count += 1
    assert count > 4


def test_dcmtk_reads_the_report(tmp_path: Path, made: dict[str, DicomAnswer]) -> None:
    if shutil.which("dsrdump") is None:
        pytest.skip("needs dsrdump, of Debian's dcmtk")
    path = tmp_path / "report.dcm"
    path.write_bytes(made[FLAGGED].objects[made[FLAGGED].line.report])
    done = subprocess.run(["dsrdump", "+Pl", path], capture_output=True, text=True, check=True)
    for expected in (
        '(flagged,99SCREENER,"Flagged")',
        "UNVERIFIED",
        NAMES["\\ISO 2022 IR 87"],
        made[FLAGGED].line.notice,
    ):
        assert expected in done.stdout
    assert "E:" not in done.stderr


@pytest.mark.parametrize("charset", NAMES)
@pytest.mark.long
def test_names_survive_in_every_character_set(charset: str, tmp_path: Path, tiny_model: Path) -> None:
    for place in range(2):
        about = {"PatientName": NAMES[charset], "SpecificCharacterSet": charset.split("\\")}
        write(tmp_path / f"in/a/{place}.dcm", FLAGGED, place, bright=True, **about, PatientComments="ünï – 山田"[:3])
    screen(tmp_path / "in", tiny_model, tmp_path / "log.jsonl")
    (answer,) = answers(tmp_path / "log.jsonl", tiny_model)
    for number, data in enumerate(answer.objects.values()):
        assert str(opened(data).PatientName) == NAMES[charset]
        (tmp_path / f"{number}.dcm").write_bytes(data)
        assert dciodvfy(tmp_path / f"{number}.dcm") == []


@pytest.mark.long
def test_key_frames_of_a_multi_frame_image_are_named(tmp_path: Path, tiny_model: Path) -> None:
    import highdicom as hd

    dark = phantom(7, 96).astype(np.float32) * 0.9
    frames = np.stack([np.clip(dark * (2 if number == 2 else 1), 0, 255) for number in range(5)])
    about = {"StudyInstanceUID": FLAGGED, "WindowCenter": 128, "WindowWidth": 256}
    about |= {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.1"}
    (tmp_path / "in/a").mkdir(parents=True)
    (tmp_path / "in/a/0.dcm").write_bytes(encode(dataset(frames.astype(np.int32), **about)))
    screen(tmp_path / "in", tiny_model, tmp_path / "log.jsonl")
    (answer,) = answers(tmp_path / "log.jsonl", tiny_model)
    report = hd.sr.Comprehensive3DSR.from_dataset(report_of(answer))
    groups = report.content.get_image_measurement_groups()
    assert groups[1].source_images[0].referenced_frame_numbers == [3]
    capture = opened(answer.objects[answer.line.captures[0]])
    assert capture.SourceImageSequence[0].ReferencedFrameNumber == 3
    for number, data in enumerate(answer.objects.values()):
        (tmp_path / f"{number}.dcm").write_bytes(data)
        assert dciodvfy(tmp_path / f"{number}.dcm") == []


@pytest.mark.parametrize(
    "odd",
    [
        {"PatientBirthDate": "unknown", "PatientSex": "X?", "StudyTime": "nonsense", "PatientAge": "42"},
        {"PatientName": "A" * 200, "TimezoneOffsetFromUTC": "+9999", "PatientID": None, "PatientAge": "?"},
    ],
)
@pytest.mark.long
def test_odd_headers_still_get_an_answer(odd: dict[str, object], tmp_path: Path, tiny_model: Path) -> None:
    for place in range(2):
        write(tmp_path / f"in/a/{place}.dcm", FLAGGED, place, bright=True, **odd)
    screen(tmp_path / "in", tiny_model, tmp_path / "log.jsonl")
    (answer,) = answers(tmp_path / "log.jsonl", tiny_model)
    report = report_of(answer)
    assert report.StudyInstanceUID == FLAGGED
    assert "PatientAge" not in report
