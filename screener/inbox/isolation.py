"""Decode ordinary files here and risky ones in a worker process that is replaced when it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import screener
from screener.domain.slice import Reason
from screener.inbox import sniff, worker
from screener.inbox.limits import Limits, RefusedError
from screener.inbox.picture import Decoded, decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from screener.inbox.dicom import DicomHeader

Isolation = Literal["risky", "always", "never"]
_STARTUP_SECONDS = 60.0
"""A cold disk may take its time to load numpy and OpenCV; this does not count against the file."""


class SafeDecoder:
    """A decoder for `screener.inbox.read`, to be used as a context manager.

    Parameters
    ----------
    isolation : {"risky", "always", "never"}
        Which files go to the worker process. It is started by the first one that needs it.
    command : sequence of str, optional
        Starts a process that speaks the protocol of `screener.inbox.worker`. The limits are appended as JSON, then the
        types of file that it will be asked for.
    """

    def __init__(self, isolation: Isolation = "risky", command: Sequence[str] | None = None) -> None:
        self._isolation = isolation
        # -P: the current folder, which may be the inbox, must not provide modules.
        self._command = list(command or (sys.executable, "-P", "-m", "screener.inbox.worker"))
        self._process: subprocess.Popen[bytes] | None = None
        self._limits: Limits | None = None
        self._kinds: set[str] = set()
        """Types of file whose libraries the process loads when it starts, which takes none of a file's time."""
        self._held: bytes | None = None
        """What the process was sent last, and still holds."""
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(
        self, data: bytes, limits: Limits, frame: int | None = None, header: DicomHeader | None = None
    ) -> Decoded:
        """Decode like `screener.inbox.decode`.

        Raises
        ------
        RefusedError
            As `decode`, and with ``decoder_crashed`` or ``decoder_timeout``.
        """
        # Header and limits are ours to check: a file refused by them never costs a worker's time.
        found = _header(data, limits, header)
        sniff.enforce(found, limits)
        if self._isolation == "never" or (self._isolation == "risky" and not sniff.risk(found, limits)):
            return decode(data, limits, frame, header)
        request = _Request(data, found, frame, header)
        with self._lock:
            return self._isolated(request, limits)

    def close(self) -> None:
        """End the worker process, if there is one."""
        process, self._process = self._process, None
        self._held = None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _isolated(self, request: _Request, limits: Limits) -> Decoded:
        fresh = self._process is None
        try:
            return self._attempt(request, limits)
        except RefusedError as error:
            # A worker that has waited since an earlier file may have been killed from outside, for want of memory say:
            # this file is to blame only if a fresh one dies of it too.
            if fresh or error.reason is not Reason.DECODER_CRASHED:
                raise
        return self._attempt(request, limits)

    def _attempt(self, request: _Request, limits: Limits) -> Decoded:
        process = self._ready(limits, request.promised.kind)
        same, self._held = self._held is request.data, request.data
        try:
            with _Deadline(process, limits.seconds) as deadline:
                return _exchange(process, request, same)
        except RefusedError:
            raise
        except (OSError, EOFError, ValueError):
            self.close()
            if deadline.passed:
                raise RefusedError(Reason.DECODER_TIMEOUT, f"not decoded within {limits.seconds:g} s") from None
            raise RefusedError(Reason.DECODER_CRASHED, f"the decoder ended with {process.returncode}") from None
        except BaseException:
            # Interrupted half-way: what is left in the pipe would pass for the pixels of the next file.
            self.close()
            raise

    def _ready(self, limits: Limits, kind: str) -> subprocess.Popen[bytes]:
        """Return a worker that waits for a request about a file of some type."""
        if kind in worker.LIBRARIES and kind not in self._kinds:
            self.close()
            self._kinds.add(kind)
        if self._process is not None and (self._process.poll() is not None or self._limits != limits):
            self.close()
        if self._process is None:
            self._process, self._limits = self._start(limits), limits
        return self._process

    def _start(self, limits: Limits) -> subprocess.Popen[bytes]:
        home = str(Path(screener.__file__).parent.parent)
        paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
        try:
            process = subprocess.Popen(
                [*self._command, json.dumps(asdict(limits)), *sorted(self._kinds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            )
        except OSError as error:
            raise RefusedError(Reason.DECODER_CRASHED, f"the decoder cannot be started: {error.strerror}") from None
        self._process = process
        try:
            with _Deadline(process, _STARTUP_SECONDS):
                started = _read(process, 1) == worker.READY
        except (OSError, EOFError):
            started = False
        if not started:
            self.close()
            raise RefusedError(Reason.DECODER_CRASHED, "the decoder process does not start")
        return process


class _Deadline:
    """Kill a process that takes too long, which ends the blocking read or write that waits for it."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self.passed = False
        self._over = False
        self._turn = threading.Lock()
        self._process = process
        self._timer = threading.Timer(seconds, self._strike)
        self._timer.daemon = True

    def _strike(self) -> None:
        with self._turn:
            # An answer that came in the last microsecond counts, and its worker lives on.
            if not self._over:
                self.passed = True
                self._process.kill()

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._turn:
            self._over = True
        self._timer.cancel()


@dataclass(frozen=True, slots=True)
class _Request:
    """What the worker is asked: the file, what its header promises, the frame, and the DICOM header."""

    data: bytes
    promised: sniff.Header
    frame: int | None
    header: DicomHeader | None

    def about(self) -> bytes:
        """Return the DICOM header as the worker reads it."""
        if self.header is None:
            return b""
        import msgspec

        return msgspec.msgpack.encode(self.header.only(self.frame or 1))


def _header(data: bytes, limits: Limits, header: DicomHeader | None) -> sniff.Header:
    kind = sniff.DICOM if header is not None else sniff.kind(data)
    if kind == sniff.DICOM:
        from screener.inbox.dicom import picture_header

        return picture_header(data, limits, header)
    if kind == sniff.NIFTI:
        from screener.inbox.nifti import nifti_picture_header

        return nifti_picture_header(data, limits)
    return sniff.header(data)


def _exchange(process: subprocess.Popen[bytes], request: _Request, same: bool) -> Decoded:
    """Send one file and return what the worker made of it."""
    import numpy as np

    assert process.stdin is not None  # noqa: S101 - opened with a pipe
    length, about = worker.SAME if same else len(request.data), request.about()
    process.stdin.write(worker.REQUEST.pack(length, request.frame or 0, len(about)))
    if not same:
        process.stdin.write(request.data)
    process.stdin.write(about)
    process.stdin.flush()
    answer = _read(process, 1)
    if answer == worker.REFUSED:
        (length,) = worker.LENGTH.unpack(_read(process, worker.LENGTH.size))
        reason, detail = json.loads(_read(process, length))
        raise RefusedError(Reason(reason), detail)
    if answer != worker.PIXELS:
        raise EOFError
    height, width, saturation = worker.SHAPE.unpack(_read(process, worker.SHAPE.size))
    # A decoder that was taken over by its input must not choose how much memory we reserve.
    if sorted((height, width)) != sorted((request.promised.height, request.promised.width)):
        raise EOFError
    pixels = np.frombuffer(_read(process, 4 * height * width), np.float32)
    return Decoded(pixels.reshape(height, width), saturation)


def _read(process: subprocess.Popen[bytes], length: int) -> bytes:
    """Read exactly `length` bytes.

    Raises
    ------
    EOFError
        The process ended first.
    """
    assert process.stdout is not None  # noqa: S101 - opened with a pipe
    data = process.stdout.read(length)
    if len(data) != length:
        raise EOFError
    return data
