"""Tell a file's type, size and oddities from its bytes, without decoding anything."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from screener.domain.slice import Reason
from screener.inbox.limits import RefusedError

if TYPE_CHECKING:
    from screener.inbox.limits import Limits

JPEG = "JPEG"
PNG = "PNG"
DICOM = "DICOM"
NIFTI = "NIfTI"
GZIP = b"\x1f\x8b"

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"\x89PNG\r\n\x1a\n", PNG),
    (128, b"DICM", DICOM),
    (0, b"GIF8", "GIF"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"%PDF", "PDF"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"PK\x05\x06", "ZIP"),
    (8, b"WEBP", "WebP"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypavif", "AVIF"),
    (344, b"n+1\x00", NIFTI),
    (344, b"ni1\x00", NIFTI),
    (4, b"n+2\x00\r\n", NIFTI),
    (4, b"ni2\x00\r\n", NIFTI),
    (0, GZIP, "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (0, b"Rar!", "RAR"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5"),
    (0, b"NRRD", "NRRD"),
    (0, b"P5", "PGM"),
    (0, b"P6", "PPM"),
    (0, b"BM", "BMP"),
    (0, b"\x7fELF", "program"),
    (0, b"MZ", "program"),
    (0, b"<?xml", "XML"),
    (0, b"<svg", "SVG"),
    (0, b"{\\rtf", "RTF"),
)
"""(offset, bytes, name); the long signatures stand before the short ones that they could be taken for."""

_PEEKED = 1024
"""Bytes of a packed file that are unpacked to see what it holds."""
_BARE_LEAST = 132
_BARE_VR = frozenset({b"UL", b"UI", b"CS", b"OB", b"SH", b"DA", b"LO"})
"""Types of the values with which a DICOM data set begins."""
_MAX_SEGMENTS = 10_000
_MAX_CHUNKS = 200_000
"""JPEG segments and PNG chunks read before a file is given up: real ones have dozens, millions would take seconds."""
_ORDINARY_SCANS = 32
"""A progressive JPEG has about ten scans; each costs a pass over the image, which is how few bytes take minutes."""
_ORDINARY_PIXELS = 16_000_000
"""Far above any MR slice, low enough that decoding stays below 200 MB."""
_SOF_DECODABLE = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_SOF_OTHER = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7})
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_PNG_ALPHA = frozenset({4, 6})
_PNG_CHUNKS = frozenset(
    b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP sBIT bKGD hIST pHYs sPLT tIME tEXt zTXt iTXt eXIf cICP "
    b"mDCV cLLI acTL fcTL fdAT oFFs pCAL sCAL vpAg caNv orNT".split()
)


@dataclass(frozen=True, slots=True)
class Header:
    """What the bytes promise about the image.

    Attributes
    ----------
    kind : {"JPEG", "PNG", "DICOM", "NIfTI"}
    width, height : int
        As stored, before any EXIF orientation.
    channels : int
    bits : int
        Per channel.
    alpha : bool
    exif : bytes
        Body of the EXIF block of a PNG (OpenCV itself turns a JPEG); empty when there is none.
    metadata : int
        Bytes that are not image data.
    oddity : str
        Why the file looks risky, or empty.
    """

    kind: str
    width: int
    height: int
    channels: int
    bits: int
    alpha: bool = False
    exif: bytes = b""
    metadata: int = 0
    oddity: str = ""

    @property
    def decoded_bytes(self) -> int:
        """Size of the decoded image in memory."""
        return self.width * self.height * self.channels * (2 if self.bits > 8 else 1)  # noqa: PLR2004 - bits a byte


def kind(data: bytes) -> str | None:
    """Name the type that the first bytes tell, or None; the file's name has no say."""
    for offset, magic, name in _MAGIC:
        if data.startswith(magic, offset):
            return _packed(data) if magic == GZIP else name
    return DICOM if _bare_dicom(data) else None


def inflated(data: bytes, size: int) -> bytes:
    """Return the first bytes of a gzip file, at most `size`; fewer where it ends or is damaged before."""
    unpack = zlib.decompressobj(31)
    try:
        return unpack.decompress(data, size)
    except zlib.error:
        return b""


def _packed(data: bytes) -> str:
    """Say whether a gzip file holds a NIfTI volume."""
    head = inflated(data[:_PEEKED], _PEEKED)
    return NIFTI if any(name == NIFTI and head.startswith(magic, at) for at, magic, name in _MAGIC) else "gzip"


def _bare_dicom(data: bytes) -> bool:
    """Say whether bytes begin like a data set without the preamble: with an element of group 0002 or 0008."""
    if len(data) < _BARE_LEAST:
        return False
    if data[:2] in {b"\x02\x00", b"\x08\x00"} and data[3] == 0:
        implicit = data[:2] == b"\x08\x00" and data[2] <= 0x18 and 0 < int.from_bytes(data[4:8], "little") <= 64  # noqa: PLR2004
        return data[4:6] in _BARE_VR or implicit
    return data[:3] in {b"\x00\x08\x00", b"\x00\x02\x00"} and data[4:6] in _BARE_VR


def header(data: bytes) -> Header:
    """Read the header of a JPEG or PNG and check that its structure runs to the end marker.

    Raises
    ------
    RefusedError
        Empty, of another type, truncated, or of a structure that no decoder can follow.
    """
    if not data:
        raise RefusedError(Reason.EMPTY_FILE, "the file has no bytes")
    found = kind(data)
    if found == JPEG:
        return _jpeg(data)
    if found == PNG:
        return _png(data)
    detail = f"{found} file, not a JPEG or PNG" if found else "not an image of a known type"
    raise RefusedError(Reason.UNSUPPORTED_TYPE, detail)


def enforce(found: Header, limits: Limits) -> None:
    """Refuse an image by its header alone.

    Raises
    ------
    RefusedError
        An image side, the pixel count or the decoded size is out of bounds.
    """
    size = f"{found.width} x {found.height} pixels"
    if min(found.width, found.height) < limits.side_min:
        raise RefusedError(Reason.TOO_SMALL, f"{size}; the shorter side must have {limits.side_min}")
    if max(found.width, found.height) > limits.side_max or found.width * found.height > limits.pixels:
        raise RefusedError(Reason.TOO_LARGE, f"{size}; at most {limits.pixels} pixels are decoded")
    if found.decoded_bytes > limits.decoded_bytes:
        raise RefusedError(Reason.TOO_LARGE, f"{size} would fill {found.decoded_bytes >> 20} MiB")


def risk(found: Header, limits: Limits) -> str:
    """Say why these bytes should be decoded in a process of their own, or return an empty string."""
    if found.width * found.height > _ORDINARY_PIXELS:
        return "large image"
    if found.metadata > limits.metadata_bytes:
        return "much metadata"
    return found.oddity


def _corrupt(detail: str) -> RefusedError:
    return RefusedError(Reason.CORRUPT, detail)


def _jpeg(data: bytes) -> Header:
    """Walk the segments up to the first scan."""
    frame: tuple[Any, ...] | None = None
    position, metadata = 2, 0
    for _ in range(_MAX_SEGMENTS):
        marker, position = _next_marker(data, position)
        if marker in _STANDALONE:
            continue
        if marker == 0xD9:  # noqa: PLR2004 - EOI
            break
        (length,) = _unpack(">H", data, position)
        if length < 2 or position + length > len(data):  # noqa: PLR2004 - the length counts itself
            raise _corrupt("JPEG segment reaches beyond the end of the file")
        if marker == 0xDA:  # noqa: PLR2004 - SOS
            return _jpeg_header(data, frame, position, metadata)
        if marker in _SOF_OTHER:
            raise RefusedError(Reason.UNSUPPORTED_TYPE, "lossless or hierarchical JPEG")
        if marker in _SOF_DECODABLE:
            if frame is not None:
                raise _corrupt("JPEG with two frame headers")
            frame = _unpack(">BHHB", data, position + 2)
        elif marker >= 0xE0:  # noqa: PLR2004 - APPn and COM
            metadata += length
        position += length
    raise _corrupt("JPEG without image data")


