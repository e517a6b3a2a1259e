"""Read DICOM: what the header says about a slice, and its pixels as a viewer would show them."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

from screener.domain.slice import Reason, Refused
from screener.inbox import sniff
from screener.inbox.limits import Limits, RefusedError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from screener.inbox.picture import FileBytes

INSTALL = "python -m pip install 'screener[dicom]'"
ADULT = 18
"""Years; the models are meant for adults."""
_MAX_FRAMES = 2000
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_HEADER_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyDate",
    "Modality",
    "SeriesDescription",
    "ImageType",
    "AccessionNumber",
    "PatientID",
    "PatientAge",
    "BodyPartExamined",
    "ProtocolName",
    "ScanningSequence",
    "RepetitionTime",
    "EchoTime",
    "InversionTime",
    "ContrastBolusAgent",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "BurnedInAnnotation",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
_PIXEL_TAGS = [
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
]
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_MR_CLASSES = frozenset({f"1.2.840.10008.5.1.4.1.1.4{ending}" for ending in ("", ".1", ".4")})
_MAPS = frozenset(
    [
        "ADC",
        "FA",
        "CBV",
        "CBF",
        "RCBV",
        "RCBF",
        "MTT",
        "TTP",
        "TMAX",
        "TRACEW",
        "EXP",
        "EADC",
        "PHASE",
        "P",
        "I",
        "R",
        "IMAGINARY",
        "REAL",
        "B0",
        "TENSOR",
        "FIELDMAP",
        "PERFUSION",
        "PHASE_MAP",
        "VELOCITY",
        "T1_MAP",
        "T2_MAP",
    ]
)
"""Values of ImageType that name a computed map, or a part of the complex signal other than its magnitude."""
_HEAD = re.compile(r"HEAD|BRAIN|SKULL|CRANI|CEREB|NEURO|ENCEPH|KOPF|TETE")
_LOCALIZER = re.compile(r"locali[sz]er|\bloc\b|scout|survey|3[- ]?plane", re.IGNORECASE)
_OTHER = re.compile(
    r"dwi|diff|dti|\badc\b|swi|swan|perf|\basl\b|tof|angio|field|fmri|bold|\bepi\b|t2\*|t2star|\bpd\b", re.IGNORECASE
)
_CONTRAST = re.compile(r"\+\s*c\b|\bgd\b|gado|post|t1[-_ ]?(ce|c|gd|km)\b|\bce\b|contrast", re.IGNORECASE)
_NO_CONTRAST = frozenset({"", "NO", "NONE", "N"})
_AGE = re.compile(r"\s*(\d+)\s*([DWMY]?)\s*$")
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0, "": 1.0}
_STEEP = 0.8
"""Least cosine between the normal and an axis of the body at which a plane carries that axis's name (37 degrees)."""
_SQUARE, _ABSURD_ASPECT = 1.01, 4.0


