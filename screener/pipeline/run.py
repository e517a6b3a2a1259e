"""A run that writes to a log: what is checked and loaded before its first slice, and what START records of it."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from screener.audit import AuditLog
    from screener.model.session import Model
    from screener.pipeline.config import ScanConfig
    from screener.pipeline.site_profile import ProfileFile
    from screener.privacy import Pseudonyms
    from screener.triage import TriagePolicy


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the options of a run come from.

    Attributes
    ----------
    file : Path or None
        The configuration file that was read.
    sha256 : str
        Of that file.
    origins : mapping of str to str
        Of each option that was set: ``command line``, ``environment`` or ``configuration``.
    """

    file: Path | None
    sha256: str
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ScanRun:
    """What is known of a run before its log is opened.

    Attributes
    ----------
    inbox : Path
    config : ScanConfig
    pseudonyms : Pseudonyms or None
    model : Model
    policy : TriagePolicy
    log : Path
    provenance : Provenance or None
        None where the options come from Python.
    shadow : mapping or None
        The candidate that judges after this run, as `named` says.
    profile : ProfileFile or None
        The site profile that sets the thresholds.
    """

    inbox: Path
    config: ScanConfig
    pseudonyms: Pseudonyms | None
    model: Model
    policy: TriagePolicy
    log: Path
    provenance: Provenance | None = None
    shadow: Mapping[str, str] | None = None
    profile: ProfileFile | None = None

    @classmethod
    def prepare(cls, inbox: Path, config: ScanConfig, provenance: Provenance | None = None) -> ScanRun:
        """Look at everything that can be wrong with log, anchor, key and model, and load the model.

        Raises
        ------
        ScreenerError
            Of the class that owns the exit code; nothing was written.
        """
        from screener.model.session import Model

        log, pseudonyms = checked_log(inbox, config), config.pseudonyms()
        _refuse_precision(config.precision)
        _import_ahead()
        model = Model.load(config.model, threads=config.jobs)
        profile = _profile(model, config)
        policy = policy_of(model, config, profile)
        return cls(inbox, config, pseudonyms, model, policy, log, provenance, profile=profile)

    @property
    def shown_inbox(self) -> str:
        """The inbox as the log and the page name it: two inboxes of one log must not look like one."""
        return shown_place(self.inbox, self.config, self.pseudonyms)

    def audit_log(self) -> AuditLog:
        """Return the log, to be opened for one run."""
        from screener.audit import AuditLog

        config = self.config
        return AuditLog(
            self.log, wait=config.wait, group=config.log_group, anchor=config.anchor, fsync_every=config.fsync_every
        )

    def details(self) -> dict[str, object]:
        """Return what the START event records of this run."""
        from screener import __version__
        from screener.pipeline.study import Aggregation

        point = self.policy.point
        return {
            "tool_version": __version__,
            "inbox": self.shown_inbox,
            "model": self.model.card.title,
            "model_sha256": self.model.sha256,
            "preprocessing": self.model.card.preprocessing.fingerprint(),
            "threshold": point.threshold,
            "operating_point": point.name,
            "certified": point.certified,
            "threshold_origin": self.threshold_origin,
            "study_threshold": Aggregation.of(self.model.card).point(self.policy).threshold,
            "profile": self._told_profile(),
            "options": self.config.recorded(),
            "configuration": self._configuration(),
            "shadow": None if self.shadow is None else dict(self.shadow),
            "origins": {} if self.provenance is None else dict(self.provenance.origins),
        }

    def named(self) -> dict[str, str]:
        """Return the model as the START of another run names it."""
        point = self.policy.point
        threshold = float.__repr__(point.threshold)
        return {
            "model": self.model.card.title,
            "model_sha256": self.model.sha256,
            "operating_point": point.name,
            "threshold": threshold,
        }

    @property
    def threshold_origin(self) -> str:
        """Where the thresholds come from: ``profile``, the model's ``card``, or a ``number`` that was given."""
        from screener.triage import CUSTOM

        if self.profile is not None:
            return "profile"
        return "number" if self.policy.point.name == CUSTOM else "card"

    def _told_profile(self) -> dict[str, object] | None:
        """Return which site profile was read, and what its operating points are called."""
        if self.profile is None:
            return None
        profile = self.profile.profile
        return {
            "path": shown_place(self.profile.path, self.config, self.pseudonyms),
            "sha256": self.profile.sha256,
            "site": profile.site,
            "who": profile.who,
            "created": profile.created,
            "points": {level: point.name for level, point in profile.points().items()},
        }

    def _configuration(self) -> dict[str, str] | None:
        """Return which configuration file was read."""
        found = self.provenance
        if found is None or found.file is None:
            return None
        return {"path": shown_place(found.file, self.config, self.pseudonyms), "sha256": found.sha256}


def shown_place(path: Path, config: ScanConfig, pseudonyms: Pseudonyms | None) -> str:
    """Return an inbox, or another place, as the log names it."""
    place = str(path.absolute())
    return place if pseudonyms is None or not config.redact_paths else pseudonyms.name(place)


def checked_log(inbox: Path, config: ScanConfig) -> Path:
    """Look at everything that can be wrong with the places of log and anchor, and return the log.

    Raises
    ------
    UsageError
        One of them lies in the inbox, or both are the same.
    """
    from screener.audit import default_log, refuse_inside
    from screener.audit.files import refuse_shadow

    path = config.log or default_log()
    refuse_shadow(path)
    refuse_inside(path, inbox)
    if config.anchor is not None:
        refuse_inside(config.anchor, inbox)
        if config.anchor.absolute() == path.absolute():
            raise UsageError("--anchor names the log itself", "name another file, out of the log's reach")
    return path


def _import_ahead() -> None:
    """Import OpenCV while onnxruntime builds its session, which leaves the interpreter free for a tenth of a second.

    onnxruntime is imported first, and numpy with it: numpy does not stand being imported by two threads at once.
    """
    import onnxruntime  # noqa: F401

    threading.Thread(target=_import_opencv).start()


def _import_opencv() -> None:
    from screener.inbox import opencv

    opencv.prepare()
    # Where it cannot be imported, whoever needs it next says so.
    with suppress(ImportError):
        import cv2  # noqa: F401


def _refuse_precision(requested: str) -> None:
    """Make sure that the model exists in the precision asked for: other arithmetic gives other scores."""
    if requested == "int8":
        raise ModelError("no int8 variant of this model was released", "leave --precision out: fp32 runs everywhere")


def _profile(model: Model, config: ScanConfig) -> ProfileFile | None:
    if config.profile is None:
        return None
    from screener.pipeline.site_profile import find_profile

    return find_profile(config.profile, model.card.title, model.sha256)


def policy_of(model: Model, config: ScanConfig, profile: ProfileFile | None = None) -> TriagePolicy:
    """Return what a model decides by, as a scan is configured, or as the profile of a site says.

    Raises
    ------
    ScreenerError
        The model has no such operating point, the one asked for is not certified, or the profile is for another model.
    """
    from screener.triage import TriagePolicy, screening_point

    if profile is not None:
        from screener.pipeline.site_profile import site_policy

        accept = config.accept_uncertified
        return site_policy(profile.profile, model.card, model.sha256, accept_uncertified=accept)
    points = model.card.operating_points
    return TriagePolicy(
        point=screening_point(config.threshold, points, accept_uncertified=config.accept_uncertified),
        confirmation=points["confirmation"].threshold,
        model=model.card.title,
        model_sha256=model.sha256,
    )
