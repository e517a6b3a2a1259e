"""Operating points with what they were measured to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from screener.domain.estimate import Rate
from screener.evaluate.metrics import operating_figures
from screener.model.card import CardPoint

if TYPE_CHECKING:
    from screener.evaluate.metrics import Scored

FIXED_POINTS = {"default": 0.5, "screening": 0.3, "confirmation": 0.7}


def operating_points(scored: Scored, auto: float, recall_target: float, measured_on: str) -> dict[str, CardPoint]:
    """Return the card's operating points, each with what it does; none is certified yet.

    Parameters
    ----------
    scored : Scored
        The slices to measure on.
    auto : float, in [0, 1]
        The threshold chosen for `recall_target`.
    recall_target : float, in (0, 1]
    measured_on : str
        What the card calls these slices.
    """
    points = {}
    for name, threshold in (FIXED_POINTS | {"auto": auto}).items():
        figures = operating_figures(scored, threshold)
        points[name] = CardPoint(
            threshold=threshold,
            sensitivity=Rate(**figures["sensitivity"]),
            specificity=Rate(**figures["specificity"]),
            measured_on=measured_on,
            recall_target=recall_target if name == "auto" else None,
        )
    return points
