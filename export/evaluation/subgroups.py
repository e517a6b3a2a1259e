"""Every figure of a model on one set: whole, and by source, site, sequence, plane and tumour size."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from screener.evaluate.measure import detected, figures
from screener.evaluate.metrics import calibration_error, called, rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from export.evaluation.sample import Sample
    from screener.evaluate.metrics import Scored

KINDS = ("source", "site", "sequence", "plane")
SIZES = ("smallest quarter", "second quarter", "third quarter", "largest quarter")
_SHOWN = ("slices", "positives", "units", "refused", "auc", "confusion", "sensitivity", "specificity")


def set_figures(sample: Sample, threshold: float, weights: NDArray[np.float64] | None = None) -> dict[str, Any]:
    """Return what a set shows at a threshold, as the card has it under ``metrics``.

    Parameters
    ----------
    sample : Sample
        N slices.
    threshold : float, in [0, 1]
    weights : ndarray of shape (N,), optional
        How training would weigh the slices: gives ``balanced_calibration_error``, in which neither the largest source
        nor the share of tumours decides.

    Returns
    -------
    dict
        See `screener.evaluate.measure.figures`; ``detection`` of patients, plain ``T1`` left out as the certificate
        does; ``refusals`` by reason; ``parts``: the same by kind and value; ``pointing``.
    """
    scored, promised = sample.scored, sample.part(sample.promised)
    result = _slice_figures(scored, threshold)
    del result["reliability"]
    if weights is not None:
        seen = scored.assessable
        result["balanced_calibration_error"] = calibration_error(
            scored.labels[seen], scored.scores[seen], weights=weights[seen]
        )
    return result | {
        "refusals": dict(sorted(Counter(filter(None, sample.reasons)).items())),
        "detection": detected(promised.scored, promised.patients, threshold),
        "parts": {
            **{kind: _by(sample, sample.column(kind), threshold) for kind in KINDS},
            "tumour size": _sizes(sample, threshold),
        },
        "pointing": pointing_figures(sample, threshold),
    }


def _slice_figures(scored: Scored, threshold: float) -> dict[str, Any]:
    """Return figures whose count is one of ``slices``, as cards name it."""
    result = figures(scored, threshold)
    return {"slices": result.pop("count"), **result}


def _by(sample: Sample, values: NDArray[np.str_], threshold: float) -> dict[str, dict[str, Any]]:
    result = {}
    for value in np.unique(values).tolist():
        row = _slice_figures(sample.scored.part(values == value), threshold)
        result[value or "unknown"] = {name: row[name] for name in _SHOWN}
    return result


def _sizes(sample: Sample, threshold: float) -> dict[str, dict[str, Any]]:
    """Return sensitivity by quarter of the annotated area, as a share of the model's view; boxes and masks alike."""
    size = sample.evidence.size
    known = np.isfinite(size)
    if not known.any():
        return {}
    edges = np.quantile(size[known], (0.25, 0.5, 0.75))
    place = np.where(known, np.digitize(np.nan_to_num(size), edges), -1)
    flagged = called(sample.scored, threshold)
    return {
        name: {"sensitivity": asdict(rate(flagged[place == number], sample.scored.units[place == number]))}
        for number, name in enumerate(SIZES)
    }


def pointing_figures(sample: Sample, threshold: float) -> dict[str, dict[str, Any]]:
    """Return for all and by source how many of the true positives' heatmaps have their maximum inside an annotated box.

    Returns
    -------
    dict
        ``all`` and sources, each with ``inside`` (a rate) and ``energy`` (mean share inside). Empty without heatmaps.
    """
    caught = called(sample.scored, threshold) & (sample.scored.labels == 1) & np.isfinite(sample.evidence.inside)
    sources = sample.column("source")
    result = {}
    for name in ("all", *np.unique(sources[caught]).tolist()):
        here = caught if name == "all" else caught & (sources == name)
        if here.any():
            inside = rate(sample.evidence.inside[here] == 1, sample.scored.units[here])
            result[name] = {"inside": asdict(inside), "energy": float(sample.evidence.energy[here].mean())}
    return result
