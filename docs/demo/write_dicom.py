"""Write the DICOM studies of the demo inbox: ``python docs/demo/write_dicom.py``.

The same input gives the same bytes: identifiers follow from names, dates are fixed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGLSLossless, MRImageStorage, generate_uid

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from export.data.phantoms import phantom  # noqa: E402 - the checkout's own

if TYPE_CHECKING:
    from numpy.typing import NDArray

INBOX = Path(__file__).resolve().parent / "inbox" / "dicom"
_SLICES, _SIDE = 20, 192


def main() -> None:
    """Write a drawn FLAIR study without a tumour, and a study of one contrast-enhanced slice with a glioma."""
    for number in range(_SLICES):
        write(INBOX / "drawn-head", "DEMO-DRAWN", number, drawn(number), flair())
    slice_ = cv2.imread(str(INBOX.parent / "patient-05" / "Te-gl_0014.jpg"), cv2.IMREAD_GRAYSCALE)  # noqa: TID251 - known file
    assert slice_ is not None  # noqa: S101
    write(INBOX / "glioma", "DEMO-GLIOMA", 0, np.asarray(slice_, np.uint8), contrast_enhanced())


def drawn(number: int) -> NDArray[np.uint8]:
    """Return slice `number` of a drawn head, widest in the middle: (H, W), uint8."""
    height = (number - (_SLICES - 1) / 2) / (_SLICES / 2)
    side = round(_SIDE * (0.55 + 0.45 * float(np.sqrt(1 - 0.9 * height**2))))
    head = cv2.resize(phantom(7, _SIDE), (side, side), interpolation=cv2.INTER_AREA)
    before = (_SIDE - side) // 2
    around = (before, _SIDE - side - before)
    return np.pad(head, (around, around)).astype(np.uint8)


def flair() -> Dataset:
    """Return what a header says of a FLAIR series."""
    header = Dataset()
    header.SeriesDescription, header.ScanningSequence, header.SequenceVariant = "FLAIR", ["SE", "IR"], "SK"
    header.RepetitionTime, header.EchoTime, header.InversionTime = 9000, 120, 2500
    return header


def contrast_enhanced() -> Dataset:
    """Return what a header says of a contrast-enhanced T1 series."""
    header = Dataset()
    header.SeriesDescription, header.ScanningSequence, header.SequenceVariant = "T1 post contrast", "SE", "NONE"
    header.RepetitionTime, header.EchoTime, header.ContrastBolusAgent = 500, 15, "gadolinium"
    return header


def write(folder: Path, patient: str, number: int, pixels: NDArray[np.uint8], series: Dataset) -> None:
    """Write one axial slice, compressed without loss; names and dates are made up."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, _uid(patient, "slice", number)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"IM{number + 1:04}.dcm"
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    file.PatientID, file.PatientName, file.PatientAge, file.PatientSex = patient, "Demo^Patient", "050Y", "O"
    file.StudyInstanceUID, file.SeriesInstanceUID = _uid(patient, "study"), _uid(patient, "series")
    file.StudyDate, file.StudyTime, file.AccessionNumber = "20260105", "080000", f"{patient}-1"
    file.Modality, file.BodyPartExamined, file.ImageType = "MR", "BRAIN", ["ORIGINAL", "PRIMARY", "M"]
    file.SeriesNumber, file.InstanceNumber = 1, number + 1
    file.ImagePositionPatient, file.ImageOrientationPatient = [-96, -96, 7.0 * number], [1, 0, 0, 0, 1, 0]
    file.PixelSpacing, file.SliceThickness = [1, 1], 7
    file.update(series)
    file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
    file.Rows, file.Columns = pixels.shape
    file.BitsAllocated, file.BitsStored, file.HighBit = 8, 8, 7
    file.PixelData = pixels.tobytes()
    file.compress(JPEGLSLossless, generate_instance_uid=False)
    file.save_as(path, enforce_file_format=True)


def _uid(*parts: object) -> UID:
    return generate_uid(entropy_srcs=["screener demo", *map(str, parts)])


if __name__ == "__main__":
    main()
