"""What the DICOM objects of an answer have in common: identity, equipment, dates, identifiers, and their bytes.

Nothing in them depends on when or how often they are made: dates are those of the STUDY event, identifiers follow from
its hash. The same answer is the same bytes.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypedDict

from screener.inbox.dicom_rules import MANUFACTURER, MODEL_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydicom.dataset import Dataset

    from screener.domain.study import StudyFinding
    from screener.messages import Language

CHARACTER_SET = "ISO_IR 192"
"""UTF-8: holds every name that a source may have, and the text of every language."""
SCHEME = "99SCREENER"
"""Coding scheme of the concepts that no standard scheme has."""
_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)$")
_REQUIRED = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY_REQUIRED = ("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName")
_SEXES = frozenset({"", "M", "F", "O"})
_LONG_STRING = 64


class Equipment(TypedDict):
    """The General Equipment module, as highdicom takes it."""

    manufacturer: str
    manufacturer_model_name: str
    software_versions: str
    device_serial_number: str


def equipment(finding: StudyFinding) -> Equipment:
    """Return what made the answer: this tool, and the model by the beginning of its hash."""
    return Equipment(
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=finding.tool_version[:_LONG_STRING],
        device_serial_number=finding.model_sha256[:16],
    )


def uid(*parts: object) -> str:
    """Return a DICOM identifier that follows from what it names: a UUID below 2.25 (PS3.5, B.2)."""
    text = "\0".join(("screener", *map(str, parts)))
    return f"2.25.{uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16], version=5).int}"


def report_uid(event: str, lang: Language) -> str:
    """Return the SOPInstanceUID of the structured report about a STUDY event."""
    return uid(event, lang, "report")


def report_series_uid(event: str, lang: Language) -> str:
    """Return the SeriesInstanceUID of that report."""
    return uid(event, lang, "report series")


def read_source(data: bytes) -> Dataset:
    """Read the header of an image, every text decoded, up to its pixels.

    Raises
    ------
    ValueError
        It cannot be followed, or does not say which study and instance it is.
    """
    import pydicom

    with _quiet():
        try:
            source = pydicom.dcmread(BytesIO(data), force=True, stop_before_pixels=True)
            source.decode()
        except Exception as error:
            raise ValueError(f"a header that cannot be followed ({type(error).__name__})") from error
    named = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    if not all(str(source.get(name) or "") for name in named):
        raise ValueError("a header without identifiers")
    return source


def evidence(source: Dataset) -> Dataset:
    """Return the part of an image's header from which highdicom builds references; odd values are left out."""
    from pydicom.dataset import Dataset as New

    made = New()
    for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(made, name, str(source.get(name)))
    for name in (*_REQUIRED, *_STUDY_REQUIRED):
        setattr(made, name, None)
    if "NumberOfFrames" in source:
        made.NumberOfFrames = source.NumberOfFrames
    return made


def complete(made: Any, source: Dataset, judged: str) -> None:  # noqa: ANN401 - an object of highdicom
    """Give an object the patient and the study of its source, and the moment at which the study was answered.

    Parameters
    ----------
    made : pydicom.dataset.Dataset
    source : pydicom.dataset.Dataset
        From `read_source`.
    judged : str
        Timestamp of the STUDY event, UTC.
    """
    own = set(made.keys())
    with _quiet():
        made.copy_patient_and_study_information(source)
        _drop_invalid(made, set(made.keys()) - own)
    if str(made.get("PatientSex") or "") not in _SEXES:
        made.PatientSex = None
    for name in (*_REQUIRED, *_STUDY_REQUIRED):
        if name not in made:
            setattr(made, name, None)
    # Says with which version of a library, and when, an object was put together.
    made.pop("ContributingEquipmentSequence", None)
    made.SpecificCharacterSet = CHARACTER_SET
    moment = local_moment(judged, source)
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")
    for name in ("InstanceCreation", "Content", "Series"):
        setattr(made, f"{name}Date", date)
        setattr(made, f"{name}Time", time)
    if "TimezoneOffsetFromUTC" in source:
        made.TimezoneOffsetFromUTC = source.TimezoneOffsetFromUTC


def _drop_invalid(made: Dataset, copied: Iterable[Any]) -> None:
    """Leave out what is not as the standard wants it; what says whose study this is was there before."""
    from pydicom.config import RAISE
    from pydicom.valuerep import validate_value

    for element in [made[tag] for tag in copied if made[tag].VR != "SQ"]:
        try:
            for value in element.value if element.VM > 1 else (element.value,):
                validate_value(element.VR, "" if value is None else str(value), RAISE)
        except ValueError:
            del made[element.tag]


def local_moment(judged: str, source: Dataset) -> datetime:
    """Return the moment in the zone of the source's other times: as its header says, else that of this machine."""
    moment = datetime.fromisoformat(judged)
    found = _OFFSET.match(str(source.get("TimezoneOffsetFromUTC") or ""))
    if found is None:
        return moment.astimezone()
    away = timedelta(hours=int(found[2]), minutes=int(found[3]))
    with suppress(ValueError):
        return moment.astimezone(timezone(-away if found[1] == "-" else away))
    return moment.astimezone()


def encode(made: Dataset) -> bytes:
    """Return an object as a file; whoever wrote it stands there as this tool, whichever libraries it uses."""
    import pydicom

    made.file_meta.ImplementationClassUID = uid("implementation")
    made.file_meta.ImplementationVersionName = "SCREENER"
    memory = BytesIO()
    with _quiet():
        pydicom.dcmwrite(memory, made, enforce_file_format=True)
    return memory.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what libraries think of odd values to themselves: their warnings may quote a name."""
    import logging
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("pydicom", "highdicom"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield
