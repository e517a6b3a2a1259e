from __future__ import annotations

import struct
import time

import pytest
from inbox_pictures import chunk, jpeg, png, png_of, scene, with_exif

from screener.domain.slice import Reason
from screener.inbox import Limits, RefusedError, sniff

OTHERS = {
    "DICOM": bytes(128) + b"DICM",
    "GIF": b"GIF89a",
    "TIFF": b"II*\x00",
    "PDF": b"%PDF-1.7",
    "ZIP": b"PK\x03\x04",
    "WebP": b"RIFF\x00\x00\x00\x00WEBPVP8 ",
    "NIfTI": bytes(344) + b"n+1\x00",
    "gzip": b"\x1f\x8b\x08",
    "BMP": b"BM\x00\x00",
    "JPEG 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n",
}


def refusal(data: bytes) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        sniff.enforce(sniff.header(data), Limits())
    return caught.value


@pytest.mark.parametrize("name", OTHERS)
def test_other_types_are_named_in_the_refusal(name: str) -> None:
    error = refusal(OTHERS[name])
    assert error.reason is Reason.UNSUPPORTED_TYPE
    assert error.detail.startswith(name)


def test_text_and_nothing_at_all() -> None:
    assert refusal(b"dear colleague,").reason is Reason.UNSUPPORTED_TYPE
    assert refusal(b"").reason is Reason.EMPTY_FILE


def test_headers_tell_the_size() -> None:
    for data, kind in ((jpeg(), "JPEG"), (png(), "PNG"), (with_exif(jpeg(), 6), "JPEG")):
        found = sniff.header(data)
        assert (found.kind, found.width, found.height, found.channels, found.bits) == (kind, 80, 64, 1, 8)


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (2**31, 1), (40_000, 64), (2**32 - 1, 2**32 - 1)])
def test_a_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    data = png_of(scene(), 0, 8, width=width, height=max(height, 64))
    assert refusal(data).reason is Reason.TOO_LARGE


def test_a_jpeg_bomb_is_refused_by_its_header() -> None:
    data = jpeg()
    at = data.index(b"\xff\xc0") + 5
    assert refusal(data[:at] + struct.pack(">HH", 65_500, 65_500) + data[at + 4 :]).reason is Reason.TOO_LARGE


def test_a_deep_image_counts_with_its_bytes() -> None:
    data = png_of(scene(), 6, 16, width=8000, height=7000)
    assert refusal(data).reason is Reason.TOO_LARGE


@pytest.mark.parametrize(("width", "height"), [(0, 0), (1, 1), (31, 500), (500, 31), (0, 500)])
def test_tiny_images_are_refused_by_their_header(width: int, height: int) -> None:
    assert refusal(png_of(scene(), 0, 8, width=width, height=height)).reason is Reason.TOO_SMALL


def test_jpegs_beyond_the_decoder_are_an_unsupported_type() -> None:
    data = jpeg()
    at = data.index(b"\xff\xc0")
    assert refusal(data.replace(b"\xff\xc0", b"\xff\xc3", 1)).reason is Reason.UNSUPPORTED_TYPE
    assert refusal(data[: at + 4] + b"\x0c" + data[at + 5 :]).reason is Reason.UNSUPPORTED_TYPE


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xda\x00\x02\xff\xd9",
        b"\xff\xd8\xff\xe0\x00\x00",
        b"\xff\xd8\xff\xe0\xff\xff",
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b"x"),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 7, 9, 0, 0, 0)),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)) + chunk(b"IEND", b""),
    ],
)
def test_broken_structure_is_corrupt(data: bytes) -> None:
    assert refusal(data).reason is Reason.CORRUPT


def test_two_frame_headers_are_corrupt() -> None:
    data = jpeg()
    at = data.index(b"\xff\xc0")
    length = struct.unpack_from(">H", data, at + 2)[0] + 2
    assert refusal(data[:at] + data[at : at + length] + data[at:]).reason is Reason.CORRUPT


def test_endless_headers_are_given_up_quickly() -> None:
    start = time.perf_counter()
    assert refusal(b"\xff\xd8" + b"\xff\xe0\x00\x02" * 3_000_000).reason is Reason.CORRUPT
    assert refusal(png()[:33] + bytes(12) * 3_000_000).reason is Reason.CORRUPT
    assert refusal(b"\xff\xd8" + b"\xff" * 200_000).reason is Reason.CORRUPT
    assert time.perf_counter() - start < 3


def test_ordinary_files_are_not_risky_and_odd_ones_are() -> None:
    comment = chunk(b"tEXt", b"k\x00" + b"x" * (2 << 20))
    assert sniff.risk(sniff.header(jpeg()), Limits()) == ""
    assert sniff.risk(sniff.header(png()), Limits()) == ""
    assert sniff.risk(sniff.header(jpeg() + b"garbage"), Limits()) == ""
    odd = {
        "metadata": png_of(scene(), 0, 8, before=comment),
        "chunks": png_of(scene(), 0, 8, before=chunk(b"abCd", b"")),
        "behind": jpeg() + OTHERS["ZIP"],
        "scans": jpeg()[:-2] + b"\xff\xda\x00\x02" * 40 + b"\xff\xd9",
    }
    for word, data in odd.items():
        assert word in sniff.risk(sniff.header(data), Limits()), word
    assert sniff.risk(sniff.header(png() + b"\n" + OTHERS["PDF"]), Limits())
    assert sniff.risk(sniff.header(png_of(scene(), 0, 8, width=6000, height=6000)), Limits()) == "large image"
