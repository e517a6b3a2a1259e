"""pynetdicom's server with bounds on what a peer may cost; imports pynetdicom."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

if TYPE_CHECKING:
    from collections.abc import Callable

LOGGER = logging.getLogger("screener.pacs")
_LONGEST_PDU = 1 << 20
"""Bytes of the longest PDU that is read; a peer may claim four gigabytes."""
_PIECE = 64 << 10
_LOOK_EVERY = 16 << 20
"""Bytes of one instance between two looks at the disk: a long one must not fill it before it is refused."""


class BoundedSocket(AssociationSocket):  # type: ignore[misc]
    """Reads no PDU and no instance beyond a bound, and waits for none beyond a time.

    Attributes
    ----------
    longest : int
        Bytes of the largest instance.
    spent : int
        Bytes read since the last whole instance.
    has_room : callable
        Says whether the disk has room.
    """

    longest = 0
    spent = 0
    has_room: Callable[[], bool]

    def recv(self, nr_bytes: int) -> bytearray:
        """Read so many bytes of a PDU; fewer where the peer ends the connection.

        Raises
        ------
        OSError
            The PDU or the instance is too long, or the peer too slow: the connection is closed.
        """
        looks, self.spent = self.spent // _LOOK_EVERY, self.spent + nr_bytes
        if self.spent // _LOOK_EVERY > looks and not self.has_room():
            LOGGER.warning("the disk of the inbox is nearly full: an association is closed within an instance")
            raise OSError("no room")
        if nr_bytes > _LONGEST_PDU or self.spent > self.longest:
            LOGGER.warning("a peer claims a PDU of %d bytes, or sends an endless instance: closed", nr_bytes)
            raise OSError("too long")
        found = bytearray()
        deadline = time.monotonic() + self.assoc.network_timeout
        while len(found) < nr_bytes:
            part = self.socket.recv(min(_PIECE, nr_bytes - len(found)))
            if not part:
                break
            found += part
            if time.monotonic() > deadline:
                raise TimeoutError
        return found


class BoundedHandler(RequestHandler):  # type: ignore[misc]
    """Gives each association a bounded socket."""

    def _create_association(self) -> Any:  # noqa: ANN401 - pynetdicom ships no types
        association = super()._create_association()
        # The same object: making another would tell the association of its connection twice.
        association.dul.socket.__class__ = BoundedSocket
        association.dul.socket.longest = self.server.longest
        association.dul.socket.has_room = self.server.has_room
        return association


class BoundedServer(ThreadedAssociationServer):  # type: ignore[misc]
    """Closes connections that may not come, and waits for no handshake in the thread that accepts.

    Attributes
    ----------
    admit : callable
        Is given an address and the number of open connections, and says whether a connection is answered.
    patience : float
        Seconds for which a connection may be silent.
    longest : int
        Bytes of the largest instance.
    has_room : callable
        Says whether the disk has room.
    """

    daemon_threads = True
    request_queue_size = 64

    def verify_request(self, _request: Any, client_address: Any) -> bool:  # noqa: ANN401
        """Say whether a connection is answered."""
        return bool(self.admit(client_address[0], len(self.active_associations)))

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; TLS comes later, in a thread of its own."""
        connection, address = self.socket.accept()
        connection.settimeout(self.patience)
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Begin an association, over TLS where that is wanted."""
        if self.ssl_context is not None:
            try:
                request = self.ssl_context.wrap_socket(request, server_side=True)
            except OSError as error:
                why = getattr(error, "reason", None) or type(error).__name__
                LOGGER.warning("a connection from %s is closed: TLS failed (%s)", client_address[0], why)
                request.close()
                return
        super().finish_request(request, client_address)
