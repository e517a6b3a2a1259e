"""What a scanner and an export leave in a picture, whatever the anatomy: how well that alone tells a tumour.

Patients with and without a tumour come from different scanners in public collections. A figure over all of them stands
beside this baseline, which sees image size and grey statistics only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PENALTY = 1.0
"""Of the squared weights, against the sum of the losses."""
_STEPS = 50
_TOLERANCE = 1e-8
_LARGEST = 40.0
"""A larger logit is a probability of 0 or 1 in double precision."""


def grey_statistics(image: NDArray[Any]) -> list[float]:
    """Return height, width, mean, standard deviation and five percentiles of a grey picture of shape (H, W)."""
    levels = np.percentile(image, [5, 25, 50, 75, 95]).tolist()
    return [*map(float, image.shape), float(image.mean()), float(image.std()), *levels]


def baseline_scores(
    features: NDArray[np.float64], labels: NDArray[np.int64], units: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Predict each case by a logistic regression on the cases of all other patients.

    Parameters
    ----------
    features : ndarray of shape (N, K)
        Standardised here, over the cases that the regression sees.
    labels : ndarray of shape (N,), 0 or 1
        With both labels left whoever is left out.
    units : ndarray of shape (N,)
        Patient of each case.

    Returns
    -------
    ndarray of shape (N,), float64, in [0, 1]
    """
    scores = np.empty(len(labels))
    for unit in np.unique(units):
        out = units == unit
        mean, spread = features[~out].mean(axis=0), features[~out].std(axis=0)
        scaled = _with_constant((features - mean) / np.where(spread > 0, spread, 1.0))
        scores[out] = _probability(scaled[out], logistic_weights(scaled[~out], labels[~out]))
    return scores


def _with_constant(features: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([features, np.ones(len(features))])


def _probability(features: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.clip(features @ weights, -_LARGEST, _LARGEST)))


def logistic_weights(features: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Fit an L2-penalised logistic regression by Newton's method; the last feature is the constant, not penalised.

    Parameters
    ----------
    features : ndarray of shape (N, K + 1)
    labels : ndarray of shape (N,), 0 or 1

    Returns
    -------
    ndarray of shape (K + 1,)
    """
    penalty = np.diag([_PENALTY] * (features.shape[1] - 1) + [0.0])
    weights = np.zeros(features.shape[1])
    loss = _loss(features, labels, weights)
    for _ in range(_STEPS):
        chances = _probability(features, weights)
        gradient = features.T @ (chances - labels) + penalty @ weights
        curvature = (features * (chances * (1 - chances))[:, None]).T @ features + penalty
        step = np.linalg.solve(curvature + 1e-9 * np.eye(len(weights)), gradient)
        # Halved until it lowers the loss: far from the optimum a full step may overshoot.
        while (lower := _loss(features, labels, weights - step)) > loss and np.abs(step).max() > _TOLERANCE:
            step = step / 2
        weights, loss = weights - step, lower
        if np.abs(step).max() <= _TOLERANCE:
            break
    return weights


def _loss(features: NDArray[np.float64], labels: NDArray[np.int64], weights: NDArray[np.float64]) -> float:
    logits = features @ weights
    return float(
        np.logaddexp(0, np.where(labels == 1, -logits, logits)).sum() + _PENALTY / 2 * (weights[:-1] ** 2).sum()
    )
