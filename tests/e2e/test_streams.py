"""What the command writes where, when nobody can read it, and when someone stops it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from screener.audit import verify
from tests.conftest import Command, many, write_slice

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_stream_that_knows_no_signs_gets_them_spelt_out(screener: Command, inbox: Path) -> None:
    screener.environment["PYTHONIOENCODING"] = "ascii"
    done = screener.scan(inbox, "--lang", "fr")
    assert done.returncode == 0, done.stderr
    assert r"TUMEUR SUSPECT\xc9E" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("option", ["--json", "--no-color"])
def test_a_full_disk_behind_stdout_loses_nothing_of_the_log(screener: Command, inbox: Path, option: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            screener.arguments("scan", inbox, "--model", screener.model, option),
            env=screener.env(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "the result cannot be written: No space left" in done.stderr
    assert "defect" not in done.stderr
    assert len(screener.events()) == 4
    assert len(screener.events("END")) == 1
    assert verify(screener.log).ok


def test_a_page_that_cannot_be_written_hides_no_result(screener: Command, inbox: Path, tmp_path: Path) -> None:
    # The page may have this name, but no draft beside it can.
    done = screener.scan(inbox, "--report", tmp_path / f"{'p' * 248}.html")
    assert done.returncode == 1
    assert "cannot be written: File name too long" in done.stderr
    assert "a worklist can be made again from the log" in done.stderr
    assert "SUSPECTED TUMOUR" in done.stdout
    assert [event["reason"] for event in screener.events("END")] == ["complete"]


def test_a_reader_that_goes_away_still_gets_the_page(screener: Command, inbox: Path, tmp_path: Path) -> None:
    page = tmp_path / "list.html"
    process = subprocess.Popen(
        screener.arguments("scan", inbox, "--model", screener.model, "--report", page),
        env=screener.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    process.wait(60)
    assert "p0/0.png" in page.read_text("utf-8")
    assert [event["reason"] for event in screener.events("END")] == ["complete"]


def test_a_reader_that_goes_away_leaves_a_whole_log(screener: Command, tmp_path: Path) -> None:
    inbox = many(tmp_path / "many", 300)
    process = subprocess.Popen(
        screener.arguments("scan", inbox, "--model", screener.model, "--json"),
        env=screener.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 1
    assert screener.events("END")[-1]["reason"] == "failed: BrokenPipeError"
    assert verify(screener.log).ok


def on_a_terminal(screener: Command, *arguments: object) -> str:
    """Run a scan with both streams on a terminal and return what it drew."""
    import pty

    master, slave = pty.openpty()
    environment = {**screener.env(), "TERM": "xterm", "COLUMNS": "160"}
    process = subprocess.Popen(screener.arguments(*arguments), env=environment, stdout=slave, stderr=slave)
    os.close(slave)
    drawn = b""
    try:
        while part := os.read(master, 1 << 16):
            drawn += part
    except OSError:  # Linux says that the other end is closed
        pass
    os.close(master)
    assert process.wait(timeout=60) == 0
    return drawn.decode()


@pytest.mark.parametrize(
    ("no_color", "options", "coloured"),
    [(None, [], True), ("", [], True), ("1", [], False), (None, ["--no-color"], False)],
)
def test_colours_on_a_terminal(
    screener: Command, inbox: Path, no_color: str | None, options: list[str], *, coloured: bool
) -> None:
    if no_color is not None:
        screener.environment["NO_COLOR"] = no_color
    drawn = on_a_terminal(screener, "scan", inbox, "--model", screener.model, "--lang", "en", *options)
    assert "SUSPECTED TUMOUR" in drawn
    assert ("\x1b[1;31m" in drawn) is coloured


def test_top_zero_shows_everything(screener: Command, tmp_path: Path) -> None:
    inbox = many(tmp_path / "many", 60)
    shown = screener.scan(inbox, "--top", 0, "--lang", "en", "--level", "slice").stdout
    assert shown.count(".png") == 60
    assert "not shown" not in shown
    assert screener.scan(inbox, "--lang", "en", "--level", "slice").stdout.count(".png") == 50


def test_long_names_are_neither_cut_nor_folded(screener: Command, tmp_path: Path) -> None:
    name = "a" * 200 + "/" + "\N{LATIN SMALL LETTER E WITH ACUTE}" * 100 + "/" + "c" * 240 + ".png"
    write_slice(tmp_path / "inbox" / name, bright=True)
    assert name in screener.scan(tmp_path / "inbox").stdout


def stopped(
    screener: Command, inbox: Path, number: signal.Signals, ready: Callable[[], bool]
) -> subprocess.CompletedProcess[str]:
    """Start a quiet scan, send a signal as soon as it is ready, and wait for its end."""
    command = screener.arguments("scan", inbox, "--model", screener.model, "--quiet")
    process = subprocess.Popen(command, env=screener.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not ready():
        time.sleep(0.005)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, out, errors)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_way_to_stop_ends_with_a_reason(screener: Command, tmp_path: Path, number: signal.Signals) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("these tests were started with this signal ignored, as under nohup, and so is the scan")
    inbox = many(tmp_path / "many", 1000)
    done = stopped(screener, inbox, number, lambda: bool(screener.log.exists() and screener.log.stat().st_size))
    assert done.returncode == 8
    assert screener.events("END")[-1]["reason"] == "interrupted"
    assert verify(screener.log).ok


def test_a_scan_that_waits_for_its_turn_can_be_stopped(screener: Command, tmp_path: Path) -> None:
    from screener.audit import AuditLog

    inbox = many(tmp_path / "many", 3)
    screener.log.parent.mkdir(parents=True)
    with AuditLog(screener.log):
        process = subprocess.Popen(
            screener.arguments("scan", inbox, "--model", screener.model, "--wait", 60),
            env=screener.env(),
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(1.5)
        process.terminate()
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 8
    assert errors.count("error: ") == errors.count("hint: ") == 1
    assert screener.events("START") == []


def test_politeness_is_not_added_to_that_of_cron(screener: Command) -> None:
    code = (
        "import os, sys; os.nice(int(sys.argv[1])); from screener.cli.niceness import be_nice; "
        "be_nice(5); print(os.nice(0))"
    )
    python = screener.arguments()[0].replace("bin/screener", "bin/python")
    for already in (0, 3, 10):
        done = subprocess.run([python, "-c", code, str(already)], capture_output=True, text=True, check=True)
        assert int(done.stdout) == min(19, max(5, os.nice(0) + already))


def test_an_anchor_is_not_the_log(screener: Command, inbox: Path, tmp_path: Path) -> None:
    done = screener.scan(inbox, "--log", tmp_path / "a.jsonl", "--anchor", tmp_path / "a.jsonl")
    assert done.returncode == 2
    assert not (tmp_path / "a.jsonl").exists()


def test_an_inbox_nobody_may_read_is_reported(screener: Command, inbox: Path) -> None:
    (inbox / "p0").chmod(0)
    (inbox / "p1").chmod(0)
    inbox.chmod(0)
    try:
        done = screener.scan(inbox)
        # Root may read everything.
        assert done.returncode == (0 if os.geteuid() == 0 else 3)
        assert screener.log.exists() is (os.geteuid() == 0)
    finally:
        inbox.chmod(0o700)


def test_a_log_from_a_newer_version_is_judged_anew(screener: Command, inbox: Path) -> None:
    from dataclasses import replace

    from screener.audit import AuditLog, finding_of

    first = [json.loads(line) for line in screener.scan(inbox, "--json").stdout.splitlines()]
    known = [finding_of(event) for event in screener.events()]
    fingerprint = screener.events()[0]["preprocessing"]
    with AuditLog(screener.log) as log:
        log.start({})
        strange = [replace(finding, urgency="TOMORROW", probability=None) for finding in known]  # type: ignore[arg-type]
        log.results(strange, doctor_id=None, preprocessing=fingerprint)
        log.end({}, "complete")
    again = screener.scan(inbox, "--json")
    assert again.returncode == 0, again.stderr
    assert [json.loads(line)["decision"] for line in again.stdout.splitlines()] == [line["decision"] for line in first]
