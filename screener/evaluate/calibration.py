"""Temperature and Platt scaling: two numbers that make probabilities agree with the share of tumours.

The temperature (Guo et al., ICML 2017) divides the logit and leaves 0.5 where it was. Platt's second number moves it;
it is fitted by likelihood like the first, never to a cut, and used only where a temperature alone leaves a calibration
error above `ENOUGH`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from screener.evaluate.metrics import calibration_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENOUGH = 0.05
"""Expected calibration error that a temperature alone may leave."""
_EDGE = 1e-7


@dataclass(frozen=True)
class Calibration:
    """New logit = `scale` · logit + `offset`.

    Attributes
    ----------
    kind : {"temperature", "Platt"}
    scale : float, above 0
        One over the temperature.
    offset : float
        0 for a temperature.
    """

    kind: Literal["temperature", "Platt"]
    scale: float
    offset: float = 0.0

    def apply(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the calibrated model says: (N,), NaN where it was."""
        return np.asarray(1 / (1 + np.exp(-(self.scale * _logits(scores) + self.offset))))


def _logits(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    safe = np.clip(scores, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(safe) - np.log1p(-safe))


def calibrate(
    labels: NDArray[np.int64], scores: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[Calibration, dict[str, float]]:
    """Fit a temperature, and Platt's two numbers where that is not enough.

    Parameters
    ----------
    labels : ndarray of shape (N,), int
    scores : ndarray of shape (N,), float64, in [0, 1]
    weights : ndarray of shape (N,), float64

    Returns
    -------
    calibration : Calibration
    errors : dict of str to float
        Weighted expected calibration error ``before``, with a ``temperature``, and with ``Platt``.
    """
    tried = {"temperature": _fitted(labels, scores, weights, bias=False)}
    tried["Platt"] = _fitted(labels, scores, weights, bias=True)
    errors = {"before": calibration_error(labels, scores, weights=weights)}
    errors |= {kind: calibration_error(labels, found.apply(scores), weights=weights) for kind, found in tried.items()}
    enough = errors["temperature"] <= max(ENOUGH, errors["Platt"])
    return tried["temperature" if enough else "Platt"], errors


def _fitted(
    labels: NDArray[np.int64], scores: NDArray[np.float64], weights: NDArray[np.float64], *, bias: bool
) -> Calibration:
    """Minimise the weighted cross-entropy over the logarithm of the scale, and over the offset if there is one."""
    from scipy.optimize import minimize

    logits, shares = _logits(scores), weights / weights.sum()

    def loss(numbers: NDArray[np.float64]) -> float:
        moved = np.exp(numbers[0]) * logits + (numbers[1] if bias else 0.0)
        return float((shares * (np.logaddexp(0, moved) - labels * moved)).sum())

    # A set that is told apart without an error would ask for an infinite scale.
    bounds = [(-3.0, 3.0), (-5.0, 5.0)][: 1 + bias]
    found = minimize(loss, np.zeros(1 + bias), bounds=bounds, method="L-BFGS-B").x
    return Calibration("Platt" if bias else "temperature", float(np.exp(found[0])), float(found[1]) if bias else 0.0)
