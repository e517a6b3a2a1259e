from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

pydicom = pytest.importorskip("pydicom")
from dicom_files import dataset, encode, values  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.uid import (  # noqa: E402
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from screener.domain.slice import Identity, Reason, Refused, Slice  # noqa: E402
from screener.inbox import FileBytes, Limits, RefusedError, decode, decode_slice, dicom, sniff  # noqa: E402
from screener.inbox.dicom import expand, read_header  # noqa: E402
from screener.inbox.dicom_pixels import decode_dicom, percentiles  # noqa: E402
from screener.inbox.isolation import SafeDecoder  # noqa: E402
from screener.measurements import image_statistics  # noqa: E402

LIMITS = Limits()


def outcome(data: bytes) -> Reason | np.ndarray:
    """Decode whatever these bytes hold: a score's pixels or a reason, never another exception."""
    try:
        pixels, _ = decode(data, LIMITS)
    except RefusedError as error:
        return error.reason
    assert pixels.dtype == np.float32
    assert pixels.ndim == 2
    assert np.isfinite(pixels).all()
    assert 0 <= pixels.min() <= pixels.max() <= 1
    return pixels


def expected(stored: np.ndarray) -> np.ndarray:
    low, high = np.percentile(stored, (0.5, 99.5))
    return np.clip((stored - low) / (high - low), 0, 1)


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        RLELossless,
        JPEG2000Lossless,
        JPEGLSLossless,
    ],
)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_every_transfer_syntax_gives_the_same_pixels(syntax: str, bits: int) -> None:
    if bits == 8 and syntax == ExplicitVRBigEndian:
        pytest.skip("the writer keeps 8-bit words in the other order")
    stored = values(200 if bits == 8 else 4000)
    pixels = outcome(encode(dataset(stored, bits=bits), syntax))
    assert np.abs(pixels - expected(stored)).max() < 1e-5


def test_signed_rescaled_inverted_and_windowed_values() -> None:
    signed = values() - 500
    assert np.abs(outcome(encode(dataset(signed, bits=16, signed=True))) - expected(signed)).max() < 1e-5
    plain = decode_dicom(encode(dataset(values())), LIMITS)
    rescaled = decode_dicom(encode(dataset(values(), RescaleSlope=2, RescaleIntercept=-7)), LIMITS)
    inverted = decode_dicom(encode(dataset(values(), PhotometricInterpretation="MONOCHROME1")), LIMITS)
    assert np.abs(rescaled - plain).max() < 1e-5
    assert np.abs(1 - inverted - plain).max() < 1e-6
    windowed = decode_dicom(encode(dataset(values(), WindowCenter=[500.5, 3], WindowWidth=[401, 9])), LIMITS)
    assert np.abs(windowed - np.clip((values() - 300) / 400, 0, 1)).max() < 1e-5


@pytest.mark.parametrize(("centre", "width"), [(500, 0), (500, 1), (1e6, 100), (500, 1e7), (500, -3)])
def test_an_absurd_window_gives_way_to_percentiles(centre: float, width: float) -> None:
    pixels = decode_dicom(encode(dataset(values(), WindowCenter=centre, WindowWidth=width)), LIMITS)
    assert np.abs(pixels - expected(values())).max() < 1e-5


def test_pixels_become_square() -> None:
    assert decode_dicom(encode(dataset(values(), PixelSpacing=[2, 1])), LIMITS).shape == (128, 48)
    assert decode_dicom(encode(dataset(values(), PixelSpacing=[1, 1.5])), LIMITS).shape == (64, 72)
    assert decode_dicom(encode(dataset(values(), PixelSpacing=[0, 1])), LIMITS).shape == (64, 48)


def test_header_holds_identity_but_no_name() -> None:
    header = read_header(encode(dataset(values(), Manufacturer="Maker", ManufacturerModelName="Scanner 3T ")))
    assert (header.manufacturer, header.manufacturer_model) == ("Maker", "Scanner 3T")
    assert image_statistics(np.ones((4, 4), np.float32), header)["manufacturer_model"] == "Scanner 3T"
    assert (header.patient_id, header.study_uid, header.series_uid) == ("P7", "1.2.3", "1.2.3.4")
    assert (header.sequence, header.plane, header.position, header.age) == ("T1", "axial", 42.5, 50.0)
    assert "Doe" not in repr(header)
    assert "19700101" not in repr(header)


