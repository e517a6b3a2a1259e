"""The site profile: thresholds and calibration of one site for one model, as a TOML file beside the model.

The structs of this module are its schema, version 1. A profile never changes the model and never rescales the
probability that is shown; it says from which probability on a study or a slice is flagged at this site, what that was
shown to do there, and by whom.
"""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from screener.audit.files import Access, replace
from screener.domain.estimate import Count, Rate, Share
from screener.errors import ModelError, UsageError
from screener.model.card import Card, OperatingPoint, StudyAggregation
from screener.model.certificate import LEAST_TARGET, LEVEL, Certificate, Units, supports
from screener.triage import AUTO, SITE_PREFIX, UNCERTIFIED_SUFFIX, TriagePolicy, screening_point

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
METHOD = (
    "Learn then Test: fixed sequence over thresholds 0, 0.0001 … 0.9999, exact binomial p-values, by patient, on all "
    "patients"
)
_DIGEST = 8
"""Letters of the fingerprint in the name of an operating point."""
_CLOCKS = timedelta(days=1)
"""By how much clocks may differ before a date lies in the future."""
_HEAD = "# Site profile of screener; written by `screener calibrate`, read by `screener scan --profile`.\n"
_AGAIN = "run `screener calibrate` again"

Level = Literal["study", "slice"]
_Positive = Annotated[float, Meta(gt=0, le=1)]


class SiteCalibration(msgspec.Struct, frozen=True, omit_defaults=True):
    """From the model's probability to the share of tumours at this site: new logit = scale · logit + offset.

    Errors are cross-fitted: each half of the patients is judged by what was fitted on the other.
    """

    kind: Annotated[Literal["temperature", "Platt"], Meta(description="Which of the two was fitted.")]
    scale: Annotated[float, Meta(gt=0, description="One over the temperature.")]
    offset: Annotated[float, Meta(description="0 for a temperature.")]
    error_before: Annotated[Share, Meta(description="Expected calibration error of the model's probabilities.")]
    error_after: Annotated[Share, Meta(description="The same once calibrated.")]
    brier_before: Annotated[Share, Meta(description="Brier score of the model's probabilities.")]
    brier_after: Annotated[Share, Meta(description="The same once calibrated.")]

    def apply(self, probability: float) -> float:
        """Return the calibrated probability, in (0, 1).

        Parameters
        ----------
        probability : float, in [0, 1]
            As the model gives it.
        """
        safe = min(max(probability, 1e-7), 1 - 1e-7)
        return 1 / (1 + math.exp(-(self.scale * math.log(safe / (1 - safe)) + self.offset)))


