"""The processes of a federated training, and its report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.errors import DataError
from export.federated import flower
from export.reports.figures import difference
from export.reports.render import markdown

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / "build/venv-federated/bin/python"
HOSPITALS = ("north:A", "south:B")


def test_settings_are_written_as_flower_reads_them() -> None:
    assert flower._settings({"hospital": "a:B", "count": 3}) == 'hospital="a:B" count=3'


def test_a_process_and_what_it_starts_end_with_the_block(tmp_path: Path) -> None:
    code = "import subprocess, sys, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    log = tmp_path / "log"
    with flower._process([sys.executable, "-c", code], log, dict(os.environ)):
        end = time.monotonic() + 30
        while not log.read_text().strip() and time.monotonic() < end:
            time.sleep(0.05)
    child = Path(f"/proc/{log.read_text().strip()}/stat")
    time.sleep(0.2)
    assert not child.exists() or child.read_text().split()[2] == "Z"


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="is not installed") as caught,
        flower._process(["nowhere"], tmp_path / "log", {}),
    ):
        pass
    assert "make federated" in caught.value.hint
    with pytest.raises(DataError, match="was not written"):
        flower.read_weights(tmp_path / "weights.npz")


def test_ports_are_free_and_differ() -> None:
    assert len(set(flower._free_ports(5))) == 5


def result() -> dict[str, Any]:
    area = {"value": 0.81, "low": 0.7, "high": None}
    row = {"seconds": 12.5, "hospitals": dict.fromkeys(HOSPITALS, area), "mean_auc": 0.81, "adjusted_auc": None}
    against = {"value": -0.01, "low": -0.05, "high": 0.03}
    counts = {"fit_slices": 9, "fit_patients": 3, "held_out_slices": 4, "held_out_patients": 1}
    terms = {"rounds": 1, "steps": 2, "size": 64, "proximal": 0.01, "seed": 1, "recipe": "lite", "batch_size": 4}
    return {
        "terms": terms,
        "hospitals": dict.fromkeys(HOSPITALS, counts),
        "target": 0.02,
        "trainings": {"fedavg": row, "pooled": row},
        "against_pooled": {
            "fedavg": {
                "hospitals": dict.fromkeys(HOSPITALS, against),
                "mean_difference": -0.01,
                "within_target": True,
            }
        },
    }


def test_the_report_shows_every_training_at_every_hospital() -> None:
    text = markdown("federated", result=json.loads(json.dumps(result())))
    assert "| fedavg | 0.810 | 0.810 | 0.810 | – | 12 |" in text
    assert "| fedavg | -0.010 (-0.050 to +0.030) | -0.010 (-0.050 to +0.030) | -0.010 | yes |" in text
    assert difference(None) == "–"
    assert difference({"value": 0.1, "low": None, "high": None}) == "+0.100"


@pytest.mark.long
def test_real_processes_average_what_the_hospitals_learnt(tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip("needs the environment that make federated builds")
    from tests.export.federated.hospitals import write_hospitals

    data = write_hospitals(tmp_path / "data", HOSPITALS)
    command = [str(PYTHON), "-m", "export", "federated", "--data", str(data), "--run", str(tmp_path / "run")]
    command += ["--out", str(tmp_path / "federated"), "--recipe", "tests.export.small:SMALL", "--rounds", "2"]
    command += ["--steps", "2", "--batch-size", "4"]
    for name in HOSPITALS:
        command += ["--hospital", name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "federated.json").read_text())
    assert set(found["trainings"]) == {"fedavg", "fedprox", "pooled", *HOSPITALS}
    with np.load(tmp_path / "run/fedavg/weights.npz") as stored:
        assert np.isfinite(stored["losses"]).all()
        assert len(stored["losses"]) == 2
    averaged = flower.read_weights(tmp_path / "run/fedavg/weights.npz")
    pulled = flower.read_weights(tmp_path / "run/fedprox/weights.npz")
    assert any(not np.allclose(one, other) for one, other in zip(averaged, pulled, strict=True))
    for log in (tmp_path / "run/fedavg").glob("supernode-*.log"):
        assert "Traceback" not in log.read_text()
