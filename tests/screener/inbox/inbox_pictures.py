"""Pictures for the tests: made here, byte by byte where a library would not write them."""

from __future__ import annotations

import os
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@cache
def scene(height: int = 64, width: int = 80) -> Array:
    """Return a smooth grey picture, bright at the top left."""
    y, x = np.mgrid[:height, :width]
    grey = 230 - 1.2 * x * 64 / width - 1.4 * y * 64 / height + 12 * np.sin(x / 5) * np.cos(y / 7)
    return grey.clip(0, 255).astype(np.uint8)


def encoded(image: Array, ending: str = ".png", *parameters: int) -> bytes:
    done, data = cv2.imencode(ending, image, list(parameters))
    assert done
    return data.tobytes()


def jpeg(image: Array | None = None, *parameters: int) -> bytes:
    return encoded(scene() if image is None else image, ".jpg", *parameters)


def png(image: Array | None = None) -> bytes:
    return encoded(scene() if image is None else image)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_of(
    rows: Array, colour: int, bits: int, *, before: bytes = b"", width: int | None = None, height: int | None = None
) -> bytes:
    """Write a PNG whose rows are given as bytes; `before` goes between header and data."""
    stored = np.hstack([np.zeros((len(rows), 1), np.uint8), rows.view(np.uint8)])
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    columns = width if width is not None else rows.view(np.uint8).shape[1] * 8 // bits // samples
    head = struct.pack(">IIBBBBB", columns, len(rows) if height is None else height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + before
        + chunk(b"IDAT", zlib.compress(stored.tobytes()))
        + chunk(b"IEND", b"")
    )


def exif(orientation: int) -> bytes:
    return b"MM\x00*\x00\x00\x00\x08\x00\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + bytes(4)


def with_exif(data: bytes, orientation: int) -> bytes:
    """Insert an EXIF segment right behind the start of a JPEG."""
    body = b"Exif\x00\x00" + exif(orientation)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def odd_names() -> list[bytes]:
    return [
        b"two words.jpg",
        b"new\nline.png",
        b"-rf.jpg",
        b"[red]markup[/].png",
        b"\xff\xfe\x80.jpg",
        b"back\\xff.jpg",
        b"back\\\\slash.jpg",
        "großhirn_é_脳.jpg".encode(),
        b"no ending",
        b"\x1b[31mred.png",
        b'"quote";,=1+1.png',
    ]


def write(folder: str | os.PathLike[str], name: bytes, data: bytes) -> bytes:
    path = Path(folder, os.fsdecode(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return os.fsencode(path)
