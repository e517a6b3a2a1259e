"""Screening from Python."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from screener.domain.slice import Identity, Slice
from screener.errors import UsageError
from screener.model.session import Model
from screener.pipeline.config import ScanConfig
from screener.pipeline.slice import SlicePipeline, build_finding
from screener.triage import TriagePolicy, screening_point

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from screener.domain.finding import Finding
    from screener.domain.slice import Refused
    from screener.domain.study import StudyFinding
    from screener.evaluate.labelled import LabelledSet
    from screener.inbox import FileBytes
    from screener.pipeline.site_profile import SiteProfile

_OPTIONS = (
    "limit",
    "patient_regex",
    "settle",
    "follow_symlinks",
    "isolate",
    "group_by",
    "pseudonymise",
    "redact_paths",
)
"""Of the fields of `ScanConfig`, those that a scan without a log takes."""


class Screener:
    """A loaded model with an operating point.

    Parameters
    ----------
    model : str or Path, optional
        Model folder, ONNX file or name; without it the model that came along.
    threshold : str or float
        Name of an operating point, or a number in [0, 1].
    threads : int, optional
        By default, and at most, the cores that this process may use.
    accept_uncertified : bool
        Screen at ``auto`` although the model is not certified for it.

    Raises
    ------
    ModelError
        The model cannot be used, or `threshold` is ``auto`` and that is not certified.
    UsageError
        The threshold is unknown or outside [0, 1].

    Examples
    --------
    >>> from screener import Screener
    >>> finding = Screener().predict("slice.png")
    >>> finding.decision, finding.probability
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        threshold: str | float = "auto",
        threads: int | None = None,
        accept_uncertified: bool = False,
    ) -> None:
        self.config = ScanConfig.of(
            model=None if model is None else str(model),
            threshold=str(threshold),
            jobs=threads,
            accept_uncertified=accept_uncertified,
        )
        self.model = Model.load(model, threads=threads)
        self._pipeline = SlicePipeline.of(self.model)
        # A decoder that was started for a risky file ends with the last use of this object.
        weakref.finalize(self, self._pipeline.close)
        points = self.model.card.operating_points
        self.policy = TriagePolicy(
            point=screening_point(self.config.threshold, points, accept_uncertified=accept_uncertified),
            confirmation=points["confirmation"].threshold,
            model=self.model.card.title,
            model_sha256=self.model.sha256,
        )

    def predict(self, source: str | Path | NDArray[Any]) -> Finding:
        """Judge one slice.

        Parameters
        ----------
        source : path or ndarray
            A JPEG, PNG or DICOM file of one slice; or an image of shape (H, W) or (H, W, 3): unsigned integers use the
            range that screening gives files of the same depth, floats must lie in [0, 1].

        Returns
        -------
        Finding
            ``not_assessable`` with a reason where nothing trustworthy can be said.

        Raises
        ------
        UsageError
            The array is no image, or the file holds several slices.
        """
        from screener.domain.slice import Refused

        found = self._read(Path(source)) if isinstance(source, str | Path) else _from_array(source)
        outcome = found if isinstance(found, Refused) else self._pipeline.score([found])[0]
        return build_finding(outcome, self.policy)

    def scan(self, inbox: str | Path, **options: object) -> Iterator[Finding]:
        """Judge every file below a folder, in the order of the walk, without writing a log.

        Parameters
        ----------
        inbox : str or Path
        **options
            Of the fields of `screener.pipeline.config.ScanConfig` those that say which files are read, and how:
            `limit`, `patient_regex`, `settle`, `follow_symlinks`, `isolate`, `group_by`, `pseudonymise` and
            `redact_paths`.

        Raises
        ------
        NothingFoundError
            There is nothing to screen.
        UsageError
            An option is unknown, or its value cannot be used.
        """
        from screener.domain.finding import Finding

        return (result for result in self._results(Path(inbox), options) if isinstance(result, Finding))

    def studies(self, inbox: str | Path, **options: object) -> Iterator[StudyFinding]:
        """Judge every study below a folder, in the order of the walk, without writing a log.

        Parameters
        ----------
        inbox : str or Path
        **options
            As for `scan`.

        Raises
        ------
        NothingFoundError
            There is nothing to screen.
        UsageError
            An option is unknown, or its value cannot be used.
        """
        from screener.domain.study import StudyFinding

        return (result for result in self._results(Path(inbox), options) if isinstance(result, StudyFinding))

    def adjust_threshold(
        self,
        labelled: str | Path | LabelledSet,
        recall_target: float = 0.95,
        *,
        site: str = "",
        who: str = "",
        confidence: float = 0.95,
        prevalence: float | None = None,
        accept_uncertified: bool = False,
    ) -> SiteProfile:
        """Choose and certify thresholds of a site; nothing changes until the profile is passed to `use`.

        Parameters
        ----------
        labelled : path or LabelledSet
            Folder with ``yes/`` and ``no/``, or a CSV, with patients; see `screener.evaluate.labelled.read_labelled`.
        recall_target : float, in (0.5, 1)
            Sensitivity by patient.
        site, who : str
            For whom the profile is and who makes it; by default the only site that the data name, and the user.
        confidence : float, in [0.95, 1)
            One-sided.
        prevalence : float, in (0, 1), optional
            Share of studies with a tumour at the site; by default as in the data.
        accept_uncertified : bool
            Return a profile that promises nothing where the target is not shown.

        Raises
        ------
        NotShownError
            The data do not show the target; the message says how many patients are lacking.
        UsageError
            The data or an option cannot be used.
        """
        import getpass

        from screener.calibrate.site import SiteOptions, profile_from_labelled
        from screener.calibrate.threshold import Target
        from screener.evaluate.labelled import LabelledSet, read_labelled

        found = labelled if isinstance(labelled, LabelledSet) else read_labelled(Path(labelled))
        options = SiteOptions(
            site=site,
            who=who or getpass.getuser(),
            target=Target(recall_target, confidence),
            prevalence=prevalence,
            accept_uncertified=accept_uncertified,
        )
        return profile_from_labelled(found, self.model, options).profile

    def use(self, profile: SiteProfile | str | Path, *, accept_uncertified: bool = False) -> None:
        """Judge by the thresholds of a site from now on; the probabilities stay those of the model.

        Parameters
        ----------
        profile : SiteProfile or path
            From `adjust_threshold`, or a file of ``screener calibrate``.
        accept_uncertified : bool
            Use thresholds that were not shown to reach their target all the same.

        Raises
        ------
        ModelError
            The profile is for another model, or a threshold is not certified.
        UsageError
            The file cannot be read.
        """
        from screener.pipeline.site_profile import SiteProfile, find_profile, site_policy

        if not isinstance(profile, SiteProfile):
            profile = find_profile(Path(profile), self.model.card.title, self.model.sha256).profile
        accept = accept_uncertified or self.config.accept_uncertified
        self.policy = site_policy(profile, self.model.card, self.model.sha256, accept_uncertified=accept)

    def _results(self, inbox: Path, options: dict[str, object]) -> Iterator[Finding | StudyFinding]:
        from screener.inbox import check
        from screener.pipeline.scan import Scan

        if unknown := sorted(options.keys() - _OPTIONS):
            raise UsageError(f"a scan without a log has no option {unknown[0]}", f"choose from {', '.join(_OPTIONS)}")
        config = ScanConfig.of(**msgspec.structs.asdict(self.config) | options)
        check(inbox, config.walk_options())
        return Scan(inbox, self.model, self.policy, config=config).results()

    def _read(self, path: Path) -> FileBytes | Refused:
        from screener.inbox import Entry

        items = self._pipeline.read(Entry(path.resolve(), path.name, None)).items
        if len(items) > 1:
            raise UsageError(f"{path} holds {len(items)} slices", "use scan or studies on the folder that holds it")
        return items[0]


