"""What a night on a cheap machine brings: full disks, vanished shares, replaced models, names that must not leak."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from screener.audit import verify
from tests.conftest import Command, many, write_model, write_slice

ROOT = Path(__file__).resolve().parents[2]


def started(screener: Command, *arguments: object) -> subprocess.Popen[str]:
    """Start a scan and return once its first finding is out."""
    process = subprocess.Popen(
        screener.arguments("scan", *arguments, "--json"),
        env=screener.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_full_disk_is_reported_and_the_next_run_goes_on(screener: Command, tmp_path: Path) -> None:
    inbox = many(tmp_path / "many", 200)
    command = screener.arguments("scan", inbox, "--model", screener.model, "--quiet")
    done = subprocess.run(
        command,
        env=screener.env(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6, done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Free some space" in done.stderr
    assert verify(screener.log).ok
    assert screener.scan(inbox, "--quiet").returncode == 0
    assert len({event["path"] for event in screener.events()}) == len(screener.events()) == 200


@pytest.mark.long
def test_an_inbox_that_vanishes_is_reported_and_the_next_run_goes_on(screener: Command, tmp_path: Path) -> None:
    inbox = many(tmp_path / "many", 2000)
    process = started(screener, inbox, "--model", screener.model)
    inbox.rename(tmp_path / "away")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3, errors
    assert "vanished" in errors
    assert screener.events("END")[-1]["reason"].startswith("failed")
    (tmp_path / "away").rename(inbox)
    assert screener.scan(inbox, "--quiet").returncode == 0
    readable = [event["path"] for event in screener.events() if event["sha256"]]
    assert len(readable) == len(set(readable)) == 2000


@pytest.mark.long
def test_a_model_replaced_during_a_run_is_reported_and_the_next_run_goes_on(screener: Command, tmp_path: Path) -> None:
    inbox, model = many(tmp_path / "many", 1500), write_model(tmp_path / "model")
    original = (model / "model.onnx").read_bytes()
    process = started(screener, inbox, "--model", model)
    (model / "model.onnx").write_bytes(b"something else")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 7, errors
    assert "replaced" in errors
    assert screener.events("END")[-1]["reason"].startswith("failed")
    assert len({event["model_sha256"] for event in screener.events()}) == 1
    assert screener("scan", inbox, "--model", model).returncode == 7  # what lies there now is no model
    (model / "model.onnx").write_bytes(original)
    assert screener("scan", inbox, "--model", model, "--quiet").returncode == 0
    assert len({event["path"] for event in screener.events()}) == len(screener.events()) == 1500


def test_a_model_that_was_only_touched_is_the_same_model(screener: Command, tmp_path: Path) -> None:
    inbox, model = many(tmp_path / "many", 300), write_model(tmp_path / "model")
    process = started(screener, inbox, "--model", model)
    (model / "model.onnx").touch()
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_no_name_leaves_the_inbox(screener: Command, tmp_path: Path) -> None:
    inbox = tmp_path / "Hopital Sainte-Anne"
    for name in ("DUPONT Jean/axial 1.png", "DUPONT Jean/axial 2.png", "MARTIN Anne/axial 1.png"):
        write_slice(inbox / name, bright=True)
    (inbox / "MARTIN Anne/broken.png").write_bytes(b"\x89PNG")
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o600)
    hide = ("--pseudonymise", key, "--redact-paths")
    shown = screener.scan(inbox, *hide)
    message = screener.scan(inbox, *hide, "--json").stdout
    found = [line for line in map(json.loads, message.splitlines()) if line["level"] == "slice"]
    everything = shown.stdout + shown.stderr + screener.log.read_text() + message
    assert not re.search("dupont|jean|martin|anne|axial|broken|hopital", everything, re.IGNORECASE)
    assert len(found) == 4
    assert all(line["seen_before"] for line in found)
    assert sorted(map([line["patient_id"] for line in found].count, {line["patient_id"] for line in found})) == [2, 2]


@pytest.mark.parametrize(("content", "mode"), [(b"short", 0o600), (b"k" * 32, 0o644), (None, 0)])
def test_a_key_that_is_none(screener: Command, inbox: Path, tmp_path: Path, content: bytes | None, mode: int) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_bytes(content)
        key.chmod(mode)
    assert screener.scan(inbox, "--pseudonymise", key).returncode == 2
    assert screener.scan(inbox, "--redact-paths").returncode == 2
    assert not screener.log.exists()


def test_a_dry_run_tells_and_writes_nothing(screener: Command, inbox: Path) -> None:
    (inbox / "p0/.hidden").write_text("x")
    (inbox / "p0/copy.part").write_text("x")
    (inbox / "p0/link.png").symlink_to("/etc/passwd")
    done = screener("scan", inbox, "--dry-run", "--model", "no such model")
    assert done.returncode == 0
    fates = dict(reversed(line.split(maxsplit=1)) for line in done.stdout.splitlines()[:-1])
    assert sum(outcome == "taken" for outcome in fates.values()) == 4
    assert sum(outcome != "taken" for outcome in fates.values()) >= 3
    assert not screener.state.exists()


def _unit() -> list[str]:
    """Return the arguments of the unit's ExecStart."""
    text = (ROOT / "docs/systemd/screener.service").read_text().replace("\\\n", " ")
    return next(line for line in text.splitlines() if line.startswith("ExecStart=")).split()[1:]


