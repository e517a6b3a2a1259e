"""What two models said about the same studies and slices, and how far they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from screener.comparison.paired_tests import AreaDifference, Discordance, compare_areas, mcnemar
from screener.domain.finding import Decision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Answer(NamedTuple):
    """What one model said.

    Attributes
    ----------
    decision : Decision
    probability : float, in [0, 1], or None
    reason : str or None
        Why it is not assessable.
    """

    decision: Decision
    probability: float | None
    reason: str | None = None


class Pair(NamedTuple):
    """What both models said about one study or slice.

    Attributes
    ----------
    name : str
    unit : str
        Its patient; the case itself where no patient is known.
    positive : bool or None
        Whether it shows a tumour; None where nobody said.
    first, second : Answer
    """

    name: str
    unit: str
    positive: bool | None
    first: Answer
    second: Answer


class Side(msgspec.Struct, frozen=True):
    """One of the two models."""

    model: Annotated[str, Meta(description="Name and version.")]
    model_sha256: Annotated[str, Meta(description="Digest of the ONNX file.")]
    operating_point: Annotated[str, Meta(description="Name of the threshold.")]
    threshold: Annotated[float, Meta(ge=0, le=1, description="Of a slice.")]
    study_threshold: Annotated[float, Meta(ge=0, le=1, description="Of a study.")]


class LabelledFigures(msgspec.Struct, frozen=True):
    """Cases with a label: a refused one counts against the model, as in every figure."""

    cases: Annotated[int, Meta(ge=0, description="Cases of this label.")]
    first: Annotated[int, Meta(ge=0, description="Of these, right with the first model.")]
    second: Annotated[int, Meta(ge=0, description="Of these, right with the second model.")]
    test: Annotated[Discordance | None, Meta(description="McNemar; null for slices, which depend on each other.")]


class LevelFigures(msgspec.Struct, frozen=True):
    """Studies, or slices."""

    count: Annotated[int, Meta(ge=0, description="How many both models judged.")]
    decisions: Annotated[
        dict[str, dict[str, int]], Meta(description="Counts by decision of the first model, then of the second.")
    ]
    changed: Annotated[int, Meta(ge=0, description="Cases whose decision differs.")]
    flagged: Annotated[Discordance | None, Meta(description="Flagged by one model alone; McNemar. Null for slices.")]
    largest_difference: Annotated[float | None, Meta(description="Largest difference of two probabilities.")]
    sensitivity: Annotated[LabelledFigures | None, Meta(description="Cases with a tumour; null without labels.")]
    specificity: Annotated[LabelledFigures | None, Meta(description="Cases without a tumour; null without labels.")]
    auc: Annotated[AreaDifference | None, Meta(description="Null without both labels.")]


class ChangedStudy(msgspec.Struct, frozen=True):
    """A study whose decision differs between the two models."""

    study: Annotated[str, Meta(description="The study.")]
    positive: Annotated[bool | None, Meta(description="Whether it shows a tumour; null where nobody said.")]
    first: Annotated[str, Meta(description="Decision of the first model.")]
    second: Annotated[str, Meta(description="Decision of the second model.")]
    first_probability: Annotated[float | None, Meta(description="Probability of the first model.")]
    second_probability: Annotated[float | None, Meta(description="Probability of the second model.")]
    reason: Annotated[str | None, Meta(description="Why one of them did not assess it.")]


class Comparison(msgspec.Struct, frozen=True):
    """Two models on the same studies."""

    source: Annotated[str, Meta(description="Folder, table or log.")]
    labels: Annotated[str | None, Meta(description="Where the labels come from: the set, or verdicts.")]
    first: Annotated[Side, Meta(description="The model in use.")]
    second: Annotated[Side, Meta(description="The candidate.")]
    studies: Annotated[LevelFigures, Meta(description="By study.")]
    slices: Annotated[LevelFigures, Meta(description="By slice.")]
    changed: Annotated[
        tuple[ChangedStudy, ...], Meta(description="Every study whose decision differs: known tumours first.")
    ]
    left_out: Annotated[int, Meta(ge=0, description="Studies that only one of the models judged.")]


def level_figures(pairs: Sequence[Pair], *, independent: bool) -> LevelFigures:
    """Compare two models on cases of one level.

    Parameters
    ----------
    pairs : sequence of Pair
    independent : bool
        Whether a patient has one case only as a rule, so that McNemar's test holds.
    """
    decisions = {str(one): {str(other): 0 for other in Decision} for one in Decision}
    for pair in pairs:
        decisions[pair.first.decision][pair.second.decision] += 1
    gaps = [
        abs(pair.first.probability - pair.second.probability)
        for pair in pairs
        if pair.first.probability is not None and pair.second.probability is not None
    ]
    known = [pair for pair in pairs if pair.positive is not None]
    first, second = _are(pairs, Decision.FLAGGED)
    return LevelFigures(
        count=len(pairs),
        decisions=decisions,
        changed=sum(pair.first.decision is not pair.second.decision for pair in pairs),
        flagged=mcnemar(first, second) if independent else None,
        largest_difference=max(gaps, default=None),
        sensitivity=_labelled(known, Decision.FLAGGED, positive=True, independent=independent),
        specificity=_labelled(known, Decision.NOT_FLAGGED, positive=False, independent=independent),
        auc=_areas(known),
    )


def _are(pairs: Sequence[Pair], decision: Decision) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say of each case whether each model took a decision."""
    return (
        np.array([pair.first.decision is decision for pair in pairs], bool),
        np.array([pair.second.decision is decision for pair in pairs], bool),
    )


def _labelled(known: Sequence[Pair], right: Decision, *, positive: bool, independent: bool) -> LabelledFigures | None:
    chosen = [pair for pair in known if pair.positive is positive]
    if not chosen:
        return None
    first, second = _are(chosen, right)
    test = mcnemar(first, second) if independent else None
    return LabelledFigures(len(chosen), int(first.sum()), int(second.sum()), test)


def _areas(known: Sequence[Pair]) -> AreaDifference | None:
    numbers: dict[str, int] = {}
    units = np.array([numbers.setdefault(pair.unit, len(numbers)) for pair in known], np.int64)
    labels = np.array([pair.positive for pair in known], np.int64)
    first = np.array([_rank(pair.first, positive=bool(pair.positive)) for pair in known], np.float64)
    second = np.array([_rank(pair.second, positive=bool(pair.positive)) for pair in known], np.float64)
    return compare_areas(labels, first, second, units) if known else None


def _rank(answer: Answer, *, positive: bool) -> float:
    """Return a score for the AUC; what was refused has the worst one."""
    if answer.decision is Decision.NOT_ASSESSABLE or answer.probability is None:
        return 0.0 if positive else 1.0
    return answer.probability


def changed_studies(pairs: Sequence[Pair]) -> tuple[ChangedStudy, ...]:
    """Return every study whose decision differs: tumours that one model misses first."""
    changed = [pair for pair in pairs if pair.first.decision is not pair.second.decision]
    order = {True: 0, None: 1, False: 2}
    return tuple(
        ChangedStudy(
            pair.name,
            pair.positive,
            str(pair.first.decision),
            str(pair.second.decision),
            pair.first.probability,
            pair.second.probability,
            pair.first.reason or pair.second.reason,
        )
        for pair in sorted(changed, key=lambda pair: (order[pair.positive], pair.name))
    )