def _from_array(image: NDArray[Any]) -> Slice:
    """Take an array for a slice; its digest is that of its bytes."""
    import hashlib

    import numpy as np

    image = np.asarray(image)
    pixels, saturation = _pixels(image)
    return Slice(
        Identity("", hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest(), None), pixels, saturation
    )


def _pixels(image: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
    """Return (H, W), float32, in [0, 1], and the saturation, by the rules of `screener.inbox.decode`."""
    import numpy as np

    hint = "pass (H, W) or (H, W, 3) of uint8, uint16, or floats in [0, 1]"
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or 0 in image.shape:  # noqa: PLR2004
        raise UsageError(f"an array of shape {image.shape} is no slice", hint)
    full = {"uint8": 255, "uint16": 65535, "float16": 1, "float32": 1, "float64": 1}.get(image.dtype.name)
    if full is None:
        raise UsageError(f"an array of {image.dtype} is no slice", hint)
    if full == 1 and not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
        raise UsageError("float pixels outside [0, 1] or not finite", hint)
    # In the machine's own byte order, and in a depth that OpenCV knows.
    image = np.ascontiguousarray(image, dtype=np.float32 if full == 1 else image.dtype.newbyteorder("="))
    saturation = 0.0
    if image.ndim == 3:  # noqa: PLR2004 - (H, W, channels)
        import cv2

        saturation = float((image.max(axis=2) - image.min(axis=2)).mean(dtype=np.float64)) / full
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    pixels = image.astype(np.float32)
    if full == 65535:  # noqa: PLR2004 - 12 bits in 16, as files have them
        low, high = float(pixels.min()), float(pixels.max())
        return np.asarray((pixels - low) / max(high - low, 1), dtype=np.float32), saturation
    return np.asarray(pixels / full, dtype=np.float32), saturation
