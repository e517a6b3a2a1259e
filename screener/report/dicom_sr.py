"""One answer as a DICOM structured report: Comprehensive 3D SR by template TID 1500, never verified.

``docs/reference/dicom-answers.md`` says which items it has and how it follows IHE's AI Results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from screener.domain.finding import Decision
from screener.messages import NOTICE, RECOMMENDATION, URGENCY_WORD
from screener.report.dicom_objects import (
    CHARACTER_SET,
    SCHEME,
    complete,
    equipment,
    evidence,
    report_series_uid,
    report_uid,
    uid,
)
from screener.report.messages import ANSWER, PAGE, REASON

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from screener.domain.study import StudyFinding
    from screener.messages import Language
    from screener.report.dicom_answer import KeyImage, StudyImages

SERIES_NUMBER = 9901
_LANGUAGES = {"en": "English", "fr": "French"}
_MEANING = 64
"""Letters that the meaning of a code may have."""


def study_report(images: StudyImages, lang: Language) -> Dataset:
    """Return the report about a study.

    Parameters
    ----------
    images : StudyImages
    lang : {"en", "fr"}

    Returns
    -------
    pydicom.dataset.Dataset
        In the study of its source images, in a series of its own.
    """
    import highdicom as hd
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    study = images.study
    seen = [evidence(images.source), *(evidence(one.header) for one in images.keys)]
    made = hd.sr.Comprehensive3DSR(
        evidence=list({one.SOPInstanceUID: one for one in seen}.values()),
        content=_content(images, lang),
        series_instance_uid=report_series_uid(study.event, lang),
        series_number=SERIES_NUMBER,
        sop_instance_uid=report_uid(study.event, lang),
        instance_number=1,
        is_complete=True,
        is_final=False,
        is_verified=False,
        previous_versions=None if study.former is None else [_former(images, lang, study.former)],
        specific_character_set=CHARACTER_SET,
        series_description=ANSWER[lang]["report_series"],
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, name="screener", responsible_organization="screener")],
        **equipment(study.finding),
    )
    complete(made, images.source, study.judged)
    return made


def _former(images: StudyImages, lang: Language, event: str) -> Dataset:
    """Return what names the report about an earlier STUDY event."""
    from pydicom.dataset import Dataset as New
    from pydicom.uid import Comprehensive3DSRStorage

    made = New()
    made.StudyInstanceUID, made.SeriesInstanceUID = images.study_uid, report_series_uid(event, lang)
    made.SOPClassUID, made.SOPInstanceUID = Comprehensive3DSRStorage, report_uid(event, lang)
    return made


def _content(images: StudyImages, lang: Language) -> Any:  # noqa: ANN401 - highdicom's content sequence
    import highdicom as hd
    from pydicom.sr.codedict import codes

    finding = images.study.finding
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=uid("device", finding.model_sha256, finding.tool_version),
        name="screener",
        manufacturer_name=equipment(finding)["manufacturer"],
        model_name=equipment(finding)["manufacturer_model_name"],
        serial_number=equipment(finding)["device_serial_number"],
    )
    observer = hd.sr.ObserverContext(codes.DCM.Device, device)
    groups = [_study_group(images, lang)]
    groups += [_slice_group(images, place, lang) for place in range(len(images.keys))]
    return hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=hd.sr.CodedConcept("24590-2", "LN", "MR Brain"),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(
            hd.sr.CodedConcept(lang, "RFC5646", _LANGUAGES[lang])
        ),
    )[0]


def _study_group(images: StudyImages, lang: Language) -> Any:  # noqa: ANN401 - highdicom's group
    """Return decision, urgency, probability and threshold of the study, with its key images."""
    import highdicom as hd

    finding, words = images.study.finding, ANSWER[lang]
    measurements = [_measurement("threshold", finding.threshold, lang)]
    if finding.probability is not None:
        measurements.insert(0, _measurement("probability", finding.probability, lang))
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid(images.study.event, "study"), words["study"]),
        algorithm_id=_algorithm(images),
        finding_sites=[hd.sr.FindingSite(_code("12738006", "Brain", "SCT"))],
        measurements=measurements,
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(
                _code("decision", words["decision"]), _code(finding.decision.value, words[finding.decision.value])
            ),
            hd.sr.QualitativeEvaluation(
                _code("urgency", words["urgency"]), _code(finding.urgency.value, URGENCY_WORD[lang][finding.urgency])
            ),
        ],
        source_images=[_reference(one) for one in images.keys] or None,
    )
    for name, text in _texts(finding, lang).items():
        group[0].ContentSequence.append(_text(name, text, lang))
    return group


def _slice_group(images: StudyImages, place: int, lang: Language) -> Any:  # noqa: ANN401 - highdicom's group
    """Return the probability of one key slice, in context."""
    import highdicom as hd

    image = images.keys[place]
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid(images.study.event, "key slice", place), ANSWER[lang]["key_slice"].format(number=place + 1)
        ),
        algorithm_id=_algorithm(images),
        finding_sites=[hd.sr.FindingSite(_code("12738006", "Brain", "SCT"))],
        measurements=[_measurement("context", image.key.probability, lang)],
        source_images=[_reference(image)],
    )


def _texts(finding: StudyFinding, lang: Language) -> dict[str, str]:
    """Return what is told in sentences, by concept."""
    counts = finding.slices
    told = {"recommendation": RECOMMENDATION[lang][finding.urgency]}
    if finding.decision is Decision.NOT_ASSESSABLE or finding.reason is not None:
        reason = finding.reason
        told["reason"] = "–" if reason is None else f"{REASON[lang][reason]} ({reason.value})"
    told["point"] = finding.operating_point
    told["slices"] = PAGE[lang]["counts"].format(
        total=counts.total, assessed=counts.assessed, flagged=counts.flagged, refused=counts.not_assessable
    )
    told["notice"] = NOTICE[lang]
    return told


def _algorithm(images: StudyImages) -> Any:  # noqa: ANN401 - highdicom's template
    """Return which algorithm answered, with what it takes to repeat the answer."""
    import highdicom as hd

    study, finding = images.study, images.study.finding
    name, _, version = finding.model.rpartition(" ")
    return hd.sr.AlgorithmIdentification(
        name=name or finding.model,
        version=version or finding.tool_version,
        parameters=[
            f"model_sha256={finding.model_sha256}",
            f"tool_version={finding.tool_version}",
            f"preprocessing={study.preprocessing}",
            f"operating_point={finding.operating_point}",
            f"threshold={finding.threshold!r}",
        ],
        manufacturer=equipment(finding)["manufacturer"],
    )


def _reference(image: KeyImage) -> Any:  # noqa: ANN401 - highdicom's item
    import highdicom as hd

    frame = image.item.finding.frame
    return hd.sr.SourceImageForMeasurementGroup(
        referenced_sop_class_uid=str(image.header.SOPClassUID),
        referenced_sop_instance_uid=str(image.header.SOPInstanceUID),
        referenced_frame_numbers=None if frame is None else [frame],
    )


def _measurement(name: str, value: float, lang: Language) -> Any:  # noqa: ANN401 - highdicom's template
    import highdicom as hd

    return hd.sr.Measurement(
        name=_code(name, ANSWER[lang][name]), value=value, unit=hd.sr.CodedConcept("1", "UCUM", "no units")
    )


def _text(name: str, value: str, lang: Language) -> Any:  # noqa: ANN401 - highdicom's item
    import highdicom as hd

    return hd.sr.TextContentItem(
        name=_code(name, ANSWER[lang][name]), value=value, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS
    )


def _code(value: str, meaning: str, scheme: str = SCHEME) -> Any:  # noqa: ANN401 - highdicom's code
    import highdicom as hd

    return hd.sr.CodedConcept(value, scheme, meaning[:_MEANING])
