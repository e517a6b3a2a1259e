"""``screener scan`` by study: one answer a patient, in the log and on the screen."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from screener import Screener
from screener.audit import read, verify
from screener.domain.finding import Decision
from tests.conftest import Command, write_slice


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    """Draw three patients: a mass over three slices of one series, one noisy slice, and a date a study."""
    inbox = tmp_path / "heads"
    for number in range(12):
        write_slice(inbox / f"mass/T1/{number}.png", number, bright=number in {5, 6, 7})
        write_slice(inbox / f"mass/T2/{number}.png", 50 + number)
        write_slice(inbox / f"noisy/{number}.png", 100 + number, bright=number == 5)
    for date in ("2026-01-05", "2026-02-05"):
        write_slice(inbox / f"twice/{date}/1.png", len(date), bright=date == "2026-02-05")
    return inbox


def lines(done: subprocess.CompletedProcess[str], level: str = "study") -> list[dict[str, Any]]:
    return [line for line in map(json.loads, done.stdout.splitlines()) if line["level"] == level]


def test_one_answer_a_study(screener: Command, heads: Path) -> None:
    done = screener.scan(heads, "--json")
    assert done.returncode == 0
    found = {line["study_id"]: line for line in lines(done)}
    assert {name: line["decision"] for name, line in found.items()} == {
        "mass": "flagged",
        "noisy": "not_flagged",
        "twice/2026-01-05": "not_flagged",
        "twice/2026-02-05": "flagged",
    }
    mass = found["mass"]
    assert mass["slices"] == {"total": 24, "assessed": 24, "flagged": 3, "not_assessable": 0}
    assert [(one["series_id"], one["slices"]) for one in mass["series"]] == [("T1", 12), ("T2", 12)]
    assert mass["key_slices"][0]["path"] == "mass/T1/6.png"
    curve = mass["series"][0]["curve"]
    assert max(range(12), key=curve.__getitem__) == 6
    every = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["study_id"] for line in every].index("noisy") > every.index(mass)
    assert len(lines(done, "slice")) == 38


def test_the_log_holds_each_study_once(screener: Command, heads: Path) -> None:
    first = lines(screener.scan(heads, "--json"))
    again = lines(screener.scan(heads, "--json"))
    assert [line | {"seen_before": True} for line in first] == again
    assert [event["study_id"] for event in screener.events("STUDY")] == [line["study_id"] for line in first]
    assert screener.events("END")[-1]["counts"]["studies_seen_before"] == 4
    assert verify(screener.log).ok


def test_more_slices_are_a_new_answer(screener: Command, heads: Path) -> None:
    screener.scan(heads)
    for number in (4, 6):
        write_slice(heads / f"noisy/{number}.png", 200 + number, bright=True)
    found = {line["study_id"]: line for line in lines(screener.scan(heads, "--json"))}
    assert found["noisy"]["decision"] == "flagged"
    assert not found["noisy"]["seen_before"]
    assert [event["study_id"] for event in screener.events("STUDY")].count("noisy") == 2
    assert verify(screener.log).ok


def test_the_table_has_a_row_a_study(screener: Command, heads: Path) -> None:
    shown = screener.scan(heads, "--lang", "en").stdout
    rows = [line.split() for line in shown.splitlines() if line.strip().startswith(("HIGH", "MEDIUM", "LOW"))]
    assert [row[2] for row in rows] == ["twice/2026-02-05", "mass", "noisy", "twice/2026-01-05"]
    assert "4 studies: 1 HIGH, 1 MEDIUM, 0 REVIEW, 2 LOW" in shown
    assert "not certified by patient" in shown
    slices = screener.scan(heads, "--lang", "en", "--level", "slice").stdout
    assert sum(".png" in line for line in slices.splitlines()) == 38


def test_levels_and_groupings_are_checked(screener: Command, heads: Path) -> None:
    done = screener.scan(heads, "--level", "patient")
    assert (done.returncode, "choose one of study, slice, both" in done.stderr) == (2, True)
    assert screener.scan(heads, "--group-by", "(").returncode == 2
    assert len(lines(screener.scan(heads, "--json", "--group-by", "file"))) == 38
    assert [line["study_id"] for line in lines(screener.scan(heads, "--json", "--group-by", "^([^/]+)/"))] == [
        *("mass", "noisy", "twice")
    ]


def test_label_folders_are_no_patients(screener: Command, tmp_path: Path) -> None:
    for number in range(3):
        write_slice(tmp_path / f"in/yes/{number}.png", number, bright=True)
    done = screener.scan(tmp_path / "in", "--json")
    (study,) = lines(done)
    assert (study["decision"], study["reason"], done.returncode) == ("not_assessable", "not_one_study", 4)
    assert screener.scan(tmp_path / "in", "--group-by", "file").returncode == 0


def test_refused_slices_within_a_study_are_no_failure(screener: Command, heads: Path) -> None:
    (heads / "mass/T1/empty_end.png").write_bytes((heads / "mass/T1/0.png").read_bytes())
    blank = Path(__file__).parents[2] / "docs/demo/inbox/not-a-brain/blank.png"
    (heads / "mass/T1/99.png").write_bytes(blank.read_bytes())
    assert screener.scan(heads).returncode == 0
    (heads / "mass/T1/100.png").write_bytes(b"")
    done = screener.scan(heads, "--json")
    assert done.returncode == 4  # a file that could not be read
    assert {line["study_id"]: line["decision"] for line in lines(done)}["mass"] == "flagged"


def test_a_study_that_is_still_arriving_waits_as_a_whole(screener: Command, heads: Path) -> None:
    done = screener.scan(heads, "--json", "--settle", 3600)
    assert (done.returncode, lines(done)) == (5, [])
    for file in heads.rglob("*.png"):
        if file.name != "3.png" or "noisy" not in str(file):
            _age(file)
    done = screener.scan(heads, "--json", "--settle", 3600)
    assert done.returncode == 5
    assert "noisy" not in {line["study_id"] for line in lines(done)}
    assert len(lines(done)) in (0, 3)
    assert "noisy" in {line["study_id"] for line in lines(screener.scan(heads, "--json"))}
    assert verify(screener.log).ok


def _age(file: Path) -> None:
    """Make a file look old; its change time stays, which is why the walk may still wait for it."""
    import os

    os.utime(file, (time.time() - 7200, time.time() - 7200))


def test_a_limit_answers_no_study_by_half(screener: Command, heads: Path) -> None:
    assert lines(screener.scan(heads, "--json", "--limit", 5)) == []
    assert [line["study_id"] for line in lines(screener.scan(heads, "--json", "--limit", 30))] == ["mass"]


def test_pseudonyms_hide_studies_too(screener: Command, heads: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o600)
    done = screener.scan(heads, "--json", "--pseudonymise", key)
    assert len(lines(done)) == 4
    assert not any(word in done.stdout for word in ("mass", "noisy", "twice", "T1/"))


@pytest.mark.parametrize("stop", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL])
def test_stopped_in_the_middle_no_study_is_lost_or_doubled(
    screener: Command, heads: Path, stop: signal.Signals
) -> None:
    command = screener.arguments("scan", heads, "--json", "--model", screener.model, "--nice", 0)
    for _ in range(6):
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=screener.env())
        assert running.stdout is not None
        for _ in range(3):
            running.stdout.readline()
        running.send_signal(stop)
        running.wait()
        running.stdout.close()
    last = lines(screener.scan(heads, "--json"))
    assert {line["study_id"]: line["decision"] for line in last}["mass"] == "flagged"
    assert sorted(event["study_id"] for event in screener.events("STUDY")) == sorted(line["study_id"] for line in last)
    assert verify(screener.log).ok
    assert sum(event["event"] == "RESULT" for event in read(screener.log)) == 38


def test_studies_in_python(tiny_model: Path, heads: Path) -> None:
    found = {study.study_id: study.decision for study in Screener(tiny_model).studies(heads)}
    assert found["mass"] is Decision.FLAGGED
    assert len(found) == 4
