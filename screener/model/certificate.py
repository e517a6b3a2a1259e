"""What a model may promise: a certificate in its card, believed only as far as its own counts support it.

A certificate says: of so many patients, of each of whom one slice with a tumour was drawn, so many were missed at this
threshold; so sensitivity reaches ``target`` at confidence ``level`` (exact one-sided binomial bound). Whoever reads a
card works that out again, so that a certificate with a wish in place of a figure certifies nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LEVEL = 0.95
"""Confidence below which nothing counts as certified."""
LEAST_TARGET = 0.5
"""Sensitivity below which nothing counts as certified: else one patient, found, would certify 0.05."""
_MOST_UNITS = 100_000
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was shown once, on patients that chose nothing.

    Attributes
    ----------
    target : float, in [0.5, 1)
        The sensitivity that is certified.
    level : float, in [0.95, 1)
        One-sided confidence.
    bound : float, in (0, 1)
        Lower bound that the counts support at that level.
    units, missed : int
        Patients, or runs of slices that stand for them, and how many of them were missed in one fixed draw.
    unit : str
        What a unit is.
    """

    target: float
    level: float
    bound: float
    units: int
    missed: int
    unit: str


def read_certificate(data: object, threshold: float) -> tuple[Certificate | None, str]:
    """Read the certificate of an operating point.

    Parameters
    ----------
    data : object
        From the card: null, or an object with the fields of `Certificate` and the ``threshold`` that it was shown for.
    threshold : float, in [0, 1]
        That of the operating point.

    Returns
    -------
    certificate : Certificate or None
    why : str
        Why there is none; empty where there is one.
    """
    if data is None:
        return None, "its card holds no certificate"
    if not isinstance(data, dict):
        return None, "its certificate is no object"
    shares = {name: _share(data, name) for name in ("target", "level", "bound", "threshold")}
    counts = {name: _count(data, name) for name in ("units", "missed")}
    wrong = [name for name, value in (*shares.items(), *counts.items()) if value is None]
    if wrong:
        return None, f"its certificate's {wrong[0]} is missing or out of range"
    unit = data.get("unit")
    found = Certificate(
        target=shares["target"] or 0.0,
        level=shares["level"] or 0.0,
        bound=shares["bound"] or 0.0,
        units=counts["units"] or 0,
        missed=counts["missed"] or 0,
        unit=unit if isinstance(unit, str) else "",
    )
    why = _flaw(found, shares["threshold"], threshold)
    return (None, why) if why else (found, "")


def _share(data: Mapping[str, object], name: str) -> float | None:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= 1 else None


def _count(data: Mapping[str, object], name: str) -> int | None:
    value = data.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_UNITS else None


def _flaw(found: Certificate, shown_for: float | None, threshold: float) -> str:
    """Say why a complete certificate does not hold; empty when it does."""
    if shown_for is None or not math.isclose(shown_for, threshold, abs_tol=_ROUNDING):
        return f"its certificate was shown for the threshold {shown_for}, not for {threshold:g}"
    if not found.unit or not found.unit.isprintable():
        return "its certificate does not say what a unit is"
    if not LEVEL <= found.level < 1:
        return f"its certificate has a confidence of {found.level:g}, and {LEVEL:g} is asked"
    if not LEAST_TARGET <= found.target <= found.bound < 1:
        return (
            f"its certificate's bound {found.bound:g} does not reach its target {found.target:g}, or that is below "
            f"{LEAST_TARGET:g}"
        )
    if not supports(found.bound - _ROUNDING, found.level, found.units, found.missed):
        return f"{found.missed} missed of {found.units} do not support a bound of {found.bound:g}"
    return ""


def supports(sensitivity: float, level: float, units: int, missed: int) -> bool:
    """Say whether counts show a sensitivity: fewer misses were unlikely if it were lower (exact binomial, one-sided).

    59 units with none missed just show 0.95 at a level of 0.95, as do 93 with one and 124 with two.

    Parameters
    ----------
    sensitivity, level : float, in (0, 1)
    units, missed : int
    """
    if not 0 < sensitivity < 1 or missed >= units:
        return False
    caught, slipped = math.log(sensitivity), math.log1p(-sensitivity)
    chance = sum(
        math.exp(
            math.lgamma(units + 1)
            - math.lgamma(number + 1)
            - math.lgamma(units - number + 1)
            + number * slipped
            + (units - number) * caught
        )
        for number in range(missed + 1)
    )
    return chance <= 1 - level + 1e-9