@pytest.mark.parametrize(
    ("changes", "sequence"),
    [
        ({"RepetitionTime": 9000, "EchoTime": 110, "InversionTime": 2500}, "FLAIR"),
        ({"RepetitionTime": 4000, "EchoTime": 100}, "T2"),
        ({"ContrastBolusAgent": "Gadovist"}, "T1ce"),
        ({"SeriesDescription": "T1 post Gd"}, "T1ce"),
        ({"RepetitionTime": 2250, "EchoTime": 4, "InversionTime": 850}, "T1"),
        ({"SeriesDescription": "gre_field_mapping"}, "other"),
        ({"RepetitionTime": 3000, "EchoTime": 15}, "other"),
        ({"RepetitionTime": None, "SeriesDescription": "ax T2 FLAIR"}, "FLAIR"),
        ({"RepetitionTime": None}, "other"),
    ],
)
def test_sequence_from_times_contrast_and_hints(changes: dict[str, object], sequence: str) -> None:
    assert read_header(encode(dataset(values(), **changes))).sequence == sequence


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Modality": "CT"}, Reason.NOT_MR),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, Reason.LOCALIZER),
        ({"SeriesDescription": "Survey"}, Reason.LOCALIZER),
        ({"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, Reason.DERIVED_MAP),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, Reason.DERIVED_MAP),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, Reason.MOSAIC),
        ({"BurnedInAnnotation": "YES"}, Reason.BURNT_IN_REPORT),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, Reason.BURNT_IN_REPORT),
        ({"BodyPartExamined": "KNEE"}, Reason.OTHER_BODY_PART),
        ({"PatientAge": "017Y"}, Reason.OUTSIDE_INTENDED_USE),
        ({"PatientAge": "200M"}, Reason.OUTSIDE_INTENDED_USE),
        ({"PatientAge": "000M"}, Reason.OUTSIDE_INTENDED_USE),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, Reason.PLANE_NOT_SUPPORTED),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, Reason.PLANE_NOT_SUPPORTED),
        ({"Rows": 0}, Reason.CORRUPT),
        ({"Rows": 60000, "Columns": 60000}, Reason.TOO_LARGE),
        ({"Rows": 8}, Reason.TOO_SMALL),
        ({"Rows": 512}, Reason.CORRUPT),
        ({"NumberOfFrames": 65535}, Reason.TOO_LARGE),
        ({"NumberOfFrames": 1999}, Reason.CORRUPT),
        ({"BitsAllocated": 7}, Reason.CORRUPT),
    ],
)
def test_what_is_not_for_the_model_has_a_reason(changes: dict[str, object], reason: Reason) -> None:
    assert outcome(encode(dataset(values(), **changes))) is reason


@pytest.mark.parametrize("name", ["PatientAge", "ImageOrientationPatient", "PixelSpacing", "ImageType", "PatientID"])
def test_missing_tags_do_not_matter(name: str) -> None:
    found = dataset(values())
    delattr(found, name)
    assert not isinstance(outcome(encode(found)), Reason)


@pytest.mark.parametrize("age", ["000Y", "0", "", "unknown", "Y"])
def test_an_unknown_age_is_no_young_age(age: str) -> None:
    found = dataset(values(), PatientAge=age)
    assert not isinstance(outcome(encode(found)), Reason)
    assert read_header(encode(found)).age is None


def test_the_header_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    parse = dicom._parse
    monkeypatch.setattr(dicom, "_parse", lambda *given: parsed.append(1) or parse(*given))
    for syntax in (ExplicitVRLittleEndian, RLELossless):
        (item,) = expand(FileBytes(Identity("a.dcm", "00", None), encode(dataset(values()), syntax)), LIMITS)
        with SafeDecoder() as decoder:
            assert isinstance(decode_slice(item, LIMITS, decoder), Slice)
            # What lies uncompressed in the file takes no foreign decoder, and so no process of its own.
            assert (decoder._process is None) is (syntax == ExplicitVRLittleEndian)
    assert len(parsed) == 2


@given(
    arrays(np.dtype(np.uint16), st.tuples(st.integers(1, 9), st.integers(1, 9)))
    | arrays(np.dtype(np.int16), st.tuples(st.integers(1, 9), st.integers(1, 9)))
)
def test_counted_percentiles_are_those_of_numpy(stored: np.ndarray) -> None:
    assert percentiles(stored) == pytest.approx(np.percentile(stored.astype(float), (0.5, 99.5)), abs=1e-6)


def test_frames_are_slices_with_their_own_position_and_rescaling() -> None:
    found = dataset(np.stack([values(), values()[::-1]]))
    groups = []
    for place in (10, 15):
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, place]
        group.PlanePositionSequence = [position]
        groups.append(group)
    found.PerFrameFunctionalGroupsSequence = groups
    data = encode(found)
    frames = expand(FileBytes(Identity("a/b.dcm", "00", "a", study_id="a"), data), LIMITS)
    message = [(item.identity.frame, item.identity.position, item.identity.study_id) for item in frames]
    assert message == [(1, 10.0, "1.2.3"), (2, 15.0, "1.2.3")]
    assert np.array_equal(decode_dicom(data, LIMITS, 1), decode_dicom(data, LIMITS, 2)[::-1])
    with pytest.raises(RefusedError):
        decode_dicom(data, LIMITS, 3)