def _next_marker(data: bytes, position: int) -> tuple[int, int]:
    """Return the next marker and the position behind it; fill bytes and stray bytes are skipped."""
    position = data.find(b"\xff", position)
    while position != -1 and position + 1 < len(data):
        marker = data[position + 1]
        if marker == 0:
            position = data.find(b"\xff", position + 2)
        elif marker == 0xFF:  # noqa: PLR2004 - fill byte
            position += 1
        else:
            return marker, position + 2
    raise _corrupt("JPEG ends within its header")


def _jpeg_header(data: bytes, frame: tuple[Any, ...] | None, scan: int, metadata: int) -> Header:
    if frame is None:
        raise _corrupt("JPEG without a frame header")
    bits, height, width, channels = frame
    if bits != 8:  # noqa: PLR2004 - what libjpeg decodes
        raise RefusedError(Reason.UNSUPPORTED_TYPE, f"{bits}-bit JPEG")
    # An EXIF thumbnail has an end marker too, hence the search behind the first scan only.
    end = data.find(b"\xff\xd9", scan)
    if end == -1:
        raise _corrupt("truncated JPEG: the end marker is missing")
    oddity = ""
    if data.count(b"\xff\xda", scan, end) > _ORDINARY_SCANS:
        oddity = "very many scans"
    elif _hides_a_file(data, end + 2):
        oddity = "another file behind the image"
    return Header(JPEG, width, height, channels, bits, metadata=metadata, oddity=oddity)


def _png(data: bytes) -> Header:
    """Walk the chunks up to IEND."""
    length, name = _unpack(">I4s", data, 8)
    if (length, name) != (13, b"IHDR"):
        raise _corrupt("PNG without a header chunk")
    width, height, bits, colour = _unpack(">IIBB", data, 16)
    if colour not in _PNG_CHANNELS or bits not in (1, 2, 4, 8, 16):
        raise _corrupt("PNG header of no known colour type")
    chunks = _png_chunks(data)
    alpha = colour in _PNG_ALPHA or b"tRNS" in chunks.names
    # OpenCV hands out grey with alpha as four channels, and a palette as three or four.
    channels = 4 if alpha else _PNG_CHANNELS[colour]
    return Header(PNG, width, height, channels, bits, alpha, chunks.exif, chunks.metadata, chunks.oddity)


@dataclass(frozen=True, slots=True)
class _Chunks:
    names: frozenset[bytes]
    exif: bytes
    metadata: int
    oddity: str


def _png_chunks(data: bytes) -> _Chunks:
    position, metadata, exif = 8, 0, b""
    names: set[bytes] = set()
    for _ in range(_MAX_CHUNKS):
        length, name = _unpack(">I4s", data, position)
        position += 12 + length
        if position > len(data):
            raise _corrupt("truncated PNG: a chunk reaches beyond the end of the file")
        names.add(name)
        if name == b"IEND":
            return _Chunks(frozenset(names), exif, metadata, _png_oddity(data, names, position))
        if name == b"eXIf":
            exif = data[position - 4 - length : position - 4]
        if name not in (b"IDAT", b"fdAT"):
            metadata += length
    raise _corrupt("PNG of too many chunks")


def _png_oddity(data: bytes, names: set[bytes], end: int) -> str:
    if b"IDAT" not in names:
        raise _corrupt("PNG without image data")
    if names - _PNG_CHUNKS:
        return "unknown chunks"
    return "another file behind the image" if _hides_a_file(data, end) else ""


def _hides_a_file(data: bytes, end: int) -> bool:
    """Tell whether something that is a file of its own follows the image: the sign of a polyglot."""
    tail = data[end : end + 512]
    return bool(tail) and kind(tail.lstrip(b"\x00\r\n\t ")) is not None


def _unpack(layout: str, data: bytes, position: int) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(layout, data, position)
    except struct.error:
        raise _corrupt("the file ends within its header") from None
