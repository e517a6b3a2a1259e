"""From a site's cases to its profile: choose and certify thresholds, say what they change, calibrate."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from screener import __version__
from screener.agreement.opinions import collect
from screener.audit.reader import EventReader, recorded
from screener.calibrate.cases import labelled_cases, logged_cases, of_site
from screener.calibrate.effect import decision_curve, effect, prevalence_of, site_calibration
from screener.calibrate.threshold import (
    Chosen,
    Target,
    certified_threshold,
    nearest_threshold,
    not_certified,
    with_margin,
)
from screener.errors import NotShownError, UsageError
from screener.evaluate.score import score_files
from screener.model.card import StudyAggregation
from screener.pipeline.site_profile import METHOD, SCHEMA, Level, SiteLevel, SiteProfile

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from screener.calibrate.cases import Cases
    from screener.evaluate.labelled import LabelledSet
    from screener.model.session import Model

_UNSHOWN = "The highest threshold at which the patients at hand reach the target; it promises nothing"
_NAMES = 60
"""Letters of a site or person."""


@dataclass(frozen=True, slots=True)
class SiteOptions:
    """What a profile is to be.

    Attributes
    ----------
    site, who : str
    target : Target
    prevalence : float, in (0, 1), or None
        Share of studies with a tumour; None takes the share among the cases.
    level : {"study", "slice"} or None
        The one that must be certified; None takes what the data can show, at least one.
    accept_uncertified : bool
        Make a profile that promises nothing where the target is not shown.
    """

    site: str
    who: str
    target: Target = field(default_factory=Target)
    prevalence: float | None = None
    level: Level | None = None
    accept_uncertified: bool = False

    def check(self) -> None:
        """Make sure that the options make sense.

        Raises
        ------
        UsageError
            A number is outside its range, or a name is missing, too long or not printable.
        """
        for name, value, low, high in (
            ("sensitivity", self.target.sensitivity, 0.5, 1.0),
            ("confidence", self.target.confidence, 0.95 - 1e-9, 1.0),
            ("prevalence", 0.5 if self.prevalence is None else self.prevalence, 0.0, 1.0),
        ):
            # NaN compares false.
            if not low < value < high:
                raise UsageError(f"--{name} {value:g}", f"give a number above {low:.2g} and below 1")
        for name, text in (("doctor", self.who), ("site", self.site)):
            if not text.isprintable() or len(text) > _NAMES or (name == "doctor" and not text.strip()):
                raise UsageError(f"--{name} {text[:_NAMES]!r}", f"give a name of at most {_NAMES} printable letters")


@dataclass(frozen=True, slots=True)
class SiteResult:
    """A profile, and what must be known with it.

    Attributes
    ----------
    profile : SiteProfile
    faults : tuple of str
        Lines and files of labelled data that could not be used.
    left_out : tuple of NotShownError
        Why a level is not in the profile.
    """

    profile: SiteProfile
    faults: tuple[str, ...] = ()
    left_out: tuple[NotShownError, ...] = ()


def profile_from_labelled(found: LabelledSet, model: Model, options: SiteOptions) -> SiteResult:
    """Make a profile from labelled data, judged as in a scan.

    Raises
    ------
    UsageError
        The data are of several sites, or an option is out of range.
    NotShownError
        The target is not certified.
    """
    options.check()
    found, site = of_site(found, options.site)
    options = replace(options, site=site)
    answers = score_files([found.root / row.path for row in found.rows], model)
    levels = labelled_cases(found, answers, model)
    profile, left_out = _profile(levels, model, options, "labelled", found.fingerprint())
    return SiteResult(profile, found.faults, left_out)


def profile_from_log(log: Path, model: Model, options: SiteOptions, inbox: Path | None = None) -> SiteResult:
    """Make a profile from the verdicts in an audit log.

    Raises
    ------
    AuditLogError
        There is no such log, or its chain is broken: what was tampered with is no evidence.
    ModelError
        The log holds no result of this model.
    UsageError
        No run screened the inbox, or an option is out of range.
    NotShownError
        The target is not certified, or what was not flagged was not sampled.
    """
    options.check()
    if not options.site:
        raise UsageError("a log names no site", "add --site NAME")
    reader = EventReader(log)
    study = collect(reader, None if inbox is None else recorded(inbox))
    if reader.problem is not None:
        raise reader.problem
    levels = logged_cases(study, model)
    profile, left_out = _profile(levels, model, options, "log", f"sha256:{reader.head}")
    return SiteResult(profile, (), left_out)


def _profile(
    levels: list[Cases], model: Model, options: SiteOptions, source: Literal["labelled", "log"], fingerprint: str
) -> tuple[SiteProfile, tuple[NotShownError, ...]]:
    found: dict[Level, SiteLevel] = {}
    refused: dict[Level, NotShownError] = {}
    for cases in levels:
        if options.level in {None, cases.level}:
            made = _level(cases, options)
            if isinstance(made, SiteLevel):
                found[cases.level] = made
            else:
                refused[cases.level] = made
    if not found:
        raise next(iter(refused.values()), _nothing(levels, options.level))
    card = model.card
    profile = SiteProfile(
        schema=SCHEMA,
        site=options.site,
        who=options.who,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        tool_version=__version__,
        model=card.title,
        model_sha256=model.sha256,
        aggregation=StudyAggregation() if card.study is None else card.study.aggregation,
        source=source,
        fingerprint=fingerprint,
        study=found.get("study"),
        slice=found.get("slice"),
    )
    return profile, tuple(refused.values())


def _nothing(levels: list[Cases], level: Level | None) -> NotShownError:
    known = ", ".join(cases.level for cases in levels) or "none"
    return NotShownError(
        f"no {level or 'study or slice'} with a known patient and a known truth counts",
        f"label studies with the columns path, label, patient and series, or give verdicts; levels with cases: {known}",
    )


def _level(cases: Cases, options: SiteOptions) -> SiteLevel | NotShownError:
    """Choose, certify and measure one level; where the target is not shown, say what is lacking."""
    scores, target = cases.patient_scores(), options.target
    prevalence = prevalence_of(cases, options.prevalence)
    least, highest = cases.least_chance, cases.highest
    chosen = certified_threshold(scores, target, least_chance=least, highest=highest)
    if chosen is None:
        known = options.prevalence or (prevalence.value if cases.representative else None)
        refusal = not_certified(scores, target, level=cases.level, prevalence=known, least_chance=least)
        chosen = nearest_threshold(scores, target, highest=highest) if options.accept_uncertified else None
        if chosen is None:
            return refusal
    chosen = with_margin(chosen, scores, cases.scores[cases.labels == 0])
    return _measured(cases, chosen, options, prevalence.value or 0.0)


def _measured(cases: Cases, chosen: Chosen, options: SiteOptions, prevalence: float) -> SiteLevel:
    calibrated = site_calibration(cases, prevalence) if 0 < prevalence < 1 else None
    before, after = cases.before.threshold, chosen.threshold
    return SiteLevel(
        threshold=after,
        certified=chosen.certified,
        target=options.target.sensitivity,
        confidence=options.target.confidence,
        units=chosen.units,
        missed=chosen.missed,
        least_chance=cases.least_chance,
        method=METHOD if chosen.certified else _UNSHOWN,
        cases=len(cases.labels),
        patients=len(np.unique(cases.units)),
        excluded=dict(cases.excluded),
        prevalence=prevalence_of(cases, options.prevalence),
        before=effect(cases, before, cases.before.name, prevalence),
        after=effect(cases, after, "site", prevalence),
        calibration=None if calibrated is None else calibrated[0],
        decision_curve=decision_curve(cases, before, after, None if calibrated is None else calibrated[1], prevalence),
    )
