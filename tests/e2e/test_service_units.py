"""The units of the services are valid, sandboxed, and use options that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main

from screener.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
UNITS = ("screener-listen.service", "screener-watch.service")
EXPOSURE = 2.5
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", UNITS)
def test_the_units_call_commands_and_options_that_exist(name: str) -> None:
    text = (ROOT / "docs/systemd" / name).read_text().replace("\\\n", " ")
    line = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    _, command, *arguments = line.split()
    known = {option for param in COMMANDS[command].params for option in param.opts}
    options = {word for word in arguments if word.startswith("--")}
    assert options
    assert options <= known


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
@pytest.mark.parametrize("name", UNITS)
def test_the_units_are_valid_and_sandboxed(name: str, tmp_path: Path) -> None:
    text = (ROOT / "docs/systemd" / name).read_text().replace("/opt/screener/bin/screener", "/bin/true")
    unit = tmp_path / name
    unit.write_text(text)
    unit.chmod(0o644)
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert not [line for line in done.stderr.splitlines() if "screener" in line]
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", unit], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
    if found is None:
        pytest.skip("this systemd-analyze judges no unit offline")
    assert float(found[1]) <= EXPOSURE
