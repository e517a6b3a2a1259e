from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inbox_pictures import odd_names, write

from screener.domain.slice import Reason, Refused
from screener.errors import NothingFoundError, UsageError
from screener.inbox import Entry, Seen, WalkOptions, WalkOutcome, check, explain, find, locate, patient_pattern, walk

if TYPE_CHECKING:
    from pathlib import Path


def paths(inbox: Path, **options: object) -> list[str]:
    return [item.path for item in find(inbox, options=WalkOptions(**options)) if isinstance(item, Entry)]  # type: ignore[arg-type]


def test_importing_the_inbox_loads_no_heavy_library() -> None:
    code = "import sys, screener.inbox.isolation; print(sorted({'numpy', 'cv2', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_order_is_that_of_raw_bytes_in_every_folder(tmp_path: Path) -> None:
    for name in (b"b/2.jpg", b"b/10.jpg", b"a.jpg", b"B.jpg", b"b.jpg", b"c/d/e.png", b"\xff.jpg"):
        write(tmp_path, name, b"x")
    assert paths(tmp_path) == ["B.jpg", "a.jpg", "b/10.jpg", "b/2.jpg", "b.jpg", "c/d/e.png", "\\xff.jpg"]


def test_a_folder_of_many_names_comes_in_ordered_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_BLOCK", 3)
    names = [f"{number}.jpg" for number in range(6)]
    for name in (*names, "d/x.jpg", "d/e/y.jpg"):
        write(tmp_path, name.encode(), b"x")
    found = paths(tmp_path)
    assert sorted(found) == [*names, "d/e/y.jpg", "d/x.jpg"]
    assert found == paths(tmp_path)
    at_the_top = [path.split("/")[0] for path in found]
    listed = list(dict.fromkeys(at_the_top))
    assert all(block == sorted(block) for block in (listed[:3], listed[3:6]))


def test_the_first_file_of_a_huge_folder_does_not_wait_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "_BLOCK", 3)
    for number in range(20):
        write(tmp_path, f"{number}.jpg".encode(), b"x")
    looked: list[bytes] = []
    sort_of = walk._sort_of
    monkeypatch.setattr(walk, "_sort_of", lambda item: looked.append(item.name) or sort_of(item))
    next(find(tmp_path))
    assert len(looked) == 3


def test_odd_names_are_told_apart_and_found_again(tmp_path: Path) -> None:
    files = {write(tmp_path, b"P 1/" + name, name) for name in odd_names()}
    entries = [item for item in find(tmp_path) if isinstance(item, Entry)]
    assert {os.fsencode(entry.file) for entry in entries} == files
    assert len({entry.path for entry in entries}) == len(files)
    for entry in entries:
        assert entry.path.encode("utf-8")
        assert entry.patient_id == "P 1"
        assert locate(tmp_path, entry.path) == entry.file


@given(st.lists(st.binary(min_size=1, max_size=12), min_size=2, max_size=2, unique=True))
def test_no_two_names_are_shown_alike(names: list[bytes]) -> None:
    first, second = (walk.shown(name) for name in names)
    assert first != second


@pytest.mark.parametrize("path", ["../up.jpg", "/etc/hostname", "a/../../up.jpg", "", ".", "a\0b", "gone.jpg", "a//b"])
def test_locate_stays_inside(tmp_path: Path, path: str) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (tmp_path / "up.jpg").write_bytes(b"x")
    assert locate(inbox, path) is None