def test_the_worker_decodes_the_frame_that_is_asked_for() -> None:
    data = encode(dataset(np.stack([values(), values()[::-1]])), RLELossless)
    with SafeDecoder() as decoder:
        for frame in (1, 2):
            pixels, _ = decoder(data, LIMITS, frame)
            assert np.array_equal(pixels, decode_dicom(data, LIMITS, frame))


def test_files_without_preamble_are_known() -> None:
    data = encode(dataset(values()))
    assert sniff.kind(data) == sniff.kind(data[132:]) == sniff.DICOM
    assert not isinstance(outcome(data[132:]), Reason)
    assert sniff.kind(b"\x08\x00 text that is no data set" * 10) is None


def test_a_deflate_bomb_and_deep_nesting_end_in_a_reason() -> None:
    head = encode(dataset(values()))
    start = 144 + struct.unpack_from("<I", head, 140)[0]
    meta = head[:start].replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.1.99")
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(300)) + squeeze.flush()
    syntax = meta.index(b"1.2.840.10008.1.2.1.99")
    meta = bytearray(meta[:syntax] + meta[syntax:])
    struct.pack_into("<H", meta, syntax - 2, 22)
    struct.pack_into("<I", meta, 140, len(meta) - 144)
    assert outcome(bytes(meta) + bomb) is Reason.TOO_LARGE
    nest = b"\x18\x00\x01\x10SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 3000
    assert isinstance(outcome(head[:start] + nest), Reason)


def real_files() -> list[Path]:
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    found = sorted(path for path in folder.glob("*") if path.suffix in {".dcm", ".gz"})
    data = os.environ.get("SCREENER_DATA")
    if data:
        found += sorted(path for path in (Path(data) / "dicom").rglob("*.dcm"))
    return found


def test_real_awkward_files_end_in_pixels_or_a_reason() -> None:
    seen = 0
    for path in real_files():
        began = time.monotonic()
        outcome(path.read_bytes())
        assert time.monotonic() - began < 10, path.name
        seen += 1
    assert seen >= 25


def test_mutated_bytes_end_in_pixels_or_a_reason() -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    seeds = [encode(dataset(values())), encode(dataset(np.stack([values(), values()])))]
    for _ in range(400):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 3, 20))):
            data[chance.randrange(128, min(len(data), 1400))] = chance.randrange(256)
        outcome(bytes(data[: chance.choice((len(data), chance.randrange(len(data))))]))


def test_without_the_extra_the_install_line_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screener.inbox.dicom.pydicom_module", lambda: None)
    (refused,) = expand(FileBytes(Identity("a.dcm", "00", None), encode(dataset(values()))), LIMITS)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.UNSUPPORTED_TYPE
    assert "python -m pip install 'screener[dicom]'" in refused.detail


def test_pydicom_is_not_imported_without_a_dicom_file() -> None:
    code = (
        "import sys, cv2, numpy as np; import screener.pipeline.scan, screener.inbox.dicom\n"
        "from screener.inbox import decode\n"
        "decode(cv2.imencode('.png', np.eye(64, dtype=np.uint8))[1].tobytes())\n"
        "assert not any(name.startswith('pydicom') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_scan_takes_identity_from_headers(tmp_path: Path, tiny_model: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for number in range(3):
        one = dataset(values(), ImagePositionPatient=[0, 0, number * 5])
        (inbox / f"{number}.dcm").write_bytes(encode(one))
    both = np.stack([values(), values()])
    folder = inbox / "multi"
    folder.mkdir()
    (folder / "both.dcm").write_bytes(encode(dataset(both, StudyInstanceUID="9.9", PatientID="P8")))
    command = [sys.executable, "-m", "screener", "scan", str(inbox), "--model", str(tiny_model), "--json"]
    command += ["--level", "both", "--log", str(tmp_path / "audit.jsonl")]
    for again in (False, True):
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        message(found, done.stderr, seen_before=again)


def message(found: list[dict[str, object]], complaint: str, *, seen_before: bool) -> None:
    slices = [one for one in found if one.get("level") == "slice" and one["patient_id"] == "P7"]
    assert len(slices) == 3, complaint
    assert sorted(one["position"] for one in slices) == [0.0, 5.0, 10.0]
    frames = [one for one in found if one.get("level") == "slice" and one["patient_id"] == "P8"]
    assert [one["frame"] for one in frames] == [1, 2]
    assert {one["seen_before"] for one in slices + frames} == {seen_before}
    assert sorted(one["study_id"] for one in found if one.get("level") == "study") == ["1.2.3", "9.9"]
