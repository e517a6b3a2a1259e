"""How a running service fares, for a monitor on the same machine: ``/healthz`` and Prometheus' ``/metrics``.

Counts and times only: no name of a patient, a study, a file or a sender.
"""

from __future__ import annotations

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from screener import __version__
from screener.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from screener.pacs.receive import Receiver
    from screener.pacs.service import Service

_OUTCOMES = ("stored", "known", "dropped", "refused")
_ASSOCIATIONS = (("associations", "accepted"), ("rejected", "rejected"), ("aborted", "aborted"))
_PATIENCE = 5.0
"""Seconds that a client may take for its request."""
_HTTP_OK, _UNAVAILABLE = 200, 503


class Health:
    """What is known of a running service.

    Parameters
    ----------
    service : Service
    receiver : Receiver, optional
    """

    def __init__(self, service: Service, receiver: Receiver | None = None) -> None:
        self._service, self._receiver = service, receiver

    def reasons(self) -> list[str]:
        """Say what is wrong, in whole sentences; nothing where all is well."""
        activity, found = self._service.activity, []
        if activity.alarms:
            found.append(f"{len(activity.alarms)} folders wait for their answer for too long.")
        if activity.problem:
            found.append("The last attempt failed; the journal says why.")
        if self._service.unsent:
            found.append(f"{self._service.unsent} answers could not be sent yet; the journal says why.")
        if self._receiver is not None and not self._receiver.has_room:
            found.append("The disk of the inbox is nearly full: senders are refused.")
        return found

    def metrics(self) -> str:
        """Return the figures in the text format of Prometheus."""
        return "".join(self._metrics())

    def _metrics(self) -> Iterator[str]:
        service, activity = self._service, self._service.activity
        ages = service.arrivals.ages()
        point = service.run.policy
        labels = {"version": __version__, "model": point.model, "command": service.options.command}
        yield _family("screener_info", "gauge", "What runs.", [(labels, 1.0)])
        yield _one("screener_waiting_folders", "gauge", "Folders that wait for their answer.", len(ages))
        yield _one(
            "screener_oldest_wait_seconds", "gauge", "For how long the first of them.", max(ages.values(), default=0)
        )
        yield _one("screener_alarms", "gauge", "Folders that wait for too long.", len(activity.alarms))
        yield _one("screener_answered_folders_total", "counter", "Folders answered since the start.", activity.answered)
        yield _one("screener_studies_total", "counter", "Studies answered since the start.", activity.studies)
        yield _one("screener_failures_total", "counter", "Attempts that failed since the start.", activity.failures)
        yield _one("screener_unsent_answers", "gauge", "Answers that wait for the PACS.", service.unsent)
        yield _one("screener_free_bytes", "gauge", "Free disk of the inbox.", shutil.disk_usage(service.run.inbox).free)
        yield _one("process_resident_memory_bytes", "gauge", "Resident memory.", _resident())
        if self._receiver is not None:
            yield from self._network(self._receiver)

    @staticmethod
    def _network(receiver: Receiver) -> Iterator[str]:
        counts = receiver.counts
        yield _family(
            "screener_instances_total",
            "counter",
            "Instances by outcome.",
            [({"outcome": n}, counts[n]) for n in _OUTCOMES],
        )
        yield _family(
            "screener_associations_total",
            "counter",
            "Associations by outcome.",
            [({"outcome": label}, float(counts[name])) for name, label in _ASSOCIATIONS],
        )
        yield _one("screener_open_associations", "gauge", "Associations at this moment.", receiver.open)


class HealthServer:
    """Answers on the loopback address only; use it as a context manager.

    Parameters
    ----------
    port : int
        0 takes any that is free.
    health : Health

    Raises
    ------
    UsageError
        On entry, when the port is taken.
    """

    def __init__(self, port: int, health: Health) -> None:
        self.port, self._health = port, health
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self._health))
        except OSError as error:
            raise UsageError(
                f"cannot answer on port {self.port}: {error.strerror}", "choose another port with --health"
            ) from None
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.2,), name="health", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def _handler(health: Health) -> type[BaseHTTPRequestHandler]:
    """Return a handler of requests that knows the service."""

    class Handler(BaseHTTPRequestHandler):
        """Answers two addresses."""

        timeout = _PATIENCE
        server_version, sys_version = "screener", ""

        def do_GET(self) -> None:
            if self.path == "/healthz":
                reasons = health.reasons()
                text = json.dumps({"status": "alarm" if reasons else "ok", "reasons": reasons}) + "\n"
                self._answer(_UNAVAILABLE if reasons else _HTTP_OK, "application/json", text)
            elif self.path == "/metrics":
                self._answer(_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", health.metrics())
            else:
                self.send_error(404)

        def _answer(self, status: int, kind: str, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:  # noqa: ANN401 - the library's own
            """Tell of no request: a monitor asks every few seconds."""

    return Handler


def _one(name: str, kind: str, text: str, value: float) -> str:
    return _family(name, kind, text, [({}, value)])


def _family(name: str, kind: str, text: str, samples: list[tuple[dict[str, str], float]]) -> str:
    rows = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inner = ",".join(f'{label}="{_escaped(word)}"' for label, word in labels.items())
        rows.append(f"{name}{{{inner}}} {value:.10g}" if inner else f"{name} {value:.10g}")
    return "\n".join(rows) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _resident() -> int:
    """Return the resident memory of this process in bytes; 0 where the system does not tell."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0
