"""Read DICOM headers: what they say about the slices of a file, and where its pixels lie.

A header is parsed once, before the pixels are wanted, and travels with the file from then on.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from screener.domain.slice import Reason, Refused
from screener.inbox import sniff
from screener.inbox.dicom_elements import usual_header
from screener.inbox.dicom_fields import Fields, FrameFields, frames_of, tag_of, tags_of
from screener.inbox.dicom_rules import (
    DETAIL,
    echo_of,
    normal_of,
    plane_of,
    refusal_of,
    sequence_of,
    years_of,
)
from screener.inbox.limits import Limits, RefusedError
from screener.quality import refuse_series

if TYPE_CHECKING:
    from screener.domain.slice import Identity
    from screener.inbox.picture import FileBytes

INSTALL = "python -m pip install 'screener[dicom]'"
MAX_FRAMES = 2000
DEFLATED = "1.2.840.10008.1.2.1.99"
_PIECE = 1 << 20
_UNKNOWN_LENGTH = 0xFFFFFFFF
_TAGS = (
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate"),
    *("Modality", "SeriesDescription", "ImageType", "AccessionNumber", "PatientID", "PatientAge", "BodyPartExamined"),
    *("ProtocolName", "ScanningSequence", "RepetitionTime", "EchoTime", "InversionTime", "ContrastBolusAgent"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames"),
    *("InstanceNumber", "TemporalPositionIdentifier", "DiffusionBValue", "SiemensBValue", "SamplesPerPixel"),
    *("BitsAllocated", "BitsStored", "BurnedInAnnotation", "PhotometricInterpretation", "PlanarConfiguration"),
    *("PixelRepresentation", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("Manufacturer", "ManufacturerModelName"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
_SQUARE, _ABSURD_ASPECT = 1.01, 4.0


class PixelLayout(msgspec.Struct, frozen=True):
    """How the pixels are stored.

    Attributes
    ----------
    syntax : str
        UID of the transfer syntax; empty where the file does not say.
    offset, length : int
        Of the value of PixelData in the file; an offset of 0 where the file has none, or is deflated. The length is
        2 ** 32 - 1 for compressed frames.
    little : bool
        Whether the data set is little-endian.
    samples, allocated, stored : int
        Samples a pixel, bits a sample, and how many of these are used.
    signed : bool
    photometric : str
    """

    syntax: str
    offset: int
    length: int
    little: bool
    samples: int
    allocated: int
    stored: int
    signed: bool
    photometric: str


class DicomFrame(msgspec.Struct, frozen=True):
    """What the header says about one frame.

    Attributes
    ----------
    number : int
        From 1.
    position : float or None
        mm along the normal of the slices, growing to the left, back or head.
    plane : {"axial", "sagittal", "coronal", "oblique"} or None
    sequence : {"T1", "T1ce", "T2", "FLAIR", "other"}
    echo : float or None
        Echo time, ms.
    b_value : float or None
        s/mm².
    time : int or None
        Number of the temporal position.
    slope, intercept : float
        Of the rescaling.
    window : tuple of two floats or None
        The rescaled values that the header wants to become 0 and 1.
    volume : str or None
        Part of the series, where the series holds several volumes.
    """

    number: int
    position: float | None
    plane: str | None
    sequence: str
    echo: float | None
    b_value: float | None
    time: int | None
    slope: float
    intercept: float
    window: tuple[float, float] | None
    volume: str | None = None


class DicomHeader(msgspec.Struct, frozen=True):
    """What the header says, without name and date of birth; None where it says nothing.

    Attributes
    ----------
    study_uid, series_uid, sop_uid, patient_id, accession_number, study_date, modality : str or None
    instance : int or None
        InstanceNumber.
    rows, columns : int
    spacing : tuple of two floats or None
        mm between rows, between columns.
    age : float or None
        Years.
    refusal : Reason or None
        Why the header alone speaks against screening it.
    frames : tuple of DicomFrame
        At least one.
    count : int
        Frames in the file.
    pixels : PixelLayout
    warning : Reason or None
        What a reader of the study should know; set by the grouping of files.
    manufacturer, manufacturer_model : str or None
        Of the scanner.
    """

    study_uid: str | None
    series_uid: str | None
    sop_uid: str | None
    patient_id: str | None
    accession_number: str | None
    study_date: str | None
    modality: str | None
    instance: int | None
    rows: int
    columns: int
    spacing: tuple[float, float] | None
    age: float | None
    refusal: Reason | None
    frames: tuple[DicomFrame, ...]
    count: int
    pixels: PixelLayout
    warning: Reason | None = None
    manufacturer: str | None = None
    manufacturer_model: str | None = None

    @property
    def position(self) -> float | None:
        """Of the first frame, in mm."""
        return self.frames[0].position

    @property
    def plane(self) -> str | None:
        """Of the first frame."""
        return self.frames[0].plane

    @property
    def sequence(self) -> str:
        """Of the first frame."""
        return self.frames[0].sequence

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width once pixels are square: the coarser direction is resampled to the finer one."""
        return square_shape(self.rows, self.columns, self.spacing)

    def frame(self, number: int) -> DicomFrame:
        """Return a frame by its number.

        Raises
        ------
        RefusedError
            The file has no such frame.
        """
        for frame in self.frames[number - 1 : number] or self.frames:
            if frame.number == number:
                return frame
        raise RefusedError(Reason.CORRUPT, f"the file has no frame {number}")

    def only(self, number: int) -> DicomHeader:
        """Return the header with one of its frames, to be sent to the process that decodes it."""
        return msgspec.structs.replace(self, frames=(self.frame(number),)) if len(self.frames) > 1 else self