class ThresholdEffect(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a threshold does at this site."""

    name: Annotated[str, Meta(description="Name of the operating point.")]
    threshold: Annotated[Share, Meta(description="Flagged from this probability on.")]
    flagged_per_100: Annotated[float, Meta(ge=0, le=100, description="Cases flagged of 100, at the prevalence.")]
    not_assessable_per_100: Annotated[float, Meta(ge=0, le=100, description="Cases not assessable of 100.")]
    sensitivity: Annotated[Rate | None, Meta(description="A refused positive counts as missed.")] = None
    specificity: Annotated[Rate | None, Meta(description="A refused negative counts as a false alarm.")] = None
    ppv: Annotated[
        Rate | None, Meta(description="Positive predictive value at the prevalence; refused negatives count as alarms.")
    ] = None


class NetBenefit(msgspec.Struct, frozen=True, omit_defaults=True):
    """One point of the decision curve (Vickers and Elkin 2006), in cases found per case, less what alarms cost."""

    at: Annotated[_Positive, Meta(description="Probability from which on reading first is worth an alarm.")]
    all_first: Annotated[float, Meta(description="If every case were read first; reading none first is 0.")]
    before: Annotated[float, Meta(description="At the threshold in use before.")]
    after: Annotated[float, Meta(description="At the threshold of this site.")]
    calibrated: Annotated[
        float | None, Meta(description="Flagging from this calibrated probability on, cross-fitted.")
    ] = None


class SiteLevel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Threshold and calibration of studies, or of slices."""

    threshold: Annotated[Share, Meta(description="Flagged from this probability on.")]
    certified: Annotated[bool, Meta(description="Whether the target was shown; the counts must support it, too.")]
    target: Annotated[Share, Meta(description="Sensitivity by patient that was asked for.")]
    confidence: Annotated[Share, Meta(description="One-sided confidence.")]
    units: Annotated[Units, Meta(description="Patients with a tumour.")]
    missed: Annotated[Units, Meta(description="How many of them are missed at the threshold.")]
    least_chance: Annotated[
        _Positive, Meta(description="Least chance with which a missed tumour came to be known; 1 with labels for all.")
    ] = 1.0
    method: Annotated[str, Meta(description="How the threshold was found.")] = METHOD
    cases: Annotated[Count, Meta(description="Studies or slices that counted.")]
    patients: Annotated[Count, Meta(description="Patients behind them.")]
    excluded: Annotated[dict[str, Count], Meta(description="Studies or slices that did not count, by reason.")] = {}
    prevalence: Annotated[Rate, Meta(description="Share of cases with a tumour; without an interval if given.")]
    before: Annotated[ThresholdEffect, Meta(description="What the threshold in use before does.")]
    after: Annotated[ThresholdEffect, Meta(description="What the threshold of this site does.")]
    calibration: Annotated[SiteCalibration | None, Meta(description="Left out where too few cases could show it.")] = (
        None
    )
    decision_curve: Annotated[tuple[NetBenefit, ...], Meta(description="Net benefit by what an alarm may cost.")] = ()

    @property
    def flaw(self) -> str:
        """Why it is not certified; empty where it is.

        A patient's miss came to be known with at least `least_chance`, so that a sensitivity below the target shows at
        least that share of its misses among those known.
        """
        if not self.certified:
            return "its profile does not call it certified"
        if self.confidence < LEVEL or not LEAST_TARGET <= self.target < 1:
            return f"a sensitivity of {self.target:g} at a confidence of {self.confidence:g} is no certificate"
        if not supports(shown_sensitivity(self.target, self.least_chance), self.confidence, self.units, self.missed):
            return f"{self.missed} missed of {self.units} do not support a sensitivity of {self.target:g}"
        return ""

    def point(self, name: str, measured_on: str) -> OperatingPoint:
        """Return it as an operating point."""
        flaw = self.flaw
        certificate = Certificate(
            threshold=self.threshold,
            level=self.confidence,
            bound=self.target,
            units=self.units,
            missed=self.missed,
            unit="patient",
            target=self.target,
            method=self.method,
            aimed_at=self.target,
            specificity=self.after.specificity,
        )
        return OperatingPoint(
            name=f"{name}{UNCERTIFIED_SUFFIX if flaw else ''}",
            threshold=self.threshold,
            sensitivity=self.after.sensitivity,
            specificity=self.after.specificity,
            measured_on=measured_on,
            recall_target=self.target,
            certified=not flaw,
            certificate=None if flaw else certificate,
            flaw=flaw,
        )


def shown_sensitivity(target: float, least_chance: float) -> float:
    """Return what known patients must show for a sensitivity, where a miss came to be known with some chance only.

    Of patients with a tumour that are known at all, at least ``least_chance · (1 − target)`` are seen to be missed
    wherever the sensitivity lies below the target.
    """
    return 1 - least_chance * (1 - target)


class SiteProfile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a site found out about one model on its own patients."""

    schema: Annotated[int, Meta(ge=1, description="Version of this format.")]
    site: Annotated[str, Meta(min_length=1, description="Name of the site.")]
    who: Annotated[str, Meta(min_length=1, description="Who made the profile.")]
    created: Annotated[str, Meta(description="When, UTC, ISO 8601.")]
    tool_version: Annotated[str, Meta(description="Version of screener.")]
    model: Annotated[str, Meta(min_length=1, description="Name and version of the model.")]
    model_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="SHA-256 of its ONNX file.")]
    aggregation: Annotated[StudyAggregation, Meta(description="How slices made a study.")]
    source: Annotated[Literal["labelled", "log"], Meta(description="Labelled data, or verdicts in an audit log.")]
    fingerprint: Annotated[
        str, Meta(description="`sha256:…` over paths, labels and sizes of labelled data; of a log its head hash.")
    ]
    study: Annotated[SiteLevel | None, Meta(description="Studies; left out where nothing was shown for them.")] = None
    slice: Annotated[SiteLevel | None, Meta(description="Slices; left out where nothing was shown for them.")] = None

    def __post_init__(self) -> None:
        """Refuse what the types alone cannot."""
        if self.study is None and self.slice is None:
            raise ValueError("it has neither `study` nor `slice`")
        if not all(text.isprintable() for text in (self.site, self.who, self.model)):
            raise ValueError("site, who or model is not printable: all reach terminals and logs")

    def sha256(self) -> str:
        """Return the lower-case hex SHA-256 over the content, however the file is laid out."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    @property
    def name(self) -> str:
        """Name of its operating points: that it is the site's, and of which profile."""
        return f"{SITE_PREFIX}{self.sha256()[:_DIGEST]}"

    def points(self) -> dict[Level, OperatingPoint]:
        """Return the operating points of studies and of slices, as far as the profile has them."""
        what = "verdicts in the log" if self.source == "log" else "labelled data"
        found: dict[Level, SiteLevel | None] = {"study": self.study, "slice": self.slice}
        return {
            level: one.point(self.name, f"{what} of {self.site}") for level, one in found.items() if one is not None
        }

    def text(self) -> str:
        """Return it as TOML.

        Raises
        ------
        UsageError
            The extra [profile] is not installed.
        """
        require_profile_extra()
        import tomli_w

        return _HEAD + tomli_w.dumps(_without_none(msgspec.to_builtins(self)))


def require_profile_extra() -> None:
    """Make sure that profiles can be made; reading them needs the base install only.

    Raises
    ------
    UsageError
        The extra [profile] is not installed.
    """
    try:
        import scipy  # noqa: F401
        import tomli_w  # noqa: F401
    except ImportError:
        raise UsageError(
            "a site profile needs more than the base install", "run: pip install 'screener[profile]'"
        ) from None


def _without_none(value: Any) -> Any:  # noqa: ANN401 - what TOML holds
    """Leave out what is not known: TOML has no null."""
    if isinstance(value, dict):
        return {name: _without_none(one) for name, one in value.items() if one is not None}
    return [_without_none(one) for one in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True)
class ProfileFile:
    """A profile and where it was read.

    Attributes
    ----------
    profile : SiteProfile
    path : Path
    sha256 : str
        Of the file's bytes.
    """

    profile: SiteProfile
    path: Path
    sha256: str


def read_profile(path: Path) -> ProfileFile:
    """Read a profile.

    Raises
    ------
    UsageError
        It cannot be read, is of another version, or dated in the future.
    """
    try:
        content = path.read_bytes()
        profile = msgspec.toml.decode(content.decode("utf-8"), type=SiteProfile)
    except OSError as error:
        raise UsageError(
            f"the profile {path} cannot be read: {error.strerror}", "name a file of `screener calibrate`"
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"{path} is no site profile: {error}", f"restore it, or {_AGAIN}") from None
    if profile.schema != SCHEMA:
        raise UsageError(
            f"{path} has schema {profile.schema}; this tool reads {SCHEMA}", f"update screener, or {_AGAIN}"
        )
    _refuse_future(path, profile.created)
    return ProfileFile(profile, path, hashlib.sha256(content).hexdigest())


def _refuse_future(path: Path, created: str) -> None:
    if in_future(created):
        raise UsageError(f"{path} says that it was made {created[:40]!r}", f"set the clock right; then {_AGAIN}")


def in_future(timestamp: str) -> bool:
    """Say whether a time lies more than a day ahead, or is none."""
    try:
        when = datetime.fromisoformat(timestamp)
    except ValueError:
        return True
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return when > datetime.now(UTC) + _CLOCKS


def find_profile(path: Path, model: str, model_sha256: str) -> ProfileFile:
    """Read the profile for a model: a file, or the one for it in a folder.

    Parameters
    ----------
    path : Path
    model, model_sha256 : str

    Raises
    ------
    UsageError
        There is none, it cannot be read, or the folder holds two for the model.
    ModelError
        The file is for another model.
    """
    if not path.is_dir():
        found = read_profile(path)
        if found.profile.model_sha256 != model_sha256:
            raise ModelError(
                f"the profile {path} is for {found.profile.model} ({found.profile.model_sha256[:12]}), not for {model} "
                f"({model_sha256[:12]})",
                f"{_AGAIN} with this model, or name the model that it is for (--model)",
            )
        return found
    matching = [one for one in profiles_in(path) if one.profile.model_sha256 == model_sha256]
    if len(matching) > 1:
        names = ", ".join(one.path.name for one in matching)
        raise UsageError(f"{path} holds {len(matching)} profiles for {model}: {names}", "name the one that holds")
    if not matching:
        raise UsageError(f"{path} holds no profile for {model} ({model_sha256[:12]})", _AGAIN)
    return find_profile(matching[0].path, model, model_sha256)


def profiles_in(folder: Path) -> list[ProfileFile]:
    """Return the profiles in a folder, by name; other files are passed over."""
    found = []
    for path in sorted(folder.glob("*.toml")):
        with suppress(UsageError):
            found.append(read_profile(path))
    return found


def site_policy(profile: SiteProfile, card: Card, sha256: str, *, accept_uncertified: bool = False) -> TriagePolicy:
    """Return how to judge at a site; the model's ``auto`` holds for the level that the profile leaves out.

    Parameters
    ----------
    profile : SiteProfile
    card : Card
        Of the model in use.
    sha256 : str
        Of its ONNX file.
    accept_uncertified : bool
        Use a threshold that was not shown to reach its target all the same.

    Raises
    ------
    ModelError
        The profile is for another model or aggregation, or a threshold is not certified.
    """
    if profile.model_sha256 != sha256:
        raise ModelError(f"the profile of {profile.site} is for {profile.model}, not for {card.title}", _AGAIN)
    if profile.aggregation != (StudyAggregation() if card.study is None else card.study.aggregation):
        raise ModelError(f"the profile of {profile.site} is for studies judged in another way", _AGAIN)
    own = profile.points()
    for level, point in own.items():
        if not (point.certified or accept_uncertified):
            raise ModelError(
                f"the {level} threshold of the profile of {profile.site} is not certified: {point.flaw}",
                f"{_AGAIN} with more patients, or add --accept-uncertified",
            )
    return TriagePolicy(
        point=own.get("slice") or screening_point(AUTO, card.operating_points, accept_uncertified=accept_uncertified),
        confirmation=card.operating_points["confirmation"].threshold,
        model=card.title,
        model_sha256=sha256,
        study_point=own.get("study") or (None if card.study is None else card.study.believed_points()[AUTO]),
    )


def refuse_second_profile(out: Path, site: str, model_sha256: str, *, replace: bool) -> None:
    """Make sure, before the work, that a profile may be written: one for each site and model in a folder.

    Raises
    ------
    UsageError
        The folder is missing, the file is something else or may not be replaced, or another file is the site's profile.
    """
    if not out.parent.is_dir():
        raise UsageError(f"the folder of {out} does not exist", "create it first, or name a file elsewhere")
    if out.exists():
        read_profile(out)
        if not replace:
            raise UsageError(f"{out} exists", "add --replace to put the new profile in its place")
    for other in profiles_in(out.parent):
        same = (other.profile.site, other.profile.model_sha256) == (site, model_sha256)
        if same and other.path.absolute() != out.absolute():
            raise UsageError(
                f"{site} has a profile for this model already: {other.path}",
                "move it away, or write in its place with --replace: two would leave open which holds",
            )


def write_profile(out: Path, profile: SiteProfile) -> None:
    """Write a profile as a whole: whoever reads meanwhile sees the former one.

    Raises
    ------
    UsageError
        It cannot be written.
    """
    try:
        replace(out, profile.text().encode(), Access(0o644))
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}", "make room, or name a file elsewhere") from None
