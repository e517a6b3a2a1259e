"""The key slices of one answer as DICOM secondary captures: slice, evidence, scale, and what must be said with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from screener.messages import NOTICE, RECOMMENDATION
from screener.report.console import compared
from screener.report.dicom_objects import complete, equipment, uid
from screener.report.messages import ANSWER, EVIDENCE, EXPLAIN

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from screener.messages import Language
    from screener.model.session import Model
    from screener.report.dicom_answer import KeyImage, StudyImages

SERIES_NUMBER = 9902
_SIDE = 384
"""Pixels that the longest side of a slice has at least: smaller ones are enlarged, or their marks could not be seen."""


def captures(images: StudyImages, model: Model, lang: Language) -> list[Dataset]:
    """Return one picture a key slice, strongest first, in a series of their own.

    Parameters
    ----------
    images : StudyImages
    model : Model
        That judged the study.
    lang : {"en", "fr"}
    """
    from screener.report.from_log import heatmaps_of

    heatmaps = heatmaps_of(model, [(one.item, one.slice_) for one in images.keys])
    return [
        _capture(images, place, picture(images, image, heatmap, model, lang), lang)
        for place, (image, heatmap) in enumerate(zip(images.keys, heatmaps, strict=True), 1)
    ]


def picture(
    images: StudyImages, image: KeyImage, heatmap: NDArray[np.float32] | None, model: Model, lang: Language
) -> NDArray[np.uint8]:
    """Draw one key slice: as it is, with the evidence over it and its scale, and the text below.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8
        Red, green, blue.
    """
    import numpy as np

    from screener.preprocess import frame
    from screener.report.explanation_sheet import combined, scale_width
    from screener.report.overlay import Look, contours, grey, overlay, scale_bar, strongest

    pixels = _enlarged(image.slice_.pixels)
    plain = grey(pixels)
    over, scale, stands_out = plain, np.zeros((plain.shape[0], scale_width(), 3), np.uint8), False
    if heatmap is not None:
        found = frame(image.slice_.pixels, model.card.preprocessing).restore(heatmap)
        evidence = np.clip(_enlarged(found), 0, 1)
        over, stands_out = overlay(pixels, evidence, Look()), bool(contours(evidence))
        scale = scale_bar(plain.shape[0], scale_width(), strongest(evidence))
    text = _caption(images, image, lang, stands_out=stands_out, drawn=heatmap is not None)
    drawn = combined(plain, over, scale, text)
    return np.ascontiguousarray(drawn[:, :, ::-1])


def _enlarged(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Enlarge a small slice by a whole factor: (H, W) → (n H, n W)."""
    import cv2
    import numpy as np

    factor = -(-_SIDE // max(pixels.shape))
    if factor == 1:
        return pixels
    size = factor * pixels.shape[1], factor * pixels.shape[0]
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _caption(images: StudyImages, image: KeyImage, lang: Language, *, stands_out: bool, drawn: bool) -> list[str]:
    """Return the text of a capture; it names nobody."""
    finding, words = images.study.finding, EXPLAIN[lang]
    told = [RECOMMENDATION[lang][finding.urgency]]
    if finding.probability is not None:
        score = " ".join(compared(finding.probability, finding.threshold, lang))
        told.append(words["score"].format(score=score, point=finding.operating_point, model=finding.model))
    shown, _, _ = compared(image.key.probability, finding.threshold, lang)
    told.append(ANSWER[lang]["slice_score"].format(probability=shown))
    if drawn:
        told.append(f"{EVIDENCE[lang]} {words['scale']} {words['line' if stands_out else 'no_place']}")
    return [*told, NOTICE[lang]]


def _capture(images: StudyImages, place: int, pixels: NDArray[np.uint8], lang: Language) -> Dataset:
    import highdicom as hd

    study = images.study
    made = hd.sc.SCImage(
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=images.study_uid,
        series_instance_uid=uid(study.event, lang, "capture series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uid(study.event, lang, "capture", place),
        instance_number=place,
        patient_orientation=("L", "P"),
        series_description=ANSWER[lang]["capture_series"],
        **equipment(study.finding),
    )
    complete(made, images.source, study.judged)
    # Several pictures and a text side by side have neither orientation nor side.
    for name in ("PatientOrientation", "Laterality"):
        setattr(made, name, None)
    made.DateOfSecondaryCapture, made.TimeOfSecondaryCapture = made.ContentDate, made.ContentTime
    made.BurnedInAnnotation = "NO"
    made.ImageComments = f"{RECOMMENDATION[lang][study.finding.urgency]}. {NOTICE[lang]}"
    made.SourceImageSequence = [_source(images.keys[place - 1])]
    return made


def _source(image: KeyImage) -> Any:  # noqa: ANN401 - pydicom ships no types
    """Return the reference to the slice that a capture shows."""
    from highdicom.sr import CodedConcept
    from pydicom.dataset import Dataset as New

    made = New()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = image.header.SOPClassUID, image.header.SOPInstanceUID
    if image.item.finding.frame is not None:
        made.ReferencedFrameNumber = image.item.finding.frame
    made.PurposeOfReferenceCodeSequence = [CodedConcept("121322", "DCM", "Source image for image processing operation")]
    return made
