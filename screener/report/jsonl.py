"""One finding of a slice or a study, one line of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from screener.domain.finding import Finding
    from screener.domain.study import StudyFinding


def line(finding: Finding | StudyFinding) -> str:
    """Return a finding as one line of pure-ASCII JSON, keys in the order of its fields, without the newline."""
    return json.dumps(asdict(finding), allow_nan=False)
