"""``screener explain``: where the evidence lies on single slices."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from screener.cli.scan import checked_language
from screener.errors import ExitCode, NothingFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from screener.domain.finding import Finding
    from screener.domain.slice import Refused, Slice
    from screener.inbox.isolation import SafeDecoder
    from screener.messages import Language
    from screener.model.session import Model
    from screener.report.explain import Explanation
    from screener.report.overlay import Look
    from screener.triage import TriagePolicy

_FOLDER = "explained"


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to explain, as the options say; `out` None means the user's state folder."""

    out: Path | None
    model: str | None
    threshold: str
    accept_uncertified: bool
    colormap: str
    blend: float
    layers: bool
    lang: str | None


def run(images: Sequence[Path], wanted: Wanted) -> ExitCode:
    """Explain images, and say on stdout what was found and where the pictures lie.

    Returns
    -------
    ExitCode
        ``NOT_ASSESSABLE`` if some could not be judged, ``USAGE`` if pictures of some were there already.

    Raises
    ------
    ScreenerError
        Nothing can be explained; nothing was written.
    """
    from screener.inbox.isolation import SafeDecoder
    from screener.messages import NOTICE
    from screener.model.session import Model
    from screener.report.explain import refuse_without_heatmap
    from screener.report.messages import EVIDENCE
    from screener.report.overlay import Look

    lang = checked_language(wanted.lang)
    look = Look(wanted.colormap, wanted.blend)
    for image in images:
        if not image.is_file():
            raise NothingFoundError(f"no such image: {image}", "give JPEG or PNG files, not folders")
    model = Model.load(wanted.model)
    refuse_without_heatmap(model)
    job = _Job(model, _judge(model, wanted), look, lang, _folder(wanted.out), layers=wanted.layers)
    with SafeDecoder() as decoder:
        codes = {job.explain(image, decoder) for image in images}
    sys.stdout.write(f"{EVIDENCE[lang]}\n{NOTICE[lang]}\n")
    return next((code for code in (ExitCode.USAGE, ExitCode.NOT_ASSESSABLE) if code in codes), ExitCode.OK)


def _judge(model: Model, wanted: Wanted) -> TriagePolicy:
    from screener.triage import TriagePolicy, screening_point

    points = model.card.operating_points
    point = screening_point(wanted.threshold, points, accept_uncertified=wanted.accept_uncertified)
    return TriagePolicy(point, points["confirmation"].threshold, model.card.title, model.sha256)


def _folder(out: Path | None) -> Path:
    """Return where pictures go, made when missing: never beside the slices, where the next scan would find them."""
    from screener.audit import default_log

    folder = default_log().parent / _FOLDER if out is None else out
    try:
        folder.mkdir(mode=0o700, parents=out is None, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}", "name a folder with --out") from None
    return folder


@dataclass(frozen=True, slots=True)
class _Job:
    """What is the same for every image."""

    model: Model
    judge: TriagePolicy
    look: Look
    lang: Language
    folder: Path
    layers: bool

    def explain(self, image: Path, decoder: SafeDecoder) -> ExitCode:
        """Explain one image; what goes wrong with it does not keep the others from their turn."""
        from screener.domain.slice import Refused
        from screener.report.explain import Explanation, explain

        found = _read(image, decoder)
        if isinstance(found, Refused):
            explanation = Explanation(self.judge.refusal(found), {})
        else:
            explanation = explain(found, self.model, self.judge, self.look, self.lang)
            if self.layers and explanation.pictures:
                explanation = replace(explanation, pictures={**explanation.pictures, "layers": self._layers(found)})
        sys.stdout.write(f"{_told(explanation.finding, self.lang)}\n")
        return self._save(explanation)

    def _save(self, explanation: Explanation) -> ExitCode:
        from screener.report.console import safe
        from screener.report.explain import names, save

        if not explanation.pictures:
            return ExitCode.NOT_ASSESSABLE
        for kind, name in names(explanation.finding, list(explanation.pictures)).items():
            try:
                path = save(self.folder, name, explanation.pictures[kind])
            except UsageError as error:
                sys.stderr.write(f"error: {safe(str(error))}\nhint: {error.hint}\n")
                return ExitCode.USAGE
            sys.stdout.write(f"  {safe(str(path))}\n")
        return ExitCode.OK

    def _layers(self, found: Slice) -> NDArray[np.uint8]:
        from screener.preprocess import prepare
        from screener.report.layers import drawing, feature_maps
        from screener.report.messages import EXPLAIN

        maps = feature_maps(self.model, prepare(found.pixels, self.model.card.preprocessing))
        return drawing(maps, EXPLAIN[self.lang]["layers"])


def _read(image: Path, decoder: SafeDecoder) -> Slice | Refused:
    from screener.inbox import Entry, read
    from screener.inbox.walk import shown

    file = image.resolve()
    return read(Entry(file, shown(os.fsencode(file.name)), None), decoder=decoder)


def _told(finding: Finding, lang: Language) -> str:
    """Say in one line what was found."""
    from screener.messages import RECOMMENDATION
    from screener.report.console import against_threshold, safe
    from screener.report.messages import REASON

    told = f"{safe(finding.path)}: {RECOMMENDATION[lang][finding.urgency]}"
    if finding.reason is not None:
        return f"{told} · {REASON[lang][finding.reason]} ({finding.reason.value})"
    if finding.probability is None:
        return told
    return f"{told} · {against_threshold(finding, lang)}"
