"""Start Flower as its users do: a SuperLink, one SuperNode a hospital, and a run, as processes over loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from export.federated.hospital import FederatedTerms

_APP = Path(__file__).resolve().parent / "app"
_ROOT = Path(__file__).resolve().parents[2]
_HOST = "127.0.0.1"
_STARTED = 300.0
"""Seconds that a process may take to answer."""
_INSTALL = "run: make federated DATA=folder, which builds an environment with constraints-federated.txt"


def train_federated(
    data: Path, folder: Path, hospitals: Sequence[str], terms: FederatedTerms, strategy: str
) -> list[NDArray[Any]]:
    """Train over hospitals, each in a process of its own that reads its own slices; return the last average.

    Parameters
    ----------
    data : Path
        Every process is told the same folder here, on one machine, and reads the slices of its hospital alone.
    folder : Path
        Of this training: the app, the logs of the processes, and ``weights.npz``.
    hospitals : sequence of str
    terms : FederatedTerms
    strategy : {"fedavg", "fedprox"}

    Raises
    ------
    DataError
        Flower is not installed here, or a process failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "weights.npz"
    weights.unlink(missing_ok=True)
    home = folder / "flower"
    app = folder / "app"
    shutil.rmtree(app, ignore_errors=True)
    shutil.copytree(_APP, app, ignore=shutil.ignore_patterns("__pycache__"))
    port, *others = _free_ports(1 + len(hospitals))
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "{_HOST}:{port}"\ninsecure = true\n'
    )
    with ExitStack() as processes:
        environment = {
            **os.environ,
            "FLWR_HOME": str(home.resolve()),
            "FLWR_TELEMETRY_ENABLED": "0",
            "PYTHONPATH": str(_ROOT),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        link = ["flower-superlink", "--insecure", "--host", _HOST, "--port", str(port)]
        link.append("--disable-runtime-dependency-installation")
        processes.enter_context(_process(link, folder / "superlink.log", environment))
        _wait_for(port, folder / "superlink.log")
        for number, (hospital, own) in enumerate(zip(hospitals, others, strict=True)):
            cache = folder.parent / f"cache-{number}"
            place = {"hospital": hospital, "data": str(data.resolve()), "cache": str(cache.resolve())}
            node = ["flower-supernode", "--insecure", "--superlink", f"{_HOST}:{port}", "--port", str(own)]
            node += ["--node-config", _settings(place)]
            processes.enter_context(_process(node, folder / f"supernode-{number}.log", environment))
        run = {
            "terms": json.dumps(terms._asdict()),
            "out": str(weights.resolve()),
            "strategy": strategy,
            "hospitals": len(hospitals),
        }
        _run(app, run, folder / "run.log", environment)
    return read_weights(weights)


def read_weights(file: Path) -> list[NDArray[Any]]:
    """Return the weights of a training.

    Raises
    ------
    DataError
        There are none.
    """
    if not file.exists():
        raise DataError(f"{file} was not written", f"see the logs in {file.parent}")
    with np.load(file) as stored:
        return [stored[f"w{index}"] for index in range(len(stored.files) - 1)]


def _run(app: Path, settings: Mapping[str, object], log: Path, environment: dict[str, str]) -> None:
    """Submit the app and wait for its end."""
    values = app.parent / "run.toml"
    values.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    command = ["flwr", "run", str(app), "here", "--stream", "--run-config", str(values)]
    with log.open("wb") as file:
        done = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise DataError(f"flwr run ended with {done.returncode}", f"see {log}")


def _settings(values: Mapping[str, object]) -> str:
    """Return settings as Flower's command line takes them."""
    return " ".join(f"{name}={json.dumps(value)}" for name, value in values.items())


@contextmanager
def _process(command: Sequence[str], log: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a process, with all that it starts, until the block ends."""
    with log.open("wb") as file:
        try:
            process = subprocess.Popen(
                command, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        except FileNotFoundError:
            raise DataError(f"{command[0]} is not installed", _INSTALL) from None
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, number)
                    process.wait(20)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue


def _free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens on."""
    with ExitStack() as sockets:
        found = [sockets.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in found:
            one.bind((_HOST, 0))
        return [int(one.getsockname()[1]) for one in found]


def _wait_for(port: int, log: Path) -> None:
    """Wait until somebody listens.

    Raises
    ------
    DataError
        Nobody does in time.
    """
    end = time.monotonic() + _STARTED
    while time.monotonic() < end:
        with closing(socket.socket()) as one:
            if one.connect_ex((_HOST, port)) == 0:
                return
        time.sleep(0.5)
    raise DataError("flower-superlink does not answer", f"see {log}")
