"""``screener explain``: where the evidence lies on single slices."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.cli.language import checked_language
from screener.errors import ExitCode, NothingFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from screener.domain.finding import Finding
    from screener.messages import Language
    from screener.model.session import Model
    from screener.pipeline.slice import SlicePipeline
    from screener.report.explain import Explanation
    from screener.report.overlay import Look
    from screener.triage import TriagePolicy

_FOLDER = "explained"


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """How to explain, as the options say; `out` None means the user's state folder."""

    out: Path | None
    model: str | None
    threshold: str
    accept_uncertified: bool
    colormap: str
    blend: float
    layers: bool
    lang: str | None


def run(images: Sequence[Path], options: ExplainOptions) -> ExitCode:
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
    from screener.messages import NOTICE
    from screener.model.session import Model
    from screener.report.explain import pipeline_with_evidence
    from screener.report.messages import EVIDENCE
    from screener.report.overlay import Look

    lang = checked_language(options.lang)
    look = Look(options.colormap, options.blend)
    for image in images:
        if not image.is_file():
            raise NothingFoundError(f"no such image: {image}", "give JPEG or PNG files, not folders")
    model = Model.load(options.model)
    with pipeline_with_evidence(model) as pipeline:
        job = _Job(pipeline, _policy(model, options), look, lang, _folder(options.out), layers=options.layers)
        codes = {code for image in images for code in job.explain(image)}
    sys.stdout.write(f"{EVIDENCE[lang]}\n{NOTICE[lang]}\n")
    return next((code for code in (ExitCode.USAGE, ExitCode.NOT_ASSESSABLE) if code in codes), ExitCode.OK)


def _policy(model: Model, options: ExplainOptions) -> TriagePolicy:
    from screener.triage import TriagePolicy, screening_point

    points = model.card.operating_points
    point = screening_point(options.threshold, points, accept_uncertified=options.accept_uncertified)
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

    pipeline: SlicePipeline
    policy: TriagePolicy
    look: Look
    lang: Language
    folder: Path
    layers: bool

    def explain(self, image: Path) -> Iterator[ExitCode]:
        """Explain the slices of one file; what goes wrong with it does not keep the others from their turn."""
        from screener.domain.slice import Refused
        from screener.inbox import Entry
        from screener.inbox.walk import shown
        from screener.report.explain import Explanation, explain

        file = image.resolve()
        for item in self.pipeline.read(Entry(file, shown(os.fsencode(file.name)), None)).items:
            if isinstance(item, Refused):
                explanation = Explanation(self.policy.refusal(item), {})
            else:
                explanation = explain(item, self.pipeline, self.policy, self.look, self.lang, layers=self.layers)
            sys.stdout.write(f"{_sentence(explanation.finding, self.lang)}\n")
            yield self._save(explanation)

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


def _sentence(finding: Finding, lang: Language) -> str:
    """Say in one line what was found."""
    from screener.messages import RECOMMENDATION
    from screener.report.console import against_threshold, safe
    from screener.report.messages import REASON

    text = f"{safe(finding.path)}: {RECOMMENDATION[lang][finding.urgency]}"
    if finding.reason is not None:
        return f"{text} · {REASON[lang][finding.reason]} ({finding.reason.value})"
    if finding.probability is None:
        return text
    return f"{text} · {against_threshold(finding, lang)}"
