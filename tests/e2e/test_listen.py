"""``screener listen`` as it runs: a study is sent, its answer comes out; what was acknowledged survives a kill."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

pytest.importorskip("pynetdicom")
sys.path.append(str(Path(__file__).parents[1] / "screener/pacs"))
from dicom_senders import association, instance

from screener.audit import verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Command


@contextmanager
def listening(screener: Command, inbox: Path, *options: object) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start the service; yield it with its port."""
    fixed = ("--model", screener.model, "--port", "0", "--quiet-period", "0.3", "--json")
    with subprocess.Popen(
        screener.arguments("listen", inbox, *fixed, *options),
        env=screener.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            told = ""
            while (found := re.search(r"listens on \S+:(\d+)", told)) is None:
                told = process.stderr.readline()
                assert told, "it ended before it listened"
            threading.Thread(target=_drain, args=(process.stderr,), daemon=True).start()
            yield process, int(found[1])
        finally:
            process.kill()


def _drain(stream: IO[str]) -> None:
    for _ in stream:
        pass


def test_a_study_is_received_and_answered_and_survives_a_kill(screener: Command, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with listening(screener, inbox) as (process, port):
        with association(port) as sender:
            assert all(sender.send_c_store(instance(number)).Status == 0 for number in range(4))
        assert process.stdout is not None
        found = json.loads(process.stdout.readline())
        assert (found["study_id"], found["slices"]["total"]) == ("1.2.3", 4)
        with association(port) as sender:
            assert sender.send_c_store(instance(0, "1.2.5")).Status == 0
            process.send_signal(signal.SIGKILL)
    with listening(screener, inbox) as (process, _):
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["study_id"] == "1.2.5"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert verify(screener.log).ok
    assert [event["study_id"] for event in screener.events("STUDY")] == ["1.2.3", "1.2.5"]
    assert "Doe" not in screener.log.read_text()


@pytest.mark.parametrize(
    "options",
    [("--host", "0.0.0.0"), ("--tls-cert", "x.pem")],  # noqa: S104 - refused
)
def test_what_cannot_be_listened_with_is_refused(screener: Command, tmp_path: Path, options: tuple[str, str]) -> None:
    done = screener("listen", tmp_path, "--model", screener.model, "--port", "0", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert "hint: " in done.stderr
