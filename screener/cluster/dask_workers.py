"""Workers of a Dask cluster: connect, let each prove itself, submit, follow who comes and goes."""

from __future__ import annotations

import logging
import pickle
import queue
import socket
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from screener.cluster.dispatch import Done, Lost
from screener.cluster.orders import Answer, Question, wrong_with
from screener.cluster.worker import close_session, prove, screen_bytes
from screener.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from screener.cluster.orders import Order

_LOCAL = "local:"
_CONNECT = 30
"""Seconds for which a scheduler is waited for."""
_FIRST_WORKER = 30.0
"""Seconds for which the first worker is waited for."""
_NO_WORKER = 120.0
"""Seconds without any worker after which the run ends; a scheduler that was restarted gets its workers back in less."""
_LOOK_EVERY = 1.0
"""Seconds between two looks at who is there."""
_CLOSING = 10


@dataclass(slots=True)
class WorkerHealth:
    """How a worker does.

    Attributes
    ----------
    address : str
    cores : int
    shards, slices : int
        Answered.
    answered : float
        Monotonic time of the last answer; of the proof before.
    cpu : float
        Percent of a core.
    memory : int
        Bytes.
    trouble : str or None
        Why it gets no work.
    """

    address: str
    cores: int = 1
    shards: int = 0
    slices: int = 0
    answered: float = field(default_factory=time.monotonic)
    cpu: float = 0.0
    memory: int = 0
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerFunctions:
    """What runs on workers; a simulation brings its own.

    Attributes
    ----------
    prove : callable
        From a `Question` to a `Proof`.
    screen : callable
        From a pickled `Order` to an `Answer` or `Unfit`.
    close : callable
        Lets go of what a `Question` needed.
    """

    prove: Callable[[Question], object] = prove
    screen: Callable[[bytes], object] = screen_bytes
    close: Callable[[Question], object] = close_session


