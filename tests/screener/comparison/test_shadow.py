"""A candidate in the shadow: it answers nobody, and both logs can be compared."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from screener.audit import AuditLog, verify
from screener.audit.files import shadow_log
from screener.domain.verdict import Verdict
from screener.errors import ExitCode
from tests.conftest import tiny_card, write_model, write_slice

if TYPE_CHECKING:
    from pathlib import Path

    from tests.in_process import InProcess

VOLATILE = {"timestamp", "run_id", "prev", "hash", "earlier_results", "results_sha256", "host"}


def events(log: Path, kind: str = "") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in log.read_text().splitlines()]
    return [event for event in found if kind in {"", event["event"]}]


def stable(log: Path) -> list[dict[str, Any]]:
    """Return the answers in a log without what differs from run to run."""
    return [
        {name: value for name, value in event.items() if name not in VOLATILE}
        for event in events(log)
        if event["event"] in {"RESULT", "STUDY", "END"}
    ]


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model that flags everything."""
    points = tiny_card()["operating_points"]
    points["auto"] = {**points["auto"], "threshold": 0.0, "certified": False, "certificate": None}
    return write_model(tmp_path_factory.mktemp("model") / "eager", tiny_card(name="eager", operating_points=points))


def test_the_log_in_use_is_the_same_with_and_without_a_candidate(
    command: InProcess, inbox: Path, tiny_model: Path, candidate: Path, tmp_path: Path
) -> None:
    plain, log = tmp_path / "plain.jsonl", tmp_path / "audit.jsonl"
    assert command("scan", inbox, "--model", tiny_model, "--log", plain)[0] == 0
    code, out, err = command("scan", inbox, "--model", tiny_model, "--log", log, "--shadow", candidate)
    assert code == 0
    assert "eager" not in out
    assert err == ""
    assert stable(log) == stable(plain)
    assert events(log, "START")[0]["options"]["shadow"] is True
    assert events(log, "START")[0]["shadow"]["model"] == "eager 1.0.0"

    other = shadow_log(log)
    assert verify(log).ok
    assert verify(other).ok
    assert events(other, "START")[0]["shadow_of"] == events(log, "START")[0]["run_id"]
    assert {event["decision"] for event in events(other, "RESULT")} == {"flagged"}
    assert events(other, "END")[0]["reason"] == "complete"

    # A second night: what the candidate said counts for nobody but the candidate.
    assert command("scan", inbox, "--model", tiny_model, "--log", log, "--shadow", candidate)[0] == 0
    assert len(events(log, "RESULT")) == len(events(other, "RESULT")) == 4
    # Then it is put to use: nothing of its shadow runs is seen before.
    assert command("scan", inbox, "--model", candidate, "--log", log, "--threshold", "screening")[0] == 0
    assert {event["seen_before"] for event in events(log, "RESULT")} == {False}


def test_nobody_can_act_on_the_log_of_shadow_runs(
    command: InProcess, inbox: Path, tiny_model: Path, candidate: Path, tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    command("scan", inbox, "--model", tiny_model, "--log", log, "--shadow", candidate)
    other = shadow_log(log)
    before = other.read_bytes()
    page = tmp_path / "page.html"
    for arguments in (
        ["worklist"],
        ["review", "--template"],
        ["report", page],
        ["report", page, "--agreement"],
        ["scan", inbox, "--model", tiny_model],
    ):
        code, out, err = command(*arguments, "--log", other)
        assert (code, out) == (ExitCode.USAGE, ""), arguments
        assert "shadow run" in err
    assert not page.exists()
    assert other.read_bytes() == before
    assert command("verify", other)[0] == 0


def test_what_goes_wrong_with_the_candidate_changes_no_answer(
    command: InProcess, inbox: Path, tiny_model: Path, candidate: Path, tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    shadow_log(log).mkdir()
    code, out, err = command("scan", inbox, "--model", tiny_model, "--log", log, "--shadow", candidate)
    assert code == 0
    assert "warning: the shadow run of eager 1.0.0 did not complete" in err
    assert len(events(log, "STUDY")) == 2
    assert "SUSPECTED" in out or "POSSIBLE" in out or "SUSPECTÉE" in out


@pytest.mark.parametrize("shadow", ["nowhere", "tiny"])
def test_a_candidate_that_cannot_be_used_is_told_before_anything(
    command: InProcess, inbox: Path, tiny_model: Path, tmp_path: Path, shadow: str
) -> None:
    named = str(tiny_model) if shadow == "tiny" else shadow
    log = tmp_path / "audit.jsonl"
    code, _, err = command("scan", inbox, "--model", tiny_model, "--log", log, "--shadow", named)
    assert code == (ExitCode.USAGE if shadow == "tiny" else ExitCode.MODEL)
    assert "model in use" in err or "no model at" in err
    assert not log.exists()


def test_both_logs_are_compared_and_verdicts_are_the_labels(
    command: InProcess, inbox: Path, tiny_model: Path, candidate: Path, tmp_path: Path
) -> None:
    pytest.importorskip("scipy", reason="needs the extra [evaluate]")
    for number in range(4):
        write_slice(inbox / f"dark{number}" / "0.png", number)
    log = tmp_path / "audit.jsonl"
    command("scan", inbox, "--model", tiny_model, "--log", log, "--shadow", candidate)
    studies = {event["study_id"]: event["hash"] for event in events(log, "STUDY")}
    with AuditLog(log, exclusive=False) as writer:
        writer.reviews(
            [
                Verdict(studies["p0"], "dr-1", "tumour", agreement=True),
                Verdict(studies["dark0"], "dr-1", "tumour", agreement=False),
                Verdict(studies["dark1"], "dr-1", "no_tumour", agreement=True),
                Verdict(studies["dark2"], "dr-1", "unsure", agreement=None),
            ]
        )
    code, out, _ = command("model", "compare", "--from-log", "--log", log, "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["first"]["model"], found["second"]["model"]) == ("tiny 1.0.0", "eager 1.0.0")
    assert (found["studies"]["count"], found["slices"]["count"], found["left_out"]) == (6, 8, 0)
    assert [(one["study"], one["positive"]) for one in found["changed"]] == [
        ("dark0", True),
        ("dark2", None),
        ("dark3", None),
        ("dark1", False),
    ]
    assert found["studies"]["sensitivity"] == {
        "cases": 2,
        "first": 1,
        "second": 2,
        "test": {"first_only": 0, "second_only": 1, "p": 1.0},
    }
    assert (found["studies"]["specificity"]["first"], found["studies"]["specificity"]["second"]) == (1, 0)
    assert found["studies"]["flagged"] == {"first_only": 0, "second_only": 4, "p": 0.125}
    text = command("model", "compare", "--from-log", "--log", log)[1]
    assert "dark0: not_flagged → flagged" in text
    assert "verdicts in the log" in text


def test_a_log_without_shadow_runs_cannot_be_compared(
    command: InProcess, inbox: Path, tiny_model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("scipy", reason="needs the extra [evaluate]")
    log = tmp_path / "audit.jsonl"
    command("scan", inbox, "--model", tiny_model, "--log", log)
    assert command("model", "compare", "--from-log", "--log", log)[0] == ExitCode.NOTHING_FOUND
    assert command("model", "compare", "--from-log", "--log", tmp_path / "none.jsonl")[0] == ExitCode.AUDIT_LOG
