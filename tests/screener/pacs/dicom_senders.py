"""Senders for the tests of the receiver: decent ones by pynetdicom, others by hand."""

from __future__ import annotations

import io
import socket
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom
import pytest

pytest.importorskip("pynetdicom")
sys.path.append(str(Path(__file__).parents[1] / "inbox"))
from dicom_files import dataset, encode, values
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydicom.dataset import Dataset

MR = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ECHO = "1.2.840.10008.1.1"


def instance(number: int, study: str = "1.2.3", syntax: str = ExplicitVRLittleEndian, **changes: object) -> Dataset:
    """Return a slice as a sender reads it from a file."""
    about: dict[str, Any] = {
        "StudyInstanceUID": study,
        "SOPInstanceUID": f"{study}.{number + 1}",
        "ImagePositionPatient": [0, 0, float(number)],
    }
    return pydicom.dcmread(io.BytesIO(encode(dataset(values(), **(about | changes)), syntax)))


@contextmanager
def association(
    port: int,
    *,
    calling: str = "MR1",
    called: str = "SCREENER",
    classes: tuple[str, ...] = (MR, SECONDARY_CAPTURE, ECHO),
    syntaxes: tuple[str, ...] = (ExplicitVRLittleEndian,),
    tls: Any = None,  # noqa: ANN401
) -> Iterator[Any]:
    """Associate with a receiver, and release at the end."""
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    for kind in classes:
        entity.add_requested_context(kind, list(syntaxes))
    found = entity.associate("127.0.0.1", port, ae_title=called, tls_args=None if tls is None else (tls, None))
    try:
        yield found
    finally:
        if found.is_established:
            found.release()


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something has come true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def raw(port: int) -> socket.socket:
    """Connect without a word."""
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def is_closed(connection: socket.socket) -> bool:
    """Say whether the other side closes a connection; what it says before is read."""
    try:
        while connection.recv(1024):
            pass
    except ConnectionResetError:
        return True
    return True
