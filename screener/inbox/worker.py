"""The process that decodes risky bytes: it may crash, hang or eat memory without taking the run with it.

Started as ``python -m screener.inbox.worker LIMITS [KIND...]``, where LIMITS is JSON and each KIND a type of file whose
libraries are loaded at once. It says `READY` on stdout, then answers
each request on stdin. Request: length of the data (`SAME`: those of the request before), frame (0 for none), length of
the header (8 bytes each, big-endian), data, and what is known of the file's DICOM header (MessagePack; may be empty).
Answer: `PIXELS`, height, width, saturation and the
float32 pixels in native order; or `REFUSED`, length and JSON ``[reason, detail]``.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from contextlib import suppress
from importlib import import_module
from typing import IO, TYPE_CHECKING

from screener.domain.slice import Reason
from screener.inbox import opencv, sniff
from screener.inbox.limits import Limits, RefusedError
from screener.inbox.picture import decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from screener.inbox.dicom import DicomHeader

READY = b"K"
PIXELS = b"P"
REFUSED = b"R"
LENGTH = struct.Struct(">Q")
REQUEST = struct.Struct(">QQQ")
SAME = (1 << 64) - 1
"""Stands for the length of data that the worker still holds, so that a file of many slices is sent once."""
SHAPE = struct.Struct(">QQd")


LIBRARIES = {sniff.DICOM: ("pydicom.pixels", "screener.inbox.dicom_pixels"), sniff.NIFTI: ("nibabel",)}
"""What decodes a type of file; missing ones are told of when a file needs them."""


def main(limits: Limits, kinds: Sequence[str] = ()) -> None:
    """Answer requests until stdin ends.

    Parameters
    ----------
    limits : Limits
    kinds : sequence of str
        Types of file whose libraries are loaded first.
    """
    requests = sys.stdin.buffer
    answers = _reserve_stdout()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Ctrl-C and service managers signal the whole group; the parent finishes its batch and then closes stdin.
        signal.signal(number, signal.SIG_IGN)
    opencv.prepare()
    import cv2

    cv2.setNumThreads(1)
    for name in (name for kind in kinds for name in LIBRARIES.get(kind, ())):
        with suppress(ImportError):
            import_module(name)
    _limit_memory(limits.worker_bytes)
    answers.write(READY)
    answers.flush()
    data = b""
    while (request := _request(requests, data)) is not None:
        data, frame, header = request
        # Should the parent die meanwhile, nobody else ends a decoder that hangs.
        signal.alarm(int(limits.seconds) + 5)
        _answer(answers, data, frame, header, limits)
        signal.alarm(0)


def _reserve_stdout() -> IO[bytes]:
    """Keep the answers' pipe for answers: what a C library prints goes nowhere."""
    pipe = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    return pipe


def _limit_memory(extra: int) -> None:
    """Bound the address space to what is mapped now plus `extra` bytes."""
    # Libraries map hundreds of megabytes that they never touch, so an absolute bound would say little.
    with suppress(ImportError, OSError, ValueError):
        import resource
        from pathlib import Path

        mapped = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + extra, mapped + extra))


def _request(requests: IO[bytes], held: bytes) -> tuple[bytes, int | None, DicomHeader | None] | None:
    """Return the next file's bytes, the frame that is wanted and the header; None at the end."""
    prefix = requests.read(REQUEST.size)
    if len(prefix) != REQUEST.size:
        return None
    length, frame, about = REQUEST.unpack(prefix)
    data = held if length == SAME else requests.read(length)
    return data, frame or None, _header(requests.read(about))


def _header(text: bytes) -> DicomHeader | None:
    if not text:
        return None
    import msgspec

    from screener.inbox.dicom import DicomHeader

    return msgspec.msgpack.decode(text, type=DicomHeader)


def _answer(answers: IO[bytes], data: bytes, frame: int | None, header: DicomHeader | None, limits: Limits) -> None:
    try:
        pixels, saturation = decode(data, limits, frame, header)
        _send_pixels(answers, pixels, saturation)
    except RefusedError as error:
        _send_refusal(answers, error.reason, error.detail)
    except MemoryError:
        _send_refusal(answers, Reason.TOO_LARGE, "not enough memory to decode it")
    answers.flush()


def _send_pixels(answers: IO[bytes], pixels: NDArray[np.float32], saturation: float) -> None:
    answers.write(PIXELS + SHAPE.pack(*pixels.shape, saturation))
    answers.write(pixels.data)


def _send_refusal(answers: IO[bytes], reason: Reason, detail: str) -> None:
    body = json.dumps([reason, detail]).encode()
    answers.write(REFUSED + LENGTH.pack(len(body)) + body)


if __name__ == "__main__":
    main(Limits(**json.loads(sys.argv[1])), sys.argv[2:])