@dataclass(frozen=True, slots=True)
class DicomHeader:
    """What the header says, without name and date of birth; None where it says nothing.

    Attributes
    ----------
    study_uid, series_uid, sop_uid, patient_id, accession_number, study_date, modality : str or None
    sequence : {"T1", "T1ce", "T2", "FLAIR", "other"}
    plane : {"axial", "sagittal", "coronal", "oblique"} or None
    positions : tuple of (float or None)
        One a frame, mm along the normal of the slices, growing to the left, back or head.
    rows, columns, frames : int
    spacing : tuple of two floats or None
        mm between rows, between columns.
    age : float or None
        Years.
    refusal : Reason or None
        Why the header alone speaks against screening it.
    """

    study_uid: str | None
    series_uid: str | None
    sop_uid: str | None
    patient_id: str | None
    accession_number: str | None
    study_date: str | None
    modality: str | None
    sequence: str
    plane: str | None
    positions: tuple[float | None, ...]
    rows: int
    columns: int
    frames: int
    spacing: tuple[float, float] | None
    age: float | None
    refusal: Reason | None

    @property
    def position(self) -> float | None:
        """Of the first frame, in mm."""
        return self.positions[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width once pixels are square: the coarser direction is resampled to the finer one."""
        if self.spacing is None:
            return self.rows, self.columns
        down, across = self.spacing
        ratio = down / across
        if max(ratio, 1 / ratio) < _SQUARE or max(ratio, 1 / ratio) > _ABSURD_ASPECT:
            return self.rows, self.columns
        if ratio > 1:
            return round(self.rows * ratio), self.columns
        return self.rows, round(self.columns / ratio)


def read_header(source: bytes | Path, limits: Limits | None = None) -> DicomHeader:
    """Read what identifies and describes the slices of a file; the pixels are not touched.

    Raises
    ------
    RefusedError
        The header cannot be followed, or pydicom is not installed.
    OSError
        The path cannot be read.
    """
    return _header_of(_parse(source, _HEADER_TAGS, limits or Limits(), pixels=False))


def picture_header(data: bytes, limits: Limits) -> sniff.Header:
    """Return size and depth of one decoded frame, checked against what the header allows to be screened."""
    found = read_header(data, limits)
    _admit(found, len(data))
    return sniff.Header(sniff.DICOM, found.shape[1], found.shape[0], 1, 16, oddity="DICOM")


def expand(
    fetched: FileBytes, limits: Limits, *, own_study: bool = True, own_patient: bool = True
) -> list[FileBytes | Refused]:
    """Return one item a frame, with the identity that the header gives; a refusal stands for the whole file.

    Parameters
    ----------
    fetched : FileBytes
    limits : Limits
    own_study : bool
        The header names the study; otherwise the folder keeps doing so.
    own_patient : bool
        The header names the patient.
    """
    try:
        found = read_header(fetched.data, limits)
    except RefusedError as error:
        return [Refused(fetched.identity, error.reason, error.detail)]
    identity = replace(
        fetched.identity,
        patient_id=(found.patient_id if own_patient else None) or fetched.identity.patient_id,
        study_id=(found.study_uid if own_study else None) or fetched.identity.study_id,
        series_id=found.series_uid or fetched.identity.series_id,
        sequence=found.sequence,
        plane=found.plane,
        position=found.position,
    )
    try:
        _admit(found, len(fetched.data))
    except RefusedError as error:
        return [Refused(identity, error.reason, error.detail)]
    if found.frames == 1:
        return [replace(fetched, identity=identity)]
    return [
        replace(fetched, identity=replace(identity, frame=number, position=position))
        for number, position in enumerate(found.positions, 1)
    ]


def decode_dicom(data: bytes, limits: Limits, frame: int | None = None) -> NDArray[np.float32]:
    """Decode one frame as a viewer shows it.

    Stored values are rescaled, then windowed: the first window of the header if it is sane (it overlaps the values and
    is neither below a tenth nor above four times the spread between percentiles 0.5 and 99.5), else these percentiles.
    MONOCHROME1 is inverted after the window, and pixels that are not square are resampled.

    Parameters
    ----------
    data : bytes
        The whole file.
    limits : Limits
    frame : int, optional
        From 1; the first one when not given.

    Returns
    -------
    ndarray of shape (H, W), float32, in [0, 1]

    Raises
    ------
    RefusedError
    """
    dataset = _parse(data, [*_HEADER_TAGS, *_PIXEL_TAGS], limits, pixels=True)
    found = _header_of(dataset)
    _admit(found, len(data))
    sniff.enforce(sniff.Header(sniff.DICOM, found.shape[1], found.shape[0], 1, 16), limits)
    index = (frame or 1) - 1
    if not 0 <= index < found.frames:
        raise RefusedError(Reason.CORRUPT, f"the file has no frame {frame}")
    stored = _stored(dataset, index, found)
    try:
        return _shown(dataset, index, stored, found.shape)
    except (ValueError, TypeError, OverflowError):
        raise RefusedError(Reason.CORRUPT, "DICOM of nonsensical rescaling or window") from None


@cache
def _pydicom() -> Any:  # noqa: ANN401 - the module, or None; it ships no types
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


def _parse(source: bytes | Path, tags: list[str], limits: Limits, *, pixels: bool) -> Any:  # noqa: ANN401 - untyped
    pydicom = _pydicom()
    if pydicom is None:
        raise RefusedError(Reason.UNSUPPORTED_TYPE, f"DICOM file; to read it, run: {INSTALL}")
    if isinstance(source, bytes):
        _refuse_bomb(source, limits)
    try:
        return pydicom.dcmread(
            BytesIO(source) if isinstance(source, bytes) else source,
            force=True,
            stop_before_pixels=not pixels,
            specific_tags=tags,
        )
    except (MemoryError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # noqa: BLE001 - a parser meets hostile bytes: whatever it stumbles over is their fault
        raise RefusedError(Reason.CORRUPT, f"DICOM that cannot be followed ({type(error).__name__})") from None


def _refuse_bomb(data: bytes, limits: Limits) -> None:
    """Refuse a deflated file that would inflate beyond the limits."""
    if _DEFLATED not in data[:4096]:
        return
    start = 144 + int.from_bytes(data[140:144], "little")
    try:
        size = len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:], limits.decoded_bytes + 1))
    except zlib.error:
        raise RefusedError(Reason.CORRUPT, "DICOM that cannot be inflated") from None
    if size > limits.decoded_bytes:
        raise RefusedError(Reason.TOO_LARGE, f"inflates to more than {limits.decoded_bytes >> 20} MiB")


def _header_of(dataset: Any) -> DicomHeader:  # noqa: ANN401 - untyped
    try:
        return _describe(dataset)
    except RefusedError:
        raise
    except Exception as error:  # noqa: BLE001 - values are parsed when they are first asked for
        raise RefusedError(Reason.CORRUPT, f"DICOM of nonsensical values ({type(error).__name__})") from None


def _describe(dataset: Any) -> DicomHeader:  # noqa: ANN401 - untyped
    rows, columns = (int(_get(dataset, 0, name) or 0) for name in ("Rows", "Columns"))
    frames = int(_get(dataset, 0, "NumberOfFrames") or 1)
    if frames > _MAX_FRAMES:
        raise RefusedError(Reason.TOO_LARGE, f"{frames} frames; at most {_MAX_FRAMES} are read")
    frames = max(1, frames)
    orientation = _numbers(_get(dataset, 0, "ImageOrientationPatient", "PlaneOrientationSequence"), 6)
    normal = None if orientation is None else _normal(orientation)
    spacing = _numbers(_get(dataset, 0, "PixelSpacing", "PixelMeasuresSequence"), 2)
    if spacing is not None and min(spacing) <= 0:
        spacing = None
    age = _AGE.match(_text(dataset, "PatientAge") or "")
    years = None if age is None else int(age[1]) * _YEARS[age[2]]
    plane = None if normal is None else _plane(normal)
    return DicomHeader(
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        sop_uid=_text(dataset, "SOPInstanceUID"),
        patient_id=_text(dataset, "PatientID"),
        accession_number=_text(dataset, "AccessionNumber"),
        study_date=_text(dataset, "StudyDate"),
        modality=_text(dataset, "Modality"),
        sequence=_sequence(dataset),
        plane=plane,
        positions=tuple(_position(dataset, index, normal) for index in range(frames)),
        rows=rows,
        columns=columns,
        frames=frames,
        spacing=None if spacing is None else (spacing[0], spacing[1]),
        age=years,
        refusal=_refusal(dataset, plane, years),
    )


def _get(dataset: Any, index: int, name: str, group: str | None = None) -> Any:  # noqa: ANN401 - untyped
    """Return a value of a frame: from its own functional group, the shared one, or the top level."""
    if group is not None:
        per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or ()
        shared = dataset.get("SharedFunctionalGroupsSequence") or ()
        for groups in (*per_frame[index : index + 1], *shared[:1]):
            for item in (groups.get(group) or ())[:1]:
                if (value := item.get(name)) is not None:
                    return value
    return dataset.get(name)


def _text(dataset: Any, name: str) -> str | None:  # noqa: ANN401 - untyped
    value = dataset.get(name)
    return (str(value).strip()[:128] or None) if value is not None else None


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:  # noqa: ANN401 - untyped
    """Return so many finite numbers, or None."""
    import math

    try:
        found = tuple(float(one) for one in value)
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def _number(value: Any) -> float | None:  # noqa: ANN401 - untyped
    """Return the first of one or several numbers, or None."""
    many = value if value is None or isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
    found = _numbers((many or [None])[:1], 1)
    return None if found is None else found[0]


def _normal(orientation: tuple[float, ...]) -> tuple[float, float, float] | None:
    """Return the unit normal of a plane, turned so that its largest component is positive."""
    a, b, c, d, e, f = orientation
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    length = sum(part * part for part in normal) ** 0.5
    if length < 0.5:  # noqa: PLR2004 - rows and columns of unit length at a right angle give 1
        return None
    if max(normal, key=abs) < 0:
        length = -length
    return normal[0] / length, normal[1] / length, normal[2] / length


def _plane(normal: tuple[float, float, float]) -> str:
    largest = max(normal)
    return ("sagittal", "coronal", "axial")[normal.index(largest)] if largest >= _STEEP else "oblique"


def _position(dataset: Any, index: int, normal: tuple[float, float, float] | None) -> float | None:  # noqa: ANN401
    place = _numbers(_get(dataset, index, "ImagePositionPatient", "PlanePositionSequence"), 3)
    if place is None or normal is None:
        return None
    return sum(one * other for one, other in zip(place, normal, strict=True))


def _words(dataset: Any, name: str) -> set[str]:  # noqa: ANN401 - untyped
    value = dataset.get(name)
    many = [value] if isinstance(value, str) or value is None else value
    return {word.strip().upper() for part in many if part for word in str(part).split("\\")}


def _sequence(dataset: Any) -> str:  # noqa: ANN401 - untyped
    """Tell the weighting from repetition, echo and inversion time (ms); the description is a hint.

    ``docs/reference/dicom.md`` documents the rule.
    """
    hint = f"{_text(dataset, 'SeriesDescription') or ''} {_text(dataset, 'ProtocolName') or ''}"
    if _OTHER.search(hint.replace("_", " ")):
        return "other"
    repetition, echo, inversion = _times(dataset)
    found = _weighting(repetition, echo, inversion, _words(dataset, "ScanningSequence"))
    if found is None:
        words = hint.upper() + " ".join(_words(dataset, "ImageType"))
        found = next((name for name in ("FLAIR", "T1", "T2") if name in words), "other")
    agent = (_text(dataset, "ContrastBolusAgent") or "").upper() not in _NO_CONTRAST
    return "T1ce" if found == "T1" and (agent or _CONTRAST.search(hint.replace("_", " "))) else found


def _times(dataset: Any) -> tuple[float | None, float | None, float | None]:  # noqa: ANN401 - untyped
    """Return repetition, echo and inversion time in ms."""
    timing = "MRTimingAndRelatedParametersSequence"
    echo = _get(dataset, 0, "EffectiveEchoTime", "MREchoSequence")
    inversion = _get(dataset, 0, "InversionTimes", "MRModifierSequence")
    return (
        _number(_get(dataset, 0, "RepetitionTime", timing)),
        _number(echo if echo is not None else dataset.get("EchoTime")),
        _number(inversion if inversion is not None else dataset.get("InversionTime")),
    )


def _weighting(repetition: float | None, echo: float | None, inversion: float | None, kinds: set[str]) -> str | None:
    """Return the weighting that times in ms tell, None where they are missing."""
    if repetition is None or echo is None:
        return None
    inverted = (inversion or 0) > 0
    if echo >= 70:  # noqa: PLR2004 - ms, as documented
        if inverted and (inversion or 0) >= 1400 and repetition >= 4000:  # noqa: PLR2004
            return "FLAIR"
        return "T2" if repetition >= 2000 and not inverted else "other"  # noqa: PLR2004
    if echo < 30:  # noqa: PLR2004
        gradient = "GR" in kinds and echo < 10  # noqa: PLR2004
        if (inverted and (inversion or 0) <= 1400) or repetition <= 1200 or (gradient and repetition <= 3000):  # noqa: PLR2004
            return "T1"
    return "other"


def _refusal(dataset: Any, plane: str | None, years: float | None) -> Reason | None:  # noqa: ANN401 - untyped
    """Return why the header alone speaks against screening, the plainest reason first."""
    kinds, sop_class = _words(dataset, "ImageType"), _text(dataset, "SOPClassUID") or ""
    modality = (_text(dataset, "Modality") or "").upper()
    if _is_report(dataset, kinds, sop_class):
        return Reason.BURNT_IN_REPORT
    if modality != "MR" and (modality or sop_class not in _MR_CLASSES):
        return Reason.NOT_MR
    hint = f"{_text(dataset, 'SeriesDescription') or ''}".replace("_", " ")
    body = (_text(dataset, "BodyPartExamined") or "").upper()
    rules = (
        ("MOSAIC" in kinds, Reason.MOSAIC),
        (bool(kinds & {"LOCALIZER", "SCOUT"}) or bool(_LOCALIZER.search(hint)), Reason.LOCALIZER),
        (bool(kinds & _MAPS), Reason.DERIVED_MAP),
        (bool(body) and not _HEAD.search(body), Reason.OTHER_BODY_PART),
        (years is not None and years < ADULT, Reason.OUTSIDE_INTENDED_USE),
        (plane not in {None, "axial"}, Reason.PLANE_NOT_SUPPORTED),
    )
    return next((reason for holds, reason in rules if holds), None)


def _is_report(dataset: Any, kinds: set[str], sop_class: str) -> bool:  # noqa: ANN401 - untyped
    """Say whether the picture is a screen save or carries burnt-in text.

    A grey secondary capture that knows where in the body it lies is a converted slice, not a report.
    """
    burnt = (_text(dataset, "BurnedInAnnotation") or "").upper() == "YES"
    capture = sop_class.startswith(_SECONDARY_CAPTURE) and dataset.get("ImageOrientationPatient") is None
    colour = int(dataset.get("SamplesPerPixel") or 1) > 1 and (_text(dataset, "Modality") or "").upper() == "MR"
    return burnt or capture or colour or "SCREEN SAVE" in kinds


def _admit(found: DicomHeader, size: int) -> None:
    """Refuse what the header speaks against.

    Raises
    ------
    RefusedError
    """
    if found.refusal is not None:
        raise RefusedError(found.refusal, _DETAIL[found.refusal])
    if not (found.rows and found.columns):
        raise RefusedError(Reason.CORRUPT, "DICOM without rows and columns")
    # A frame takes a few bytes even when compressed: a header that promises thousands is lying.
    if found.frames > max(1, size // 16):
        raise RefusedError(Reason.CORRUPT, f"{found.frames} frames in {size} bytes")


_DETAIL = {
    Reason.BURNT_IN_REPORT: "a screen save, a colour picture or one with burnt-in text",
    Reason.NOT_MR: "the header names another modality than MR",
    Reason.MOSAIC: "many slices tiled into one picture",
    Reason.LOCALIZER: "a localizer",
    Reason.DERIVED_MAP: "a computed map or phase image",
    Reason.OTHER_BODY_PART: "the header names another part of the body",
    Reason.OUTSIDE_INTENDED_USE: f"the patient is under {ADULT}",
    Reason.PLANE_NOT_SUPPORTED: "not an axial slice",
}


def _stored(dataset: Any, index: int, found: DicomHeader) -> NDArray[Any]:  # noqa: ANN401 - untyped
    """Return the stored values of one frame, shape (rows, columns)."""
    import numpy as np

    try:
        from pydicom.pixels import pixel_array

        array = np.asarray(pixel_array(dataset, index=index, raw=True))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders meet hostile bytes
        if "missing dependencies" in str(error):
            raise RefusedError(Reason.UNSUPPORTED_TYPE, f"no decoder for its compression; run: {INSTALL}") from None
        raise RefusedError(Reason.CORRUPT, f"DICOM pixels that cannot be decoded ({type(error).__name__})") from None
    if array.shape != (found.rows, found.columns):
        raise RefusedError(Reason.CORRUPT, "decoded to another size than its header says")
    return array


def _shown(dataset: Any, index: int, stored: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:  # noqa: ANN401
    """Rescale, window, invert and resample."""
    import numpy as np

    transform = "PixelValueTransformationSequence"
    slope = _number(_get(dataset, index, "RescaleSlope", transform)) or 1.0
    intercept = _number(_get(dataset, index, "RescaleIntercept", transform)) or 0.0
    values = stored.astype(np.float64) * slope + intercept
    low, high = _window(dataset, index, values)
    pixels = np.clip((values - low) / (high - low if high > low else 1.0), 0.0, 1.0).astype(np.float32)
    if _text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        pixels = np.float32(1) - pixels
    if pixels.shape != shape:
        import cv2

        pixels = cv2.resize(pixels, shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
    if not np.isfinite(pixels).all():
        raise RefusedError(Reason.CORRUPT, "DICOM of nonsensical rescaling or window")
    return np.ascontiguousarray(pixels)


def _window(dataset: Any, index: int, values: NDArray[np.float64]) -> tuple[float, float]:  # noqa: ANN401 - untyped
    """Return the values that become 0 and 1."""
    import numpy as np

    low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
    group = "FrameVOILUTSequence"
    centre = _number(_get(dataset, index, "WindowCenter", group))
    width = _number(_get(dataset, index, "WindowWidth", group))
    if centre is None or width is None or width < 1:
        return low, high
    if str(_get(dataset, index, "VOILUTFunction", group) or "LINEAR").upper() == "LINEAR":
        # PS3.3 C.11.2.1.2.1: the window runs from c - 0.5 - (w - 1) / 2 to c - 0.5 + (w - 1) / 2.
        centre, width = centre - 0.5, width - 1
    start, end = centre - width / 2, centre + width / 2
    sane = start < high and end > low and 0.1 * (high - low) <= width <= 4 * (high - low)
    return (start, end) if sane and end > start else (low, high)