def test_locate_follows_no_link_out_of_the_inbox(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (tmp_path / "up.jpg").write_bytes(b"x")
    (inbox / "link.jpg").symlink_to(tmp_path / "up.jpg")
    assert locate(inbox, "link.jpg") is None


def test_junk_is_counted_and_not_a_result(tmp_path: Path) -> None:
    junk = (b".hidden", b"._mac.jpg", b"Thumbs.db", b"THUMBS.DB", b"desktop.ini", b"a.jpg.part", b"b.TMP")
    for name in (*junk, b"c.crdownload", b".git/inside.jpg", b"keep.tmp/kept.jpg", b"notes.txt", b"kept.jpg"):
        write(tmp_path, name, b"x")
    counts: Counter[WalkOutcome] = Counter()
    assert [item.path for item in find(tmp_path, counts=counts) if isinstance(item, Entry)] == [
        "keep.tmp/kept.jpg",
        "kept.jpg",
        "notes.txt",
    ]
    assert counts == {WalkOutcome.IGNORED: 9, WalkOutcome.TAKEN: 3}


def test_explain_names_every_path_and_why(tmp_path: Path) -> None:
    write(tmp_path, b"a.jpg", b"x")
    write(tmp_path, b".b", b"x")
    (tmp_path / "c.jpg").symlink_to("a.jpg")
    os.mkfifo(tmp_path / "d.jpg")
    message = {seen.path: (seen.outcome, bool(seen.why)) for seen in explain(tmp_path)}
    assert message == {
        "a.jpg": (WalkOutcome.TAKEN, False),
        ".b": (WalkOutcome.IGNORED, True),
        "c.jpg": (WalkOutcome.SKIPPED, True),
        "d.jpg": (WalkOutcome.SKIPPED, True),
    }


def test_special_files_are_skipped(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(str(tmp_path / "s.jpg"))
        assert [seen.outcome for seen in explain(tmp_path)] == [WalkOutcome.SKIPPED, WalkOutcome.SKIPPED]


def test_links_are_followed_only_when_asked_and_only_inside(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    write(inbox, b"real/a.jpg", b"x")
    write(tmp_path, b"outside/secret.jpg", b"x")
    (inbox / "file.jpg").symlink_to("real/a.jpg")
    (inbox / "folder").symlink_to("real")
    (inbox / "out").symlink_to("../outside")
    (inbox / "out.jpg").symlink_to("../outside/secret.jpg")
    (inbox / "broken").symlink_to("nowhere")
    assert paths(inbox) == ["real/a.jpg"]
    assert paths(inbox, follow_symlinks=True) == ["file.jpg", "folder/a.jpg", "real/a.jpg"]


def test_links_in_circles_end(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path, f"{name}/x.jpg".encode(), b"x")
        (tmp_path / name / "up").symlink_to("..")
        (tmp_path / name / "self").symlink_to(".")
        for other in ("a", "b", "c"):
            (tmp_path / name / f"to_{other}").symlink_to(f"../{other}")
    assert len(paths(tmp_path, follow_symlinks=True)) <= 6


def test_patient_is_the_first_folder_or_what_the_expression_finds(tmp_path: Path) -> None:
    write(tmp_path, b"P1/s2/a.jpg", b"x")
    write(tmp_path, b"b.jpg", b"x")
    found = {item.path: item.patient_id for item in find(tmp_path) if isinstance(item, Entry)}
    assert found == {"P1/s2/a.jpg": "P1", "b.jpg": None}
    options = WalkOptions(patient_pattern=patient_pattern(r"/(s\d)/"))
    found = {item.path: item.patient_id for item in find(tmp_path, options=options) if isinstance(item, Entry)}
    assert found == {"P1/s2/a.jpg": "s2", "b.jpg": None}


@pytest.mark.parametrize("text", ["(", "no group", "(two)(groups)"])
def test_an_unusable_patient_expression_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        patient_pattern(text)


def test_check_says_what_is_wrong_with_the_inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NothingFoundError, match="does not exist"):
        check(tmp_path / "missing")
    with pytest.raises(NothingFoundError, match="no file"):
        check(tmp_path)
    write(tmp_path, b".hidden", b"x")
    with pytest.raises(NothingFoundError, match="no file"):
        check(tmp_path)
    write(tmp_path, b"a.jpg", b"x")
    check(tmp_path)
    check(tmp_path, WalkOptions(settle=3600))
    with pytest.raises(NothingFoundError, match="not a folder"):
        check(tmp_path / "a.jpg")
    monkeypatch.setattr(os, "scandir", _denied)
    with pytest.raises(NothingFoundError, match="cannot be read"):
        check(tmp_path)


def _denied(_: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_an_unreadable_folder_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, b"P1/a.jpg", b"x")
    write(tmp_path, b"P2/b.jpg", b"x")
    real = os.scandir

    def scandir(folder: bytes) -> object:
        return _denied(folder) if os.fsencode(folder).endswith(b"P1") else real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    refused, entry = find(tmp_path)
    assert isinstance(refused, Refused)
    assert (refused.identity.path, refused.identity.patient_id, refused.reason) == ("P1", None, Reason.UNREADABLE)
    assert isinstance(entry, Entry)


def test_the_walk_is_lazy_and_deep_folders_do_not_stop_it(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(200):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "z.jpg").write_bytes(b"x")
    write(tmp_path, b"a.jpg", b"x")
    walking = find(tmp_path)
    assert next(walking).path == "a.jpg"  # type: ignore[union-attr]
    assert next(walking).path.endswith("d/z.jpg")  # type: ignore[union-attr]


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.slept = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


def settled(inbox: Path, clock: Clock, settle: float = 10) -> dict[str, WalkOutcome]:
    seen = walk._settled(explain(inbox), settle, clock, clock.sleep)
    return {item.path: item.outcome for item in seen}


def aged(path: Path, content: bytes = b"x") -> Path:
    path.write_bytes(content)
    return path


def test_settle_takes_what_is_old_and_defers_what_is_young(tmp_path: Path) -> None:
    now = aged(tmp_path / "a.jpg").stat().st_ctime
    assert settled(tmp_path, Clock(now + 60)) == {"a.jpg": WalkOutcome.TAKEN}
    assert settled(tmp_path, Clock(now + 1)) == {"a.jpg": WalkOutcome.DEFERRED}


def test_deferred_files_come_last_with_their_reason(tmp_path: Path) -> None:
    aged(tmp_path / "a.jpg")
    (deferred,) = find(tmp_path, options=WalkOptions(settle=3600))
    assert isinstance(deferred, Refused)
    assert deferred.reason is Reason.STILL_BEING_WRITTEN


def test_a_file_that_grows_between_the_looks_is_deferred(tmp_path: Path) -> None:
    path = aged(tmp_path / "a.jpg")
    aged(tmp_path / "b.jpg")
    clock = Clock(path.stat().st_ctime + 60)

    def grow(seconds: float) -> None:
        clock.now += seconds
        path.write_bytes(b"longer")

    seen = list(walk._settled(explain(tmp_path), 10, clock, grow))
    assert [(item.path, item.outcome) for item in seen] == [
        ("b.jpg", WalkOutcome.TAKEN),
        ("a.jpg", WalkOutcome.DEFERRED),
    ]


def test_old_times_set_by_a_copy_do_not_hide_that_it_is_young(tmp_path: Path) -> None:
    path = aged(tmp_path / "a.jpg")
    os.utime(path, (0, 0))
    assert settled(tmp_path, Clock(path.stat().st_ctime + 1)) == {"a.jpg": WalkOutcome.DEFERRED}


def test_a_future_time_does_not_defer_for_ever(tmp_path: Path) -> None:
    path = aged(tmp_path / "a.jpg")
    os.utime(path, (4e9, 4e9))
    assert settled(tmp_path, Clock(path.stat().st_ctime + 60)) == {"a.jpg": WalkOutcome.TAKEN}


def test_a_young_file_is_taken_if_it_has_grown_old_by_the_end(tmp_path: Path) -> None:
    path = aged(tmp_path / "a.jpg")
    aged(tmp_path / "b.jpg")
    clock = Clock(path.stat().st_ctime + 1)
    walking = walk._settled(explain(tmp_path), 10, clock, lambda _: setattr(clock, "now", clock.now + 6))
    assert [(item.path, item.outcome) for item in walking] == [
        ("b.jpg", WalkOutcome.TAKEN),
        ("a.jpg", WalkOutcome.TAKEN),
    ]


def test_a_file_that_vanishes_is_passed_on_so_that_reading_reports_it(tmp_path: Path) -> None:
    path = aged(tmp_path / "a.jpg")
    clock = Clock(path.stat().st_ctime + 60)
    walking = walk._settled(explain(tmp_path), 10, clock, lambda _: path.unlink(missing_ok=True))
    assert [item.outcome for item in walking] == [WalkOutcome.TAKEN]


def test_settling_holds_a_bounded_window_and_waits_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_WINDOW", 3)
    path = aged(tmp_path / "a.jpg")
    entry = next(iter(explain(tmp_path)))
    pulled = itertools.count()
    endless = (entry for _ in iter(lambda: next(pulled), -1))
    clock = Clock(path.stat().st_ctime + 60)
    walking = walk._settled(endless, 10, clock, clock.sleep)
    taken: list[Seen] = list(itertools.islice(walking, 100))
    assert len(taken) == 100
    assert next(pulled) <= 105
    assert clock.slept <= 0.5 * 100


def test_more_young_files_than_memory_allows_are_deferred_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "_SECOND_CHANCES", 1)
    for name in ("a", "b", "c"):
        now = aged(tmp_path / name).stat().st_ctime
    assert settled(tmp_path, Clock(now + 1)) == {
        "b": WalkOutcome.DEFERRED,
        "c": WalkOutcome.DEFERRED,
        "a": WalkOutcome.DEFERRED,
    }


_names = st.binary(min_size=1, max_size=20).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))


@settings(max_examples=40, deadline=None)
@given(st.sets(_names, min_size=1, max_size=8))
def test_every_file_appears_exactly_once(tmp_path_factory: pytest.TempPathFactory, names: set[bytes]) -> None:
    inbox = tmp_path_factory.mktemp("inbox")
    for name in names:
        write(inbox, name, b"x")
    seen = list(explain(inbox))
    assert len({item.path for item in seen}) == len(seen) == len(names)
    for item in seen:
        if isinstance(item.item, Entry):
            assert locate(inbox, item.path) == item.item.file
