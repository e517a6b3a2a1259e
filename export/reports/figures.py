"""Figures as text: a share or an area with its 95 % interval and the counts behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from screener.domain.estimate import Estimate, Rate

    Figure = Mapping[str, Any] | Rate | Estimate

UNKNOWN = "–"
_FIELDS = ("value", "low", "high", "hits", "count", "units")


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits, or a dash where it is not known."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def interval(figure: Figure | None) -> str:
    """Return ``value (low–high)``; the value alone where it has no interval, a dash where there is no value."""
    row = _fields(figure)
    if row.get("value") is None:
        return UNKNOWN
    if row.get("low") is None or row.get("high") is None:
        return number(row["value"])
    return f"{number(row['value'])} ({number(row['low'])}–{number(row['high'])})"


def difference(figure: Figure | None) -> str:
    """Return a difference with its sign, ``value (low to high)``; the value alone where it has no interval."""
    row = _fields(figure)
    if row.get("value") is None:
        return UNKNOWN
    if row.get("low") is None or row.get("high") is None:
        return f"{row['value']:+.3f}"
    return f"{row['value']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"


def counted(figure: Figure | None, unit: str = "", unknown: str = UNKNOWN) -> str:
    """Return ``value (low–high; hits/count unit)``, or `unknown` where nothing was counted."""
    row = _fields(figure)
    if row.get("value") is None:
        return unknown
    counts = f"{row['hits']}/{row['count']}{f' {unit}' if unit else ''}"
    return f"{number(row['value'])} ({number(row['low'])}–{number(row['high'])}; {counts})"


def rate(figure: Figure | None) -> str:
    """Return a rate of slices with its interval over units, and both counts."""
    row = _fields(figure)
    return counted(row, f"slices, {row.get('units')} units", unknown="not measured")


def ordered(rows: Mapping[str, Any], first: Iterable[str] = ()) -> list[tuple[str, Any]]:
    """Return a mapping's items: some names first, the others by name.

    A card comes from memory or from a file whose keys are sorted; a page must not depend on which.
    """
    places = {name: place for place, name in enumerate(first)}
    return sorted(rows.items(), key=lambda item: (places.get(item[0], len(places)), item[0]))


def _fields(figure: Figure | None) -> dict[str, Any]:
    if figure is None or isinstance(figure, Mapping):
        return dict(figure or {})
    return {name: getattr(figure, name, None) for name in _FIELDS}
