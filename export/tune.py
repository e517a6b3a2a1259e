"""Choose the operating point ``auto`` on the tune set."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from export.errors import DataError
from screener.evaluate.metrics import Scored, operating_figures

if TYPE_CHECKING:
    from typing import Any

FIXED_POINTS = {"default": 0.5, "screening": 0.3, "confirmation": 0.7}


def adjust_threshold(scored: Scored, recall_target: float = 0.95) -> float:
    """Return the highest threshold that still flags `recall_target` of the positive slices.

    Refused positives count as missed. The threshold is a score that occurs, rounded down to four decimals, so that
    what is printed is what is compared.

    Parameters
    ----------
    scored : Scored
        The tune set.
    recall_target : float, in (0, 1]

    Raises
    ------
    DataError
        There is no positive slice, or so many were refused that no threshold reaches the target.
    """
    if not 0 < recall_target <= 1:
        raise DataError(f"a recall target of {recall_target} is not within (0, 1]", "0.95 is usual")
    scores = np.sort(scored.worst()[scored.labels == 1])[::-1]
    if not len(scores):
        raise DataError("the tune set holds no positive slice", "add labelled slices with a tumour")
    reached = float(scores[math.ceil(recall_target * len(scores) - 1e-9) - 1])
    refused = int((~scored.assessable & (scored.labels == 1)).sum())
    if refused > len(scores) - math.ceil(recall_target * len(scores) - 1e-9):
        raise DataError(
            f"{refused} of {len(scores)} positive tune slices were refused: recall {recall_target} is out of reach",
            "look at why they were refused, or lower the target",
        )
    return math.floor(reached * 1e4) / 1e4


def operating_points(scored: Scored, recall_target: float = 0.95) -> dict[str, dict[str, Any]]:
    """Return the card's operating points, each with what it does on the tune set.

    Parameters
    ----------
    scored : Scored
        The tune set.
    recall_target : float, in (0, 1]
    """
    thresholds = FIXED_POINTS | {"auto": adjust_threshold(scored, recall_target)}
    points = {}
    for name, threshold in thresholds.items():
        figures = operating_figures(scored, threshold)
        points[name] = {
            "threshold": threshold,
            "sensitivity": figures["sensitivity"],
            "specificity": figures["specificity"],
            "measured_on": "tune set",
            "recall_target": recall_target if name == "auto" else None,
            "certified": False,
            "certificate": None,
        }
    return points
