"""``screener verify``: whether the log is what was written."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from screener.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from screener.audit import Verification


def run(logs: Sequence[Path], anchor: Path | None) -> ExitCode:
    """Verify logs and say, on stdout, how each of them stands.

    Raises
    ------
    AuditLogError
        A log cannot be read.
    """
    from screener.audit import default_log, verify

    sound = True
    for log in logs or [default_log()]:
        found = verify(log, anchor=anchor)
        sound = sound and found.ok
        sys.stdout.write("\n".join(lines(log, found)) + "\n")
    return ExitCode.OK if sound else ExitCode.AUDIT_LOG


def lines(log: Path, found: Verification) -> list[str]:
    """Return what is to be said of one log."""
    from screener.report.console import safe

    output = [f"{safe(str(log))}: {'sound' if found.ok else 'NOT SOUND'}, {found.events} events, head {found.head}"]
    if found.first_bad is not None:
        output.append(
            f"  first bad line: {safe(str(found.first_bad.file))}:{found.first_bad.line}: {found.first_bad.why}"
        )
    output += [f"  run {run} has no END: it crashed, was killed, or is still at work" for run in found.runs_without_end]
    return output
