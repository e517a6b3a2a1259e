"""``screener evaluate``: what a model is worth on labelled slices."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from screener.errors import ExitCode, NotShownError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options say."""

    threshold: str
    model: str | None
    out: Path | None
    json: bool
    evidence: Path | None
    require: tuple[str, ...]
    color: bool


def run(source: Path, wanted: Wanted) -> ExitCode:
    """Measure, tell, and hold to what is required.

    Raises
    ------
    ScreenerError
        Nothing can be measured, the page cannot be written, or a required line does not pass.
    """
    from screener.evaluate.checklist import as_json, checklist, lacking, read_evidence
    from screener.evaluate.labelled import read_labelled
    from screener.evaluate.measure import measure
    from screener.model.session import Model
    from screener.triage import operating_point

    lacking([], list(wanted.require))  # a name that is unknown is told before the work, not after it
    evidence = read_evidence(wanted.evidence)
    if wanted.out is not None and not wanted.out.parent.is_dir():
        raise UsageError(f"the folder of {wanted.out} does not exist", "create it first, or name a file elsewhere")
    found = read_labelled(source)
    model = Model.load(wanted.model)
    _require_scipy()
    told = measure(found, model, operating_point(wanted.threshold, model.card.operating_points))
    lines = checklist(told, evidence)
    told["checklist"] = as_json(lines)
    try:
        if wanted.out is not None:
            from screener.report.document import save
            from screener.report.evaluation import evaluation_page

            save(wanted.out, evaluation_page(found.root, told, model))
    finally:
        # Measuring takes long: a page that cannot be written hides no figure.
        _tell(told, wanted)
    if missing := lacking(lines, list(wanted.require)):
        named = "; ".join(f"{line.asked}: {line.status.value} ({line.why})" for line in missing)
        raise NotShownError(f"required and not shown: {named}", "see the checklist; it says what would help")
    return ExitCode.NOT_ASSESSABLE if found.faults else ExitCode.OK


def _require_scipy() -> None:
    try:
        import scipy  # noqa: F401
    except ImportError:
        raise UsageError(
            "exact intervals need more than the base install", "run: pip install 'screener[evaluate]'"
        ) from None


def _tell(told: dict[str, Any], wanted: Wanted) -> None:
    """Print the figures on stdout; what is wrong with the set goes to stderr."""
    from screener.report.console import console, safe
    from screener.report.evaluation import tables

    for fault in told["faults"]:
        sys.stderr.write(f"warning: {safe(fault)}\n")
    if wanted.json:
        sys.stdout.write(f"{json.dumps(told, allow_nan=False)}\n")
        return
    out = console(sys.stdout, color=wanted.color)
    for part in tables(told):
        out.print(part, soft_wrap=isinstance(part, str), markup=False, highlight=False)
