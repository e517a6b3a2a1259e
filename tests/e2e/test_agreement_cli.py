"""`screener report --agreement` as its users run it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from screener.audit import AuditLog
from screener.domain.verdict import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Command


def judge_all(screener: Command, *wrong: str) -> None:
    """Agree with the tool on every slice but some."""
    with AuditLog(screener.log, exclusive=False) as log:
        log.reviews(
            [
                Verdict(
                    event["hash"], "dr-1",
                    "tumour" if (event["decision"] == "flagged") != (event["path"] in wrong) else "no_tumour", None,
                    {"drawn": "flagged" if event["decision"] == "flagged" else "sample", "sampling": "1.0"},
                )
                for event in screener.events()
            ]
        )  # fmt: skip


def report(screener: Command, out: Path, *options: object) -> tuple[int, str, str]:
    done = screener(
        "report", "--agreement", out, "--model", screener.model, "--lang", "en", "--level", "slice", *options
    )
    return done.returncode, done.stdout, done.stderr


def test_page_and_figures(screener: Command, inbox: Path, tmp_path: Path) -> None:
    screener.scan(inbox)
    judge_all(screener, "p0/1.png")
    out = tmp_path / "agreement.html"
    assert report(screener, out) == (0, f"{out}\n", "")
    page = out.read_text()
    assert page.count("<img ") == 1
    assert "Misses" in page
    code, stdout, _ = report(screener, out, "--json")
    assert code == 0
    figures = json.loads(stdout)
    sensitivity = figures["overall"]["figures"]["headline"]["sensitivity"]
    assert (sensitivity["hits"], sensitivity["count"]) == (2, 3)
    assert figures["misses"] == 1
    assert stdout.count("\n") == 1


def test_no_verdicts_is_no_failure(screener: Command, inbox: Path, tmp_path: Path) -> None:
    screener.scan(inbox)
    code, _, stderr = report(screener, tmp_path / "agreement.html")
    assert (code, stderr) == (0, "")
    assert "Nobody has given a verdict yet" in (tmp_path / "agreement.html").read_text()


def test_damaged_log_is_shown_and_told(screener: Command, inbox: Path, tmp_path: Path) -> None:
    screener.scan(inbox)
    judge_all(screener)
    lines = screener.log.read_bytes().splitlines(keepends=True)
    screener.log.write_bytes(b"".join([*lines[:-1], lines[-1].replace(b"dr-1", b"dr-2")]))
    code, stdout, stderr = report(screener, tmp_path / "agreement.html", "--json")
    assert code == 6
    assert stderr.startswith("error: ")
    assert json.loads(stdout)["verdicts"] == 3
    assert "cannot be trusted to its end" in (tmp_path / "agreement.html").read_text()


def test_usage(screener: Command, tmp_path: Path) -> None:
    assert report(screener, tmp_path / "agreement.html", "--log", tmp_path / "none.jsonl")[0] == 6
    done = screener("report", tmp_path / "list.html", "--json")
    assert done.returncode == 2
    assert "--json goes with --agreement" in done.stderr


def test_base_install_is_enough(screener: Command, inbox: Path, tmp_path: Path) -> None:
    """Neither scipy nor anything of the bench is imported."""
    screener.scan(inbox)
    judge_all(screener)
    block = tmp_path / "block"
    block.mkdir()
    for name in ("scipy", "sklearn", "matplotlib", "tensorflow"):
        (block / f"{name}.py").write_text(f"raise ImportError('{name} is not installed')\n")
    screener.environment["PYTHONPATH"] = f"{block}:{screener.env().get('PYTHONPATH', '')}"
    code, _, stderr = report(screener, tmp_path / "agreement.html")
    assert (code, stderr) == (0, "")
