"""The shipped model on the demo inbox, through the installed command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "docs/demo/inbox"
KEYS = [
    "path", "sha256", "frame", "patient_id", "decision", "probability", "confidence", "urgency", "recommendation",
    "threshold", "operating_point", "reason", "model", "model_sha256", "tool_version", "seen_before", "notice",
    "level", "study_id", "series_id", "position", "sequence", "plane",
]  # fmt: skip

pytestmark = pytest.mark.skipif(not (ROOT / "models/lite/model.onnx").exists(), reason="no shipped model here")


def screener(*arguments: str | Path, state: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("screener")), *map(str, arguments)]
    return subprocess.run(
        command,
        env={**os.environ, "XDG_STATE_HOME": str(state), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a state folder of its own."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def first(state: Path) -> subprocess.CompletedProcess[str]:
    """Scan the demo inbox for the first time."""
    return screener("scan", DEMO, "--json", state=state)


def test_demo_is_sorted_and_refused_as_it_should_be(first: subprocess.CompletedProcess[str]) -> None:
    done = first
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 4
    assert done.stderr == ""
    studies = {line["study_id"]: line for line in found if line["level"] == "study"}
    found = [line for line in found if line["level"] == "slice"]
    assert all(list(line) == KEYS for line in found)
    assert {line["study_id"] for line in found} == set(studies)
    assert studies["not-a-brain"]["urgency"] == "REVIEW"
    by_folder = {line["path"]: line for line in found}
    flagged = {line["patient_id"] for line in found if line["decision"] == "flagged"}
    assert flagged >= {"DEMO-GLIOMA", *(f"patient-{number:02d}" for number in range(1, 10))}
    by_patient = {line["patient_id"]: line for line in studies.values()}
    glioma, drawn, volunteer = (by_patient[name] for name in ("DEMO-GLIOMA", "DEMO-DRAWN", "02"))
    assert (glioma["series"][0]["sequence"], glioma["urgency"]) == ("T1ce", "HIGH")
    assert (glioma["accession_number"], glioma["study_date"]) == ("DEMO-GLIOMA-1", "20260105")
    assert (drawn["decision"], drawn["slices"]["assessed"]) == ("not_flagged", 20)
    assert (volunteer["decision"], volunteer["reason"]) == ("not_assessable", "no_usable_series")
    same = [by_folder[path]["probability"] for path in ("dicom/glioma/IM0001.dcm", "patient-05/Te-gl_0014.jpg")]
    assert same[0] == pytest.approx(same[1], abs=0.02)
    assert {line["urgency"] for line in found if line["patient_id"] == "not-a-brain"} == {"REVIEW"}


def test_second_run_shows_everything_again_and_logs_nothing_twice(
    first: subprocess.CompletedProcess[str], state: Path
) -> None:
    again = screener("scan", DEMO, "--json", state=state)
    assert len(again.stdout.splitlines()) == len(first.stdout.splitlines())
    assert all(json.loads(line)["seen_before"] for line in again.stdout.splitlines())
    log = (state / "screener/audit.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in log]
    assert events.count("RESULT") + events.count("STUDY") == len(again.stdout.splitlines())
    assert events.count("STUDY") == 14
    assert events.count("START") == events.count("END") == 2
    assert screener("verify", state=state).returncode == 0


def test_golden_scores() -> None:
    from export.release.golden import golden_scores
    from screener.model.session import Model

    golden = json.loads((ROOT / "models/lite/golden.json").read_text())
    scores = golden_scores(Model.load(ROOT / "models/lite"), DEMO)["scores"]
    assert scores.keys() == golden["scores"].keys()
    for name, expected in golden["scores"].items():
        if isinstance(expected, str):
            assert scores[name] == expected, name
        else:
            assert scores[name] == pytest.approx(expected, abs=golden["tolerance"]), name
