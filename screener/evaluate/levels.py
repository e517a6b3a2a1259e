"""Where in the head a slice lies: its height, its level and its tenth."""

from __future__ import annotations

UNORDERED = frozenset({"oasis"})
"""Sources whose slice numbers are not in anatomical order."""
STACKED = frozenset({"tcga_gbm"})
"""Sources in which a stack joins several series, so that its levels are not known."""
TENTHS = 10
_LOWER, _TOP = 0.4, 0.8


def height_of(source: str, index: int | None, count: int | None) -> float | None:
    """Return the height of slice `index`, counted from 1, of `count`; None where the source's order tells none."""
    if source in UNORDERED | STACKED or index is None or count is None:
        return None
    return (index - 1) / max(count - 1, 1)


def level_of(height: float | None) -> str:
    """Return ``lower`` (40 %), ``middle``, ``top`` (20 %), or an empty string where the height is not known."""
    if height is None:
        return ""
    return "lower" if height < _LOWER else "top" if height >= _TOP else "middle"


def tenth_of(height: float | None) -> str:
    """Return the tenth of the head, ``0`` to ``9``; an empty string where the height is not known."""
    return "" if height is None else str(min(int(height * TENTHS), TENTHS - 1))
