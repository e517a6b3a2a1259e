"""A Storage SCP: who may send, what is kept, what is dropped, and what a peer that misbehaves can cost."""

from __future__ import annotations

import logging
import ssl
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from screener.errors import UsageError
from screener.pacs.storage import NotStoredError, discard

if TYPE_CHECKING:
    from screener.pacs.arrivals import Arrivals
    from screener.pacs.storage import InstanceStore

LOGGER = logging.getLogger("screener.pacs")
INSTALL = "python -m pip install 'screener[pacs]'"
KEPT = ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")
"""MR Image, Enhanced MR Image and Legacy Converted Enhanced MR Image Storage."""
_VERIFICATION = "1.2.840.10008.1.1"
_PREFERRED = (
    *("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"),
    *("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.70"),
    *("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.81"),
    *("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.50"),
)
"""Transfer syntaxes that the inbox decodes: those that lose nothing first."""
_PDU = 128 << 10
"""Bytes of the longest PDU that peers are asked to send."""
_TOLD = 1000
_SUCCESS = 0x0000
_CONNECTIONS = 2
"""Connections for each association that is allowed: beyond, they are closed unanswered."""


@dataclass(frozen=True, slots=True)
class ReceiverOptions:
    """How a receiver listens.

    Attributes
    ----------
    ae_title : str
    host : str
    port : int
        0 takes any that is free.
    calling : frozenset of str
        AE titles that may send; empty allows all.
    addresses : frozenset of str
        Addresses that may connect; empty allows all.
    associations : int
        At a time.
    timeout : float
        Seconds of silence after which an association is aborted.
    on_release : bool
        A study is complete when the association that sent it is released.
    tls : SSLContext or None
    """

    ae_title: str = "SCREENER"
    host: str = "127.0.0.1"
    port: int = 11112
    calling: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
    associations: int = 16
    timeout: float = 60.0
    on_release: bool = False
    tls: ssl.SSLContext | None = None


@dataclass(slots=True)
class _Session:
    """What one association brought."""

    peer: str
    sender: str
    folders: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    told: set[str] = field(default_factory=set)


