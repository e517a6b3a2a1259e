"""Looking up earlier results gives what reading the whole log would, whatever became of the index."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from audit_samples import FINDING, MODEL, PREPROCESSING, finding, look_up, refused, write_log
from hypothesis import given, settings
from hypothesis import strategies as st

from screener.audit import AuditLog, History, read, verify
from screener.audit import index as index_module
from screener.audit.index import index_path
from screener.errors import AuditLogError

if TYPE_CHECKING:
    from screener.domain.finding import Finding

ROOT = Path(__file__).parents[3]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def naive(log: Path, of: Finding) -> dict[str, Any] | None:
    """Look a finding up by reading everything."""
    expected = (of.path, of.sha256, of.model_sha256, repr(float(of.threshold)))
    found = None
    for event in read(log):
        if event["event"] == "RESULT":
            here = tuple(event[name] for name in ("path", "sha256", "model_sha256", "threshold"))
            found = event if here == expected and event["preprocessing"] == PREPROCESSING else found
    return found


def score(log: AuditLog | History, of: Finding) -> dict[str, Any] | None:
    return log.score_of(of.sha256, model_sha256=of.model_sha256, preprocessing=PREPROCESSING)


FINDINGS = st.builds(
    lambda path, sha256, model, threshold, judged: finding(
        0,
        path=path,
        sha256=sha256 * 64,
        model_sha256=model * 64,
        threshold=threshold,
        probability=0.5 if judged else None,
    ),
    path=st.sampled_from(["a", "b", "\udcff", "a\nb"]),
    sha256=st.sampled_from("12"),
    model=st.sampled_from("12"),
    threshold=st.sampled_from([0.3, 0.1 + 0.2, 0.5]),
    judged=st.booleans(),
)
DAMAGE = st.sampled_from(["none", "removed", "rubbish", "emptied", "older", "lying", "zeros", "no table"])


def damage(log: Path, how: str) -> None:
    """Do to an index what disks, updates and people do."""
    path = index_path(log)
    if how == "removed":
        path.unlink(missing_ok=True)
    elif how == "rubbish":
        path.write_bytes(b"not a database" * 1000)
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "zeros":
        content = path.read_bytes()
        path.write_bytes(content[:4096] + bytes(max(0, len(content) - 4096)))
    elif how != "none":
        base = sqlite3.connect(path)
        change = {"older": "PRAGMA user_version = 0", "lying": "UPDATE result SET offset = offset + 1"}
        base.execute(change.get(how, "DROP TABLE position"))
        base.commit()
        base.close()


@settings(max_examples=25, deadline=None)
@given(
    runs=st.lists(st.tuples(st.lists(FINDINGS, max_size=8), DAMAGE), min_size=1, max_size=4), asked=st.lists(FINDINGS)
)
def test_the_index_answers_like_the_log(runs: list[tuple[list[Finding], str]], asked: list[Finding]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "audit.jsonl"
        for findings, how in runs:
            with AuditLog(log, rotate_bytes=3000) as scan:
                scan.start({})
                for made in findings:
                    scan.results([made], doctor_id=None, preprocessing=PREPROCESSING)
                    assert look_up(scan, made) == naive(log, made)
            damage(log, how)
            with AuditLog(log) as scan:
                for of in asked:
                    assert look_up(scan, of) == naive(log, of)
                    same = [e for e in read(log) if e.get("sha256") == of.sha256 and e["probability"] is not None]
                    same = [event for event in same if event["model_sha256"] == of.model_sha256]
                    found = score(scan, of)
                    assert (found in same) if same else found is None


def test_a_score_is_found_under_another_path_and_threshold_but_not_another_model(log: Path) -> None:
    with AuditLog(log) as scan:
        scan.results([finding(1), refused(2)], doctor_id=None, preprocessing=PREPROCESSING)
        found = score(scan, finding(1, path="elsewhere", threshold=0.9))
        assert found is not None
        assert found["path"] == finding(1).path
        assert look_up(scan, finding(1, path="elsewhere")) is None
        assert look_up(scan, finding(1, threshold=0.9)) is None
        assert score(scan, finding(1, model_sha256="c" * 64)) is None
        assert scan.score_of(finding(1).sha256, model_sha256=MODEL, preprocessing="other/2") is None
        assert score(scan, refused(2)) is None
        assert look_up(scan, refused(2)) is not None


def test_a_rescan_answers_with_its_own_result(log: Path) -> None:
    with AuditLog(log) as scan:
        for doctor in ("first", "second"):
            scan.results([FINDING], doctor_id=doctor, preprocessing=PREPROCESSING)
        found = look_up(scan, FINDING)
    assert found is not None
    assert found["doctor_id"] == "second"


def test_a_changed_line_is_not_an_answer(log: Path) -> None:
    write_log(log, count=3)
    log.write_bytes(log.read_bytes().replace(b'"patient_id":"patient_0000"', b'"patient_id":"patient_000X"', 1))
    with AuditLog(log) as scan:
        assert look_up(scan, finding(0)) is None
        assert look_up(scan, finding(1)) is not None


def test_a_log_put_back_from_a_backup_is_indexed_anew(log: Path) -> None:
    write_log(log, count=2)
    backup = log.read_bytes()
    write_log(log, count=9)
    log.write_bytes(backup)
    with AuditLog(log) as scan:
        assert look_up(scan, finding(1)) is not None
        assert look_up(scan, finding(8)) is None


def test_a_busy_index_is_left_alone(log: Path) -> None:
    write_log(log)
    holder = sqlite3.connect(index_path(log), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with History(log) as history:
        assert look_up(history, finding(3)) is not None
    holder.execute("ROLLBACK")
    assert holder.execute("SELECT count(*) FROM result").fetchone() == (5,)
    holder.close()


def test_an_index_that_cannot_be_stored_is_done_without(log: Path) -> None:
    index_path(log).mkdir()
    write_log(log)
    with AuditLog(log) as scan:
        assert look_up(scan, finding(3)) is not None
    index_path(log).rmdir()
    index_path(log).symlink_to("/dev/null")
    with AuditLog(log) as scan:
        assert look_up(scan, finding(3)) is not None


def test_an_index_that_fails_during_a_run_is_done_without(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with AuditLog(log) as scan:
        scan.results([finding(1)], doctor_id=None, preprocessing=PREPROCESSING)
        scan._lookup()._base.close()
        scan.results([finding(2)], doctor_id=None, preprocessing=PREPROCESSING)
        assert look_up(scan, finding(1)) is not None
        assert look_up(scan, finding(2)) is not None

    def refuse(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(index_module, "_connect", refuse)
    with pytest.raises((AuditLogError, sqlite3.OperationalError)):
        History(log)


def test_a_history_of_no_log_is_empty(log: Path) -> None:
    with History(log, keep=False) as history:
        assert look_up(history, FINDING) is None
    assert list(log.parent.iterdir()) == []
    with History(log.parent / "no" / "folder.jsonl", keep=False) as history:
        assert look_up(history, FINDING) is None


def test_looking_without_keeping_writes_nothing(log: Path) -> None:
    write_log(log)
    before = {path: path.stat().st_mtime_ns for path in log.parent.iterdir()}
    with History(log, keep=False) as history:
        assert look_up(history, finding(2)) is not None
    assert {path: path.stat().st_mtime_ns for path in log.parent.iterdir()} == before


def test_commits_in_the_middle_of_a_run(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_BATCH", 3)
    write_log(log, count=20, rotate_bytes=4000)
    index_path(log).unlink()
    with AuditLog(log) as scan:
        assert all(look_up(scan, finding(number)) for number in range(20))
    assert verify(log).ok


FLAT = """
import resource, sys
from pathlib import Path
from audit_samples import PREPROCESSING, finding, look_up
from screener.audit import AuditLog, History, verify

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

log = Path(sys.argv[1])
before = None
with AuditLog(log, fsync_every=60) as scan:
    for begin in range(0, 200_000, 32):
        scan.results([finding(begin + n) for n in range(32)], doctor_id=None, preprocessing=PREPROCESSING)
        before = before or peak()
    assert look_up(scan, finding(0)) and look_up(scan, finding(199_999))
assert verify(log).ok
with History(log, keep=False) as history:
    assert look_up(history, finding(100_000))
print((peak() - before) // 1024)
"""


@pytest.mark.long
def test_memory_stays_flat_however_long_the_log(log: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"}
    out = subprocess.run(
        [sys.executable, "-c", FLAT, str(log)], env=environment, capture_output=True, text=True, check=True
    )
    # SQLite's cache of 16 MiB, twice at most, and nothing that grows.
    assert int(out.stdout) < 48


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = (
        "import sys, screener.audit; print(sorted({'numpy', 'cv2', 'sqlite3', 'onnxruntime', 'typer', 'rich'} & "
        "set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == "[]"
