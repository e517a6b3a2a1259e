"""Measure answers to the PACS: seconds from the last instance of a study to its report stored in Orthanc.

Writes ``docs/results/answers.json`` and ``answers.md``. ``make bench-answers`` runs it; needs Debian's ``orthanc``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.pacs import Study, listening  # noqa: E402 - the checkout's own
from bench.watch import processor  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_QUIET = 1.0
_PATIENCE = 300.0
"""Seconds after which a report counts as lost."""
_STEP = 0.02


def main() -> None:
    """Measure and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--studies", type=int, default=5)
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/answers")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = delays(Path(folder), given.slices, given.studies, given.model)
    figures["machine"] = {"processor": processor(), "cores": len(os.sched_getaffinity(0))}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    given.out.with_suffix(".md").write_text(report(figures))
    print(report(figures))


@dataclass(frozen=True)
class Pacs:
    """A running Orthanc.

    Attributes
    ----------
    dicom, http : int
        Its ports.
    """

    dicom: int
    http: int

    def ask(self, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Return JSON that it answers."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", data, timeout=30) as answer:
            return json.loads(answer.read())

    def reports(self, study: str) -> int:
        """Return how many series of reports a study has."""
        return len(self.ask("/tools/find", {"Level": "Series", "Query": {"StudyInstanceUID": study, "Modality": "SR"}}))


@contextmanager
def orthanc(folder: Path) -> Iterator[Pacs]:
    """Run an Orthanc for the block, which takes what this tool sends.

    Raises
    ------
    SystemExit
        It is not installed, or does not start.
    """
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None:
        raise SystemExit("needs Orthanc: apt-get install orthanc")
    found = Pacs(_free_port(), _free_port())
    settings = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "DicomAet": "PACS",
        "DicomPort": found.dicom,
        "HttpPort": found.http,
        "RemoteAccessAllowed": False,
        "DicomModalities": {"screener": ["SCREENER", "127.0.0.1", 1]},
    }
    (folder / "db").mkdir(parents=True)
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("wb") as journal:
        server = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=journal, stderr=journal)
    try:
        _wait(lambda: found.ask("/system"), f"Orthanc does not start: {(folder / 'orthanc.log').read_text()[-500:]}")
        yield found
    finally:
        server.terminate()
        server.wait(60)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(true: Any, otherwise: str) -> None:  # noqa: ANN401 - a callable of any answer
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        with suppress(OSError):
            if true():
                return
        time.sleep(_STEP)
    raise SystemExit(otherwise)


def delays(folder: Path, slices: int, studies: int, model: str | None) -> dict[str, Any]:
    """Send studies one after the other, and wait for the report about each."""
    found = []
    with orthanc(folder / "orthanc") as pacs:
        (folder / "listener").mkdir()
        destination = f"PACS@127.0.0.1:{pacs.dicom}"
        with listening(folder / "listener", _QUIET, model, ("--send", destination)) as listener:
            for number in range(studies):
                study = Study(number, slices)
                study.send_all(listener.port)
                _wait(lambda uid=study.uid: pacs.reports(uid), f"no report: {listener.journal()[-500:]}")
                found.append(time.time() - study.last - _QUIET)
        stored = pacs.ask("/statistics")
        version = str(pacs.ask("/system")["Version"])
    return {
        "slices": slices,
        "studies": studies,
        "first_seconds": found[0],
        "median_seconds": statistics.median(found),
        "longest_seconds": max(found),
        "objects": stored["CountInstances"],
        "megabytes": int(stored["TotalDiskSize"]) / 1e6,
        "peak_megabytes": listener.peak / 1e6,
        "orthanc": version,
    }


def report(figures: Mapping[str, Any]) -> str:
    """Return the page."""
    machine, studies = figures["machine"], figures["studies"]
    seconds = ", ".join(f"{figures[f'{which}_seconds']:.1f}" for which in ("median", "longest", "first"))
    where = f"{machine['processor']}, {machine['cores']} cores, Orthanc {figures['orthanc']} on the same machine"
    delay = f"seconds from the last of {figures['slices']} slices to the report stored, quiet period apart"
    rows = {
        f"{delay}: median, longest, first of {studies} studies": seconds,
        f"objects stored for {studies} studies": f"{figures['objects']}, {figures['megabytes']:.1f} MB",
        "peak memory of the listener": f"{figures['peak_megabytes']:.0f} MB",
    }
    lines = ["# Answers to the PACS", "", f"`make bench-answers`, {where}.", "", "| what | figure |", "|---|---|"]
    lines += [f"| {what} | {figure} |" for what, figure in rows.items()]
    return "\n".join([*lines, "", "The captures of a study are stored before its report.", ""])


if __name__ == "__main__":
    main()