def square_shape(rows: int, columns: int, spacing: tuple[float, float] | None) -> tuple[int, int]:
    """Return height and width once pixels are square, unless the spacings differ by more than a factor of four.

    Parameters
    ----------
    rows, columns : int
    spacing : tuple of two floats or None
        mm between rows, between columns.
    """
    if spacing is None:
        return rows, columns
    down, across = spacing
    ratio = down / across
    if max(ratio, 1 / ratio) < _SQUARE or max(ratio, 1 / ratio) > _ABSURD_ASPECT:
        return rows, columns
    if ratio > 1:
        return round(rows * ratio), columns
    return rows, round(columns / ratio)


def read_header(data: bytes, limits: Limits | None = None) -> DicomHeader:
    """Read what identifies and describes the slices of a file; the pixels are not touched.

    Parameters
    ----------
    data : bytes
        The file, or its beginning: see `header_ends`.
    limits : Limits, optional

    Raises
    ------
    RefusedError
        The header cannot be followed, or pydicom is not installed.
    """
    parsed = _parse(data, limits or Limits())
    try:
        return _describe(parsed.top, _layout(parsed, data))
    except RefusedError:
        raise
    except Exception as error:  # noqa: BLE001 - values are parsed when they are first asked for
        raise RefusedError(Reason.CORRUPT, f"DICOM of nonsensical values ({type(error).__name__})") from None


def header_ends(header: DicomHeader, read: int) -> bool:
    """Say whether the first `read` bytes of a file hold its whole header, up to where the pixels begin."""
    return 0 < header.pixels.offset <= read


def picture_header(data: bytes, limits: Limits, header: DicomHeader | None = None) -> sniff.Header:
    """Return size and depth of one decoded frame, checked against what the header allows to be screened."""
    header = read_admitted(data, limits) if header is None else header
    oddity = "" if direct(header.pixels) else "DICOM that needs a decoder"
    return sniff.Header(sniff.DICOM, header.shape[1], header.shape[0], 1, 16, oddity=oddity)


def direct(pixels: PixelLayout) -> bool:
    """Say whether the values lie uncompressed in the file, so that no decoder of foreign code is needed."""
    plain = pixels.offset and pixels.length != _UNKNOWN_LENGTH and pixels.little
    return bool(plain) and pixels.samples == 1 and pixels.allocated in {8, 16, 32}


def read_admitted(data: bytes, limits: Limits) -> DicomHeader:
    """Read a header and refuse what it speaks against, the planes that no model was shown to work on among it.

    Raises
    ------
    RefusedError
    """
    header = read_header(data, limits)
    admit(header, len(data))
    reason = refuse_series(header.plane, header.sequence)
    if reason is not None:
        raise RefusedError(reason, DETAIL[reason])
    return header


