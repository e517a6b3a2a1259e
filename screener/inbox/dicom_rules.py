"""What a DICOM header says about a slice: sequence, plane, place, and why it is not for the model.

``docs/reference/dicom.md`` documents the rules.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from screener.domain.slice import Reason

if TYPE_CHECKING:
    from collections.abc import Collection

    from screener.inbox.dicom_fields import Fields, FrameFields

MANUFACTURER = MODEL_NAME = "screener"
"""By which the objects that this tool makes are known again, whatever route they take."""
ADULT = 18
"""Years; the models are meant for adults."""
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_MR_CLASSES = frozenset({f"1.2.840.10008.5.1.4.1.1.4{ending}" for ending in ("", ".1", ".4")})
_MAPS = frozenset(
    {"ADC", "FA", "CBV", "CBF", "RCBV", "RCBF", "MTT", "TTP", "TMAX", "TRACEW", "EXP", "EADC", "PHASE", "P", "I", "R"}
    | {"IMAGINARY", "REAL", "B0", "TENSOR", "FIELDMAP", "PERFUSION", "PHASE_MAP", "VELOCITY", "T1_MAP", "T2_MAP"}
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

DETAIL = {
    Reason.BURNT_IN_REPORT: "a screen save, a colour picture or one with burnt-in text",
    Reason.NOT_MR: "the header names another modality than MR",
    Reason.MOSAIC: "many slices tiled into one picture",
    Reason.LOCALIZER: "a localizer",
    Reason.DERIVED_MAP: "a computed map or phase image",
    Reason.OTHER_BODY_PART: "the header names another part of the body",
    Reason.OUTSIDE_INTENDED_USE: f"the patient is under {ADULT}",
    Reason.PLANE_NOT_SUPPORTED: "not a plane that the model was shown to work on",
    Reason.SEQUENCE_NOT_SUPPORTED: "not a sequence that the model was shown to work on",
    Reason.OWN_ANSWER: "an answer of this tool",
    Reason.DUPLICATE_INSTANCE: "another file with other bytes has the same SOPInstanceUID",
}
"""What a person is told beside a reason that the header gives."""


def years_of(age: str | None) -> float | None:
    """Return an age in years; None where it is unknown, which ``000Y`` says."""
    found = _AGE.match(age or "")
    if found is None or (int(found[1]) == 0 and found[2] in {"Y", ""}):
        return None
    return int(found[1]) * _YEARS[found[2]]


def normal_of(orientation: tuple[float, ...]) -> tuple[float, float, float] | None:
    """Return the unit normal of a plane, turned so that its largest component is positive.

    Parameters
    ----------
    orientation : tuple of six floats
        Direction cosines of rows and columns; None is returned where they span no plane.
    """
    a, b, c, d, e, f = orientation
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    length = sum(part * part for part in normal) ** 0.5
    if length < 0.5:  # noqa: PLR2004 - rows and columns of unit length at a right angle give 1
        return None
    if max(normal, key=abs) < 0:
        length = -length
    return normal[0] / length, normal[1] / length, normal[2] / length


def plane_of(normal: tuple[float, float, float]) -> str:
    """Name the plane that a normal stands on."""
    largest = max(normal)
    return ("sagittal", "coronal", "axial")[normal.index(largest)] if largest >= _STEEP else "oblique"


def sequence_of(top: Fields, frame: FrameFields) -> str:
    """Tell the weighting from repetition, echo and inversion time (ms); the description is a hint."""
    hint = f"{top.text('SeriesDescription') or ''} {top.text('ProtocolName') or ''}"
    if _OTHER.search(hint.replace("_", " ")):
        return "other"
    inversion = frame.number("InversionTimes", "MRModifierSequence")
    found = _weighting(
        frame.number("RepetitionTime", "MRTimingAndRelatedParametersSequence"),
        echo_of(frame),
        inversion if inversion is not None else top.number("InversionTime"),
        top.words("ScanningSequence"),
    )
    if found is None:
        words = hint.upper() + " ".join(top.words("ImageType"))
        found = next((name for name in ("FLAIR", "T1", "T2") if name in words), "other")
    agent = (top.text("ContrastBolusAgent") or "").upper() not in _NO_CONTRAST
    return "T1ce" if found == "T1" and (agent or _CONTRAST.search(hint.replace("_", " "))) else found


def echo_of(frame: FrameFields) -> float | None:
    """Return the echo time in ms."""
    echo = frame.number("EffectiveEchoTime", "MREchoSequence")
    return echo if echo is not None else frame.top.number("EchoTime")


def _weighting(
    repetition: float | None, echo: float | None, inversion: float | None, kinds: Collection[str]
) -> str | None:
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


def refusal_of(top: Fields, years: float | None) -> Reason | None:
    """Return why the header alone speaks against screening, the plainest reason first; the plane is not looked at."""
    if is_own_answer(top):
        return Reason.OWN_ANSWER
    kinds, sop_class = set(top.words("ImageType")), top.text("SOPClassUID") or ""
    modality = (top.text("Modality") or "").upper()
    if _is_report(top, kinds, sop_class, modality):
        return Reason.BURNT_IN_REPORT
    if modality != "MR" and (modality or sop_class not in _MR_CLASSES):
        return Reason.NOT_MR
    hint = (top.text("SeriesDescription") or "").replace("_", " ")
    body = (top.text("BodyPartExamined") or "").upper()
    rules = (
        ("MOSAIC" in kinds, Reason.MOSAIC),
        (bool(kinds & {"LOCALIZER", "SCOUT"}) or bool(_LOCALIZER.search(hint)), Reason.LOCALIZER),
        (bool(kinds & _MAPS), Reason.DERIVED_MAP),
        (bool(body) and not _HEAD.search(body), Reason.OTHER_BODY_PART),
        (years is not None and years < ADULT, Reason.OUTSIDE_INTENDED_USE),
    )
    return next((reason for holds, reason in rules if holds), None)


def is_own_answer(top: Fields) -> bool:
    """Say whether this tool made the object: its reports and captures come back where a router sends everything."""
    return (top.text("Manufacturer"), top.text("ManufacturerModelName")) == (MANUFACTURER, MODEL_NAME)


def _is_report(top: Fields, kinds: Collection[str], sop_class: str, modality: str) -> bool:
    """Say whether the picture is a screen save, is in colour, or carries burnt-in text.

    A grey secondary capture that knows where in the body it lies is a converted slice, not a report.
    """
    burnt = (top.text("BurnedInAnnotation") or "").upper() == "YES"
    capture = sop_class.startswith(_SECONDARY_CAPTURE) and "ImageOrientationPatient" not in top
    mr = modality == "MR" or (not modality and sop_class in _MR_CLASSES)
    colour = mr and (
        (top.integer("SamplesPerPixel") or 1) > 1 or "PALETTE COLOR" in top.words("PhotometricInterpretation")
    )
    return burnt or capture or colour or "SCREEN SAVE" in kinds
