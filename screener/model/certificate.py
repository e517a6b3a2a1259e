"""What a model may promise: a certificate in its card, believed only as far as its own counts support it.

A certificate says: of so many units (patients, of each of whom one slice with a tumour was drawn; or whole studies) so
many were missed at this threshold; so sensitivity reaches ``target`` at confidence ``level`` (exact one-sided binomial
bound). Whoever reads a card works that out again, so that a certificate with a wish in place of a figure certifies
nothing.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from screener.domain.estimate import Count, Rate, Share

LEVEL = 0.95
"""Confidence below which nothing counts as certified."""
LEAST_TARGET = 0.5
"""Sensitivity below which nothing counts as certified: else one patient, found, would certify 0.05."""
METHOD = "exact one-sided binomial bound"
MOST_UNITS = 100_000
_ROUNDING = 1e-6

Units = Annotated[int, Meta(ge=0, le=MOST_UNITS)]


class SourceDetection(msgspec.Struct, frozen=True):
    """What one source contributes to a certificate."""

    units: Annotated[Units, Meta(description="Patients of the source.")]
    slices: Annotated[Count, Meta(description="Their slices with a tumour.")]
    mean_detected: Annotated[Share, Meta(description="Share of its units detected, averaged over all draws.")]


class CertificationAttempt(msgspec.Struct, frozen=True):
    """An earlier model that the same certification set was asked about."""

    version: Annotated[str, Meta(description="Version of that model.")]
    target: Annotated[Share | None, Meta(description="Sensitivity that was certified; null if none.")]
    units: Annotated[Units, Meta(description="Patients counted.")]
    missed: Annotated[Units, Meta(description="How many of them were missed.")]
    created: Annotated[str, Meta(description="When that model was made, UTC; empty where not recorded.")] = ""


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What was shown once, on patients that chose nothing. Slices and studies have the same certificate."""

    threshold: Annotated[Share, Meta(description="Threshold that it was shown for.")]
    level: Annotated[Share, Meta(description="One-sided confidence; at least 0.95 to be believed.")]
    bound: Annotated[Share, Meta(description="Lower bound of sensitivity that the counts support at that level.")]
    units: Annotated[Units, Meta(description="Units counted: patients, or what stands for them.")]
    missed: Annotated[Units, Meta(description="How many of them were missed.")]
    unit: Annotated[str, Meta(description="What a unit is.")]
    target: Annotated[Share | None, Meta(description="Sensitivity that is certified; null where no target is.")] = None
    method: Annotated[str, Meta(description="How the bound follows from the counts.")] = METHOD
    rule: Annotated[
        str, Meta(description="Rule, fixed before the first look, by which threshold and counts arose.")
    ] = ""
    certifies: Annotated[
        Literal["model", "recipe"],
        Meta(description="This very model; or the recipe, judged by models that saw no patient of the same site."),
    ] = "model"
    aimed_at: Annotated[Share | None, Meta(description="Sensitivity aimed at: nothing above it is certified.")] = None
    targets_tried: Annotated[str, Meta(description="Targets in the order in which they were tried.")] = ""
    mean_detected: Annotated[Share | None, Meta(description="Share of units detected, averaged over all draws.")] = None
    missed_interval: Annotated[
        tuple[Count, Count] | None, Meta(description="Units missed in 95 % of draws: from, to.")
    ] = None
    seed: Annotated[int | None, Meta(description="Seed of the draw that was counted.")] = None
    by_source: Annotated[dict[str, SourceDetection], Meta(description="What each source contributes.")] = {}
    sequences: Annotated[tuple[str, ...], Meta(description="Sequences that it speaks of.")] = ()
    specificity: Annotated[Rate | None, Meta(description="Specificity at the threshold on the same set.")] = None
    holds_for: Annotated[str, Meta(description="Whom it holds for, in a sentence.")] = ""
    earlier_attempts: Annotated[
        tuple[CertificationAttempt, ...], Meta(description="Models that the same set was asked about before.")
    ] = ()


def flaw_of(certificate: Certificate | None, threshold: float) -> str:
    """Say why a certificate does not hold for an operating point; empty where it does.

    Parameters
    ----------
    certificate : Certificate or None
        From the card.
    threshold : float, in [0, 1]
        That of the operating point.
    """
    if certificate is None:
        return "its card holds no certificate"
    if not math.isclose(certificate.threshold, threshold, abs_tol=_ROUNDING):
        return f"its certificate was shown for the threshold {certificate.threshold:g}, not for {threshold:g}"
    if not certificate.unit or not certificate.unit.isprintable():
        return "its certificate does not say what a unit is"
    return _unsupported(certificate)


def _unsupported(shown: Certificate) -> str:
    """Say which of level, target and bound the counts do not support; empty where they support all."""
    if not LEVEL <= shown.level < 1:
        return f"its certificate has a confidence of {shown.level:g}, and {LEVEL:g} is asked"
    if shown.target is None:
        return f"{shown.missed} missed of {shown.units} support no target"
    if not LEAST_TARGET <= shown.target <= shown.bound < 1:
        return (
            f"its certificate's bound {shown.bound:g} does not reach its target {shown.target:g}, or that is below "
            f"{LEAST_TARGET:g}"
        )
    if not supports(shown.bound - _ROUNDING, shown.level, shown.units, shown.missed):
        return f"{shown.missed} missed of {shown.units} do not support a bound of {shown.bound:g}"
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
