"""Decode the pixels of a DICOM frame as a viewer would show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from screener.domain.slice import Reason
from screener.inbox import sniff
from screener.inbox.dicom import (
    DEFLATED,
    INSTALL,
    DicomFrame,
    DicomHeader,
    direct,
    pydicom_module,
    read_admitted,
)
from screener.inbox.limits import Limits, RefusedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PERCENTILES = (0.5, 99.5)
_LEAST_WIDTH, _MOST_WIDTH = 0.1, 4.0
"""Of a window, as shares of the spread between the percentiles."""


def decode_dicom(
    data: bytes, limits: Limits, frame: int | None = None, header: DicomHeader | None = None
) -> NDArray[np.float32]:
    """Decode one frame.

    Stored values are rescaled, then windowed: the first window of the header if it is sane (it overlaps the values and
    is neither below a tenth nor above four times the spread between percentiles 0.5 and 99.5), else these percentiles.
    MONOCHROME1 is inverted after the window, and pixels that are not square are resampled.

    Parameters
    ----------
    data : bytes
        The whole file.
    limits : Limits
    frame : int, optional
        From 1; the first one when not given.
    header : DicomHeader, optional
        Of these bytes, where it was read and admitted before.

    Returns
    -------
    ndarray of shape (H, W), float32, in [0, 1]

    Raises
    ------
    RefusedError
    """
    header = read_admitted(data, limits) if header is None else header
    sniff.enforce(sniff.Header(sniff.DICOM, header.shape[1], header.shape[0], 1, 16), limits)
    shot = header.frame(frame or 1)
    stored = _native(data, header, shot.number) if direct(header.pixels) else _decoded(data, header, shot.number)
    try:
        return _shown(header, shot, stored)
    except (ValueError, TypeError, OverflowError):
        raise RefusedError(Reason.CORRUPT, "DICOM of nonsensical rescaling or window") from None


def _native(data: bytes, header: DicomHeader, number: int) -> NDArray[Any]:
    """Return the stored values of an uncompressed frame, shape (rows, columns), as a view of the file."""
    import numpy as np

    pixels, count = header.pixels, header.rows * header.columns
    start = pixels.offset + (number - 1) * count * pixels.allocated // 8
    end = min(len(data), pixels.offset + pixels.length)
    if start + count * pixels.allocated // 8 > end:
        raise RefusedError(Reason.CORRUPT, "the file ends within its pixels")
    kind = f"<{'i' if pixels.signed else 'u'}{pixels.allocated // 8}"
    return np.frombuffer(data, kind, count, start).reshape(header.rows, header.columns)


def _decoded(data: bytes, header: DicomHeader, number: int) -> NDArray[Any]:
    """Return the stored values of a frame that takes a decoder, shape (rows, columns)."""
    import numpy as np

    if not header.pixels.offset and header.pixels.syntax != DEFLATED:
        raise RefusedError(Reason.CORRUPT, "DICOM without pixels")
    try:
        array = np.asarray(
            _inflated(data, number) if header.pixels.syntax == DEFLATED else _foreign(data, header, number)
        )
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders meet hostile bytes
        if "missing dependencies" in str(error):
            raise RefusedError(Reason.UNSUPPORTED_TYPE, f"no decoder for its compression; run: {INSTALL}") from None
        raise RefusedError(Reason.CORRUPT, f"DICOM pixels that cannot be decoded ({type(error).__name__})") from None
    if array.shape != (header.rows, header.columns):
        raise RefusedError(Reason.CORRUPT, "decoded to another size than its header says")
    return array


def _foreign(data: bytes, header: DicomHeader, number: int) -> NDArray[Any]:
    """Decode with pydicom's plugins, or pydicom itself, from the place where the pixels lie."""
    pydicom_module()
    from pydicom.pixels import get_decoder

    pixels = header.pixels
    end = len(data) if pixels.length >= len(data) else pixels.offset + pixels.length
    array, _ = get_decoder(pixels.syntax).as_array(
        memoryview(data)[pixels.offset : end].tobytes(),
        index=number - 1,
        raw=True,
        rows=header.rows,
        columns=header.columns,
        number_of_frames=header.count,
        samples_per_pixel=pixels.samples,
        planar_configuration=0,
        photometric_interpretation=pixels.photometric,
        bits_allocated=pixels.allocated,
        bits_stored=pixels.stored,
        pixel_representation=int(pixels.signed),
        pixel_keyword="PixelData",
        pixel_vr="OW" if pixels.allocated > 8 else "OB",  # noqa: PLR2004 - bits a byte
    )
    return array  # type: ignore[no-any-return]  # pydicom ships no types


def _inflated(data: bytes, number: int) -> NDArray[Any]:
    """Decode a file whose whole data set is deflated; how large it becomes was checked with its header."""
    from io import BytesIO

    from pydicom.pixels import pixel_array

    dataset = pydicom_module().dcmread(BytesIO(data), force=True)
    return pixel_array(dataset, index=number - 1, raw=True)  # type: ignore[no-any-return]  # pydicom ships no types


def _shown(header: DicomHeader, shot: DicomFrame, stored: NDArray[Any]) -> NDArray[np.float32]:
    """Rescale, window, invert and resample."""
    import numpy as np

    low, high = _bounds(shot, stored)
    # In stored units, so that 32-bit floats are exact for every integer of up to 24 bits.
    start = (low - shot.intercept) / shot.slope
    scale = shot.slope / (high - low if high > low else 1.0)
    pixels = stored.astype(np.float32)
    pixels -= np.float32(start)
    pixels *= np.float32(scale)
    np.clip(pixels, 0.0, 1.0, out=pixels)
    if header.pixels.photometric == "MONOCHROME1":
        pixels = np.float32(1) - pixels
    if pixels.shape != header.shape:
        import cv2

        pixels = cv2.resize(pixels, header.shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
    if not np.isfinite(pixels).all():
        raise RefusedError(Reason.CORRUPT, "DICOM of nonsensical rescaling or window")
    return np.ascontiguousarray(pixels)


def _bounds(shot: DicomFrame, stored: NDArray[Any]) -> tuple[float, float]:
    """Return the rescaled values that become 0 and 1."""
    low, high = sorted(value * shot.slope + shot.intercept for value in percentiles(stored))
    if shot.window is None:
        return low, high
    start, end = shot.window
    spread, width = high - low, end - start
    sane = start < high and end > low and _LEAST_WIDTH * spread <= width <= _MOST_WIDTH * spread
    return (start, end) if sane and end > start else (low, high)


def percentiles(values: NDArray[Any]) -> tuple[float, float]:
    """Return percentiles 0.5 and 99.5, interpolated as numpy does; of short integers by counting, which is faster.

    Parameters
    ----------
    values : ndarray of numbers, not empty
    """
    import numpy as np

    if values.dtype.kind not in "ui" or values.dtype.itemsize > 2:  # noqa: PLR2004 - bytes
        low, high = np.percentile(values.astype(np.float64), _PERCENTILES)
        return float(low), float(high)
    least = int(values.min())
    ranked = np.cumsum(np.bincount((values.astype(np.int32) - least).ravel()))

    def at(percent: float) -> float:
        rank = (values.size - 1) * percent / 100
        below, above = (int(np.searchsorted(ranked, whole, side="right")) for whole in (int(rank), int(rank) + 1))
        above = min(above, len(ranked) - 1)
        return least + below + (rank - int(rank)) * (above - below)

    return at(_PERCENTILES[0]), at(_PERCENTILES[1])
