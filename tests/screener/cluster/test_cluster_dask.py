"""Real schedulers and workers, which die, differ, or hold the wrong certificate."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from screener.audit import read, verify
from tests.conftest import Command, many

pytest.importorskip("distributed")
from bench.machines import ROOT, Machines, kill

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from screener.audit.events import Event

pytestmark = pytest.mark.long
WAIT = 240


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return 6 studies of 40 slices: each is more than a shard."""
    folder = tmp_path / "archive"
    for study in range(6):
        many(folder / f"p{study:02}", 40)
    return folder


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    with Machines(tmp_path / "machines", 2) as found:
        yield found


def results(log: Path) -> list[tuple[str, str, str]]:
    return sorted((event["path"], event["decision"], event["probability"]) for event in events(log, "RESULT"))


def events(log: Path, kind: str) -> list[Event]:
    return [event for event in read(log) if event["event"] == kind]


def finished(client: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a client and return its exit code and what it said."""
    try:
        _, said = client.communicate(timeout=WAIT)
    finally:
        kill(client)
    return client.returncode, said


def test_processes_of_this_machine_find_what_one_finds(screener: Command, archive: Path, tmp_path: Path) -> None:
    alone = screener.scan(archive, "--json", "--log", tmp_path / "alone.jsonl")
    words = ("scan", archive, "--model", screener.model, "--json", "--log", tmp_path / "local.jsonl")
    command = screener.arguments(*words, "--cluster", "local:2")
    done = subprocess.run(command, env=screener.env(), capture_output=True, text=True, check=False, timeout=WAIT)
    assert done.returncode == alone.returncode == 0
    assert sorted(done.stdout.splitlines()) == sorted(alone.stdout.splitlines())
    assert done.stderr.startswith("Dashboard: http://")
    assert len(done.stderr.splitlines()) == 1


def test_nothing_is_lost_or_doubled_whatever_is_killed(
    machines: Machines, screener: Command, archive: Path, tmp_path: Path
) -> None:
    screener.scan(archive, "--log", tmp_path / "alone.jsonl")
    log = tmp_path / "cluster.jsonl"
    victims = ["worker0", "client", "scheduler", "worker1", "client", "worker0"]
    code = None
    for _ in range(12):
        client = machines.client(archive, log, "--model", screener.model, "--quiet")
        while client.poll() is None:
            try:
                client.wait(timeout=6)
            except subprocess.TimeoutExpired:
                if victims:
                    victim = victims.pop(0)
                    kill(client) if victim == "client" else machines.kill(victim)
            machines.keep()
        code = client.returncode
        if code == 0:
            break
    assert code == 0
    assert verify(log).ok
    assert results(log) == results(tmp_path / "alone.jsonl")
    assert set(Counter(event["study_id"] for event in events(log, "STUDY")).values()) == {1}


@pytest.fixture
def another_version(tmp_path: Path) -> Mapping[str, str]:
    """Return the environment of a worker that has another version of this tool."""
    old = tmp_path / "old"
    shutil.copytree(ROOT / "screener", old / "screener", ignore=shutil.ignore_patterns("__pycache__"))
    version = old / "screener/__init__.py"
    version.write_text(version.read_text().replace('__version__ = "', '__version__ = "0.'))
    return {**os.environ, "PYTHONPATH": str(old)}


def test_a_worker_of_another_version_is_left_out(
    machines: Machines, screener: Command, archive: Path, tmp_path: Path, another_version: Mapping[str, str]
) -> None:
    machines.add("other", another_version)
    machines.wait_for(3)
    code, said = finished(machines.client(archive, tmp_path / "log.jsonl", "--model", screener.model))
    assert code == 0, said
    assert "left out of the cluster: tcp://127.0.0.1:" in said
    assert "has another version of screener" in said
    assert len(results(tmp_path / "log.jsonl")) == 240


def test_without_a_fit_worker_nothing_is_written(
    tmp_path: Path, archive: Path, screener: Command, another_version: Mapping[str, str]
) -> None:
    with Machines(tmp_path / "machines", 0) as machines:
        machines.add("other", another_version)
        machines.wait_for(1)
        code, said = finished(machines.client(archive, tmp_path / "log.jsonl", "--model", screener.model))
    assert code == 10
    assert "no worker of tcp://127.0.0.1" in said
    assert "has another version of screener" in said
    assert not (tmp_path / "log.jsonl").exists()


def certificate(folder: Path, name: str, authority: Path | None = None) -> Path:
    """Make a key and a certificate; without an authority, one that signs itself."""
    key, found = folder / f"{name}.key", folder / f"{name}.pem"
    subject = ["-subj", f"/CN={name}"]
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), *subject]
    if authority is None:
        subprocess.run([*new, "-x509", "-days", "2", "-out", str(found)], check=True, capture_output=True)
        return found
    request = folder / f"{name}.csr"
    subprocess.run([*new, "-out", str(request)], check=True, capture_output=True)
    signed = ["-CA", str(authority), "-CAkey", str(authority.with_suffix(".key")), "-CAcreateserial", "-days", "2"]
    subprocess.run(
        ["openssl", "x509", "-req", "-in", str(request), *signed, "-out", str(found)], check=True, capture_output=True
    )
    return found


def tls(authority: Path, own: Path) -> Mapping[str, str]:
    """Return Dask's configuration as variables."""
    prefix = "DASK_DISTRIBUTED__COMM__"
    roles = {
        f"{prefix}TLS__{role}__{part}": str(file)
        for role in ("SCHEDULER", "WORKER", "CLIENT")
        for part, file in (("CERT", own), ("KEY", own.with_suffix(".key")))
    }
    return {f"{prefix}TLS__CA_FILE": str(authority), f"{prefix}REQUIRE_ENCRYPTION": "true", **roles}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine")
def test_only_a_certificate_of_the_site_gets_in(tmp_path: Path, archive: Path, screener: Command) -> None:
    ours, theirs = certificate(tmp_path, "ours"), certificate(tmp_path, "theirs")
    good, bad = certificate(tmp_path, "good", ours), certificate(tmp_path, "bad", theirs)
    with Machines(tmp_path / "machines", 1, tls(ours, good), "tls") as machines:
        code, said = finished(machines.client(archive, tmp_path / "log.jsonl", "--model", screener.model))
        assert (code, len(results(tmp_path / "log.jsonl"))) == (0, 240), said
        machines.environment.update(tls(theirs, bad))
        code, said = finished(machines.client(archive, tmp_path / "wrong.jsonl", "--model", screener.model))
        assert code == 10
        assert "cannot be used" in said
        assert "Traceback" not in said
        assert not (tmp_path / "wrong.jsonl").exists()


def test_a_scheduler_that_is_not_there_is_told_before_anything_is_written(screener: Command, inbox: Path) -> None:
    done = screener.scan(inbox, "--cluster", "tcp://127.0.0.1:9")
    assert done.returncode == 10
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not screener.log.exists()


def test_pictures_of_slices_do_not_leave_the_workers(screener: Command, inbox: Path, tmp_path: Path) -> None:
    done = screener.scan(inbox, "--cluster", "local:2", "--report", tmp_path / "page.html")
    assert done.returncode == 2
    assert "screener report" in done.stderr


def test_a_signal_ends_the_scan_after_what_is_in_hand(
    machines: Machines, screener: Command, archive: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    client = machines.client(archive, log, "--model", screener.model, "--quiet")
    deadline = time.monotonic() + WAIT
    while not (log.exists() and b'"RESULT"' in log.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.05)
    client.terminate()
    code, said = finished(client)
    assert code in {0, 8}, said
    assert verify(log).ok
    assert events(log, "END")[-1]["reason"] == ("interrupted" if code == 8 else "complete")
    again, said = finished(machines.client(archive, log, "--model", screener.model, "--quiet"))
    assert again == 0, said
    assert len(results(log)) == 240
