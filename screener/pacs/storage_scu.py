"""Store objects at a destination: C-STORE to a DICOM node, STOW-RS to a DICOMweb service.

Only stores. It never asks for a storage commitment, nor does it ever give one.
"""

from __future__ import annotations

import os
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol, Self

from screener.errors import NotSentError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from screener.pacs.destination import Destination

INSTALL = "python -m pip install 'screener[pacs]'"
TOKEN = "SCREENER_DICOMWEB_TOKEN"  # noqa: S105 - the name of a variable
_CONNECT, _ANSWER = 10.0, 60.0
"""Seconds to wait for a connection, and for the answer about one object."""
_WARNINGS = range(0xB000, 0xC000)
_DUPLICATE = 0x0111
_OK = 200


class TransferError(NotSentError):
    """A destination did not take an object; later it may.

    Attributes
    ----------
    gone : bool
        The destination does not answer: there is no use in trying the next object.
    """

    def __init__(self, message: str, *, gone: bool) -> None:
        super().__init__(message, "answers wait in the outbox; find out whether the destination is up and knows us")
        self.gone = gone


class Connection(Protocol):
    """Stores objects at one destination; a context manager."""

    def store(self, objects: Sequence[bytes]) -> None:
        """Store objects of one study.

        Raises
        ------
        TransferError
            At least one of them was not stored.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def refuse_without_network() -> None:
    """Make sure that answers can be sent.

    Raises
    ------
    UsageError
        The extra is not installed.
    """
    try:
        import dicomweb_client  # noqa: F401
        import pynetdicom  # noqa: F401
    except ImportError:
        raise UsageError("sending answers needs the extra [pacs]", f"run: {INSTALL}") from None


def connect(destination: Destination, calling: str) -> Connection:
    """Return a connection to a destination.

    Parameters
    ----------
    destination : Destination
    calling : str
        Own AE title.
    """
    return _Web(destination) if destination.is_web else _Node(destination, calling)


def _datasets(objects: Sequence[bytes]) -> list[Any]:
    import pydicom

    return [pydicom.dcmread(BytesIO(data)) for data in objects]


class _Node:
    """An association with a DICOM node."""

    def __init__(self, destination: Destination, calling: str) -> None:
        self._destination, self._calling = destination, calling
        self._association: Any = None

    def __enter__(self) -> Self:
        import logging

        from pydicom.uid import (
            Comprehensive3DSRStorage,
            ExplicitVRLittleEndian,
            ImplicitVRLittleEndian,
            SecondaryCaptureImageStorage,
        )
        from pynetdicom import AE

        # What it says of objects may name a patient.
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
        entity = AE(ae_title=self._calling)
        entity.connection_timeout = entity.acse_timeout = _CONNECT
        entity.dimse_timeout = entity.network_timeout = _ANSWER
        for kind in (Comprehensive3DSRStorage, SecondaryCaptureImageStorage):
            entity.add_requested_context(kind, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        where = self._destination
        self._association = entity.associate(where.host, where.port, ae_title=where.title)
        if not self._association.is_established:
            refused = self._association.is_rejected
            raise TransferError(
                f"{where.name} refuses the association" if refused else f"{where.name} does not answer", gone=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._association is not None and self._association.is_established:
            self._association.release()

    def store(self, objects: Sequence[bytes]) -> None:
        for dataset in _datasets(objects):
            self._store(dataset)

    def _store(self, dataset: Any) -> None:  # noqa: ANN401 - pydicom ships no types
        name, association = self._destination.name, self._association
        if not association.is_established:
            raise TransferError(f"{name} ended the association", gone=True)
        try:
            answer = association.send_c_store(dataset)
        except ValueError:
            what = f"objects of the class {dataset.SOPClassUID}"
            raise TransferError(f"{name} does not take {what}", gone=False) from None
        except RuntimeError:
            raise TransferError(f"{name} ended the association", gone=True) from None
        status = answer.get("Status")
        if status is None:
            raise TransferError(f"{name} gave no answer in time", gone=True)
        if status not in {0, _DUPLICATE} and status not in _WARNINGS:
            raise TransferError(f"{name} did not store an object: status 0x{status:04X}", gone=False)


class _Web:
    """A DICOMweb service."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._status = 0
        self._client: Any = None
        self._session: Any = None

    def __enter__(self) -> Self:
        import logging

        import requests
        from dicomweb_client.api import DICOMwebClient

        logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)
        self._session = requests.Session()
        self._session.hooks["response"].append(self._note)
        token = os.environ.get(TOKEN)
        self._client = DICOMwebClient(
            url=self._destination.name,
            session=self._session,
            headers={"Authorization": f"Bearer {token}"} if token else None,
            timeout=(_CONNECT, _ANSWER),
        )
        # Whoever asks tries again, after a pause of their own.
        self._client.set_http_retry_params(retry=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._session is not None:
            self._session.close()

    def store(self, objects: Sequence[bytes]) -> None:
        import requests

        name, self._status = self._destination.name, 0
        try:
            answer = self._client.store_instances(_datasets(objects))
        except (requests.ConnectionError, requests.Timeout):
            raise TransferError(f"{name} does not answer", gone=True) from None
        except (requests.RequestException, ValueError):
            raise TransferError(f"{name} did not store the objects: status {self._status}", gone=False) from None
        failed = answer.get("FailedSOPSequence") or ()
        reasons = {int(one.get("FailureReason") or 0) for one in failed} - {_DUPLICATE}
        # Some failures come with a status of success; a body that was not understood must not pass for none.
        if reasons or (self._status != _OK and not failed):
            told = ", ".join(f"0x{one:04X}" for one in sorted(reasons)) or str(self._status)
            raise TransferError(f"{name} did not store all objects: status {told}", gone=False)

    def _note(self, response: Any, *_: object, **__: object) -> None:  # noqa: ANN401 - requests ships no types
        self._status = response.status_code
