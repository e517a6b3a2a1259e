"""Decode JPEG and PNG files to slices, from memory, the same way for training and for screening."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from screener.domain.slice import Identity, Reason, Refused, Slice
from screener.inbox import opencv, sniff
from screener.inbox.limits import Limits, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from screener.inbox.dicom import DicomHeader
    from screener.inbox.walk import Entry

    Decoder = Callable[[bytes, Limits, int | None, DicomHeader | None], "Decoded"]

DEFAULT_LIMITS = Limits()
_SATURATION_PROBE = 128
"""Longest side of the copy on which colour is measured: a mean needs no more."""
_ORIENTATION_TAG = 0x0112
_NO_MEMORY = -4
"""OpenCV's status code for a failed allocation."""


class Decoded(NamedTuple):
    """One frame as it leaves the decoder; what the header says is known before, see `FileBytes.header`.

    Attributes
    ----------
    pixels : ndarray of shape (H, W), float32, in [0, 1]
    saturation : float, in [0, 1]
        Mean over pixels of the largest minus the smallest colour channel; 0 for grey.
    """

    pixels: NDArray[np.float32]
    saturation: float


@dataclass(frozen=True, slots=True)
class FileBytes:
    """A file's bytes and identity, not yet decoded: enough to know whether it was judged before.

    Attributes
    ----------
    identity : Identity
    data : bytes
    header : DicomHeader or None
        Of a DICOM file, once it was read.
    """

    identity: Identity
    data: bytes
    header: DicomHeader | None = None


def fetch(entry: Entry, limits: Limits = DEFAULT_LIMITS) -> FileBytes | Refused:
    """Read a file once and hash it. Never raises for what happened to it since it was found."""
    identity = Identity(entry.path, "", entry.patient_id, study_id=entry.study_id, series_id=entry.series_id)
    try:
        data = _load(entry, limits)
    except RefusedError as error:
        return Refused(identity, error.reason, error.detail)
    except MemoryError:
        return Refused(identity, Reason.TOO_LARGE, "not enough memory to read it")
    header = None if entry.known is None else entry.known.header
    return FileBytes(replace(identity, sha256=hashlib.sha256(data).hexdigest()), data, header)


def decode_slice(
    fetched: FileBytes, limits: Limits = DEFAULT_LIMITS, decoder: Decoder | None = None
) -> Slice | Refused:
    """Sniff and decode fetched bytes. Never raises for what is in them.

    Parameters
    ----------
    fetched : FileBytes
    limits : Limits
    decoder : callable, optional
        Takes the place of `decode`; `screener.inbox.isolation.SafeDecoder` brings the worker process in.
    """
    try:
        found = (decoder or decode)(fetched.data, limits, fetched.identity.frame, fetched.header)
    except RefusedError as error:
        return Refused(fetched.identity, error.reason, error.detail)
    except MemoryError:
        return Refused(fetched.identity, Reason.TOO_LARGE, "not enough memory to decode it")
    return Slice(fetched.identity, found.pixels, found.saturation)


def read(entry: Entry, limits: Limits = DEFAULT_LIMITS, decoder: Decoder | None = None) -> Slice | Refused:
    """Read a file once; hash, sniff and decode its bytes: `fetch`, then `decode_slice`."""
    found = fetch(entry, limits)
    return found if isinstance(found, Refused) else decode_slice(found, limits, decoder)


def decode(
    data: bytes, limits: Limits = DEFAULT_LIMITS, frame: int | None = None, header: DicomHeader | None = None
) -> Decoded:
    """Decode a JPEG, a PNG, or one frame of a DICOM or NIfTI file (see `decode_dicom` and `decode_nifti`).

    8-bit values are divided by 255. 16-bit values are stretched so that the smallest becomes 0 and the largest 1:
    scanners store 12 bits in 16 and nothing in the file says so. Colour becomes grey by the usual luma weights,
    transparent pixels are composited on black (the background of MR), and EXIF orientation is applied.

    Parameters
    ----------
    data : bytes
        The whole file.
    limits : Limits
    frame : int, optional
        Of a DICOM or NIfTI file, from 1.
    header : DicomHeader, optional
        Of a DICOM file, where it was read before.

    Returns
    -------
    Decoded

    Raises
    ------
    RefusedError
        With the `Reason` why these bytes are no image that could be screened.
    """
    kind = sniff.kind(data)
    if kind == sniff.DICOM:
        from screener.inbox.dicom_pixels import decode_dicom

        return Decoded(decode_dicom(data, limits, frame, header), 0.0)
    if kind == sniff.NIFTI:
        from screener.inbox.nifti import decode_nifti

        return Decoded(decode_nifti(data, limits, frame), 0.0)
    found = sniff.header(data)
    sniff.enforce(found, limits)
    image = _imdecode(data, found)
    return Decoded(_grey(image), _saturation(image))


