"""``docs/reference/log.md`` says what the code does, and its recipe works for an auditor who has only Python."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from audit_samples import write_log

from screener.audit import Kind, read, segments, verify
from screener.audit.events import SCHEMA
from screener.audit.schemas import REQUIRED, StartV1

DOC = (Path(__file__).parents[3] / "docs" / "reference" / "log.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def check(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", block("python"), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


COMMON = frozenset(StartV1.__struct_fields__)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    path = tmp_path / "audit.jsonl"
    path.write_text(block("jsonl"), encoding="utf-8")
    return path


def test_the_example_is_a_sound_log_with_each_usual_event(example: Path) -> None:
    found = verify(example)
    assert found.ok
    assert found.runs_without_end == ()
    assert [event["event"] for event in read(example)] == ["START", "RESULT", "RESULT", "STUDY", "END", "REVIEW"]


def test_the_recipe_agrees_with_verify(example: Path, tmp_path: Path) -> None:
    assert check(example).stdout.strip() == verify(example).head
    log = tmp_path / "long.jsonl"
    write_log(log, count=12, rotate_bytes=4000)
    assert check(*segments(log)).stdout.strip() == verify(log).head


@pytest.mark.parametrize(("old", "new"), [(b'"flagged"', b'"not_flagged"'), (b"0.97", b"0.17"), (b"dr-7", b"dr-8")])
def test_the_recipe_finds_a_change(example: Path, old: bytes, new: bytes) -> None:
    example.write_bytes(example.read_bytes().replace(old, new, 1))
    assert "changed, removed, inserted or moved" in check(example).stderr
    assert not verify(example).ok


def test_the_table_names_each_event_and_its_fields() -> None:
    rows = dict(re.findall(r"^\| `([A-Z]+)` \| .*? \| (.*) \|$", DOC, re.MULTILINE))
    assert set(rows) == set(Kind)
    for kind, text in rows.items():
        named = set(re.findall(r"`(\w+)`", text))
        assert REQUIRED[SCHEMA][kind] - COMMON <= named, kind
        # What a START holds is up to the command that begins the run.
        assert kind == Kind.START or named == REQUIRED[SCHEMA][kind] - COMMON, kind
    for name in (*COMMON, "hash"):
        assert f"`{name}`" in DOC.split("Common to all")[1].split(".")[0]
