"""``screener calibrate``: a site's own threshold, certified on its own patients."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.cli.language import checked_language
from screener.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from screener.calibrate.site import SiteOptions, SiteResult
    from screener.messages import Language
    from screener.model.session import Model


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """What the options say."""

    source: Path | None
    from_log: Path | None
    inbox: Path | None
    site: str
    doctor: str | None
    sensitivity: float
    confidence: float
    prevalence: float | None
    level: str | None
    out: Path | None
    replace: bool
    accept_uncertified: bool
    model: str | None
    json: bool
    lang: str | None
    color: bool


def run(options: CalibrateOptions) -> ExitCode:
    """Make a profile, write it where asked, and show what it changes.

    Raises
    ------
    ScreenerError
        Nothing was written.
    """
    from screener.model.session import Model
    from screener.pipeline.site_profile import refuse_second_profile, require_profile_extra, write_profile

    lang = checked_language(options.lang)
    asked = _asked(options)
    require_profile_extra()
    model = Model.load(options.model)
    if options.out is not None:
        refuse_second_profile(options.out, asked.site, model.sha256, replace=options.replace)
    result = _made(options, asked, model)
    if options.out is not None:
        # Labelled data may have named the site.
        refuse_second_profile(options.out, result.profile.site, model.sha256, replace=options.replace)
        write_profile(options.out, result.profile)
    _print(result, options, lang)
    return ExitCode.NOT_ASSESSABLE if result.faults else ExitCode.OK


def _asked(options: CalibrateOptions) -> SiteOptions:
    """Return what is to be made.

    Raises
    ------
    UsageError
        Options are missing, contradict each other, or are out of range.
    """
    from screener.calibrate.site import SiteOptions
    from screener.calibrate.threshold import Target

    if (options.source is None) == (options.from_log is None):
        raise UsageError("calibrate needs labelled data or a log", "name a folder or a CSV, or add --from-log LOG")
    if options.inbox is not None and options.from_log is None:
        raise UsageError("--inbox goes with --from-log", "leave it out: labelled data have no inbox")
    if options.level not in {None, "study", "slice"}:
        raise UsageError(f"--level {options.level!r} is unknown", "choose one of study, slice")
    asked = SiteOptions(
        site=options.site,
        who=options.doctor or "",
        target=Target(options.sensitivity, options.confidence),
        prevalence=options.prevalence,
        level=options.level,  # type: ignore[arg-type]
        accept_uncertified=options.accept_uncertified,
    )
    if options.doctor is None:
        raise UsageError("a profile says who made it", "add --doctor NAME")
    asked.check()
    return asked


def _made(options: CalibrateOptions, asked: SiteOptions, model: Model) -> SiteResult:
    from screener.calibrate.site import profile_from_labelled, profile_from_log
    from screener.evaluate.labelled import read_labelled

    if options.from_log is not None:
        return profile_from_log(options.from_log, model, asked, options.inbox)
    assert options.source is not None  # noqa: S101 - one of both was given
    return profile_from_labelled(read_labelled(options.source), model, asked)


def _print(result: SiteResult, options: CalibrateOptions, lang: Language) -> None:
    """Print the profile on stdout; what is wrong with the data goes to stderr."""
    import msgspec

    from screener.calibrate.messages import CALIBRATE
    from screener.calibrate.tables import tables
    from screener.report.console import console, print_parts, safe

    for fault in result.faults:
        sys.stderr.write(f"warning: {safe(fault)}\n")
    if options.json:
        shown = msgspec.to_builtins(result.profile)
        left_out = [str(error) for error in result.left_out]
        written = None if options.out is None else str(options.out)
        text = json.dumps({"profile": shown, "left_out": left_out, "written": written}, allow_nan=False)
        sys.stdout.write(f"{text}\n")
        return
    out = console(sys.stdout, color=options.color)
    print_parts(out, tables(result, lang))
    words = CALIBRATE[lang]
    done = words["not_written"] if options.out is None else words["written"].format(path=safe(str(options.out)))
    out.print(done, soft_wrap=True, markup=False, highlight=False)
