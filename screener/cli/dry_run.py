"""``screener scan --dry-run``: what would happen to every path, and why. No model, no writing."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from screener.inbox import WalkOptions


def run(inbox: Path, options: WalkOptions) -> None:
    """Print one line a path, then the counts, on stdout.

    Raises
    ------
    NothingFoundError
        There is nothing to screen.
    """
    from screener.inbox import check, explain
    from screener.report.console import safe

    check(inbox, options)
    counts: Counter[str] = Counter()
    for seen in explain(inbox, options=options):
        counts[seen.fate.value] += 1
        why = f"  ({seen.why})" if seen.why else ""
        sys.stdout.write(f"{seen.fate.value:<9} {safe(seen.path)}{safe(why)}\n")
    sys.stdout.write(", ".join(f"{count} {fate}" for fate, count in sorted(counts.items())) + "\n")
