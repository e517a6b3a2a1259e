"""What the bench of studies counts in a log."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

from bench import studies

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_finished_log_lacks_nothing_and_a_cut_inbox_is_noticed(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "_STUDIES", 2)
    monkeypatch.setattr(studies, "_EACH", 3)
    for number in range(2):
        studies._draw(tmp_path / f"inbox/p{number}", 3, first=3 * number)
    log = tmp_path / "audit.jsonl"
    command = [*studies._command(tmp_path / "inbox", log), "--model", str(tiny_model), "--accept-uncertified"]
    subprocess.run(command, check=False, executable=sys.executable)
    found: Counter[str] = Counter()
    studies._check(log, found)
    assert {name: count for name, count in found.items() if count} == {"studies": 2}
    monkeypatch.setattr(studies, "_STUDIES", 3)
    studies._check(log, found)
    assert found["lost"] == 1 + 3


def test_the_report_gives_every_figure() -> None:
    text = studies.report(
        {
            "answer": {"slices": 200, "runs": 5, "cores": 2, "study_seconds": 2.0, "slices_alone_seconds": 2.5},
            "kills": {
                "kills": 200,
                "rounds": 90,
                "studies": 900,
                "lost": 0,
                "doubled": 1,
                "other_slices": 2,
                "broken_logs": 3,
            },
            "memory": {"files": 1000, "peak_mb": 300.0, "tenth_peak_mb": 290.0},
        }
    )
    assert "2.00 s after the command starts (2 cores, median of 5; aim: 3 s): 0.80 of" in text
    assert "200 scans killed at random moments, over 90 logs with 900 studies: 0 studies or slices lost" in text
    assert "1 doubled, 2 studies resting on other slices than their own, 3 logs" in text
    assert "1,000 files in studies of 100: at most 300 MB" in text
