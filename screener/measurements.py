"""What the log keeps of a slice so that change over time can be seen: image statistics and a compressed embedding.

Statistics are of the stored pixels, before any preprocessing, because preprocessing is made to hide what a scanner
changes. The embedding is the model's own, compressed to at most 64 numbers of 8 bits.

Compression, version 1, a function of the embedding's length *d* alone:

* d ≤ 64: the numbers themselves;
* d > 64: a random projection to 64 numbers by signs, divided by 8 (Achlioptas, J Comput Syst Sci 2003), which keeps
  distances on average. The sign of number *i* in the projection to *j* is bit ``64·i + j`` (most significant first) of
  ``SHAKE-256("screener embedding projection 1")``; a bit of 1 is a minus.

Then each number is divided by the largest magnitude over 127, and rounded. The text is the base64 of one byte for the
version, the divisor as a little-endian IEEE half, and the rounded numbers as signed bytes.
"""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from functools import lru_cache
from typing import TYPE_CHECKING

from screener.domain.slice import SliceMeasurements

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from screener.inbox.dicom import DicomHeader

PROJECTION_VERSION = 1
LENGTH = 64
"""Numbers that a compressed embedding has at most."""
_SEED = b"screener embedding projection 1"
_HEAD = struct.Struct("<Be")
_STEPS = 127
_LARGEST = 65504.0
"""The largest number of half precision."""
_WINDOW = 256
"""Pixels a side that are measured: a large slice costs no more than a usual one."""
_NAME = 64
"""Letters of a manufacturer or model that are kept."""


def image_statistics(pixels: NDArray[np.float32], header: DicomHeader | None = None) -> dict[str, str]:
    """Measure the stored pixels of a slice.

    Parameters
    ----------
    pixels : ndarray of shape (H, W), float32, in [0, 1]
    header : DicomHeader, optional
        Names the scanner.

    Returns
    -------
    dict of str to str
        ``brightness`` and ``contrast``, mean and standard deviation of the pixels, of a large slice of every other one
        or fewer; ``sharpness``, the standard deviation of the Laplacian over that of the pixels, in the middle 256 x
        256; ``height`` and ``width``; from DICOM ``manufacturer`` and ``manufacturer_model``. What is not known, or no
        finite number, is left out.
    """
    import cv2
    import numpy as np

    step = max(1, min(pixels.shape) // _WINDOW)
    mean, spread = (float(value[0, 0]) for value in cv2.meanStdDev(np.ascontiguousarray(pixels[::step, ::step])))
    centre = _centre(pixels)
    edges, grey = (float(cv2.meanStdDev(one)[1][0, 0]) for one in (cv2.Laplacian(centre, cv2.CV_32F), centre))
    numbers = {"brightness": mean, "contrast": spread, "sharpness": edges / grey if grey > 0 else math.nan}
    found = {name: f"{value:.4g}" for name, value in numbers.items() if np.isfinite(value)}
    found["height"], found["width"] = map(str, pixels.shape)
    if header is not None:
        named = {"manufacturer": header.manufacturer, "manufacturer_model": header.manufacturer_model}
        found |= {name: value[:_NAME] for name, value in named.items() if value}
    return found


def _centre(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the middle of a slice at its own resolution, contiguous."""
    import numpy as np

    top, left = (max(0, (side - _WINDOW) // 2) for side in pixels.shape)
    return np.ascontiguousarray(pixels[top : top + _WINDOW, left : left + _WINDOW])


def with_embedding(
    measurements: SliceMeasurements | None, embedding: NDArray[np.float32] | None
) -> SliceMeasurements | None:
    """Add a compressed embedding to what was measured; nothing where nothing was measured."""
    if measurements is None or embedding is None:
        return measurements
    return SliceMeasurements(measurements.statistics, compress(embedding))


def compress(embedding: NDArray[np.float32]) -> str | None:
    """Return an embedding as text, see the head of this module; None where a number is not finite.

    Parameters
    ----------
    embedding : ndarray of d numbers, any shape

    Returns
    -------
    str or None
        Base64, at most 92 letters.
    """
    import numpy as np

    values = np.asarray(embedding, dtype=np.float64).reshape(-1)
    if values.size > LENGTH:
        values = values @ _signs(values.size) / math.sqrt(LENGTH)
    largest = float(np.abs(values).max()) if values.size else math.nan
    if not largest / _STEPS <= _LARGEST:
        return None
    # The nearest half; a vector of zeros needs no divisor.
    divisor = float(np.float16(largest / _STEPS))
    steps = np.zeros(values.size) if divisor == 0 else np.rint(values / divisor).clip(-_STEPS, _STEPS)
    data = _HEAD.pack(PROJECTION_VERSION, divisor) + steps.astype(np.int8).tobytes()
    return base64.b64encode(data).decode("ascii")


def decompress(text: str) -> NDArray[np.float32] | None:
    """Return the numbers of a compressed embedding; None where the text is none that this version reads.

    Returns
    -------
    ndarray of shape (n,), float32, or None
        At most 64 numbers, each right to half a divisor.
    """
    found = decompress_many([text])
    return None if found is None else found[0]


def decompress_many(texts: Sequence[str]) -> NDArray[np.float32] | None:
    """Return the numbers of compressed embeddings of one length, that of the first which can be read.

    Returns
    -------
    ndarray of shape (N, n), float32, or None
        Those that can be read; None where none can.
    """
    import numpy as np

    rows = [row for row in map(_bytes_of, texts) if row is not None]
    if not rows:
        return None
    table = np.frombuffer(b"".join(row for row in rows if len(row) == len(rows[0])), np.uint8).reshape(-1, len(rows[0]))
    divisors = table[:, 1 : _HEAD.size].copy().view("<f2").astype(np.float32)
    usable = (table[:, 0] == PROJECTION_VERSION) & np.isfinite(divisors[:, 0])
    found: NDArray[np.float32] = table[usable, _HEAD.size :].view(np.int8) * divisors[usable]
    return found if len(found) else None


def _bytes_of(text: str) -> bytes | None:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return data if _HEAD.size < len(data) <= _HEAD.size + LENGTH else None


@lru_cache(maxsize=4)
def _signs(size: int) -> NDArray[np.float64]:
    """Return the projection of embeddings of a size: 1 and -1, shape (size, 64)."""
    import numpy as np

    data = np.frombuffer(hashlib.shake_256(_SEED).digest(size * LENGTH // 8), np.uint8)
    signs: NDArray[np.float64] = 1.0 - 2.0 * np.unpackbits(data).reshape(size, LENGTH).astype(np.float64)
    return signs
