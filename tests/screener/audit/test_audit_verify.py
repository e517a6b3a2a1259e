"""Whatever is done to a written log, verifying it tells."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from audit_samples import forge, write_log
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from screener.audit import GENESIS, AuditLog, read, read_anchor, segments, verify
from screener.audit.events import MAX_LINE
from screener.errors import AuditLogError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.jsonl"
    write_log(path)
    return path


def rewrite(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(b"".join(lines))


def lines_in(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_an_untouched_log_verifies(log: Path) -> None:
    found = verify(log)
    assert found.ok
    assert found.events == 7
    assert found.first_bad is None
    assert found.runs_without_end == ()
    assert found.head == [event["hash"] for event in read(log)][-1]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_found(log: Path, data: st.DataObject) -> None:
    good = log.read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != good[place]))
    log.write_bytes(good[:place] + bytes([byte]) + good[place + 1 :])
    found = verify(log)
    log.write_bytes(good)
    assert not found.ok
    assert found.first_bad is not None
    assert found.first_bad.line == good[:place].count(b"\n") + 1
    assert found.first_bad.why.isascii()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), junk=st.binary(min_size=1, max_size=40))
def test_any_inserted_bytes_are_found(log: Path, place: int, junk: bytes) -> None:
    good = log.read_bytes()
    place %= len(good) + 1
    log.write_bytes(good[:place] + junk + good[place:])
    found = verify(log)
    log.write_bytes(good)
    assert not found.ok


@pytest.mark.parametrize("number", range(6))
def test_a_deleted_line_is_found(log: Path, number: int) -> None:
    lines = lines_in(log)
    del lines[number]
    rewrite(log, lines)
    found = verify(log)
    assert found.first_bad is not None
    assert (found.first_bad.file, found.first_bad.line) == (log, number + 1)
    assert ("does not begin here" if number == 0 else "removed, inserted or moved") in found.first_bad.why


def test_swapped_doubled_and_foreign_lines_are_found(log: Path, tmp_path: Path) -> None:
    lines = lines_in(log)
    other = tmp_path / "other.jsonl"
    write_log(other)
    for wrong in (
        [*lines[:2], lines[3], lines[2], *lines[4:]],
        [*lines[:3], lines[2], *lines[3:]],
        [*lines[:3], lines_in(other)[3], *lines[3:]],
        [*lines, b"\n"],
        [*lines, b"{}\n"],
    ):
        rewrite(log, wrong)
        assert not verify(log).ok


def test_a_doubled_key_with_a_right_hash_is_found(log: Path) -> None:
    lines = lines_in(log)
    body = json.dumps(json.loads(lines[-1][:-76] + b"}"), sort_keys=True, separators=(",", ":"))
    rewrite(log, [*lines[:-1], forge({}, body.replace('"reason":', '"reason":"x","reason":'))])
    found = verify(log)
    assert found.first_bad is not None
    assert "doubled key" in found.first_bad.why


def test_a_cut_tail_needs_the_anchor(tmp_path: Path) -> None:
    log, anchor = tmp_path / "audit.jsonl", tmp_path / "anchor.json"
    write_log(log, anchor=anchor)
    assert verify(log, anchor=anchor).ok
    noted = read_anchor(anchor)
    assert (noted.hash, noted.size, noted.segment) == (verify(log).head, log.stat().st_size, 1)
    rewrite(log, lines_in(log)[:-1])
    assert verify(log).ok
    found = verify(log, anchor=anchor)
    assert found.first_bad is not None
    assert "anchored event is not in the log" in found.first_bad.why
    assert found.first_bad.line == 7


def test_a_log_that_lost_the_anchored_event_is_not_continued(tmp_path: Path) -> None:
    log, anchor = tmp_path / "audit.jsonl", tmp_path / "anchor.json"
    write_log(log, anchor=anchor)
    whole = log.read_bytes()
    rewrite(log, lines_in(log)[:-1])
    kept = anchor.read_bytes()
    with pytest.raises(AuditLogError, match="event anchored in"):
        write_log(log, anchor=anchor)
    assert anchor.read_bytes() == kept
    log.write_bytes(whole)
    write_log(log, count=12, anchor=anchor, rotate_bytes=4000)
    write_log(log, count=12, anchor=anchor, rotate_bytes=4000)
    assert verify(log, anchor=anchor).ok
    with pytest.raises(AuditLogError, match="folder does not exist"):
        write_log(log, anchor=tmp_path / "share" / "anchor.json")


def test_a_log_written_anew_needs_the_anchor(tmp_path: Path) -> None:
    log, anchor = tmp_path / "audit.jsonl", tmp_path / "anchor.json"
    write_log(log, anchor=anchor)
    lines, prev = [], GENESIS
    for event in list(read(log)):
        lines.append(forge({**event, "prev": prev, "run_id": "forged"}))
        prev = json.loads(lines[-1])["hash"]
    rewrite(log, lines)
    assert verify(log).ok
    assert not verify(log, anchor=anchor).ok


def test_an_older_anchor_still_holds(tmp_path: Path) -> None:
    log, anchor = tmp_path / "audit.jsonl", tmp_path / "anchor.json"
    write_log(log, anchor=anchor)
    write_log(log, count=2)
    assert verify(log, anchor=anchor).ok


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"hash":1}', '{"log":"a","hash":1,"segment":1,"size":1,"timestamp":""}']
)
def test_what_is_no_anchor_is_refused(log: Path, tmp_path: Path, content: str) -> None:
    anchor = tmp_path / "anchor.json"
    anchor.write_text(content)
    with pytest.raises(AuditLogError, match="not an anchor"):
        verify(log, anchor=anchor)


def test_a_missing_segment_is_found(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    write_log(log, count=12, rotate_bytes=4000)
    files = segments(log)
    assert len(files) > 3
    assert verify(log).ok
    assert verify(files).ok
    assert verify(files).head == verify(log).head
    assert not verify(files[1:]).ok
    assert not verify([files[0], *files[2:]]).ok
    files[1].unlink()
    found = verify(log)
    assert found.first_bad is not None
    assert (found.first_bad.file, found.first_bad.line) == (files[2], 1)


def test_runs_that_never_ended_are_named(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    with AuditLog(log) as crashed:
        run = crashed.start({})
    write_log(log)
    assert verify(log).runs_without_end == (run,)


def test_reading_leaves_out_an_unfinished_line_but_nothing_else(log: Path) -> None:
    good = log.read_bytes()
    log.write_bytes(good[:-5])
    assert len(list(read(log))) == 6
    found = verify(log)
    assert found.first_bad is not None
    assert "incomplete last line" in found.first_bad.why
    log.write_bytes(good[:-5] + b"\n")
    with pytest.raises(AuditLogError, match="line 7"):
        list(read(log))


def test_no_log_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path / "no" / "folder.jsonl", tmp_path):
        with pytest.raises(AuditLogError):
            verify(path)
        with pytest.raises(AuditLogError):
            list(read(path))


def test_a_line_without_end_does_not_fill_the_memory(log: Path) -> None:
    with log.open("ab") as file:
        file.truncate(200 << 20)
    tracemalloc.start()
    found = verify(log)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.first_bad is not None
    assert f"longer than {MAX_LINE}" in found.first_bad.why
    assert peak < 16 << 20


def test_what_a_line_holds_reaches_nobody_s_terminal(log: Path) -> None:
    lines = lines_in(log)
    rewrite(log, [*lines, forge({"schema": "\x1b[31m\n[red]", "event": "X"})])
    found = verify(log)
    assert found.first_bad is not None
    assert found.first_bad.why.isprintable()
