"""Show where the model found its evidence on single slices: an overlay, and a sheet that says what it is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.errors import ModelError, UsageError
from screener.messages import NOTICE, RECOMMENDATION
from screener.report.console import against_threshold
from screener.report.messages import EVIDENCE, EXPLAIN
from screener.report.overlay import Look, contours, grey, overlay, scale_bar, strongest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from screener.domain.finding import Finding
    from screener.domain.slice import Slice
    from screener.inbox import FileBytes
    from screener.messages import Language
    from screener.model.session import Model
    from screener.pipeline.slice import SlicePipeline
    from screener.preprocess import Frame
    from screener.triage import TriagePolicy

_NAME_BYTES = 200
"""Of a slice's own name that a picture of it is called by."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the model said of one slice, and the pictures of why.

    Attributes
    ----------
    finding : Finding
    pictures : mapping of str to ndarray of shape (H, W, 3), uint8
        By name: ``overlay`` at the slice's own resolution, ``combined`` beside the slice with scale and text. Empty
        when the slice could not be judged.
    """

    finding: Finding
    pictures: Mapping[str, NDArray[np.uint8]]


def refuse_without_heatmap(model: Model) -> None:
    """Make sure that the model says where.

    Raises
    ------
    ModelError
        It only says whether.
    """
    if not model.card.outputs.heatmap:
        raise ModelError(
            f"the model {model.card.title} has no heatmap: it cannot say where its evidence lies",
            "use the model that came with the tool, or export this one with a heatmap output",
        )


@dataclass(frozen=True, slots=True)
class _View:
    """A slice's pixels (H, W), and the part of them that the model sees."""

    pixels: NDArray[np.float32]
    frame: Frame


def pipeline_with_evidence(model: Model) -> SlicePipeline:
    """Return the pipeline that `explain` needs.

    Raises
    ------
    ModelError
        The model has no heatmap.
    """
    from screener.pipeline.slice import SlicePipeline

    refuse_without_heatmap(model)
    return SlicePipeline.of(model, heatmaps=True, keep=_View)


def explain(
    slice_: FileBytes | Slice,
    pipeline: SlicePipeline,
    policy: TriagePolicy,
    look: Look,
    lang: Language,
    *,
    layers: bool = False,
) -> Explanation:
    """Judge one slice as a scan would, and draw the evidence.

    Parameters
    ----------
    slice_ : FileBytes or Slice
    pipeline : SlicePipeline
        From `pipeline_with_evidence`.
    policy : TriagePolicy
    look : Look
    lang : {"en", "fr"}
    layers : bool
        Also draw what the first layers of the model pass on, as the picture ``layers``.

    Raises
    ------
    ModelError
        The model failed, or came without its early layers.
    """
    from screener.domain.slice import Refused
    from screener.pipeline.slice import build_finding

    prepared = pipeline.prepare(slice_)
    if isinstance(prepared, Refused):
        return Explanation(build_finding(prepared, policy), {})
    (scored,) = pipeline.predict([prepared])
    finding, heatmap, view = build_finding(scored, policy), scored.prediction.heatmap, scored.kept
    if finding.probability is None or heatmap is None or not isinstance(view, _View):
        return Explanation(finding, {})
    pictures = draw(view.pixels, view.frame.restore(heatmap), finding, look, lang)
    if layers:
        pictures["layers"] = _layers(pipeline.model, prepared.tensor, lang)
    return Explanation(finding, pictures)


def _layers(model: Model, tensor: NDArray[np.float32], lang: Language) -> NDArray[np.uint8]:
    from screener.report.layers import drawing, feature_maps

    return drawing(feature_maps(model, tensor), EXPLAIN[lang]["layers"])


def draw(
    pixels: NDArray[np.float32], evidence: NDArray[np.float32], finding: Finding, look: Look, lang: Language
) -> dict[str, NDArray[np.uint8]]:
    """Return the pictures of an explanation.

    Parameters
    ----------
    pixels, evidence : ndarray of shape (H, W), float32, in [0, 1]
    finding : Finding
    look : Look
    lang : {"en", "fr"}
    """
    from screener.report.explanation_sheet import combined, scale_width

    over = overlay(pixels, evidence, look)
    scale = scale_bar(over.shape[0], scale_width(), strongest(evidence), look.colormap)
    text = caption(finding, lang, stands_out=bool(contours(evidence)))
    return {"overlay": over, "combined": combined(grey(pixels), over, scale, text)}


def caption(finding: Finding, lang: Language, *, stands_out: bool) -> list[str]:
    """Return what must be said with the pictures."""
    words = EXPLAIN[lang]
    score = words["score"].format(
        score=against_threshold(finding, lang), point=finding.operating_point, model=finding.model
    )
    where = words["line" if stands_out else "no_place"]
    return [RECOMMENDATION[lang][finding.urgency], score, f"{EVIDENCE[lang]} {words['scale']} {where}", NOTICE[lang]]


def names(finding: Finding, kinds: list[str]) -> dict[str, str]:
    """Return a file name for each picture: that of the slice, and enough of its hash to tell two of one name apart."""
    stem = _cut(finding.path.rpartition("/")[2])
    frame = "" if finding.frame is None else f"-{finding.frame}"
    return {kind: f"{stem}-{finding.sha256[:8]}{frame}.{kind}.png" for kind in kinds}


def _cut(name: str) -> str:
    """Shorten a name to what leaves room for ours: file systems take 255 bytes."""
    return name.encode()[:_NAME_BYTES].decode("utf-8", "ignore")


def save(folder: Path, name: str, picture: NDArray[np.uint8]) -> Path:
    """Write a picture where there is none yet, readable by its owner only.

    Raises
    ------
    UsageError
        There is a file of that name, which is left alone, or the folder cannot be written.
    """
    import cv2

    _, data = cv2.imencode(".png", picture)
    path = folder / name
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists and is left alone", "name another folder with --out") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "name another folder with --out") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data.tobytes())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error.strerror}", "free some space") from None
    return path
