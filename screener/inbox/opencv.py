"""OpenCV's process-wide settings, and the warnings that its C libraries print behind Python's back."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_STDERR = 2
_MAX_PIXELS = 1 << 28
"""Second line of defence only: `Limits` already refused larger images by their header."""
_KNOWN = (
    b"libpng ",
    b"Corrupt JPEG",
    b"Premature end",
    b"Inconsistent progression",
    b"Invalid SOS",
    b"Unknown Adobe",
    b"Warning: unknown JFIF",
)
_DAMAGE = (
    b"Corrupt JPEG data",
    b"Premature end of JPEG",
    b"Inconsistent progression",
    b"libpng error",
    b"libpng warning: IDAT",
)
_HARMLESS = (b"bad ICC marker",)
_lock = threading.Lock()


@cache
def prepare() -> None:
    """Set OpenCV's limits and silence its logger; to be called before the first ``import cv2``.

    OpenCV reads these variables while it is being imported and never again.
    """
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(_MAX_PIXELS))
    # Worker threads share out the slices: sharing out the rows of one as well would only get in their way.
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    if "cv2" in sys.modules:
        _silence()


def _silence() -> None:
    """Silence an OpenCV that was imported before `prepare` ran; its versions name the switch differently."""
    import cv2

    switch = getattr(cv2, "setLogLevel", None) or getattr(cv2.utils.logging, "setLogLevel", None)
    if switch is not None:
        switch(0)


@dataclass(slots=True)
class Complaints:
    """What the C libraries said while an image was decoded."""

    text: bytes = b""

    def damage(self) -> str:
        """Return the first complaint that means lost image data, or an empty string."""
        for line in self.text.splitlines():
            # A progress bar may stand before it on the same line.
            start = _first(line, _DAMAGE)
            if start < len(line) and not any(word in line for word in _HARMLESS):
                return line[start : start + 120].decode("ascii", "replace")
        return ""

    def foreign(self) -> bytes:
        """Return what does not come from a decoder."""
        return b"".join(line[: _first(line, _KNOWN)] for line in self.text.splitlines(keepends=True))


def _first(line: bytes, complaints: Iterable[bytes]) -> int:
    """Return where the first of some complaints begins in a line; its length where there is none."""
    return min((line.find(words) for words in complaints if words in line), default=len(line))


@contextmanager
def listening() -> Iterator[Complaints]:
    """Catch what libjpeg and libpng print to file descriptor 2.

    OpenCV gives no other sign that libjpeg filled missing rows with grey, and a nightly job's mail is no place for
    decoder chatter. Decoding is serialised by a lock, since the descriptor belongs to the whole process; lines that
    other threads write meanwhile are passed on afterwards.
    """
    heard = Complaints()
    with _lock:
        try:
            real = os.dup(_STDERR)
        except OSError:  # started with stderr closed: then nobody listens anyway
            yield heard
            return
        try:
            os.dup2(_notebook(os.getpid()).fileno(), _STDERR)
            yield heard
        finally:
            os.dup2(real, _STDERR)
            heard.text = _drain(_notebook(os.getpid()))
            if foreign := heard.foreign():
                os.write(real, foreign)
            os.close(real)


@cache
def _notebook(_process: int) -> IO[bytes]:
    """Return this process's file for complaints; after a fork, parent and child must not share one.

    In memory where the system can, so that a full disk silences no complaint.
    """
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("complaints"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _drain(notebook: IO[bytes]) -> bytes:
    """Return what was noted since the last call, at most 64 KiB of it."""
    length = os.lseek(notebook.fileno(), 0, os.SEEK_CUR)
    if length == 0:
        return b""
    notebook.seek(0)
    text = notebook.read(min(length, 1 << 16))
    notebook.seek(0)
    notebook.truncate()
    return text
