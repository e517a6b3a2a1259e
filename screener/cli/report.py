"""``screener report``: the worklist page, made anew from the log, or the agreement with readers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from screener.cli.language import checked_language
from screener.errors import ExitCode, ModelError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from screener.model.session import Model


def run(
    out: Path, *, log: Path | None, inbox: Path | None, images: Path | None, model: str | None, lang: str | None
) -> ExitCode:
    """Write the page and print its path.

    Raises
    ------
    ScreenerError
        Nothing was written; or the log is damaged, and the page, written all the same, says where.
    """
    from screener.audit import default_log
    from screener.report.console import safe
    from screener.report.from_log import write_report

    speech = checked_language(lang)
    problem = write_report(log or default_log(), inbox, out, speech, images=images, model=model_or_none(model))
    sys.stdout.write(f"{safe(str(out))}\n")
    if problem is not None:
        raise problem
    return ExitCode.OK


def run_agreement(
    out: Path,
    *,
    log: Path | None,
    inbox: Path | None,
    images: Path | None,
    model: str | None,
    lang: str | None,
    level: str,
    as_json: bool,
) -> ExitCode:
    """Write the agreement report and print its path, or its figures as one JSON object.

    Raises
    ------
    ScreenerError
        Nothing was written; or the log is damaged, and the report, written all the same, says where.
    """
    import json

    from screener.agreement.page import ReportOptions, write_agreement
    from screener.audit import default_log
    from screener.report.console import safe

    if level not in {"study", "slice"}:
        raise UsageError(f"--level {level!r} is unknown", "choose one of study, slice")
    options = ReportOptions(log or default_log(), inbox, images, checked_language(lang), level)  # type: ignore[arg-type]
    done = write_agreement(out, options, model_or_none(model))
    shown = json.dumps(done.figures) if as_json else safe(str(out))
    sys.stdout.write(f"{shown}\n")
    if done.problem is not None:
        raise done.problem
    return ExitCode.OK


def model_or_none(requested: str | None) -> Model | None:
    """Load the model for its heatmaps; a page without them is better than none unless the model was asked for.

    Raises
    ------
    ModelError
        The model that was asked for cannot be used.
    """
    from screener.model.session import Model

    try:
        return Model.load(requested)
    except ModelError as error:
        if requested is not None:
            raise
        sys.stderr.write(f"warning: no heatmaps: {error}\n")
        return None