class Receiver:
    """A Storage SCP that runs in threads of its own; use it as a context manager.

    Parameters
    ----------
    store : InstanceStore
    arrivals : Arrivals
    options : ReceiverOptions

    Attributes
    ----------
    port : int
        Known once it listens.
    counts : Counter of str
        ``associations``, ``rejected``, ``aborted``, ``stored``, ``known``, ``dropped``, ``refused``.

    Raises
    ------
    UsageError
        pynetdicom is not installed, or the AE title or the address cannot be used.
    """

    def __init__(self, store: InstanceStore, arrivals: Arrivals, options: ReceiverOptions) -> None:
        self._store, self._arrivals, self.options = store, arrivals, options
        self._lock = threading.Lock()
        self._sessions: dict[Any, _Session] = {}
        self._told: set[str] = set()
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self.counts: Counter[str] = Counter()
        self.port = options.port

    def __enter__(self) -> Self:
        try:
            # The port first: where another listener has it, its instances on the way must stay.
            self._server = self._made()
            self._store.prepare()
        except OSError as error:
            if self._server is not None:
                self._server.server_close()
            raise UsageError(
                f"cannot listen on {self.options.host}:{self.options.port}, or write to the inbox: {error.strerror}",
                "choose another --port or --host, and check that this user may write to the inbox",
            ) from None
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="receiver", daemon=True)
        self._thread.start()
        LOGGER.info("%s listens on %s:%d", self.options.ae_title, self.options.host, self.port)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        # What is acknowledged is on the disk: a sender sends the rest again.
        for association in self._server.active_associations:
            association.abort()
        if self._thread is not None:
            self._thread.join()

    @property
    def open(self) -> int:
        """Associations at this moment."""
        return len(self._sessions)

    @property
    def has_room(self) -> bool:
        """Whether instances are taken, as far as the disk is concerned."""
        return self._store.has_room()

    def _made(self) -> Any:  # noqa: ANN401 - pynetdicom ships no types
        evt, server_class, handler_class, entity = _network(self.options)
        handlers = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_C_ECHO, lambda _: _SUCCESS),
            (evt.EVT_C_STORE, self._received),
            (evt.EVT_RELEASED, self._released),
            (evt.EVT_ABORTED, self._aborted),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]
        server = entity.make_server(
            (self.options.host, self.options.port),
            ssl_context=self.options.tls,
            evt_handlers=handlers,
            server_class=server_class,
            request_handler=handler_class,
        )
        server.admit, server.patience = self._admits, self.options.timeout
        server.longest, server.has_room = self._store.max_bytes, self._store.has_room
        # pynetdicom's shutdown takes the server off this list.
        entity._servers.append(server)  # noqa: SLF001
        return server

    def _admits(self, address: str, connections: int) -> bool:
        """Say whether a connection is answered at all."""
        if self.options.addresses and address not in self.options.addresses:
            self._tell_once(f"a connection from {address} is closed: not among the addresses that may send")
        elif connections >= _CONNECTIONS * self.options.associations:
            self._tell_once(f"a connection from {address} is closed: {connections} are open")
        else:
            return True
        self.counts["rejected"] += 1
        return False

    def _tell_once(self, text: str) -> None:
        """Tell of what a peer may repeat without end; the counts go on."""
        if text not in self._told:
            # Who comes from ever new addresses is told of again, and costs no memory.
            if len(self._told) >= _TOLD:
                self._told.clear()
            self._told.add(text)
            LOGGER.warning("%s", text)

    def _requested(self, event: Any) -> None:  # noqa: ANN401
        """Bring the transfer syntaxes that are proposed for MR into our order, of which the first is accepted."""
        for context in event.assoc.requestor.primitive.presentation_context_definition_list:
            if context.abstract_syntax in KEPT:
                context.transfer_syntax = sorted(context.transfer_syntax, key=_rank)

    def _accepted(self, event: Any) -> None:  # noqa: ANN401
        requestor = event.assoc.requestor
        sender = str(requestor.ae_title).strip()
        with self._lock:
            self._sessions[event.assoc] = _Session(f"{sender}@{requestor.address}", sender)
        self.counts["associations"] += 1

    def _rejected(self, event: Any) -> None:  # noqa: ANN401
        requestor = event.assoc.requestor
        self.counts["rejected"] += 1
        calling, called = requestor.primitive.calling_ae_title, requestor.primitive.called_ae_title
        self._tell_once(
            f"an association of {calling}@{requestor.address} with {called} is rejected: "
            f"other AE titles than allowed, or {self.options.associations} associations are open"
        )

    def _received(self, event: Any) -> int:  # noqa: ANN401
        """Keep, drop or refuse an instance; the status goes to the sender."""
        file, session = Path(event.request._dataset_path), self._sessions.get(event.assoc)  # noqa: SLF001
        event.assoc.dul.socket.spent = 0
        session = session or _Session("unknown", "")
        kind = str(event.request.AffectedSOPClassUID)
        if kind not in KEPT:
            discard(file)
            self._count(session, "dropped", _class_name(kind))
            return _SUCCESS
        try:
            stored = self._store.keep(file, str(event.request.AffectedSOPInstanceUID))
        except NotStoredError as error:
            discard(file)
            self._count(session, "refused", str(error))
            return error.status
        self._arrivals.note(stored.folder, session.sender)
        session.folders.add(stored.folder)
        self._count(session, "known" if stored.known else "stored", "")
        return _SUCCESS

    def _count(self, session: _Session, what: str, why: str) -> None:
        session.counts[what] += 1
        self.counts[what] += 1
        if why and why not in session.told:
            session.told.add(why)
            LOGGER.warning("from %s: %s: %s", session.peer, what, why)

    def _released(self, event: Any) -> None:  # noqa: ANN401
        session = self._sessions.get(event.assoc)
        if session is not None and self.options.on_release:
            self._arrivals.complete(session.folders)

    def _aborted(self, event: Any) -> None:  # noqa: ANN401
        session = self._sessions.get(event.assoc)
        self.counts["aborted"] += 1
        if session is not None:
            LOGGER.warning("from %s: the association was aborted", session.peer)

    def _closed(self, event: Any) -> None:  # noqa: ANN401
        with self._lock:
            session = self._sessions.pop(event.assoc, None)
        # What had not arrived as a whole was not acknowledged either.
        message = event.assoc.dimse.message
        discard(None if message is None else message._data_set_path)  # noqa: SLF001
        if session is not None and session.counts:
            told = ", ".join(f"{count} {what}" for what, count in sorted(session.counts.items()))
            LOGGER.info("from %s: %s", session.peer, told)


def tls_context(certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """Return a context that demands a certificate of the peer.

    Raises
    ------
    UsageError
        A file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(authority)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UsageError(
            f"the certificates cannot be used: {why}", "give PEM files: --tls-cert, its key, and the peers' authority"
        ) from None
    return context


def _rank(syntax: str) -> int:
    return _PREFERRED.index(syntax) if syntax in _PREFERRED else len(_PREFERRED)


def _class_name(kind: str) -> str:
    from pydicom.uid import UID

    return f"{UID(kind).name} is not screened"


def _network(options: ReceiverOptions) -> tuple[Any, type, type, Any]:
    """Return pynetdicom's events, our server and request handler, and an application entity.

    Raises
    ------
    UsageError
    """
    try:
        from pynetdicom import AE, _config, evt
    except ImportError:
        raise UsageError("receiving DICOM needs pynetdicom", f"run: {INSTALL}") from None
    # Every storage class is accepted, since routers give up a whole job for one that is refused.
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    # What arrives is written to a file at once: memory does not grow with an instance.
    _config.STORE_RECV_CHUNKED_DATASET = True
    _config.LOG_HANDLER_LEVEL = "none"
    try:
        entity = AE(options.ae_title)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the AE title {options.ae_title!r}: {error}", "use 1 to 16 letters, digits or _") from None
    entity.require_called_aet = True
    entity.require_calling_aet = sorted(options.calling)
    entity.maximum_associations = options.associations
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = options.timeout
    entity.maximum_pdu_size = _PDU
    entity.add_supported_context(_VERIFICATION)
    from screener.pacs.bounded_server import BoundedHandler, BoundedServer

    return evt, BoundedServer, BoundedHandler, entity
