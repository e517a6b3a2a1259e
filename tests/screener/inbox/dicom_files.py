"""DICOM files for the tests, written by pydicom."""

from __future__ import annotations

import io

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)


def values(high: int = 1000) -> np.ndarray:
    rows, columns = np.mgrid[:64, :48]
    return ((rows + columns) * high // 110).astype(np.int32)


def dataset(stored: np.ndarray, *, bits: int = 12, signed: bool = False, **changes: object) -> Dataset:
    found = Dataset()
    found.SOPClassUID, found.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", generate_uid()
    found.StudyInstanceUID, found.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    found.PatientName, found.PatientBirthDate = "Doe^Jane", "19700101"
    found.PatientID, found.Modality, found.PatientAge = "P7", "MR", "050Y"
    found.ImageType, found.BodyPartExamined = ["ORIGINAL", "PRIMARY", "M"], "BRAIN"
    found.RepetitionTime, found.EchoTime = 500, 10
    found.ImageOrientationPatient, found.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-100, -100, 42.5]
    found.PixelSpacing = [1, 1]
    found.Rows, found.Columns = stored.shape[-2:]
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated = 8 if bits == 8 else 16
    found.BitsStored, found.HighBit, found.PixelRepresentation = bits, bits - 1, int(signed)
    kind = ("i" if signed else "u") + str(found.BitsAllocated // 8)
    if stored.ndim == 3:
        found.NumberOfFrames = len(stored)
    found.PixelData = stored.astype(f"<{kind}").tobytes()
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def encode(found: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    if syntax in {RLELossless, JPEG2000Lossless, JPEGLSLossless}:
        found.compress(syntax)
    else:
        if syntax == ExplicitVRBigEndian and found.BitsAllocated == 16:
            found.PixelData = np.frombuffer(found.PixelData, "<u2").astype(">u2").tobytes()
        found.file_meta.TransferSyntaxUID = syntax
        found["PixelData"].VR = "OW"
    memory = io.BytesIO()
    pydicom.dcmwrite(
        memory,
        found,
        enforce_file_format=True,
    )
    return memory.getvalue()
