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
class EvaluateOptions:
    """What the options say."""

    threshold: str
    model: str | None
    out: Path | None
    json: bool
    evidence: Path | None
    require: tuple[str, ...]
    color: bool


def run(source: Path, options: EvaluateOptions) -> ExitCode:
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

    lacking([], list(options.require))  # a name that is unknown is measured before the work, not after it
    evidence = read_evidence(options.evidence)
    if options.out is not None and not options.out.parent.is_dir():
        raise UsageError(f"the folder of {options.out} does not exist", "create it first, or name a file elsewhere")
    found = read_labelled(source)
    model = Model.load(options.model)
    _require_scipy()
    measured = measure(found, model, operating_point(options.threshold, model.card.operating_points))
    lines = checklist(measured, evidence)
    measured["checklist"] = as_json(lines)
    try:
        if options.out is not None:
            from screener.report.document import save
            from screener.report.evaluation import evaluation_page

            save(options.out, evaluation_page(found.root, measured, model))
    finally:
        # Measuring takes long: a page that cannot be written hides no figure.
        _print(measured, options)
    if missing := lacking(lines, list(options.require)):
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


def _print(measured: dict[str, Any], options: EvaluateOptions) -> None:
    """Print the figures on stdout; what is wrong with the set goes to stderr."""
    from screener.report.console import console, print_parts, safe
    from screener.report.evaluation import tables

    for fault in measured["faults"]:
        sys.stderr.write(f"warning: {safe(fault)}\n")
    if options.json:
        sys.stdout.write(f"{json.dumps(measured, allow_nan=False)}\n")
        return
    print_parts(console(sys.stdout, color=options.color), tables(measured))