def _for_everyone() -> list[str]:
    """Return an interpreter of our version that other users may run, or skip."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for found in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            probe = subprocess.run([found, "-c", "import json"], user=65534, capture_output=True, check=False)
        except OSError:  # it lies in a folder that is closed to others
            continue
        if probe.returncode == 0:
            return [found, "-P", "-m", "screener"]
    pytest.skip(f"no {version} that other users may run")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become an unprivileged user")
def test_the_units_command_runs_as_an_unprivileged_user(screener: Command, inbox: Path) -> None:
    interpreter = _for_everyone()
    home = Path("/var/tmp") / f"screener-test-{os.getpid()}"  # noqa: S108 - pytest's own folders are closed to others
    home.mkdir()
    try:
        shutil.copytree(inbox, home / "inbox")
        shutil.copytree(screener.model, home / "model")
        key = home / "site.key"
        key.write_bytes(b"k" * 32)
        key.chmod(0o600)
        for path in (home, key):
            os.chown(path, 65534, 65534)
        places = {
            "/mri_inbox": str(home / "inbox"),
            "radiology": "nogroup",
            "/var/lib/screener-anchor/head.json": str(home / "head.json"),
            "/etc/screener/site.key": str(key),
            "10": "0",  # these files are younger than ten seconds
        }
        arguments = [places.get(part, part) for part in _unit()]
        done = subprocess.run(
            [*interpreter, *arguments, "--model", str(home / "model")],
            env={
                "PYTHONPATH": os.pathsep.join([str(ROOT), *(path for path in sys.path if "site-packages" in path)]),
                "XDG_STATE_HOME": str(home),
                "HOME": str(home),
                "PATH": "/usr/bin:/bin",
            },
            cwd=home,
            user=65534,
            group=65534,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert (done.stdout, done.stderr) == ("", "")
        assert verify(home / "screener/audit.jsonl", anchor=home / "head.json").ok
        assert (home / "screener/audit.jsonl").stat().st_mode & 0o777 == 0o660
    finally:
        shutil.rmtree(home)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_the_units_are_valid(tmp_path: Path) -> None:
    for name in ("screener.service", "screener.timer"):
        text = (ROOT / "docs/systemd" / name).read_text().replace("/opt/screener/bin/screener", "/bin/true")
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if "screener" in line]
    assert not complaints, complaints


def test_every_promise_names_a_test_that_exists() -> None:
    promised = re.findall(r"`(tests/[^`]+)`", (ROOT / "docs/explanation/security.md").read_text())
    assert len(promised) > 15
    for name in promised:
        file, _, test = name.partition("::")
        assert (ROOT / file).exists(), name
        assert not test or f"def {test}(" in (ROOT / file).read_text(), name
