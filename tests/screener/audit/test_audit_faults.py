"""Full disks, closed folders, wrong kinds of files and kills: nothing half-written, nothing doubled."""

from __future__ import annotations

import errno
import grp
import os
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from audit_samples import PREPROCESSING, finding, write_log

from screener.audit import AuditLog, default_log, read, refuse_inside, verify
from screener.errors import AuditLogError, UsageError

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def run(*arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("failing", ["write", "fsync"])
def test_a_full_disk_leaves_no_part_of_a_batch(log: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    write_log(log)
    real = os.write

    def fill(fd: int, data: bytes) -> int:
        """Take half, then nothing: what a disk does as it fills."""
        if len(data) > 1500:
            return real(fd, bytes(data[: len(data) // 2]))
        raise OSError(errno.ENOSPC, "No space left on device")

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with AuditLog(log) as scan:
        scan.start({})
        before = log.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, failing, fill if failing == "write" else refuse)
            with pytest.raises(AuditLogError, match="no room to write") as caught:
                scan.results([finding(n) for n in range(10, 20)], doctor_id=None, preprocessing=PREPROCESSING)
        assert "Free some space" in caught.value.hint
        assert log.read_bytes() == before
        scan.results([finding(n) for n in range(10, 20)], doctor_id=None, preprocessing=PREPROCESSING)
        scan.end({}, "done")
    assert verify(log).ok
    assert verify(log).events == 19


def test_a_quota_leaves_no_part_of_a_batch(log: Path) -> None:
    write_log(log)
    before = log.read_bytes()
    limit = len(before) + 3000
    script = log.with_name("limited.py")
    script.write_text(
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "from pathlib import Path\n"
        "from audit_samples import finding, PREPROCESSING\n"
        "from screener.audit import AuditLog\n"
        "from screener.errors import AuditLogError\n"
        "log = AuditLog(Path(sys.argv[1]), exclusive=True).__enter__()\n"
        "try:\n"
        "    log.results([finding(n) for n in range(50, 60)], doctor_id=None, preprocessing=PREPROCESSING)\n"
        "except AuditLogError as error:\n"
        "    print(error)\n"
    )
    out, problems = run(script, log).communicate(timeout=60)
    assert "no room to write" in out, problems
    assert log.read_bytes() == before
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != limit


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_closed_folder_is_named(log: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    real = os.open

    def refuse(path: str, flags: int, *rest: int, **more: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(code, os.strerror(code))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(AuditLogError, match="may not be written") as caught:
        write_log(log)
    assert "--log" in caught.value.hint


AS_NOBODY = """
import os, sys
from pathlib import Path
from audit_samples import write_log
from screener.errors import AuditLogError
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    write_log(Path("audit.jsonl"))
except AuditLogError as error:
    print(error, os.listdir("."))
"""


def test_a_read_only_folder_is_refused(log: Path) -> None:
    """Root may write anywhere, so the attempt is made by a process that gave that up."""
    folder = log.parent / "closed"
    folder.mkdir(mode=0o555)
    out, problems = run("-c", AS_NOBODY, folder).communicate(timeout=60)
    assert out == "audit log audit.jsonl.run.lock: may not be written []\n", problems


def test_links_folders_pipes_and_lost_shares_are_refused(log: Path) -> None:
    target = log.with_name("target")
    target.touch()
    log.symlink_to(target)
    with pytest.raises(AuditLogError, match="symbolic link"):
        write_log(log)
    assert target.read_bytes() == b""
    log.unlink()
    log.mkdir()
    with pytest.raises(AuditLogError, match="folder"):
        write_log(log)
    log.rmdir()
    os.mkfifo(log)
    with pytest.raises(AuditLogError, match="ordinary file"):
        write_log(log)
    with pytest.raises(AuditLogError, match="ordinary file"):
        verify(log)
    with pytest.raises(AuditLogError, match="folder does not exist") as caught:
        write_log(log.parent / "share" / "audit.jsonl")
    assert "mounted" in caught.value.hint
    with pytest.raises(AuditLogError, match="folder is a file"):
        write_log(target / "audit.jsonl")


def test_only_the_owner_may_read_whatever_the_umask(log: Path) -> None:
    before = os.umask(0)
    try:
        write_log(log, anchor=log.with_name("anchor"))
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in log.parent.iterdir()} == {0o600}


def test_a_group_may_share_the_log(log: Path) -> None:
    group = grp.getgrgid(os.getegid()).gr_name
    write_log(log, group=group, count=20, rotate_bytes=4000)
    write_log(log)
    assert {path.stat().st_mode & 0o777 for path in log.parent.iterdir()} == {0o660}
    assert {path.stat().st_gid for path in log.parent.iterdir()} == {os.getegid()}


def test_a_log_made_open_by_hand_is_closed_again(log: Path) -> None:
    write_log(log)
    log.chmod(0o644)
    write_log(log)
    assert log.stat().st_mode & 0o777 == 0o600


def test_an_unknown_group_is_refused(log: Path) -> None:
    with pytest.raises(AuditLogError, match="no-such-group"):
        write_log(log, group="no-such-group")
    assert not log.exists()


def test_the_default_place_is_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert default_log() == tmp_path / "state" / "screener" / "audit.jsonl"
    write_log(default_log())
    assert default_log().parent.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_log() == tmp_path / ".local" / "state" / "screener" / "audit.jsonl"

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(AuditLogError, match="no home"):
        default_log()
    write_log(tmp_path / "named.jsonl")


def test_a_log_inside_the_inbox_is_refused(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    (inbox / "deep").mkdir(parents=True)
    (tmp_path / "door").symlink_to(inbox / "deep")
    for place in (inbox, inbox / "deep", inbox / "missing", tmp_path / "door", inbox / ".." / "inbox"):
        with pytest.raises(UsageError, match="inside the inbox"):
            refuse_inside(place / "audit.jsonl", inbox)
    refuse_inside(tmp_path / "audit.jsonl", inbox)
    refuse_inside(tmp_path / "inbox2" / "audit.jsonl", inbox)


def kill_and_finish(log: Path, kills: int, slices: int) -> None:
    """Kill a scan again and again, let the last one finish, and count."""
    chance = random.Random(kills)  # noqa: S311 - moments to kill at
    for seed in range(kills):
        process = run(HERE / "audit_writer.py", log, slices, seed, 60_000)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.06))
        process.kill()
        process.communicate()
    process = run(HERE / "audit_writer.py", log, slices, kills, 60_000)
    _, problems = process.communicate(timeout=300)
    assert process.returncode == 0, problems
    assert verify(log).ok
    counts = Counter(event["path"] for event in read(log) if event["event"] == "RESULT")
    assert set(counts.values()) == {1}
    assert len(counts) == slices


def test_killed_scans_lose_and_double_nothing(log: Path) -> None:
    kill_and_finish(log, kills=10, slices=1500)


@pytest.mark.long
def test_many_killed_scans_lose_and_double_nothing(log: Path) -> None:
    kill_and_finish(log, kills=200, slices=20_000)
