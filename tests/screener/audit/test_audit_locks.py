"""One scan at a time over a log, while verdicts may fall between its batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from audit_samples import PREPROCESSING, finding, write_log

from screener.audit import AuditLog, read, verify
from screener.audit import locks as locks_module
from screener.audit.files import Access
from screener.audit.locks import FileLock, RunLock, WriteLock, run_lock_path, write_lock_path
from screener.domain.verdict import Verdict
from screener.errors import AuditLogError

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
REVIEWER = """
import sys, time
from pathlib import Path
from screener.audit import AuditLog
from screener.domain.verdict import Verdict
with AuditLog(Path(sys.argv[1]), exclusive=False) as log:
    for number in range(int(sys.argv[3])):
        log.reviews([Verdict(sys.argv[2], "dr", "glioma", agreement=True, details={"seconds": 1.5})])
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def held(log: Path) -> Iterator[AuditLog]:
    with AuditLog(log) as scan:
        yield scan


def child(script: str, *arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_second_scan_is_reported_who_holds_the_log(held: AuditLog) -> None:
    with pytest.raises(AuditLogError, match=f"process {os.getpid()} on host {os.uname().nodename}") as caught:
        write_log(held.path)
    assert "--wait" in caught.value.hint


def test_a_second_scan_can_wait(log: Path) -> None:
    first = AuditLog(log)
    first.__enter__()
    threading.Timer(0.3, first.__exit__, (None, None, None)).start()
    begun = time.monotonic()
    write_log(log, wait=20)
    assert time.monotonic() - begun >= 0.25
    assert verify(log).ok


def test_waiting_ends(held: AuditLog) -> None:
    begun = time.monotonic()
    with pytest.raises(AuditLogError, match="another scan"):
        write_log(held.path, wait=0.2)
    assert time.monotonic() - begun >= 0.2


@pytest.mark.parametrize("note", [b"", b"[1]", b'{"pid":"x"}', b"\xff" * 9000])
def test_a_spoilt_note_does_not_matter(held: AuditLog, note: bytes) -> None:
    run_lock_path(held.path).write_bytes(note)
    with pytest.raises(AuditLogError, match="did not say"):
        write_log(held.path)


def test_a_hostile_note_is_shown_harmlessly(held: AuditLog) -> None:
    note = json.dumps({"pid": 1, "host": "\x1b[31m\n" + "x" * 999, "since": "now"})
    run_lock_path(held.path).write_text(note)
    with pytest.raises(AuditLogError) as caught:
        write_log(held.path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_a_removed_lock_file_does_not_let_two_scans_in_for_good(log: Path) -> None:
    lock = FileLock(log, Access())
    assert lock.acquire(0)
    lock.release()
    log.unlink()
    other = FileLock(log, Access())
    assert other.acquire(0)
    assert not lock.acquire(0)
    other.close()
    assert lock.acquire(0)
    lock.close()


def test_the_lock_is_free_after_a_failed_start(log: Path) -> None:
    write_log(log)
    log.write_bytes(log.read_bytes().replace(b"done", b"gone"))
    with pytest.raises(AuditLogError, match="cannot be continued"):
        write_log(log)
    RunLock(log, Access()).acquire(0)


def test_a_writer_that_never_lets_go_is_named(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(log)
    monkeypatch.setattr(locks_module, "_APPEND_WAIT", 0.1)
    monkeypatch.setattr(locks_module, "_READ_WAIT", 0.1)
    with WriteLock(log, Access()).held():
        with pytest.raises(AuditLogError, match="another process has been writing"):
            write_log(log)
        # A reader does not wait for ever.
        assert verify(log).ok
    assert write_lock_path(log).exists()


def test_verdicts_fall_between_batches(log: Path) -> None:
    hashes = write_log(log, count=1)
    with AuditLog(log, rotate_bytes=100_000) as scan:
        scan.start({})
        reviewers = [child(REVIEWER, log, hashes[0], 60) for _ in range(2)]
        number = 100
        while any(reviewer.poll() is None for reviewer in reviewers):
            scan.results([finding(number), finding(number + 1)], doctor_id=None, preprocessing=PREPROCESSING)
            number += 2
        scan.end({}, "done")
    for reviewer in reviewers:
        assert reviewer.wait() == 0, reviewer.communicate()[1]
    assert verify(log).ok
    events = list(read(log))
    assert sum(event["event"] == "REVIEW" for event in events) == 120
    assert sum(event["event"] == "RESULT" for event in events) == number - 99
    kinds = "".join(event["event"][:3] for event in events)
    assert "RESREV" in kinds
    assert "REVRES" in kinds


def test_reading_during_a_scan_raises_no_false_alarm(log: Path) -> None:
    write_log(log, count=1)
    reader = child(
        "import sys\n"
        "from pathlib import Path\n"
        "from screener.audit import read, verify\n"
        "for _ in range(15):\n"
        "    found = verify(Path(sys.argv[1]))\n"
        "    assert found.ok, found\n"
        "    assert sum(1 for _ in read(Path(sys.argv[1]))) >= found.events\n",
        log,
    )
    with AuditLog(log, rotate_bytes=40_000) as scan:
        number = 100
        while reader.poll() is None:
            batch = [finding(number + extra) for extra in range(16)]
            scan.results(batch, doctor_id=None, preprocessing=PREPROCESSING)
            number += len(batch)
            time.sleep(0.01)
    assert reader.wait() == 0, reader.communicate()[1]
    assert number > 116  # more than one batch came in between


def test_two_scans_started_together_judge_each_slice_once(log: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    command = [sys.executable, str(HERE / "audit_writer.py"), str(log), "300", "1", "50000"]
    scans = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [scan.wait(timeout=60) for scan in scans] == [0, 0, 0]
    found = verify(log)
    assert found.ok
    assert found.events == 300 + 2 * len(scans)


def test_a_verdict_refers_to_a_result(log: Path) -> None:
    hashes = write_log(log)
    with AuditLog(log, exclusive=False) as clinic:
        made = clinic.reviews([Verdict(hash_, "dr", "no tumour", agreement=False) for hash_ in hashes])
        before = log.read_bytes()
        for unknown in ("0" * 64, "\x1b[31m", made[0]):
            with pytest.raises(AuditLogError, match="refer to no result"):
                clinic.reviews([Verdict(hashes[0], "dr", "x", None), Verdict(unknown, "dr", "x", None)])
        assert log.read_bytes() == before
        assert clinic.reviews([]) == []
    reviews = [event for event in read(log) if event["event"] == "REVIEW"]
    assert [event["result"] for event in reviews] == hashes
    assert {(event["doctor_id"], event["final_diagnosis"], event["agreement"]) for event in reviews} == {
        ("dr", "no tumour", False)
    }


def test_a_scan_needs_the_run_lock(log: Path) -> None:
    with AuditLog(log, exclusive=False) as clinic:
        with pytest.raises(RuntimeError):
            clinic.start({})
        with pytest.raises(RuntimeError):
            clinic.results([finding(1)], doctor_id=None, preprocessing=PREPROCESSING)
