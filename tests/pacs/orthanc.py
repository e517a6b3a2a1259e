"""A real Orthanc in a temporary folder, set up as ``docs/how-to/pacs.md`` says, on ports of its own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = Path(__file__).resolve().parents[2] / "docs/orthanc"
_PATIENCE = 120.0


def free_port() -> int:
    """Return a port that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], object], what: str, seconds: float = _PATIENCE) -> None:
    """Wait until something has come true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return
        time.sleep(0.2)
    pytest.fail(f"not within {seconds:.0f} s: {what}")


def program(*names: str) -> str:
    """Return the path of an installed program, or skip."""
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    pytest.skip(f"needs {names[0]}, of Debian's packages orthanc and dcmtk")


@dataclass
class Orthanc:
    """One server.

    Attributes
    ----------
    folder : Path
        Its database and configuration.
    listener : int
        Port to which it routes.
    """

    folder: Path
    listener: int = field(default_factory=free_port)
    dicom: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Where answers are sent."""
        return f"PACS@127.0.0.1:{self.dicom}"

    def start(self) -> None:
        """Start it on what it holds already."""
        settings = json.loads((DOCS / "orthanc.json").read_text("utf-8"))
        database = self.folder / "db"
        settings |= {
            "StorageDirectory": str(database),
            "IndexDirectory": str(database),
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "StableAge": 1,
            "DicomScuTimeout": 10,
            "LuaScripts": [str(DOCS / "screener.lua")],
            "DicomModalities": {
                "screener": ["SCREENER", "127.0.0.1", self.listener],
                "scanner": ["SCANNER", "127.0.0.1", 1],
            },
        }
        database.mkdir(parents=True, exist_ok=True)
        (self.folder / "orthanc.json").write_text(json.dumps(settings), "utf-8")
        with (self.folder / "orthanc.log").open("ab") as log:
            command = [program("Orthanc", "/usr/sbin/Orthanc"), str(self.folder / "orthanc.json")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self.is_up, "Orthanc answers")

    def is_up(self) -> bool:
        """Say whether it answers."""
        with suppress(OSError):
            return bool(self.get("/system")["Version"])
        return False

    def stop(self) -> None:
        """End it as a reboot does."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None

    def read(self, path: str) -> bytes:
        """Return what it answers to a GET."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=30) as answer:
            return bytes(answer.read())

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Return JSON that it answers to a GET."""
        return json.loads(self.read(path))

    def post(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        """Return JSON that it answers to a POST."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - of this machine
            return json.loads(answer.read())

    def study(self, uid: str) -> str | None:
        """Return its own name for a study; None while there is none."""
        query = {"Level": "Study", "Query": {"StudyInstanceUID": uid}}
        return next(iter(self.post("/tools/find", query)), None)

    def series(self, uid: str, modality: str) -> list[dict[str, Any]]:
        """Return the series of a study that are of a modality."""
        study = self.study(uid)
        found = [] if study is None else self.get(f"/studies/{study}/series")
        return [one for one in found if one["MainDicomTags"].get("Modality") == modality]

    def instances(self, uid: str, modality: str) -> list[str]:
        """Return its names for the instances of a study that are of a modality."""
        return [instance for one in self.series(uid, modality) for instance in one["Instances"]]

    def metadata(self, uid: str, name: str) -> str | None:
        """Return metadata of a study; None while there is none."""
        with suppress(urllib.error.HTTPError):
            return self.read(f"/studies/{self.study(uid)}/metadata/{name}").decode()
        return None

    def resubmit(self) -> None:
        """Repeat the transfers that failed, as an operator does."""
        for job in self.get("/jobs?expand"):
            if job["State"] == "Failure":
                with suppress(urllib.error.HTTPError):
                    self.post(f"/jobs/{job['ID']}/resubmit", {})

    def send(self, folder: Path) -> None:
        """Send a folder to it as a scanner does."""
        titles, node = ("-aet", "SCANNER", "-aec", "PACS"), ("127.0.0.1", str(self.dicom))
        command = (program("storescu"), "-R", *titles, "+sd", "+r", "+sp", "*.dcm", *node, str(folder))
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
