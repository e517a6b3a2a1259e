"""Alarms as events of the log: each is recorded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from screener.audit import AuditLog, Kind
from screener.audit.reader import marked
from screener.monitor.messages import CHECK

if TYPE_CHECKING:
    from pathlib import Path

    from screener.monitor.structs import Indicator, Report


def record_alarms(log: Path, report: Report, group: str | None = None) -> int:
    """Append an ALERT for each alarm that the log does not hold yet, and return how many there were.

    Raises
    ------
    AuditLogError
        The log cannot be written.
    """
    known = {(e["indicator"], e["period"], e["watched"], e["model_sha256"]) for e in marked(log, Kind.ALERT)}
    new = [_content(one, report) for one in report.alarms]
    new = [one for one in new if (one["indicator"], one["period"], one["watched"], one["model_sha256"]) not in known]
    if new:
        with AuditLog(log, exclusive=False, group=group) as writer:
            writer.alerts(new)
    return len(new)


def _content(found: Indicator, report: Report) -> dict[str, object]:
    return {
        "indicator": found.name,
        "period": found.alarm,
        "days": report.days,
        "evidence": found.most,
        "limit": found.limit,
        "watched": report.model,
        "model_sha256": report.model_sha256,
        "check": CHECK["en"][found.name],
        "read_to": report.head,
    }
