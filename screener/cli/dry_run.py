"""``screener scan --dry-run``: what would happen to every path, and why. No model, no writing."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

from screener.errors import ExitCode
from screener.inbox import Entry, WalkOutcome, check, explain
from screener.report.console import safe

if TYPE_CHECKING:
    from pathlib import Path

    from screener.inbox import Seen
    from screener.pipeline.config import ScanConfig
    from screener.privacy import Pseudonyms


def run(inbox: Path, config: ScanConfig) -> ExitCode:
    """Print one line a path, then the counts, on stdout.

    No file is read, so this does not tell what was judged before. With pseudonyms it is the list that says whose they
    are.

    Raises
    ------
    NothingFoundError
        There is nothing to screen.
    """
    walk, pseudonyms = config.walk_options(), config.pseudonyms()
    check(inbox, walk)
    counts: Counter[WalkOutcome] = Counter()
    for seen in explain(inbox, options=walk):
        counts[seen.outcome] += 1
        sys.stdout.write(line(seen, pseudonyms) + "\n")
        if config.limit is not None and _screened(counts) == config.limit:
            break
    sys.stdout.write(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) + "\n")
    return (
        ExitCode.NOT_ASSESSABLE
        if counts[WalkOutcome.REFUSED]
        else ExitCode.DEFERRED
        if counts[WalkOutcome.DEFERRED]
        else ExitCode.OK
    )


def _screened(counts: Counter[WalkOutcome]) -> int:
    """Return how many paths count against ``--limit``: those of which a scan says anything."""
    return counts[WalkOutcome.TAKEN] + counts[WalkOutcome.DEFERRED] + counts[WalkOutcome.REFUSED]


def line(seen: Seen, pseudonyms: Pseudonyms | None) -> str:
    """Return what is to be said of one path."""
    text = f"{seen.outcome.value:<9} {safe(seen.path)}"
    if seen.item is not None and pseudonyms is not None:
        hidden = pseudonyms.rename(seen.item)
        text += f"  = {safe(hidden.path if isinstance(hidden, Entry) else hidden.identity.path)}"
    return f"{text}  ({safe(seen.why)})" if seen.why else text