class DaskWorkers:
    """Workers of a Dask scheduler, or of a cluster on this machine; use it as a context manager.

    Parameters
    ----------
    address : str
        As ``tls://host:8786``, or ``local:N`` for N processes of this machine. Certificates come from Dask's own
        configuration.
    question : Question
    notify : callable
        Is told, in a sentence each, of workers that are left out.
    cluster : object, optional
        A cluster of Dask to use instead of what the address says; it is not closed.
    work : WorkerFunctions, optional
        What runs on the workers.
    no_worker : float
        Seconds without any worker after which the run ends.

    Raises
    ------
    ClusterError
        On entry: the scheduler cannot be reached, or no worker may take part.
    UsageError
        On entry: the address has no such form, or the extra is not installed.
    """

    def __init__(
        self,
        address: str,
        question: Question,
        notify: Callable[[str], None],
        *,
        cluster: object = None,
        work: WorkerFunctions | None = None,
        no_worker: float = _NO_WORKER,
    ) -> None:
        self._address, self.question, self._notify = address, question, notify
        self._given, self._work = cluster, work or WorkerFunctions()
        self._no_worker = no_worker
        self._client: Any = None
        self._cluster: Any = None
        self._futures: dict[str, Any] = {}
        self._allowed: dict[str, frozenset[str]] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._fit: dict[str, WorkerHealth] = {}
        self._out: dict[str, WorkerHealth] = {}
        self._looked = 0.0
        self._alone_since: float | None = None

    def __enter__(self) -> Self:
        try:
            self._connect()
            self._first_look()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        futures, self._futures = list(self._futures.values()), {}
        for closing in (self._client, self._cluster):
            # Whatever the network does: what was answered is in the log.
            with suppress(Exception):
                if closing is self._client and closing is not None:
                    closing.cancel(futures, force=True)
                    closing.run(self._work.close, self.question, workers=list(self._fit), on_error="ignore")
            with suppress(Exception):
                if closing is not None:
                    closing.close(timeout=_CLOSING)

    @property
    def dashboard(self) -> str:
        """Address of Dask's own page about the cluster."""
        return str(self._client.dashboard_link)

    @property
    def capacity(self) -> int:
        """Cores of all workers that take part."""
        return max(1, sum(one.cores for one in self._fit.values()))

    def health(self) -> list[WorkerHealth]:
        """Return how each worker does, those that are left out last."""
        return [*self._fit.values(), *self._out.values()]

    def submit(self, attempt: str, order: Order, avoid: str | None) -> None:
        """Begin with an attempt; Dask chooses among the workers that take part."""
        allowed = frozenset(self._fit) - self._holders(avoid)
        try:
            future = self._client.submit(
                self._work.screen,
                pickle.dumps(order),
                key=attempt,
                workers=sorted(allowed or self._fit) or None,
                allow_other_workers=False,
                retries=0,
                pure=False,
            )
        except Exception as error:
            # Dask has exceptions of its own for a client that was closed when its scheduler did not come back.
            raise ClusterError(
                f"the scheduler {self._address} went away: {str(error)[:200]}",
                "start it again, then run the same command: it goes on",
            ) from error
        self._futures[attempt], self._allowed[attempt] = future, allowed
        future.add_done_callback(lambda _: self._ended.put(attempt))

    def wait(self, seconds: float) -> list[Done | Lost]:
        """Return what ended; see `Workers.wait`."""
        ended: list[str] = []
        with suppress(queue.Empty):
            ended.append(self._ended.get(timeout=seconds) if seconds else self._ended.get_nowait())
            while True:
                ended.append(self._ended.get_nowait())
        found = [event for attempt in ended if (event := self._event(attempt)) is not None]
        if time.monotonic() - self._looked > _LOOK_EVERY:
            found += self._look()
        return found

    def forget(self, attempt: str) -> None:
        """Cancel an attempt."""
        self._allowed.pop(attempt, None)
        future = self._futures.pop(attempt, None)
        if future is not None:
            with suppress(Exception):
                future.cancel(force=True)

    def leave_out(self, worker: str, why: str) -> None:
        """Give a worker no more work, and say so."""
        health = self._fit.pop(worker, None)
        if health is not None:
            health.trouble = why
            self._out[worker] = health
            self._notify(f"{worker} {why}")

    def _connect(self) -> None:
        try:
            from distributed import LocalCluster
        except ImportError:
            raise UsageError("--cluster needs the extra [cluster]", "pip install 'screener[cluster]'") from None
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        hint = "check the address, that `dask scheduler` runs there, and Dask's certificates (docs/how-to/cluster.md)"
        target: Any = self._given or self._address
        try:
            if self._given is None and self._address.startswith(_LOCAL):
                with warnings.catch_warnings():
                    # Of a slow disk and a port in use: neither matters to a scan.
                    warnings.simplefilter("ignore", UserWarning)
                    target = self._cluster = LocalCluster(
                        n_workers=_processes(self._address),
                        threads_per_worker=1,
                        silence_logs=logging.CRITICAL,
                        dashboard_address=":0",
                    )
            if target is self._address:
                _probe(self._address)
            self._client = _client(target)
        except (OSError, TypeError, ValueError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise ClusterError(f"the scheduler {self._address} cannot be used: {reason}", hint) from error

    def _first_look(self) -> None:
        """Let every worker prove itself, before any work starts."""
        limit = time.monotonic() + _FIRST_WORKER
        while not self._look_around() and time.monotonic() < limit:
            time.sleep(0.2)
        if not self._fit:
            reasons = "".join(f"\n  {one.address} {one.trouble}" for one in self._out.values())
            raise ClusterError(
                f"no worker of {self._address} may take part{':' if reasons else ': there is none'}{reasons}",
                "install the same screener and model on every worker, and mount the archive at the same path",
            )

    def _look(self) -> list[Lost]:
        """See who came and went; what only workers that are gone might compute is lost."""
        self._look_around()
        now = time.monotonic()
        self._alone_since = None if self._fit else self._alone_since or now
        if self._alone_since is not None and now - self._alone_since > self._no_worker:
            raise ClusterError(
                f"no worker is left of {self._address} since {self._no_worker:.0f} s",
                "start workers again, then run the same command: it goes on",
            )
        if not self._fit:
            return []
        stranded = [one for one in self._futures if not any(worker in self._fit for worker in self._allowed[one])]
        for attempt in stranded:
            self.forget(attempt)
        return [Lost(attempt, "its workers are gone", "cancelled") for attempt in stranded]

    def _look_around(self) -> int:
        """Renew the list of workers; new ones prove themselves first. Return how many there are, fit or not."""
        self._looked = time.monotonic()
        try:
            present = self._client.scheduler_info(n_workers=-1)["workers"]
            new = [address for address in present if address not in self._fit and address not in self._out]
            proofs = self._client.run(self._work.prove, self.question, workers=new, on_error="return") if new else {}
        except Exception:  # noqa: BLE001 - Dask raises what it likes while it has no connection
            # The scheduler is not there for the moment.
            self._fit.clear()
            return 0
        for address, proof in proofs.items():
            health = WorkerHealth(address, int(present[address].get("nthreads", 1)))
            self._fit[address] = health
            if (why := wrong_with(proof, self.question)) is not None:
                self.leave_out(address, why)
        for address in [one for one in self._fit if one not in present]:
            del self._fit[address]
        for address in [one for one in self._out if one not in present]:
            del self._out[address]
        for address, health in self._fit.items():
            metrics = present[address].get("metrics") or {}
            health.cpu, health.memory = float(metrics.get("cpu", 0.0)), int(metrics.get("memory", 0))
        return len(present)

    def _event(self, attempt: str) -> Done | Lost | None:
        """Return what became of an attempt that ended; None for one that was taken back."""
        future = self._futures.pop(attempt, None)
        self._allowed.pop(attempt, None)
        if future is None:
            return None
        try:
            result = future.result(timeout=_CONNECT)
        except Exception as error:  # noqa: BLE001 - whatever a worker may raise
            return _lost(attempt, error)
        finally:
            future.release()
        worker = str(getattr(result, "worker", "")) or "a worker"
        health = self._fit.get(worker)
        if health is not None and isinstance(result, Answer):
            health.shards += 1
            health.slices += sum(len(file.items) for file in result.files)
            health.answered = time.monotonic()
        return Done(attempt, worker, result)

    def _holders(self, attempt: str | None) -> frozenset[str]:
        """Return the worker that has an attempt in hand."""
        if attempt is None:
            return frozenset()
        with suppress(Exception):
            return frozenset(address for address, keys in self._client.processing().items() if attempt in keys)
        return frozenset()


def _probe(address: str) -> None:
    """Knock at a scheduler's port: Dask would try again and again where nobody listens.

    Raises
    ------
    OSError, ValueError
        Nobody does, or the address is none.
    """
    parts = urlsplit(address)
    if parts.scheme in {"tcp", "tls"}:
        if parts.hostname is None or parts.port is None:
            raise ValueError("the address lacks a host or a port")
        socket.create_connection((parts.hostname, parts.port), timeout=_CONNECT).close()


def _client(target: object) -> Any:  # noqa: ANN401 - distributed ships no types
    from distributed import Client

    class _Client(Client):  # type: ignore[misc]
        def __del__(self) -> None:
            """Leave out what Dask does here: a client that never connected would wait once more."""

    return _Client(target, timeout=_CONNECT, set_as_default=False)


def _processes(address: str) -> int:
    """Return N of ``local:N``.

    Raises
    ------
    UsageError
        It is no number, or less than 1.
    """
    text = address.removeprefix(_LOCAL)
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--cluster {address!r}", "write local:N with N processes, or the address of a scheduler")
    return int(text)


def _lost(attempt: str, error: Exception) -> Lost:
    """Say why an attempt has no answer: files are to blame only where workers died over them, or failed."""
    from concurrent.futures import CancelledError

    from distributed.client import FutureCancelledError

    reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
    if isinstance(error, CancelledError | FutureCancelledError):
        return Lost(attempt, reason, "cancelled")
    return Lost(attempt, reason, "failed" if isinstance(error, OSError) else "died")