def admit(header: DicomHeader, size: int) -> None:
    """Refuse what the header speaks against.

    Raises
    ------
    RefusedError
    """
    if header.refusal is not None:
        raise RefusedError(header.refusal, DETAIL[header.refusal])
    if not (header.rows and header.columns):
        raise RefusedError(Reason.CORRUPT, "DICOM without rows and columns")
    # A frame takes a few bytes even when compressed: a header that promises thousands is lying.
    if header.count > max(1, size // 16):
        raise RefusedError(Reason.CORRUPT, f"{header.count} frames in {size} bytes")


def expand(
    fetched: FileBytes, limits: Limits, *, own_study: bool = True, own_patient: bool = True
) -> list[FileBytes | Refused]:
    """Return one item a frame, with the identity that the header gives; a refusal stands for the whole file.

    Parameters
    ----------
    fetched : FileBytes
        With its header, where that was read before.
    limits : Limits
    own_study : bool
        The header names the study; otherwise the folder keeps doing so.
    own_patient : bool
        The header names the patient.
    """
    try:
        header = fetched.header or read_header(fetched.data, limits)
    except RefusedError as error:
        return [Refused(fetched.identity, error.reason, error.detail)]
    identity = replace(
        fetched.identity,
        patient_id=(header.patient_id if own_patient else None) or fetched.identity.patient_id,
        study_id=(header.study_uid if own_study else None) or fetched.identity.study_id,
        accession_number=header.accession_number,
        study_date=header.study_date,
    )
    try:
        admit(header, len(fetched.data))
    except RefusedError as error:
        return [Refused(_identity(identity, header, header.frames[0]), error.reason, error.detail)]
    several = len(header.frames) > 1
    return [
        replace(
            fetched,
            header=header,
            identity=replace(_identity(identity, header, frame), frame=frame.number if several else None),
        )
        for frame in header.frames
    ]


def _identity(whole: Identity, header: DicomHeader, frame: DicomFrame) -> Identity:
    """Return the identity of a frame."""
    series = header.series_uid or whole.series_id
    if frame.volume is not None:
        series = f"{series or ''}/{frame.volume}"
    return replace(whole, series_id=series, position=frame.position, sequence=frame.sequence, plane=frame.plane)


@cache
def pydicom_module() -> Any:  # noqa: ANN401 - the module, or None; it ships no types
    """Return pydicom, silenced: what it thinks of a file is told by a reason."""
    try:
        import pydicom
        from pydicom import config
    except ImportError:
        return None
    import logging
    import warnings

    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
    config.settings.reading_validation_mode = config.IGNORE
    return pydicom


@cache
def wanted_tags() -> list[Any]:
    """Return the tags that a header is asked for."""
    return tags_of(_TAGS)


@cache
def _wanted_types() -> dict[int, str]:
    """Return the types of the values that a header is asked for, by tag."""
    return {int(tag): kind for tag, kind in map(tag_of, _TAGS)}


class _Parsed(NamedTuple):
    """A header without its pixels, and the place in the file where reading ended."""

    top: Fields
    syntax: str
    implicit: bool
    little: bool
    end: int


def _parse(data: bytes, limits: Limits) -> _Parsed:
    if pydicom_module() is None:
        raise RefusedError(Reason.UNSUPPORTED_TYPE, f"DICOM file; to read it, run: {INSTALL}")
    usual = usual_header(data, _wanted_types())
    if usual is not None:
        return _Parsed(Fields(usual.elements), usual.syntax, usual.implicit, little=True, end=usual.end)
    return _parse_with_pydicom(data, limits)


def _parse_with_pydicom(data: bytes, limits: Limits) -> _Parsed:
    _refuse_bomb(data, limits)
    memory = BytesIO(data)
    try:
        dataset = pydicom_module().dcmread(memory, force=True, stop_before_pixels=True, specific_tags=wanted_tags())
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a parser meets hostile bytes: whatever it stumbles over is their fault
        raise RefusedError(Reason.CORRUPT, f"DICOM that cannot be followed ({type(error).__name__})") from None
    implicit, little = dataset.original_encoding
    meta = getattr(dataset, "file_meta", None) or {}
    syntax = str(meta.get("TransferSyntaxUID") or "")
    return _Parsed(Fields.of(dataset), syntax, bool(implicit), bool(little), memory.tell())


def _refuse_bomb(data: bytes, limits: Limits) -> None:
    """Refuse a deflated file that would inflate to more than a file may have."""
    if DEFLATED.encode() not in data[:4096]:
        return
    unpack, rest, size = zlib.decompressobj(-zlib.MAX_WBITS), data[144 + int.from_bytes(data[140:144], "little") :], 0
    try:
        # Piece by piece: what is only counted need not be held.
        while rest and size <= limits.file_bytes:
            size += len(unpack.decompress(rest, _PIECE))
            rest = unpack.unconsumed_tail
    except zlib.error:
        raise RefusedError(Reason.CORRUPT, "DICOM that cannot be inflated") from None
    if size > limits.file_bytes:
        raise RefusedError(Reason.TOO_LARGE, f"inflates to more than {limits.file_bytes >> 20} MiB")


def _layout(parsed: _Parsed, data: bytes) -> PixelLayout:
    """Describe how the pixels are stored, whose element stands where reading ended."""
    top, syntax, implicit, little, end = parsed
    order: Literal["little", "big"] = "little" if little else "big"
    words = [int.from_bytes(data[at : at + 2], order) for at in (end, end + 2)]
    offset = length = 0
    if words == [0x7FE0, 0x0010] and syntax != DEFLATED:
        short = implicit or data[end + 4 : end + 6] not in {b"OB", b"OW", b"OD", b"OF", b"OL", b"UN"}
        offset = end + (8 if short else 12)
        size = data[end + 4 : offset] if implicit else data[end + 6 : offset] if short else data[end + 8 : offset]
        length = int.from_bytes(size, order)
    return PixelLayout(
        syntax=syntax,
        offset=offset,
        length=length,
        little=little,
        samples=top.integer("SamplesPerPixel") or 1,
        allocated=top.integer("BitsAllocated") or 0,
        stored=top.integer("BitsStored") or 0,
        signed=top.integer("PixelRepresentation") == 1,
        photometric=top.text("PhotometricInterpretation") or "",
    )


def _describe(top: Fields, pixels: PixelLayout) -> DicomHeader:
    count = top.integer("NumberOfFrames") or 1
    if count > MAX_FRAMES:
        raise RefusedError(Reason.TOO_LARGE, f"{count} frames; at most {MAX_FRAMES} are read")
    count = max(1, count)
    fields = frames_of(top, count)
    spacing = fields[0].numbers("PixelSpacing", "PixelMeasuresSequence", 2)
    years = years_of(top.text("PatientAge"))
    return DicomHeader(
        study_uid=top.text("StudyInstanceUID"),
        series_uid=top.text("SeriesInstanceUID"),
        sop_uid=top.text("SOPInstanceUID"),
        patient_id=top.text("PatientID"),
        accession_number=top.text("AccessionNumber"),
        study_date=top.text("StudyDate"),
        modality=top.text("Modality"),
        instance=top.integer("InstanceNumber"),
        rows=top.integer("Rows") or 0,
        columns=top.integer("Columns") or 0,
        spacing=None if spacing is None or min(spacing) <= 0 else (spacing[0], spacing[1]),
        age=years,
        refusal=refusal_of(top, years),
        frames=tuple(_frame(number, frame) for number, frame in enumerate(fields, 1)),
        count=count,
        pixels=pixels,
        manufacturer=top.text("Manufacturer"),
        manufacturer_model=top.text("ManufacturerModelName"),
    )


def _frame(number: int, frame: FrameFields) -> DicomFrame:
    orientation = frame.numbers("ImageOrientationPatient", "PlaneOrientationSequence", 6)
    normal = None if orientation is None else normal_of(orientation)
    place = frame.numbers("ImagePositionPatient", "PlanePositionSequence", 3)
    position = None
    if place is not None and normal is not None:
        position = sum(one * other for one, other in zip(place, normal, strict=True))
    b_value = frame.number("DiffusionBValue", "MRDiffusionSequence")
    time = frame.number("TemporalPositionIndex", "FrameContentSequence")
    transform = "PixelValueTransformationSequence"
    return DicomFrame(
        number=number,
        position=position,
        plane=None if normal is None else plane_of(normal),
        sequence=sequence_of(frame.top, frame),
        echo=echo_of(frame),
        b_value=b_value if b_value is not None else frame.top.number("SiemensBValue"),
        time=frame.top.integer("TemporalPositionIdentifier") if time is None else int(time),
        slope=frame.number("RescaleSlope", transform) or 1.0,
        intercept=frame.number("RescaleIntercept", transform) or 0.0,
        window=_window(frame),
    )


def _window(frame: FrameFields) -> tuple[float, float] | None:
    """Return the first window of the header."""
    group = "FrameVOILUTSequence"
    centre, width = frame.number("WindowCenter", group), frame.number("WindowWidth", group)
    if centre is None or width is None or width < 1:
        return None
    if (frame.text("VOILUTFunction", group) or "LINEAR").upper() == "LINEAR":
        # PS3.3 C.11.2.1.2.1: the window runs from c - 0.5 - (w - 1) / 2 to c - 0.5 + (w - 1) / 2.
        centre, width = centre - 0.5, width - 1
    return centre - width / 2, centre + width / 2
