"""A running Orthanc, and a listener that may be killed."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from orthanc import Orthanc, program, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Command


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """Start Orthanc, or skip where it is not installed."""
    pytest.importorskip("pynetdicom", reason="needs the extra [pacs]")
    program("storescu")
    made = Orthanc(tmp_path / "orthanc")
    made.start()
    yield made
    made.stop()


@dataclass
class Listener:
    """``screener listen`` beside an Orthanc."""

    screener: Command
    orthanc: Orthanc
    inbox: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it can be reached."""
        self.inbox.mkdir(exist_ok=True)
        command = self.screener.arguments(
            *("listen", self.inbox, "--port", self.orthanc.listener, "--quiet-period", 1, "--lang", "en"),
            *("--model", self.screener.model, "--send", self.orthanc.name, "--nice", 0),
        )
        with (self.inbox.parent / "listen.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=self.screener.env(), stdout=log, stderr=log)
        until(self._is_up, "the listener answers")

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.inbox.parent / "listen.log").read_text()
        command = [program("echoscu"), "-aec", "SCREENER", "127.0.0.1", str(self.orthanc.listener)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def kill(self) -> None:
        """End it without a warning, as a power cut does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def log(self) -> str:
        """Return what it said."""
        return (self.inbox.parent / "listen.log").read_text()


@pytest.fixture
def listener(screener: Command, orthanc: Orthanc, tmp_path: Path) -> Iterator[Listener]:
    """Start a listener that answers to the Orthanc."""
    made = Listener(screener, orthanc, tmp_path / "received")
    made.start()
    yield made
    if made.process is not None:
        made.kill()
