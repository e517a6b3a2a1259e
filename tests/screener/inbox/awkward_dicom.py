"""Awkward DICOM files: damaged, lying, hostile, or only unusual. Each must end in pixels or in a reason."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from dicom_files import dataset, encode, values
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXPLICIT = b"1.2.840.10008.1.2.1\0"


def awkward_files() -> dict[str, bytes]:
    """Return the bytes of each file by what is awkward about it."""
    return dict(
        [
            *_truncated(),
            *_lying(),
            *_hostile(),
            *_wrong_values(),
            *_missing(),
            *_pixels(),
            *_encodings(),
            *_texts(),
            *_odd(),
        ]
    )


def _plain(**changes: object) -> bytes:
    return encode(dataset(values(), **changes))


def _meta_end(data: bytes) -> int:
    return 144 + int.from_bytes(data[140:144], "little")


def _value(data: bytes, tag: bytes, value: bytes) -> bytes:
    """Replace the value of an explicit element by one of any length."""
    at = data.index(tag)
    old = int.from_bytes(data[at + 6 : at + 8], "little")
    return data[: at + 6] + struct.pack("<H", len(value)) + value + data[at + 8 + old :]


def _length(data: bytes, tag: bytes, length: int, at: int = 8) -> bytes:
    """Replace the length that an element claims."""
    place = data.index(tag) + at
    size = 4 if at == 8 else 2
    return data[:place] + length.to_bytes(size, "little") + data[place + size :]


def _truncated() -> Iterator[tuple[str, bytes]]:
    data = _plain()
    for share in (0.05, 0.2, 0.5, 0.9, 0.999):
        yield f"cut at {share}", data[: int(len(data) * share)]
    yield "only the preamble", data[:132]
    yield "cut within the meta group", data[:170]
    yield "cut within the last tag", data[: data.index(b"\xe0\x7f\x10\x00") + 3]
    compressed = encode(dataset(values()), RLELossless)
    yield "compressed, cut", compressed[: len(compressed) - 400]


def _lying() -> Iterator[tuple[str, bytes]]:
    data = _plain()
    pixels = b"\xe0\x7f\x10\x00"
    yield "pixels longer than the file", _length(data, pixels, 1 << 30)
    yield "pixels shorter than rows and columns", _length(data, pixels, 100)
    yield "pixels of unknown length", _length(data, pixels, 0xFFFFFFFF)
    yield "pixels of odd length", _length(data, pixels, 6143)
    yield "a text of 65,535 bytes", _length(data, b"\x10\x00\x20\x00LO", 65_535, 6)
    yield "a meta group of another length", data[:140] + struct.pack("<I", 7) + data[144:]
    yield "a meta group of endless length", data[:140] + struct.pack("<I", 1 << 31) + data[144:]
    yield "65,535 frames", _plain(NumberOfFrames=65_535)
    yield "1,999 frames in a small file", _plain(NumberOfFrames=1_999)
    yield "no frames", _plain(NumberOfFrames=0)
    yield "a negative number of frames", _value(data, b"\x28\x00\x04\x00", b"MONOCHROME2 ")
    yield "60,000 rows and columns", _plain(Rows=60_000, Columns=60_000)
    yield "no rows", _plain(Rows=0)
    yield "one row", _plain(Rows=1)


def _hostile() -> Iterator[tuple[str, bytes]]:
    head = _plain()
    start = _meta_end(head)
    body = head[start:]
    deflated = bytearray(head[:start].replace(_EXPLICIT, b"1.2.840.10008.1.2.1.99"))
    syntax = deflated.index(b"1.2.840.10008.1.2.1.99")
    struct.pack_into("<H", deflated, syntax - 2, 22)
    struct.pack_into("<I", deflated, 140, len(deflated) - 144)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(300)) + squeeze.flush()
    plain = zlib.compressobj(6, zlib.DEFLATED, -15)
    yield "a deflate bomb", bytes(deflated) + bomb
    yield "deflated", bytes(deflated) + plain.compress(body) + plain.flush()
    yield "deflated nonsense", bytes(deflated) + bytes(range(256)) * 4
    nest = b"\x18\x00\x01\x10SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    yield "sequences 1,000 deep", head[:start] + nest * 1_000 + body
    yield "sequences 100,000 deep", head[:start] + nest * 100_000
    item = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"
    many = b"\x00\x52\x29\x92SQ\x00\x00" + struct.pack("<I", len(item) * 50_000) + item * 50_000
    yield "50,000 functional groups", head[: head.index(b"\xe0\x7f\x10\x00")] + many
    window = _plain(WindowCenter=40, WindowWidth=80)
    yield "a window of 20,000 values", _value(window, b"\x28\x00\x50\x10", b"1\\" * 20_000)
    yield "nothing but elements of no length", head[:start] + b"\x10\x00\x20\x00LO\x00\x00" * 50_000


def _wrong_values() -> Iterator[tuple[str, bytes]]:
    data = _plain(WindowCenter=40, WindowWidth=80, RescaleSlope=1, RescaleIntercept=0, InstanceNumber=1)
    for what, tag in (
        ("repetition time", b"\x18\x00\x80\x00"),
        ("echo time", b"\x18\x00\x81\x00"),
        ("position", b"\x20\x00\x32\x00"),
        ("orientation", b"\x20\x00\x37\x00"),
        ("spacing", b"\x28\x00\x30\x00"),
        ("window", b"\x28\x00\x51\x10"),
        ("slope", b"\x28\x00\x53\x10"),
        ("instance number", b"\x20\x00\x13\x00"),
        ("age", b"\x10\x00\x10\x10"),
    ):
        for name, value in (
            ("words", b"nonsense"),
            ("no number", b"nan\\inf "),
            ("beyond", b"1e999 "),
            ("nothing", b""),
        ):
            yield f"{what}: {name}", _value(data, tag, value)
    yield "rows as text", data.replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00IS")
    yield "rows as an unknown type", data.replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00ZZ")
    yield "a modality as a sequence", data.replace(b"\x08\x00\x60\x00CS", b"\x08\x00\x60\x00SQ")
    yield "slope 0", _plain(RescaleSlope=0, RescaleIntercept=5)
    yield "a huge slope", _plain(RescaleSlope="1e300", RescaleIntercept="1e300")
    yield "flat pixels", encode(dataset(np.full((64, 48), 7)))
    yield "an orientation that spans nothing", _plain(ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    yield "a tilted gantry", _plain(ImageOrientationPatient=[1, 0, 0, 0, 0.94, -0.34])
    yield "a spacing of nothing", _plain(PixelSpacing=[0, 0])
    yield "pixels fifty times as long as wide", _plain(PixelSpacing=[50, 1])


def _missing() -> Iterator[tuple[str, bytes]]:
    for name in (
        *("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "BitsAllocated", "BitsStored"),
        *("PixelRepresentation", "PhotometricInterpretation", "SamplesPerPixel", "PixelData", "ImagePositionPatient"),
    ):
        found = dataset(values())
        encoded = encode(found)
        # Written whole, since the writer insists on what it needs; the element is renamed afterwards.
        element = found[name].tag
        tag = struct.pack("<HH", element.group, element.elem)
        start = _meta_end(encoded)
        yield f"without {name}", encoded[:start] + encoded[start:].replace(tag, tag[:2] + b"\xf1\x0f", 1)


def _pixels() -> Iterator[tuple[str, bytes]]:
    yield "one bit a pixel", _plain(BitsAllocated=1, BitsStored=1, HighBit=0)
    yield "seven bits allocated", _plain(BitsAllocated=7)
    yield "twenty-four bits allocated", _plain(BitsAllocated=24)
    yield "sixty-four bits allocated", _plain(BitsAllocated=64)
    yield "more bits stored than allocated", _plain(BitsStored=32)
    yield "three samples a pixel", _plain(SamplesPerPixel=3)
    yield "a palette", _plain(PhotometricInterpretation="PALETTE COLOR")
    yield "an unknown interpretation", _plain(PhotometricInterpretation="BLACK")
    floats = _plain(BitsAllocated=32)
    yield "pixels of floating point", floats.replace(b"\xe0\x7f\x10\x00OW", b"\xe0\x7f\x08\x00OF")
    icon = Dataset()
    icon.Rows, icon.Columns, icon.PixelData = 4, 4, bytes(32)
    icon["PixelData"].VR = "OW"
    yield "an icon with pixels of its own", _plain(IconImageSequence=[icon])
    data = _plain()
    yield "pixels twice", data + data[data.index(b"\xe0\x7f\x10\x00") :]
    yield "garbage behind the pixels", data + b"\xff" * 1000


def _encodings() -> Iterator[tuple[str, bytes]]:
    data = _plain()
    yield "an unknown transfer syntax", data.replace(_EXPLICIT, b"1.2.840.99999.1.2.1\0")
    yield "a transfer syntax of zeros", data.replace(_EXPLICIT, bytes(20))
    yield "uncompressed pixels called JPEG", data.replace(_EXPLICIT, b"1.2.840.10008.1.2.5\0")
    for name, syntax in (("RLE", RLELossless), ("JPEG 2000", JPEG2000Lossless), ("JPEG-LS", JPEGLSLossless)):
        packed = encode(dataset(values()), syntax)
        at = packed.index(b"\xe0\x7f\x10\x00")
        yield f"{name}", packed
        yield f"{name} of nonsense", packed[: at + 40] + bytes((7 * byte) % 256 for byte in packed[at + 40 :])
        yield f"{name} with a lying table of offsets", packed[: at + 16] + b"\xff\xff\xff\x7f" + packed[at + 20 :]
        yield f"{name} without fragments", packed[: at + 20] + b"\xfe\xff\xdd\xe0\0\0\0\0"
    implicit = encode(dataset(values()), ImplicitVRLittleEndian)
    yield "implicit without a meta group", implicit[_meta_end(implicit) :]
    big = encode(dataset(values()), ExplicitVRBigEndian)
    yield "big-endian", big
    yield "big-endian without a meta group", big[_meta_end(big) :]
    yield "explicit called implicit", data.replace(_EXPLICIT, b"1.2.840.10008.1.2\0\0\0")


def _texts() -> Iterator[tuple[str, bytes]]:
    data = _plain()
    yield "an unknown character set", _plain(SpecificCharacterSet="ISO_IR 999")
    yield "a patient in Japanese", _plain(SpecificCharacterSet="ISO 2022 IR 87", PatientID="山田太郎")
    yield "a patient of control characters", _value(data, b"\x10\x00\x20\x00LO", b"\x1b[31mP\0\r\n7\x07")
    yield "a patient of bytes that are no text", _value(data, b"\x10\x00\x20\x00LO", bytes(range(128, 256)))
    yield "a patient of 60,000 letters", _value(data, b"\x10\x00\x20\x00LO", b"P" * 60_000)
    yield "UIDs that are none", _value(data, b"\x20\x00\x0d\x00UI", b"../../etc/passwd")


def _odd() -> Iterator[tuple[str, bytes]]:
    yield "a mosaic", _plain(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    yield "an unknown age", _plain(PatientAge="000Y")
    both = dataset(np.stack([values(), values()]))
    group = Dataset()
    both.PerFrameFunctionalGroupsSequence = [group]
    yield "fewer functional groups than frames", encode(both)
    empty = Dataset()
    empty.PlanePositionSequence, empty.FrameVOILUTSequence = [], []
    both = dataset(np.stack([values(), values()]))
    both.PerFrameFunctionalGroupsSequence, both.SharedFunctionalGroupsSequence = [empty, empty], []
    yield "empty functional groups", encode(both)
    yield "functional groups of another type", encode(both).replace(b"\x00\x52\x30\x92SQ", b"\x00\x52\x30\x92UN")
