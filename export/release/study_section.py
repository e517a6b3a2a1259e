"""The card's section ``study``: how studies are judged, and what that was shown to be worth by patient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from screener.domain.estimate import Rate
from screener.evaluate.detection import supported
from screener.evaluate.metrics import LEVEL, exact_interval
from screener.model.card import CardPoint, StudySection
from screener.model.certificate import Certificate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from screener.domain.estimate import Estimate
    from screener.model.card import StudyAggregation

TARGETS = (0.97, 0.95, 0.93, 0.9, 0.85, 0.8)
"""Sensitivities by patient that are tried, in this order; the highest that the bound reaches is certified."""


def patients_rate(hits: int, count: int) -> Rate:
    """Return a share of patients with its exact two-sided 95 % interval (Clopper & Pearson 1934).

    Parameters
    ----------
    hits, count : int
        Patients; a refused one counts against the figure, as CONTRACTS says of slices.
    """
    if not count:
        return Rate(None)
    low, high = exact_interval(hits, count)
    return Rate(hits / count, low, high, hits, count, count)


def patients_certificate(
    threshold: float,
    missed: int,
    patients: int,
    *,
    rule: str,
    certifies: Literal["model", "recipe"],
    holds_for: str,
    aimed_at: float = TARGETS[0],
    sequences: Sequence[str] = (),
    specificity: Rate | None = None,
) -> Certificate:
    """Return what the counts of patients support, by the exact one-sided binomial bound.

    Parameters
    ----------
    threshold : float, in [0, 1]
        That of the study's ``auto``: a certificate for another threshold is not believed.
    missed, patients : int
        Patients with a tumour whose study was not flagged (a refused study counts as missed), and all of them.
    rule : str
        How threshold and counts arose, written down before the first look.
    certifies : {"model", "recipe"}
        ``recipe`` where each patient was judged by another model than the one released.
    holds_for : str
        Whom it holds for, in a sentence.
    aimed_at : float
        Nothing above it is certified.
    sequences : sequence of str
        Of the series that were judged.
    specificity : Rate, optional
        On tumour-free studies at the same threshold; see `patients_rate`.
    """
    tried = (aimed_at, *(target for target in TARGETS if target < aimed_at))
    bound, target = supported(missed, patients, tried)
    return Certificate(
        threshold=threshold,
        level=LEVEL,
        bound=bound,
        units=patients,
        missed=missed,
        unit="patient",
        target=target,
        rule=rule,
        certifies=certifies,
        aimed_at=aimed_at,
        targets_tried=", ".join(f"{target:g}" for target in tried),
        sequences=tuple(sequences),
        specificity=specificity,
        holds_for=holds_for,
    )


def study_section(
    aggregation: StudyAggregation,
    points: Mapping[str, tuple[float, Rate, Rate]],
    *,
    certificate: Certificate | None = None,
    measured_on: str = "",
    planes: Sequence[str] | None = None,
    sequences: Sequence[str] | None = None,
    estimates: Sequence[Estimate] = (),
) -> StudySection:
    """Return the section ``study`` of a card.

    A card takes it with ``msgspec.structs.replace(card, study=study_section(...))`` before `write_release`.

    Parameters
    ----------
    aggregation : StudyAggregation
    points : mapping of str to (threshold, sensitivity, specificity)
        Operating points of studies by name, ``auto`` among them; where one has the name of a slice's, it judges studies
        when that name is asked for. ``confirmation``, if given, separates HIGH from MEDIUM. Figures by patient.
    certificate : Certificate, optional
        Of ``auto``; see `patients_certificate`. ``auto`` is certified if it holds and has a target.
    measured_on : str
        What sensitivity and specificity were measured on.
    planes, sequences : sequence of str, optional
        For which the model was shown to work, in the words of a finding (``axial``; ``T1``, ``T1ce``, ``T2``,
        ``FLAIR``); a series of any other is not used. None uses all.
    estimates : sequence of Estimate
        Further figures: adjusted AUCs, tumour-free part, key slice, acquisition baseline.
    """
    known = {
        name: CardPoint(threshold, sensitivity=sensitivity, specificity=specificity, measured_on=measured_on)
        for name, (threshold, sensitivity, specificity) in points.items()
    }
    if certificate is not None:
        known["auto"] = msgspec.structs.replace(
            known["auto"],
            recall_target=certificate.aimed_at,
            certified=certificate.target is not None,
            certificate=certificate,
        )
    return StudySection(
        aggregation,
        known,
        planes=None if planes is None else tuple(planes),
        sequences=None if sequences is None else tuple(sequences),
        estimates=tuple(estimates),
    )
