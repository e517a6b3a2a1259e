"""What the bench of receiving counts, and that its listener can be killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("pynetdicom")
from bench import pacs

if TYPE_CHECKING:
    from pathlib import Path


def test_the_report_gives_every_figure() -> None:
    text = pacs.report(
        {
            "machine": {"processor": "a CPU", "cores": 2},
            "throughput": {
                "senders": 4,
                "tool": "storescu",
                "instances": 2000,
                "bytes_each": 131_000,
                "instances_per_second": 123.4,
                "peak_megabytes": 222.2,
            },
            "clinic": {
                "hours": 24.0,
                "speed": 100.0,
                "studies": 60,
                "instances": 6000,
                "interrupted": 12,
                "lost": 1,
                "doubled": 2,
                "median_seconds_to_answer": 3.25,
                "longest_seconds_to_answer": None,
                "peak_megabytes": 333.3,
            },
            "kills": {"kills": 50, "studies": 70, "instances": 1500, "lost": 3, "doubled": 4, "peak_megabytes": 1.0},
        }
    )
    for figure in ("123 |", "222 MB", "1 lost, 2 doubled", "3.2, –", "333 MB", "50 kills", "3 lost, 4 doubled"):
        assert figure in text


@pytest.mark.long
def test_a_small_clinic_and_a_kill_lose_nothing(tmp_path: Path, tiny_model: Path) -> None:
    terms = pacs.Terms(8, 0.05, 3, 1, 100.0, 2, str(tiny_model))
    for name, measure in {"throughput": pacs.throughput, "clinic": pacs.clinic, "kills": pacs.kills}.items():
        folder = tmp_path / name
        folder.mkdir()
        found = measure(folder, terms)
        assert found.get("lost", 0) == found.get("doubled", 0) == 0
    # A study that was never sent is missed.
    log = tmp_path / "clinic/audit.jsonl"
    assert pacs.losses(log, [pacs.Study(99, 2)])["lost"] == 3
