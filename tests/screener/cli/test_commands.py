"""Help, version, card and verification, as their users see them; and the completion of the shell."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from screener import __version__
from screener.errors import AuditLogError, ExitCode, ModelError, NothingFoundError, ScreenerError, UsageError
from tests.conftest import Command, tiny_card, write_model

ROOT = Path(__file__).resolve().parents[3]

OF_SCAN = set(ExitCode) - {ExitCode.NOT_SHOWN, ExitCode.NOT_SENT, ExitCode.ALARM}
"""What a scan may return; those left out are of ``evaluate --require``, ``send`` and ``monitor --alert``."""


def test_every_exception_owns_a_code() -> None:
    owners = {kind.code for kind in (UsageError, NothingFoundError, AuditLogError, ModelError)}
    assert owners == {ExitCode.USAGE, ExitCode.NOTHING_FOUND, ExitCode.AUDIT_LOG, ExitCode.MODEL}
    assert ScreenerError.code is ExitCode.CRASH
    assert UsageError("what", "how").hint == "how"


def codes_in_help(screener: Command, command: str) -> set[int]:
    message = " ".join(screener(command, "--help").stdout.split())
    codes = re.search(r"Exit codes: (.*?)\.", message)
    assert codes, f"the help of {command} names no exit code"
    return {int(code) for code in re.findall(r"(\d+) ", codes[1])}


def test_help_names_every_exit_code_of_scan(screener: Command) -> None:
    assert codes_in_help(screener, "scan") == OF_SCAN


def test_help_of_evaluate_names_the_code_that_only_it_has(screener: Command) -> None:
    assert codes_in_help(screener, "evaluate") - OF_SCAN == {ExitCode.NOT_SHOWN}


def test_help_of_monitor_names_the_code_that_only_it_has(screener: Command) -> None:
    assert codes_in_help(screener, "monitor") - OF_SCAN == {ExitCode.ALARM}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_options(screener: Command, shell: str) -> None:
    screener.environment["_SCREENER_COMPLETE"] = f"source_{shell}"
    assert f"_SCREENER_COMPLETE=complete_{shell}" in screener().stdout
    screener.environment |= {
        "_SCREENER_COMPLETE": "complete_bash",
        "COMP_WORDS": "screener scan --lev",
        "COMP_CWORD": "2",
    }
    assert screener().stdout.split() == ["--level"]


@pytest.mark.parametrize(
    "arguments", [[], ["scan"], ["nonsense"], ["scan", "x", "--top", "-1"], ["scan", "x", "--nope"]]
)
def test_what_cannot_be_understood_is_a_usage_error(screener: Command, arguments: list[str]) -> None:
    done = screener(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert not screener.state.exists()


def test_version_tells_tool_and_model(screener: Command) -> None:
    message = screener("--version").stdout
    assert message.startswith(f"screener {__version__} · model ")
    card = ROOT / "models/lite/card.json"
    if card.exists():
        data = json.loads(card.read_text())
        assert message.strip().endswith(f"{data['name']} {data['version']}")


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["scan", "--help"], ["verify", "--help"]])
def test_answers_come_without_the_heavy_libraries(screener: Command, command: list[str], tmp_path: Path) -> None:
    heavy = ("numpy", "cv2", "onnxruntime", "rich", "sqlite3", "pydicom")
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        f"atexit.register(lambda: sys.stderr.write(' '.join(n for n in {heavy} if n in sys.modules)))\n"
    )
    screener.environment["PYTHONPATH"] = str(tmp_path)
    done = screener(*command)
    assert (done.returncode, done.stderr) == (0, "")


def test_info_prints_the_card(screener: Command) -> None:
    message = screener("info", "--model", screener.model, "--lang", "en").stdout
    for expected in (
        "tiny 1.0.0",
        "auto: threshold 0.4, chosen for sensitivity 0.95",
        "not certified",
        "0 of 60",
        "knows nothing",
    ):
        assert expected in message
    assert json.loads(screener("info", "--model", screener.model, "--json").stdout) == tiny_card()
    assert "non certifié" in screener("info", "--model", screener.model, "--lang", "fr").stdout


def test_a_card_cannot_steer_the_terminal(screener: Command, tmp_path: Path) -> None:
    model = write_model(tmp_path / "odd", tiny_card(intended_use="\x1b]0;owned\x07 \u202e", licence="a\nb"))
    for option in ([], ["--json"]):
        done = screener("info", "--model", model, *option)
        assert done.returncode == 0
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", done.stdout)


@pytest.mark.parametrize("broken", ["missing", "not json", "{}", "[" * 100_000])
def test_info_about_a_broken_card(screener: Command, tmp_path: Path, broken: str) -> None:
    model = write_model(tmp_path / "broken")
    (model / "card.json").write_text(broken)
    if broken == "missing":
        (model / "card.json").unlink()
    done = screener("info", "--model", model)
    assert (done.returncode, done.stdout) == (7, "")
    assert done.stderr.count("error: ") == done.stderr.count("hint: ") == 1


def test_verify_says_how_a_log_stands(screener: Command, inbox: Path, tmp_path: Path) -> None:
    assert screener("verify").returncode == 6  # no log yet
    screener.scan(inbox)
    sound = screener("verify")
    assert sound.returncode == 0
    assert "sound, 8 events" in sound.stdout
    damaged = tmp_path / "damaged\x1b[31m.jsonl"
    shutil.copy(screener.log, damaged)
    lines = damaged.read_text().splitlines(keepends=True)
    damaged.write_text("".join([*lines[:2], *lines[3:]]))
    done = screener("verify", damaged)
    assert done.returncode == 6
    assert "NOT SOUND" in done.stdout
    assert ":3: does not follow" in done.stdout
    assert "\x1b" not in done.stdout


def test_an_error_cannot_steer_the_terminal(screener: Command, tmp_path: Path) -> None:
    done = screener("explain", tmp_path / "\x1b]0;owned\x07.png", "--lang", "en")
    assert done.returncode == 3
    assert "\\x1b]0;owned\\x07.png" in done.stderr
    assert not re.search("[\x00-\x09\x0b-\x1f]", done.stderr)


def test_python_m_screener_is_the_same_command(screener: Command) -> None:
    python = Path(screener.arguments()[0]).with_name("python")
    done = subprocess.run([python, "-m", "screener", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == screener("--version").stdout
