"""A site's log of studies and verdicts, for the tests of site profiles."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from screener.audit import AuditLog
from screener.domain.verdict import Verdict
from tests.conftest import parsed_card
from tests.study_logs import SHA256, THRESHOLD, StudyLog

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from screener.model.session import Model


def logged_model(sha256: str = SHA256) -> Model:
    """Return what calibration from a log needs of the model that judged there."""
    return cast("Model", SimpleNamespace(card=parsed_card(), sha256=sha256))


def site_log(
    path: Path,
    positives: int,
    negatives: int,
    *,
    sampling: float | None = 1.0,
    seed: int = 0,
    extra: Mapping[str, list[float | None]] | None = None,
) -> StudyLog:
    """Write a log of studies of five slices: those with a tumour score high; verdicts as a clinic gives them.

    Parameters
    ----------
    path : Path
    positives, negatives : int
        Studies, of a patient each.
    sampling : float or None
        Share of what was not flagged that is read; None reads none of it.
    seed : int
    extra : mapping
        Further studies, which nobody reads.
    """
    rng = np.random.default_rng(seed)
    scores = {f"t{n}": 0.5 + 0.5 * float(rng.random()) for n in range(positives)}
    scores |= {f"n{n}": 0.45 * float(rng.random()) ** 2 for n in range(negatives)}
    log = StudyLog(path)
    log.run({name: [score] * 5 for name, score in scores.items()} | dict(extra or {}))
    verdicts = []
    for name, score in scores.items():
        flagged = score >= THRESHOLD
        if not flagged and (sampling is None or rng.random() >= sampling):
            continue
        details: dict[str, Any] = {"drawn": "flagged"} if flagged else {"drawn": "sample", "sampling": sampling}
        truth = "tumour" if name.startswith("t") else "no_tumour"
        verdicts.append(Verdict(log.studies[name], "dr.a", truth, None, details))
    with AuditLog(path, exclusive=False) as writer:
        writer.reviews(verdicts)
    return log
