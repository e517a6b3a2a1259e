"""Answers in DICOM: from a STUDY event and its images to the objects that go into the study, and their files.

Made from the log and the images alone, so that they can be made again at any time, with the same bytes.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from screener.audit.files import Access, replace
from screener.domain.estimate import Share
from screener.domain.finding import Decision, Urgency
from screener.domain.slice import Reason
from screener.errors import UsageError
from screener.messages import NOTICE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from pydicom.dataset import Dataset

    from screener.audit import Event
    from screener.domain.slice import Slice
    from screener.domain.study import KeySlice
    from screener.finding_store import Item
    from screener.inbox.isolation import SafeDecoder
    from screener.messages import Language
    from screener.model.session import Model
    from screener.report.answered_studies import AnsweredStudy
    from screener.report.from_log import SliceReader

INSTALL = "python -m pip install 'screener[pacs]'"
_UID = re.compile(r"[0-9][0-9.]{0,63}")
_ODD = (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError)
"""What libraries raise at values that the standard does not have."""
_SHORT = 16
"""Letters of an event's hash that name its files."""


class Missing(StrEnum):
    """Why there is no answer in DICOM about a study."""

    NO_DICOM = "no_dicom"
    MOVED = "moved"
    OTHER_MODEL = "other_model"
    PSEUDONYMS = "pseudonyms"
    UNFIT = "unfit"


WHY = {
    Missing.NO_DICOM: "its images are no DICOM",
    Missing.MOVED: "its images have moved or changed: say where they are with --images",
    Missing.OTHER_MODEL: "another model judged it: name that one with --model",
    Missing.PSEUDONYMS: "it was screened with --pseudonymise: who the patient is must not be put together again",
    Missing.UNFIT: "its header holds values with which no object can be made",
}
"""What a person is told about each."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """A study about which nothing can be said in DICOM.

    Attributes
    ----------
    event : str
        Hash of its STUDY event.
    why : Missing
    """

    event: str
    why: Missing


@dataclass(frozen=True, slots=True)
class KeyImage:
    """A key slice with the image that it is.

    Attributes
    ----------
    key : KeySlice
    item : Item
        Its own result.
    header : pydicom.dataset.Dataset
    slice_ : Slice
    """

    key: KeySlice
    item: Item
    header: Dataset
    slice_: Slice


@dataclass(frozen=True, slots=True)
class StudyImages:
    """An answered study with the images that its answer refers to.

    Attributes
    ----------
    study : AnsweredStudy
    source : pydicom.dataset.Dataset
        Header of its first image: who the patient is, and which study.
    keys : tuple of KeyImage
        Strongest first.
    """

    study: AnsweredStudy
    source: Dataset
    keys: tuple[KeyImage, ...]

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID of the images."""
        return str(self.source.StudyInstanceUID)


class AnswerLine(msgspec.Struct, frozen=True):
    """One answer as JSON, for routers: what to do with the study, and nothing about who the patient is."""

    study_instance_uid: Annotated[str, Meta(description="The study, as the PACS knows it.")]
    event: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="`hash` of the STUDY event.")]
    judged: Annotated[str, Meta(description="When the study was answered, UTC, ISO 8601.")]
    decision: Annotated[Decision, Meta(description="`flagged`, `not_flagged` or `not_assessable`.")]
    urgency: Annotated[Urgency, Meta(description="How soon a radiologist should look.")]
    priority: Annotated[int, Meta(ge=1, le=4, description="Place of the urgency in reading order; 1: read first.")]
    probability: Annotated[Share | None, Meta(description="Null where not assessable.")]
    threshold: Annotated[Share, Meta(description="Flagged from this probability on.")]
    operating_point: Annotated[str, Meta(description="Name of the threshold.")]
    reason: Annotated[Reason | None, Meta(description="Why it is not assessable.")]
    report: Annotated[str, Meta(description="SOPInstanceUID of the structured report.")]
    captures: Annotated[tuple[str, ...], Meta(description="SOPInstanceUIDs of the captures, strongest slice first.")]
    replaces: Annotated[str | None, Meta(description="SOPInstanceUID of the report before, about the same study.")]
    model: Annotated[str, Meta(description="Name and version of the model.")]
    model_sha256: Annotated[str, Meta(description="Digest of the ONNX file.")]
    tool_version: Annotated[str, Meta(description="Version of screener.")]
    language: Annotated[Literal["en", "fr"], Meta(description="Of the texts in report and captures.")]
    notice: Annotated[str, Meta(description="What the tool is not.")]


