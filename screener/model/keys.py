"""Keys of the card that differ from the attribute's name, in one place: cards of schema 1 have them."""

from __future__ import annotations

KEYS = {
    "embedding_reference": "gate",
    "distance_by_source": "reach",
    "kept_share": "kept",
    "mean_detected": "average",
    "missed_interval": "usual",
    "targets_tried": "rungs",
    "by_source": "sources",
    "earlier_attempts": "earlier",
    "points": "operating_points",
}
"""Attribute → key in the JSON, for every struct of the card."""
