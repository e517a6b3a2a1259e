"""What a crash leaves behind is kept as evidence and the chain goes on; long files are sealed."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from pathlib import Path

import pytest
from audit_samples import PREPROCESSING, finding, look_up, write_log
from hypothesis import given, settings
from hypothesis import strategies as st

from screener.audit import AuditLog, read, recovery, segments, verify
from screener.audit.recovery import torn_path
from screener.audit.segments import sealed_path
from screener.domain.verdict import Verdict
from screener.errors import AuditLogError


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def events_in(log: Path) -> list[str]:
    return [event["event"] for event in read(log)]


def append(log: Path, number: int = 99) -> None:
    with AuditLog(log) as writer:
        writer.results([finding(number)], doctor_id=None, preprocessing=PREPROCESSING)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(1, 900), junk=st.binary(max_size=30).filter(lambda data: b"\n" not in data))
def test_any_torn_end_is_recovered(cut: int, junk: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "audit.jsonl"
        write_log(log, count=2)
        good = log.read_bytes()
        last = good.splitlines(keepends=True)[-2:]
        whole = len(good) - len(b"".join(last))
        torn = (b"".join(last)[: cut % len(last[0])] + junk) or b"{"
        log.write_bytes(good[:whole] + torn)
        append(log)
        assert verify(log).ok
        message = list(read(log))[-2]
        assert message["event"] == "RECOVERED"
        assert base64.b64decode(message["torn_base64"]) == torn
        assert message["torn_sha256"] == hashlib.sha256(torn).hexdigest()
        assert message["torn_bytes"] == len(torn)
        assert message["torn_file"] is None
        assert log.read_bytes().startswith(good[:whole])
        assert not torn_path(log).exists()


def test_a_log_that_is_only_a_torn_line_is_recovered(log: Path) -> None:
    log.write_bytes(b'{"agre')
    append(log)
    assert events_in(log) == ["RECOVERED", "RESULT"]
    assert verify(log).ok


def test_zeros_that_a_power_cut_left_are_recovered(log: Path) -> None:
    write_log(log, count=3)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:3]) + b"\0" * 400 + lines[3][400:] + lines[4])
    append(log)
    assert verify(log).ok
    assert events_in(log) == ["START", "RESULT", "RESULT", "RECOVERED", "RESULT"]


def test_torn_bytes_too_many_for_an_event_keep_a_file(log: Path) -> None:
    write_log(log, count=1)
    torn = os.urandom(300_000).replace(b"\n", b" ")
    with log.open("ab") as file:
        file.write(torn)
    append(log)
    assert verify(log).ok
    message = next(event for event in read(log) if event["event"] == "RECOVERED")
    kept = log.with_name(message["torn_file"])
    assert kept.read_bytes() == torn
    assert kept.stat().st_mode & 0o777 == 0o600
    append(log, 100)
    assert events_in(log).count("RECOVERED") == 1


@pytest.mark.parametrize("step", ["recovered_event", "clear_torn_bytes"])
def test_a_crash_during_recovery_loses_nothing(log: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    write_log(log, count=1)
    with log.open("ab") as file:
        file.write(b"first")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"screener.audit.chain.{step}", crash)
        with pytest.raises(KeyboardInterrupt):
            append(log)
    append(log)
    assert verify(log).ok
    recovered = [event for event in read(log) if event["event"] == "RECOVERED"]
    assert [base64.b64decode(event["torn_base64"]) for event in recovered] == [b"first"]


def test_two_torn_ends_in_a_row_are_both_kept(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(log, count=1)
    with log.open("ab") as file:
        file.write(b"first")
    monkeypatch.setattr("screener.audit.chain.recovered_event", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        append(log)
    monkeypatch.undo()
    with log.open("ab") as file:
        file.write(b"second")
    append(log)
    message = next(event for event in read(log) if event["event"] == "RECOVERED")
    assert base64.b64decode(message["torn_base64"]) == b"firstsecond"


def test_a_changed_last_line_is_not_mistaken_for_a_crash(log: Path) -> None:
    write_log(log)
    before = log.read_bytes().replace(b'"flagged":5', b'"flagged":4')
    log.write_bytes(before)
    with pytest.raises(AuditLogError, match="does not match its hash") as caught:
        append(log)
    assert "screener verify" in caught.value.hint
    assert log.read_bytes() == before


def test_endless_rubbish_is_not_read_into_memory(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_LONGEST_LOOK", 1 << 20)
    with log.open("ab") as file:
        file.truncate(1 << 30)
    with pytest.raises(AuditLogError, match="no whole line"):
        append(log)


def test_long_files_are_sealed_and_the_chain_goes_on(log: Path) -> None:
    write_log(log, count=20, rotate_bytes=4000)
    write_log(log, count=20, rotate_bytes=4000)
    files = segments(log)
    assert files[:2] == [sealed_path(log, 1), sealed_path(log, 2)]
    assert files[-1] == log
    assert files[0].name == "audit.000001.jsonl"
    assert all(file.stat().st_size <= 4000 for file in files)
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    found = verify(log)
    assert found.ok
    assert found.events == 44
    assert len(events_in(log)) == 44


def test_a_crash_between_sealing_and_beginning_anew_is_survived(log: Path) -> None:
    write_log(log)
    log.rename(sealed_path(log, 1))
    assert verify(log).ok
    append(log)
    found = verify(log)
    assert found.ok
    assert found.events == 8
    with AuditLog(log) as writer:
        assert look_up(writer, finding(2)) is not None


def test_a_sealed_segment_with_a_torn_end_is_not_continued(log: Path) -> None:
    write_log(log)
    sealed_path(log, 1).write_bytes(log.read_bytes()[:-3])
    log.unlink()
    with pytest.raises(AuditLogError, match="sealed segment"):
        append(log)


def test_another_writer_may_seal_the_file_in_between(log: Path) -> None:
    hashes = write_log(log)
    with AuditLog(log) as scan:
        scan.start({})
        for number in range(10, 16):
            scan.results([finding(number)], doctor_id=None, preprocessing=PREPROCESSING)
            with AuditLog(log, exclusive=False, rotate_bytes=1000) as clinic:
                clinic.reviews([Verdict(hashes[0], "dr", "glioma", agreement=True)])
        assert all(look_up(scan, finding(number)) for number in range(10, 16))
        scan.end({}, "done")
    found = verify(log)
    assert found.ok
    assert found.events == 21
    assert len(segments(log)) > 2


@pytest.mark.parametrize("how", ["unlink", "truncate", "replace"])
def test_a_log_meddled_with_during_a_run_stops_it(log: Path, how: str) -> None:
    with AuditLog(log) as scan:
        scan.start({})
        scan.results([finding(1)], doctor_id=None, preprocessing=PREPROCESSING)
        if how == "unlink":
            log.unlink()
        elif how == "truncate":
            os.truncate(log, 300)
        else:
            other = log.with_name("other")
            other.write_bytes(log.read_bytes())
            other.rename(log)
        for _ in range(2):
            with pytest.raises(AuditLogError, match="while this process was writing"):
                scan.results([finding(2)], doctor_id=None, preprocessing=PREPROCESSING)


@pytest.mark.parametrize("place", ["before", "after"])
def test_an_interrupt_around_the_write_leaves_a_chain_to_go_on_with(
    log: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    real = os.fsync

    def interrupt(fd: int) -> None:
        real(fd)
        raise KeyboardInterrupt

    with AuditLog(log, anchor=log.with_name("anchor")) as scan:
        scan.start({})
        with monkeypatch.context() as patch:
            if place == "before":
                patch.setattr(os, "fsync", interrupt)
            else:
                patch.setattr("screener.audit.chain.Written", lambda *_: 1 / 0)
            with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
                scan.results([finding(1)], doctor_id=None, preprocessing=PREPROCESSING)
        scan.end({}, "interrupted")
        assert (look_up(scan, finding(1)) is not None) == (place == "after")
    found = verify(log, anchor=log.with_name("anchor"))
    assert found.ok
    assert found.events == (2 if place == "before" else 3)


def test_an_empty_batch_writes_nothing(log: Path) -> None:
    with AuditLog(log) as scan:
        assert scan.results([], doctor_id=None, preprocessing=PREPROCESSING) == []
    assert log.read_bytes() == b""
    assert verify(log).ok