@dataclass(frozen=True, slots=True)
class DicomAnswer:
    """One answer, ready to be stored or sent.

    Attributes
    ----------
    line : AnswerLine
    objects : dict of str to bytes
        DICOM files by SOPInstanceUID, the captures first: where the report is, everything is.
    """

    line: AnswerLine
    objects: dict[str, bytes]


def refuse_without_highdicom() -> None:
    """Make sure that answers can be made.

    Raises
    ------
    UsageError
        The extra is not installed.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise UsageError("answers in DICOM need the extra [pacs]", f"run: {INSTALL}") from None


def dicom_answers(
    log: Path,
    model: Callable[[], Model],
    lang: Language,
    *,
    wanted: Collection[str] | None = None,
    skip: Callable[[Event], bool] | None = None,
    images: Path | None = None,
) -> Iterator[DicomAnswer | NoAnswer]:
    """Make the answers about studies, oldest first.

    Parameters
    ----------
    log : Path
    model : callable
        Loads the model that judged; called when the first answer is to be made.
    lang : {"en", "fr"}
        Of the texts.
    wanted : collection of str, optional
        Study identifiers or hashes of STUDY events; by default all studies.
    skip : callable, optional
        Says of a STUDY event that its answer is not needed.
    images : Path, optional
        Where the inbox lies now, when it has moved.

    Raises
    ------
    AuditLogError
        There is no such log.
    UsageError
        highdicom is not installed.
    ModelError
        The model cannot be loaded.
    """
    from screener.inbox.isolation import SafeDecoder
    from screener.report.answered_studies import answered_studies

    refuse_without_highdicom()
    with SafeDecoder() as decoder:
        for study in answered_studies(log, wanted, skip):
            yield _answer(study, model, lang, images, decoder)


def _answer(
    study: AnsweredStudy,
    model: Callable[[], Model],
    lang: Language,
    images: Path | None,
    decoder: SafeDecoder,
) -> DicomAnswer | NoAnswer:
    from pathlib import Path

    from screener.report.from_log import SliceReader

    if study.pseudonyms:
        return NoAnswer(study.event, Missing.PSEUDONYMS)
    found = study_images(study, SliceReader(images or Path(study.inbox), decoder))
    if isinstance(found, Missing):
        return NoAnswer(study.event, found)
    if found.keys and model().sha256 != study.finding.model_sha256:
        return NoAnswer(study.event, Missing.OTHER_MODEL)
    try:
        return answer(found, model, lang)
    except _ODD:
        # One odd header must not keep the answers about all other studies back.
        return NoAnswer(study.event, Missing.UNFIT)


def study_images(study: AnsweredStudy, reader: SliceReader) -> StudyImages | Missing:
    """Find the images that an answer refers to, as they were when they were judged."""
    source: Dataset | Missing = Missing.MOVED
    for item in study.slices:
        source = _header(item, reader)
        if not isinstance(source, Missing):
            break
    if isinstance(source, Missing):
        return source
    keys = []
    for one in study.keys:
        header, slice_ = _header(one.item, reader), reader.read(one.item)
        if isinstance(header, Missing):
            return header
        if isinstance(slice_, str):
            return Missing.MOVED
        keys.append(KeyImage(one.key, one.item, header, slice_))
    return StudyImages(study, source, tuple(keys))


def _header(item: Item, reader: SliceReader) -> Dataset | Missing:
    from screener.inbox import sniff
    from screener.report.dicom_objects import read_source

    file = reader.file(item)
    if isinstance(file, str):
        return Missing.MOVED
    if sniff.kind(file.data) != sniff.DICOM:
        return Missing.NO_DICOM
    try:
        return read_source(file.data)
    except ValueError:
        return Missing.NO_DICOM


def answer(images: StudyImages, model: Callable[[], Model], lang: Language) -> DicomAnswer:
    """Make the objects of one answer.

    Parameters
    ----------
    images : StudyImages
    model : callable
        Loads the model that judged; asked for only where there are key slices.
    lang : {"en", "fr"}
    """
    from screener.report.dicom_capture import captures
    from screener.report.dicom_objects import encode, report_uid
    from screener.report.dicom_sr import study_report

    study, finding = images.study, images.study.finding
    made = [*(captures(images, model(), lang) if images.keys else ()), study_report(images, lang)]
    names = [str(one.SOPInstanceUID) for one in made]
    line = AnswerLine(
        study_instance_uid=images.study_uid,
        event=study.event,
        judged=study.judged,
        decision=finding.decision,
        urgency=finding.urgency,
        priority=1 + list(Urgency).index(finding.urgency),
        probability=finding.probability,
        threshold=finding.threshold,
        operating_point=finding.operating_point,
        reason=finding.reason,
        report=names[-1],
        captures=tuple(names[:-1]),
        replaces=None if study.former is None else report_uid(study.former, lang),
        model=finding.model,
        model_sha256=finding.model_sha256,
        tool_version=finding.tool_version,
        language=lang,
        notice=NOTICE[lang],
    )
    return DicomAnswer(line, dict(zip(names, map(encode, made), strict=True)))


def write_answer(folder: Path, made: DicomAnswer) -> Path:
    """Write the files of an answer below a folder, by study; the JSON comes last.

    Returns
    -------
    Path
        The JSON. Where it is, the DICOM files beside it are complete.

    Raises
    ------
    UsageError
        They cannot be written.
    """
    line = made.line
    place, stem = _place(folder, line.study_instance_uid, line.event), _stem(line.event, line.language)
    names = {name: f"{stem}-capture-{number}.dcm" for number, name in enumerate(line.captures, 1)}
    names[line.report] = f"{stem}-report.dcm"
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in made.objects.items():
            _write(place / names[name], data)
        return _write(place / f"{stem}.json", msgspec.json.encode(line) + b"\n")
    except OSError as error:
        raise UsageError(
            f"the answer cannot be written to {folder}: {error.strerror}", "free some space, or name another folder"
        ) from None


def is_written(folder: Path, event: Event, lang: Language) -> bool:
    """Say whether the answer of a STUDY event is there; where a study is not named by its UID, it counts as missing."""
    return (_place(folder, str(event["study_id"]), event["hash"]) / f"{_stem(event['hash'], lang)}.json").is_file()


def _place(folder: Path, study_uid: str, event: str) -> Path:
    """Return the folder of a study's answers; what is no UID must not lead elsewhere."""
    return folder / (study_uid if _UID.fullmatch(study_uid) else event[:_SHORT])


def _stem(event: str, lang: str) -> str:
    return f"{event[:_SHORT]}-{lang}"


def _write(path: Path, data: bytes) -> Path:
    """Write a file as a whole or not at all, readable by its owner only; the same one again is left as it is."""
    with suppress(OSError):
        if path.read_bytes() == data:
            return path
    replace(path, data, Access())
    return path


def judging_model(requested: str | None) -> Callable[[], Model]:
    """Return what loads the model once, when an answer first needs it.

    Parameters
    ----------
    requested : str or None
        As of ``--model``.
    """
    from functools import cache

    @cache
    def load() -> Model:
        from screener.model.session import Model

        return Model.load(requested)

    return load
