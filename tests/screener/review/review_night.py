"""A log with results of every kind, and the slices that they are about."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from screener.audit import AuditLog, read
from screener.domain.finding import Finding
from screener.domain.slice import Reason
from screener.triage import confidence, decide, urgency_of
from tests.conftest import write_slice

if TYPE_CHECKING:
    from pathlib import Path

    from screener.audit import Event

HIGH, MEDIUM, LOW, LOWER = 0.95, 0.6, 0.2, 0.1


def finding(path: str, sha256: str, probability: float | None, **changes: object) -> Finding:
    decision = decide(probability, 0.4)
    made = Finding(
        path=path, sha256=sha256, patient_id=path.split("/", maxsplit=1)[0] if "/" in path else None, decision=decision,
        probability=probability, confidence=confidence(decision, probability),
        urgency=urgency_of(probability, 0.4, 0.9), recommendation="", threshold=0.4, operating_point="auto",
        reason=None if probability is not None else Reason.BLANK, model="tiny 1.0.0", model_sha256="b" * 64,
        tool_version="0", seen_before=False, notice="",
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


@dataclass
class Night:
    """What a scan left."""

    log: Path
    inbox: Path
    results: dict[str, str]

    def more(self, *findings: Finding) -> list[str]:
        """Append another run."""
        with AuditLog(self.log) as log:
            log.start({"inbox": str(self.inbox), "model": "tiny 1.0.0"})
            hashes = log.results(findings, doctor_id=None, preprocessing="p")
            log.end({}, "done")
        return hashes

    def reviews(self) -> list[Event]:
        return [event for event in read(self.log) if event["event"] == "REVIEW"]


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """Return a log with six slices: two flagged, one not assessable, three not flagged."""
    inbox = tmp_path / "inbox"
    scores = {
        "p1/a.png": LOW,
        "p1/b.png": HIGH,
        "p2/a.png": MEDIUM,
        "p2/b.png": None,
        "p3/a.png": LOWER,
        "p3/b.png": 0.0,
    }
    findings = []
    for seed, (path, probability) in enumerate(scores.items()):
        data = write_slice(inbox / path, seed).read_bytes()
        findings.append(finding(path, hashlib.sha256(data).hexdigest(), probability))
    found = Night(tmp_path / "audit.jsonl", inbox, {})
    found.results.update(zip(scores, found.more(*findings), strict=True))
    return found
