"""``screener review`` as it is typed."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Command


def test_verdicts_typed_take_studies_off_the_worklist(screener: Command, inbox: Path) -> None:
    screener.scan(inbox)
    found = subprocess.run(
        screener.arguments("review", "--terminal", "--doctor", "dr.a", "--sample", "1"),
        env=screener.env(),
        input="t\nseen\nn\n\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "2 verdicts recorded." in found.stdout
    studies = {event["hash"] for event in screener.events("STUDY")}
    assert {event["result"] for event in screener.events("REVIEW")} == studies
    assert "Nothing flagged" in screener("worklist").stdout
    assert screener("verify").returncode == 0


def test_verdicts_in_bulk_are_all_or_none(screener: Command, inbox: Path, tmp_path: Path) -> None:
    screener.scan(inbox)
    lines = screener("review", "--template").stdout.splitlines()
    assert len(lines) == 3, "a head and two flagged studies"
    first = lines[1].split(",")[0]
    table = tmp_path / "verdicts.csv"
    table.write_text(f"result,final_diagnosis\n{first},tumour\n{'e' * 64},tumour\n")
    failed = screener("review", "--import", table, "--doctor", "dr.a")
    assert failed.returncode == 2
    assert "verdicts.csv:3:" in failed.stderr
    assert screener.events("REVIEW") == []
    table.write_text(f"result,final_diagnosis\n{first},tumour\n")
    assert screener("review", "--import", table, "--doctor", "dr.a").stdout.startswith("1 verdicts recorded")
    assert screener("review", "--import", table, "--doctor", "dr.a").stdout.startswith("0 verdicts recorded")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--terminal",), 2, "nobody is named"),
        (("--doctor", "dr.c", "--doctors", "{doctors}"), 2, "not among"),
        (("--terminal", "--template"), 2, "exclude each other"),
        (("--doctor", "dr.a", "--sample", "2"), 2, "outside 0 to 1"),
        (("--doctor", "dr.a", "--log", "{missing}"), 6, "missing"),
    ],
)
def test_what_cannot_be_asked_is_reported(
    screener: Command, inbox: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    tmp_path = inbox.parent
    screener.scan(inbox)
    (tmp_path / "doctors.txt").write_text("dr.a\n")
    named = [word.format(doctors=tmp_path / "doctors.txt", missing=tmp_path / "missing.jsonl") for word in words]
    found = screener("review", *named)
    assert found.returncode == code
    assert message in found.stderr
    assert "hint:" in found.stderr


def test_without_the_extra_the_page_names_what_to_install(screener: Command, inbox: Path, tmp_path: Path) -> None:
    screener.scan(inbox)
    (tmp_path / "without").mkdir()
    (tmp_path / "without/uvicorn.py").write_text("raise ImportError('none')")
    screener.environment["PYTHONPATH"] = str(tmp_path / "without")
    found = screener("review", "--doctor", "dr.a")
    assert found.returncode == 2
    assert "screener[review]" in found.stderr


def test_a_session_is_served_here_only_and_ends_when_interrupted(screener: Command, inbox: Path) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra [review]")
    screener.scan(inbox)
    command = screener.arguments("review", "--doctor", "dr.a", "--model", screener.model)
    with subprocess.Popen(
        command, env=screener.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        address, _, token = server.stdout.readline().strip().partition("#")
        assert address.startswith("http://127.0.0.1:")
        try:
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(f"{address}api/next", timeout=20)  # noqa: S310 - our own server
            request = urllib.request.Request(f"{address}api/next", headers={"X-Screener-Token": token})  # noqa: S310
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                assert json.load(answer)["case"]["path"]
            taken = screener("review", "--doctor", "dr.a", "--port", address.rstrip("/").rpartition(":")[2])
            assert taken.returncode == 2
            assert "cannot be used" in taken.stderr
        finally:
            server.send_signal(signal.SIGINT)
            out, message = server.communicate(timeout=30)
    assert out == ""
    assert "0 verdicts recorded" in message
    assert "Traceback" not in message
    assert server.returncode == 0
