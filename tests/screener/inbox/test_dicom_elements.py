"""The own walk over a header and pydicom's say the same of it, or the walk leaves it to pydicom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pydicom = pytest.importorskip("pydicom")
from awkward_dicom import awkward_files  # noqa: E402
from dicom_files import dataset, encode, values  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.uid import (  # noqa: E402
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from screener.inbox import Limits, RefusedError, dicom  # noqa: E402
from screener.inbox.dicom_elements import usual_header  # noqa: E402

LIMITS = Limits()
WANTED = dicom._wanted_types()


def both(data: bytes) -> tuple[str, str]:
    """Return what a header says, by whichever way is chosen and by pydicom alone."""
    found = []
    for parse in (dicom._parse, dicom._parse_with_pydicom):
        try:
            parsed = parse(data, LIMITS)
            found.append(repr(dicom._describe(parsed.top, dicom._layout(parsed, data))))
        except Exception as error:  # noqa: BLE001 - the same failure counts as the same answer
            found.append(f"{type(error).__name__}: {error}")
    return found[0], found[1]


def nested(*, undefined: bool) -> Dataset:
    """Return a head whose sequences lie within sequences, of known or of unknown length."""
    found, inner, outer = dataset(values()), Dataset(), Dataset()
    inner.ReferencedSOPInstanceUID, inner.PatientID = "1.2", "not the patient"
    outer.PurposeOfReferenceCodeSequence, outer.StudyInstanceUID = [inner, Dataset()], "not the study"
    found.ReferencedImageSequence = [outer, Dataset(), outer]
    for sequence in (found["ReferencedImageSequence"], outer["PurposeOfReferenceCodeSequence"]):
        sequence.is_undefined_length = undefined
        for item in sequence.value:
            item.is_undefined_length_sequence_item = undefined
    return found


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [False, True])
def test_what_lies_within_sequences_is_stepped_over(syntax: str, undefined: bool) -> None:
    data = encode(nested(undefined=undefined), syntax)
    usual = usual_header(data, WANTED)
    assert usual is not None
    assert data[usual.end : usual.end + 4] == b"\xe0\x7f\x10\x00"
    assert (usual.syntax, usual.implicit) == (syntax, syntax == ImplicitVRLittleEndian)
    own, pydicoms = both(data)
    assert own == pydicoms
    assert "patient_id='P7'" in own
    assert "study_uid='1.2.3'" in own


@pytest.mark.parametrize(
    "data",
    [
        encode(dataset(values()), ExplicitVRBigEndian),
        encode(dataset(values()), DeflatedExplicitVRLittleEndian),
        encode(dataset(values(), SpecificCharacterSet="ISO_IR 192", SeriesDescription="tête")),
        encode(dataset(values(), SharedFunctionalGroupsSequence=[Dataset()])),
        encode(dataset(values()))[128:],
        encode(dataset(values()))[:600],
        b"",
    ],
    ids=["big-endian", "deflated", "French", "functional groups", "no preamble", "cut", "empty"],
)
def test_the_unusual_is_left_to_pydicom(data: bytes) -> None:
    assert usual_header(data, WANTED) is None
    own, pydicoms = both(data)
    assert own == pydicoms


def test_every_awkward_file_reads_alike() -> None:
    usual = {name: data for name, data in awkward_files().items() if usual_header(data, WANTED) is not None}
    assert len(usual) > 80
    answers = {name: both(data) for name, data in usual.items()}
    assert {name: pair for name, pair in answers.items() if pair[0] != pair[1]} == {}


SEEDS = [
    encode(nested(undefined=True)),
    encode(nested(undefined=True), ImplicitVRLittleEndian),
    encode(nested(undefined=False)),
    encode(dataset(values()), RLELossless),
]


@given(
    seed=st.sampled_from(SEEDS),
    changes=st.lists(
        st.tuples(st.integers(128, 1500), st.sampled_from((0, 1, 4)), st.binary(max_size=4)), min_size=1, max_size=3
    ),
)
def test_damaged_headers_read_alike(seed: bytes, changes: list[tuple[int, int, bytes]]) -> None:
    data = seed
    for at, removed, put in changes:
        data = data[:at] + put + data[at + removed :]
    own, pydicoms = both(data)
    # Damage within a sequence that nobody asks for is stepped over, where pydicom may stumble.
    assert own == pydicoms or pydicoms.startswith("RefusedError: DICOM that cannot be followed")


def test_sequences_nested_without_end_are_left_to_pydicom() -> None:
    begin = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    data = encode(dataset(values()))
    at = data.index(b"\x08\x00\x60\x00CS")
    assert usual_header(data[:at] + 1000 * begin + data[at:], WANTED) is None


def test_a_header_is_refused_where_pydicom_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom, "pydicom_module", lambda: None)
    with pytest.raises(RefusedError, match=r"screener\[dicom\]"):
        dicom.read_header(encode(dataset(values())))
