"""Logs with results and verdicts, for the tests of the agreement report."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from screener.agreement.opinions import Opinion, Reading
from screener.audit import AuditLog
from screener.domain.finding import Finding
from screener.domain.verdict import Diagnosis, SelectionReason
from screener.domain.verdict import Verdict as Said
from screener.finding_store import Item
from screener.triage import decide, urgency_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

THRESHOLD, CONFIRMATION = 0.4, 0.9
WEEK = "2026-11-24T08:00:00.000000Z"


def finding(number: int, probability: float | None, **changes: object) -> Finding:
    """Return what was found about a slice with a path and bytes of its own, ten slices a patient."""
    patient = f"p{number // 10:04d}"
    made = Finding(
        path=f"{patient}/s{number:05d}.png", sha256=hashlib.sha256(str(number).encode()).hexdigest(),
        patient_id=patient, decision=decide(probability, THRESHOLD), probability=probability, confidence=None,
        urgency=urgency_of(probability, THRESHOLD, CONFIRMATION), recommendation="", threshold=THRESHOLD,
        operating_point="auto", reason=None, model="lite 1.0.0", model_sha256="b" * 64, tool_version="0",
        seen_before=False, notice="",
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def write_results(log: Path, findings: Iterable[Finding], inbox: str = "/inbox") -> list[str]:
    """Write one finished run; return the hash of each result."""
    with AuditLog(log) as writer:
        writer.start({"tool_version": "0", "inbox": inbox, "threshold": repr(THRESHOLD)})
        hashes = writer.results(findings, doctor_id=None, preprocessing="how/1")
        writer.end({}, "complete")
    return hashes


def said(result: str, diagnosis: str = "tumour", doctor: str = "dr-1", **details: object) -> Said:
    """Return a verdict as the log takes it."""
    return Said(result, doctor, diagnosis, None, details)


def write_verdicts(log: Path, verdicts: Sequence[Said]) -> None:
    """Write verdicts as one batch."""
    with AuditLog(log, exclusive=False) as writer:
        writer.reviews(verdicts)


def reading(found: Finding, *diagnoses: str, drawn: str = "asked", sampling: float | None = None) -> Reading:
    """Return a slice read by as many readers as there are diagnoses."""
    opinions = {
        f"dr-{number}": Opinion(f"dr-{number}", Diagnosis(diagnosis), timestamp=WEEK)
        for number, diagnosis in enumerate(diagnoses)
    }
    item = Item(found, "/inbox")
    return Reading(item, SelectionReason(drawn), sampling, opinions, item)


@dataclass(frozen=True)
class Clinic:
    """Slices whose truth is known, and what the tool said of them."""

    findings: tuple[Finding, ...]
    truths: tuple[bool, ...]

    def sensitivity(self) -> float:
        """Return the share of slices with a tumour that were flagged."""
        hits = [found.decision == "flagged" for found, truth in zip(self.findings, self.truths, strict=True) if truth]
        return sum(hits) / len(hits)

    def specificity(self) -> float:
        """Return the share of slices without a tumour that were not flagged."""
        hits = [f.decision == "not_flagged" for f, truth in zip(self.findings, self.truths, strict=True) if not truth]
        return sum(hits) / len(hits)


def clinic(seed: int, slices: int = 3000) -> Clinic:
    """Screen a clinic in which a fifth of the slices show a tumour, a fifth of which the tool misses."""
    rng = np.random.default_rng(seed)
    truths = rng.random(slices) < 0.2
    scores = np.where(truths, rng.beta(3.0, 1.7, slices), rng.beta(1.5, 5.0, slices))
    refused = rng.random(slices) < 0.01
    found = [finding(n, None if refused[n] else float(scores[n])) for n in range(slices)]
    return Clinic(tuple(found), tuple(bool(truth) for truth in truths))


def sampled(of: Clinic, seed: int, chance: float = 0.1) -> list[dict[str, Any]]:
    """Choose what is read: all that is flagged or not assessable, and of the rest a random share."""
    rng = np.random.default_rng(seed)
    chosen: list[dict[str, Any]] = []
    for number, found in enumerate(of.findings):
        if found.decision != "not_flagged":
            chosen.append({"number": number, "drawn": str(found.decision)})
        elif rng.random() < chance:
            chosen.append({"number": number, "drawn": "sample", "sampling": chance})
    return chosen
