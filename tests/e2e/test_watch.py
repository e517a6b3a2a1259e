"""``screener watch`` as it runs: a folder is copied in, its answer comes out, a signal ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from screener.audit import verify
from tests.conftest import write_slice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Command

pytest.importorskip("watchfiles")


def until(true: Callable[[], bool]) -> None:
    """Wait until something has come true."""
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    pytest.fail("it did not come true within a minute")


def test_a_copied_folder_is_answered_and_a_signal_ends_the_watch(screener: Command, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    write_slice(inbox / "p0/0.png")
    page = tmp_path / "page.html"
    command = screener.arguments(
        *("watch", inbox, "--model", screener.model, "--quiet-period", "0.2", "--json", "--report", page)
    )
    with subprocess.Popen(
        command, env=screener.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watch:
        assert watch.stdout is not None
        assert watch.stderr is not None
        assert json.loads(watch.stdout.readline())["study_id"] == "p0"
        write_slice(tmp_path / "p1/0.png", bright=True)
        os.rename(tmp_path / "p1", inbox / "p1")  # noqa: PTH104
        found = json.loads(watch.stdout.readline())
        until(lambda: len(screener.events("END")) == 2 and "p1/" in page.read_text())
        watch.send_signal(signal.SIGTERM)
        assert (watch.wait(60), found["study_id"], found["decision"]) == (0, "p1", "flagged")
        told = watch.stderr.read()
    assert "p1: 1 files, 1 studies answered" in told
    assert "ERROR" not in told
    assert verify(screener.log).runs_without_end == ()
    assert [event["folder"] for event in screener.events("RECEIVED")] == ["p0", "p1"]


@pytest.mark.parametrize(("arguments", "code"), [(("missing",), 3), ((".",), 2)])
def test_what_cannot_be_watched_is_refused(
    screener: Command, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    # The last one: the log lies in the inbox.
    screener.environment["XDG_STATE_HOME"] = str(tmp_path / "inbox")
    inbox = tmp_path / "inbox" / arguments[0]
    (tmp_path / "inbox").mkdir()
    done = screener("watch", inbox, "--model", screener.model, *arguments[1:])
    assert (done.returncode, done.stdout) == (code, "")
    assert "hint: " in done.stderr