def _load(entry: Entry, limits: Limits) -> bytes:
    """Read a regular file of bounded size that does not change meanwhile."""
    try:
        # Whoever swaps the file for a link or a pipe after it was found must neither lead us astray nor block us.
        handle = os.open(entry.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise RefusedError(Reason.UNREADABLE, "no longer a regular file")
            known = entry.known
            if known is not None and (before.st_size, before.st_mtime_ns) != (known.size, known.modified):
                raise RefusedError(Reason.STILL_BEING_WRITTEN, "changed since its header was read")
            if before.st_size > limits.file_bytes:
                raise RefusedError(
                    Reason.TOO_LARGE, f"{before.st_size >> 20} MiB; at most {limits.file_bytes >> 20} are read"
                )
            data = file.read(limits.file_bytes + 1)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise RefusedError(Reason.UNREADABLE, error.strerror or type(error).__name__) from None
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(data) != after.st_size:
        raise RefusedError(Reason.STILL_BEING_WRITTEN, "changed while it was being read")
    if known is not None and zlib.crc32(memoryview(data)[: known.covered]) != known.checksum:
        raise RefusedError(Reason.STILL_BEING_WRITTEN, "its header is no longer the one that was read")
    return data


def _imdecode(data: bytes, header: sniff.Header) -> NDArray[Any]:
    """Run OpenCV's decoder and refuse whatever it did not decode completely."""
    opencv.prepare()
    import cv2
    import numpy as np

    # Only these flags keep depth and colour and also apply EXIF orientation; alpha survives only under UNCHANGED.
    flags = cv2.IMREAD_UNCHANGED if header.alpha else cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    with opencv.listening() as complaints:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error as error:
            if getattr(error, "code", None) == _NO_MEMORY:
                raise MemoryError from None
            raise RefusedError(Reason.CORRUPT, f"{header.kind} that cannot be decoded") from None
    # The stubs promise an array, the library returns None for what it cannot decode.
    if image is None:
        raise RefusedError(Reason.CORRUPT, f"{header.kind} that cannot be decoded")
    if damage := complaints.damage():
        raise RefusedError(Reason.CORRUPT, f"partly decoded: {damage}")
    if sorted(image.shape[:2]) != sorted((header.width, header.height)):
        raise RefusedError(Reason.CORRUPT, "decoded to another size than its header says")
    return _turn(image, _orientation(header.exif)) if header.alpha and header.exif else image


def _grey(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return one channel, float32, in [0, 1]."""
    import cv2
    import numpy as np

    grey = image
    if image.ndim == 3:  # noqa: PLR2004 - (H, W, channels)
        grey = cv2.cvtColor(image, cv2.COLOR_BGRA2GRAY if image.shape[2] == 4 else cv2.COLOR_BGR2GRAY)  # noqa: PLR2004
    pixels = grey.astype(np.float32)
    full = float(np.iinfo(image.dtype).max)
    if image.ndim == 3 and image.shape[2] == 4:  # noqa: PLR2004 - with alpha
        # Luma is linear, so compositing its value on black equals compositing each channel.
        pixels *= image[:, :, 3]
        pixels /= full
    if image.dtype == np.uint8:
        pixels /= 255.0
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    pixels -= low
    if high > low:
        pixels /= high - low
    return pixels


def _saturation(image: NDArray[Any]) -> float:
    """Return the mean spread between colour channels, as a share of the full range."""
    import numpy as np

    if image.ndim == 2:  # noqa: PLR2004 - (H, W)
        return 0.0
    step = max(1, max(image.shape[:2]) // _SATURATION_PROBE)
    probe = image[::step, ::step]
    full = float(np.iinfo(image.dtype).max)
    blue, green, red = probe[:, :, 0], probe[:, :, 1], probe[:, :, 2]
    spread = np.maximum(np.maximum(blue, green), red) - np.minimum(np.minimum(blue, green), red)
    if probe.shape[2] == 4:  # noqa: PLR2004 - with alpha
        return float((spread * (probe[:, :, 3] / full)).mean()) / full
    return float(spread.mean()) / full


def _orientation(exif: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) when it is missing or nonsense."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for index in range(count):
            tag, _, _, value = struct.unpack_from(order + "HHIH", exif, start + 2 + 12 * index)
            if tag == _ORIENTATION_TAG:
                return value if 1 <= value <= 8 else 1  # noqa: PLR2004 - the values EXIF defines
    except struct.error:
        pass
    return 1


def _turn(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo an EXIF orientation, as OpenCV itself does for images without alpha."""
    import numpy as np

    if orientation >= 5:  # noqa: PLR2004 - rows and columns are swapped
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
