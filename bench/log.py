"""Measure the audit log: events appended and verified per second, look-ups, memory: ``make bench``."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from screener.audit import AuditLog, segments, verify  # noqa: E402 - the checkout's own
from screener.domain.finding import Decision, Finding, Urgency  # noqa: E402
from screener.domain.slice import SliceMeasurements  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping

BATCH = 16
GROUP = 512
"""Results that a scan on a cluster logs at once."""
_ASKED = 20_000
_MEASURED = SliceMeasurements(
    {
        "brightness": "0.1234", "contrast": "0.2345", "sharpness": "0.3456", "height": "256", "width": "256",
        "manufacturer": "Manufacturer", "manufacturer_model": "Scanner model",
    },
    "A" * 92,
)  # fmt: skip
_MODEL = {"model_sha256": "1" * 64, "preprocessing": "v1"}


def main() -> None:
    """Write ``docs/results/log.json`` and ``log.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/log")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder) / "audit.jsonl", arguments.events)
        figures |= grouped(Path(folder) / "grouped.jsonl", arguments.events)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(report(figures))
    print(report(figures))


def grouped(path: Path, events: int) -> dict[str, float]:
    """Append results as a scan on a cluster does: many at once, which the disk confirms together."""
    findings = [
        replace(_finding(), path=f"p{number // 20}/{number}.png", sha256=f"{number:064x}") for number in range(GROUP)
    ]
    measured = [_MEASURED] * GROUP
    with AuditLog(path) as log:
        log.start({"model": "bench"})
        started, longest = time.perf_counter(), 0.0
        for _ in range(events // GROUP):
            began = time.perf_counter()
            log.results(findings, doctor_id=None, preprocessing=_MODEL["preprocessing"], measurements=measured)
            longest = max(longest, time.perf_counter() - began)
        seconds = time.perf_counter() - started
    return {
        "group": GROUP,
        "grouped_per_second": events // GROUP * GROUP / seconds,
        "grouped_longest_seconds": longest,
    }


def _finding() -> Finding:
    return Finding(
        "a/b.png", "", "a", Decision.FLAGGED, 0.91234, 0.91234, Urgency.HIGH, "read first", 0.5, "auto", None, "m 1",
        _MODEL["model_sha256"], "0", False, "notice",
    )  # fmt: skip


def measure(path: Path, events: int) -> dict[str, float]:
    """Append `events` results in batches as a scan does, look some of them up, verify all."""
    finding = _finding()
    with AuditLog(path) as log:
        log.start({"model": "bench"})
        started = time.perf_counter()
        for first in range(0, events, BATCH):
            batch = [
                replace(finding, path=f"p{number // 20}/{number}.png", sha256=f"{number:064x}")
                for number in range(first, min(first + BATCH, events))
            ]
            measured = [_MEASURED] * len(batch)
            log.results(batch, doctor_id=None, preprocessing=_MODEL["preprocessing"], measurements=measured)
        appending = time.perf_counter() - started
        started = time.perf_counter()
        for number in range(0, events, max(1, events // _ASKED)):
            known = log.seen(
                f"p{number // 20}/{number}.png",
                f"{number:064x}",
                threshold=0.5,
                model_sha256=_MODEL["model_sha256"],
                preprocessing=_MODEL["preprocessing"],
            )
            if known is None:
                raise SystemExit(f"event {number} is not found again")
        asking = (time.perf_counter() - started) / len(range(0, events, max(1, events // _ASKED)))
        log.end({"files": events}, "complete")
    started = time.perf_counter()
    found = verify(path)
    verifying = time.perf_counter() - started
    if not found.ok or found.events != events + 2:
        raise SystemExit(f"the log does not verify: {found.first_bad}")
    return {
        "events": events,
        "batch": BATCH,
        "appended_per_second": events / appending,
        "verify_seconds": verifying,
        "lookup_microseconds": asking * 1e6,
        "bytes_per_event": sum(one.stat().st_size for one in segments(path)) / events,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }


def report(figures: Mapping[str, float]) -> str:
    """Return the figures as Markdown."""
    return (
        f"# The audit log\n\nWritten by `make bench`: {figures['events']:,} results in batches of {figures['batch']}, "
        "each synced to the disk, index included.\n\n| what | measured | aim |\n|---|---|---|\n"
        f"| appended | {figures['appended_per_second']:,.0f} events/s | 5,000 events/s |\n"
        f"| appended in groups of {figures['group']} | {figures['grouped_per_second']:,.0f} events/s | "
        "10,000 events/s |\n"
        f"| longest wait for a group | {figures['grouped_longest_seconds']:.2f} s | 1 s |\n"
        f"| all verified | {figures['verify_seconds']:.1f} s | 20 s for 1,000,000 |\n"
        f"| one look-up of an earlier result | {figures['lookup_microseconds']:.0f} µs | – |\n"
        f"| size of a result with statistics and embedding | {figures['bytes_per_event']:,.0f} bytes | – |\n"
        f"| peak memory | {figures['peak_memory_mb']:.0f} MB | flat |\n"
    )


if __name__ == "__main__":
    main()
