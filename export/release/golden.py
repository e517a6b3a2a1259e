"""Golden scores: what a released model says of pictures that everybody has, so that a change shows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from export.data.phantoms import phantom
from screener.evaluate.score import score_files

if TYPE_CHECKING:
    from screener.model.session import Model

TOLERANCE = 1e-3
_PHANTOMS = 8


def golden_scores(model: Model, demo: Path) -> dict[str, Any]:
    """Score the demo pictures and drawn phantoms.

    Parameters
    ----------
    model : Model
    demo : Path
        Folder of pictures; paths in the result are relative to it.

    Returns
    -------
    dict
        ``tolerance`` and ``scores``: path to probability, or to the reason of the refusal.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Golden scores must hold without the extra that reads DICOM.
        files = (path for path in sorted(demo.rglob("*")) if path.is_file() and path.suffix != ".dcm")
        paths = {str(path.relative_to(demo)): path for path in files}
        for seed in range(_PHANTOMS):
            drawn = Path(folder) / f"phantom-{seed}.png"
            drawn.write_bytes(cv2.imencode(".png", phantom(seed, tumour=seed % 2 == 1))[1].tobytes())
            paths[drawn.name] = drawn
        answers = score_files(list(paths.values()), model)
    result = zip(paths, answers.scores.tolist(), answers.reasons, strict=True)
    return {
        "tolerance": TOLERANCE,
        "scores": {name: reason or round(probability, 5) for name, probability, reason in result},
    }
