"""A cluster of real processes on this machine, which can be killed: scheduler, workers and client."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parent.parent
_DASK = str(Path(sys.executable).with_name("dask"))


class Machines:
    """A scheduler and workers; use it as a context manager.

    Parameters
    ----------
    folder : Path
        For what they print and keep.
    workers : int
    environment : mapping, optional
        Added to that of every process: Dask reads its configuration from it.
    protocol : {"tcp", "tls"}
    """

    def __init__(
        self, folder: Path, workers: int, environment: Mapping[str, str] | None = None, protocol: str = "tcp"
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._protocol = folder, protocol
        self.environment: dict[str, str] = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        self._port = _free_port()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._names = ["scheduler", *(f"worker{number}" for number in range(workers))]

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return f"{self._protocol}://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.keep()
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(self._names):
            self.kill(name)

    def keep(self) -> None:
        """Start what does not run."""
        for name in self._names:
            process = self._running.get(name)
            if process is None or process.poll() is not None:
                self._running[name] = self._start(name)

    def kill(self, name: str) -> None:
        """Kill a process: ``scheduler`` or ``worker0`` and so on."""
        process = self._running.pop(name, None)
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def add(self, name: str, environment: Mapping[str, str]) -> None:
        """Start a worker in an environment of its own."""
        self._names.append(name)
        self._running[name] = self._start(name, environment)

    def wait_for(self, workers: int, seconds: float = 60.0) -> None:
        """Wait until so many workers are there.

        Raises
        ------
        TimeoutError
            They are not.
        """
        from distributed import Client

        with Client(self.address, set_as_default=False, timeout=seconds) as client:
            client.wait_for_workers(workers, timeout=seconds)

    def client(self, archive: Path, log: Path, *options: object) -> subprocess.Popen[str]:
        """Start a scan on this cluster."""
        command = [sys.executable, "-m", "screener", "scan", archive, "--log", log, "--cluster", self.address, *options]
        return subprocess.Popen(
            [str(word) for word in command],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _start(self, name: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        command = [_DASK, "scheduler", "--host", self.address, "--no-dashboard"]
        if name != "scheduler":
            space = self._folder / "space"
            options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", f"{name}-{time.monotonic_ns()}")
            command = [_DASK, "worker", self.address, *options, "--local-directory", str(space)]
        with (self._folder / f"{name}.log").open("ab") as output:
            return subprocess.Popen(
                command,
                env=self.environment if environment is None else dict(environment),
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self._folder,
            )


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a client and what it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
