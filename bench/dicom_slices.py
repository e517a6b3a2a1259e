"""Small heads as DICOM files, to measure and to mutate."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENCODINGS = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
)
"""Transfer syntaxes: implicit, explicit and big-endian, deflated, RLE, JPEG-LS, JPEG 2000."""
_COMPRESSED = ENCODINGS[4:]
_BIG_ENDIAN = ENCODINGS[2]
_EXPLICIT = ENCODINGS[1]
_MR, _ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"


def drawn(seed: int, side: int, stored: NDArray[np.uint16] | None = None) -> Any:  # noqa: ANN401 - no types
    """Return a head of 12 bits as a FLAIR data set, which the shipped model scores, of its own study and place.

    Parameters
    ----------
    seed : int
        Says where it lies, and what is drawn.
    side : int
        In pixels.
    stored : ndarray of shape (H, W), uint16, below 4096, optional
        Pixels; drawn without.
    """
    import numpy as np
    from pydicom.dataset import Dataset

    from export.data.phantoms import phantom

    pixels = np.asarray(phantom(seed, side).astype(np.uint16) << 4 if stored is None else stored, np.uint16)
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = _MR, f"1.2.3.{seed}.1"
    made.StudyInstanceUID, made.SeriesInstanceUID = f"1.2.3.{seed // 20}", f"1.2.3.{seed // 20}.1"
    made.PatientID, made.Modality, made.PatientAge = f"P{seed // 20}", "MR", "050Y"
    made.StudyDate, made.AccessionNumber = "20260102", f"A{seed // 20}"
    made.ImageType, made.BodyPartExamined, made.SeriesDescription = ["ORIGINAL", "PRIMARY", "M"], "BRAIN", "ax FLAIR"
    made.RepetitionTime, made.EchoTime, made.InversionTime = 9000, 120, 2500
    made.InstanceNumber = seed % 20 + 1
    made.ImageOrientationPatient, made.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-100, -100, 5 * (seed % 20)]
    made.PixelSpacing, made.SliceThickness = [1, 1], 5
    made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.WindowCenter, made.WindowWidth = 2048, 4096
    made.PixelData = pixels.tobytes()
    return made


def encoded(seed: int, side: int, syntax: str = _EXPLICIT, stored: NDArray[np.uint16] | None = None) -> bytes:
    """Return a head as a DICOM file."""
    return _written(drawn(seed, side, stored), syntax)


def enhanced(side: int, frames: int, *, grouped: bool = True) -> bytes:
    """Return several heads as one file: Enhanced MR, with functional groups or without."""
    from pydicom.dataset import Dataset

    made = drawn(1, side)
    made.SOPClassUID, made.NumberOfFrames = _ENHANCED_MR, frames
    made.PixelData = made.PixelData * frames
    if grouped:
        groups = []
        for number in range(frames):
            place, echo, group = Dataset(), Dataset(), Dataset()
            place.ImagePositionPatient, echo.EffectiveEchoTime = [0, 0, 5 * number], 120.0
            group.PlanePositionSequence, group.MREchoSequence = [place], [echo]
            groups.append(group)
        made.PerFrameFunctionalGroupsSequence = groups
    return _written(made, _EXPLICIT)


def _written(made: Any, syntax: str) -> bytes:  # noqa: ANN401 - pydicom ships no types
    import numpy as np
    import pydicom
    from pydicom.dataset import FileMetaDataset

    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = _EXPLICIT
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    if syntax in _COMPRESSED:
        made.compress(syntax)
    else:
        if syntax == _BIG_ENDIAN:
            made.PixelData = np.frombuffer(made.PixelData, "<u2").astype(">u2").tobytes()
        made.file_meta.TransferSyntaxUID = syntax
        made["PixelData"].VR = "OW"
    memory = io.BytesIO()
    pydicom.dcmwrite(memory, made, enforce_file_format=True)
    return memory.getvalue()
