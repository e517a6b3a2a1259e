"""Findings, logs and forgeries for the tests of the audit log."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from screener.audit import AuditLog
from screener.domain.finding import Decision, Finding, Urgency
from screener.domain.slice import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from screener.audit import History

PREPROCESSING = "brain-crop-224/1"
MODEL = "b" * 64
THRESHOLD = 0.3712

FINDING = Finding(
    path="patient_0001/slice_0001.png",
    sha256="a" * 64,
    patient_id="patient_0001",
    decision=Decision.FLAGGED,
    probability=0.9731234567891234,
    confidence=0.9731234567891234,
    urgency=Urgency.HIGH,
    recommendation="SUSPECTED TUMOUR \N{EN DASH} read first; neurosurgical opinion if confirmed",
    threshold=THRESHOLD,
    operating_point="auto",
    reason=None,
    model="lite-1.0.0",
    model_sha256=MODEL,
    tool_version="0.1.0",
    seen_before=False,
    notice="Decision aid. Not a diagnosis, not a medical device: no CE or FDA clearance.",
)


def finding(number: int, **changes: object) -> Finding:
    """Return the finding of a slice with a path and bytes of its own."""
    patient = f"patient_{number // 10:04d}"
    own: dict[str, Any] = {
        "path": f"{patient}/slice_{number:04d}.png",
        "sha256": hashlib.sha256(str(number).encode()).hexdigest(),
        "patient_id": patient,
    }
    return replace(FINDING, **{**own, **changes})


def refused(number: int) -> Finding:
    """Return the finding of a slice that could not be judged."""
    return finding(
        number,
        decision=Decision.NOT_ASSESSABLE,
        probability=None,
        confidence=None,
        urgency=Urgency.REVIEW,
        recommendation="NOT ASSESSABLE \N{EN DASH} a radiologist must look",
        reason=Reason.BLANK,
    )


def write_log(path: Path, count: int = 5, **options: Any) -> list[str]:  # noqa: ANN401 - those of AuditLog
    """Write one finished run and return the hashes of its results."""
    with AuditLog(path, **options) as log:
        log.start({"tool_version": "0.1.0"})
        hashes = [log.results([finding(n)], doctor_id=None, preprocessing=PREPROCESSING)[0] for n in range(count)]
        log.end({"flagged": count}, "done")
    return hashes


def look_up(log: AuditLog | History, of: Finding) -> dict[str, Any] | None:
    """Ask a log or a history for a finding."""
    return log.seen(
        of.path, of.sha256, model_sha256=of.model_sha256, preprocessing=PREPROCESSING, threshold=of.threshold
    )


def forge(event: Mapping[str, Any], text: str | None = None) -> bytes:
    """Return a line whose hash is right, as one who rewrites a log would make it."""
    content = {name: value for name, value in event.items() if name != "hash"}
    body = text if text is not None else json.dumps(content, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f'{body[:-1]},"hash":"{digest}"}}\n'.encode()
