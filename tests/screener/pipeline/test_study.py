"""The study's answer from its slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.domain.finding import Decision, Finding, Urgency
from screener.domain.slice import Identity, Prediction, Reason, Refused
from screener.model.card import OperatingPoint
from screener.pipeline.study import Aggregation, StudySlices, study_finding
from screener.triage import TriagePolicy

if TYPE_CHECKING:
    from screener.domain.study import StudyFinding

POLICY = TriagePolicy(OperatingPoint("auto", 0.4), 0.7, "m 1", "0" * 64)
PROBABILITY = st.floats(0, 1)


def slice_finding(number: int, probability: float | None, series: str | None = None) -> Finding:
    identity = Identity(f"p/{number}.png", "", "p", study_id="p", series_id=series)
    if probability is None:
        return POLICY.refusal(Refused(identity, Reason.BLANK))
    return POLICY.finding(identity, Prediction(probability))


def answer(*series: list[float | None], collection: bool = False) -> StudyFinding:
    slices = StudySlices("p", "p")
    number = 0
    for index, probabilities in enumerate(series):
        for probability in probabilities:
            slices.add(slice_finding(number, probability, f"s{index}"))
            number += 1
    return study_finding(slices, POLICY, Aggregation(), collection=collection)


def test_one_noisy_slice_flags_no_patient() -> None:
    assert answer([0.02] * 20 + [0.99] + [0.02] * 20).decision is Decision.NOT_FLAGGED


def test_a_tumour_on_three_thin_slices_does() -> None:
    found = answer([0.02] * 20 + [0.95, 0.97, 0.95] + [0.02] * 20)
    assert (found.decision, found.urgency) == (Decision.FLAGGED, Urgency.MEDIUM)
    # In context these three are equal: each has all three among its neighbours.
    assert sorted(key.position for key in found.key_slices if key.position) == [20.0, 21.0, 22.0]


def test_a_small_study_is_judged_by_its_highest_slice() -> None:
    found = answer([0.1, 0.9])
    assert (found.probability, found.urgency) == (0.9, Urgency.HIGH)


def test_the_best_series_answers_for_the_study() -> None:
    found = answer([0.1] * 9, [0.1] * 2 + [0.8] * 5)
    assert found.probability == pytest.approx(0.8)
    assert [one.series_id for one in found.series] == ["s0", "s1"]
    assert {key.series_id for key in found.key_slices} == {"s1"}


def test_refused_slices_are_counted_and_do_not_hide_a_tumour() -> None:
    found = answer([None] * 30 + [0.9, 0.9, 0.9])
    assert found.decision is Decision.FLAGGED
    assert (found.slices.total, found.slices.assessed, found.slices.not_assessable) == (33, 3, 30)
    assert found.series[0].curve[:30] == (None,) * 30


def test_too_little_left_is_not_assessable() -> None:
    found = answer([None] * 30 + [0.1, 0.1])
    assert (found.decision, found.reason, found.urgency) == (
        Decision.NOT_ASSESSABLE,
        Reason.TOO_FEW_SLICES,
        Urgency.REVIEW,
    )
    assert found.probability is None
    assert found.key_slices == ()


def test_a_study_without_any_slice_tells_why() -> None:
    assert answer([None, None]).reason is Reason.BLANK
    slices = StudySlices("p", "p")
    slices.add(slice_finding(0, None))
    slices.add(POLICY.refusal(Refused(Identity("p/1.png", "", "p"), Reason.CORRUPT)))
    assert study_finding(slices, POLICY, Aggregation()).reason is Reason.NO_ASSESSABLE_SLICE


def test_a_collection_is_no_study() -> None:
    assert answer([0.9, 0.9], collection=True).reason is Reason.NOT_ONE_STUDY


def test_slices_are_ordered_by_number_not_by_letter() -> None:
    slices = StudySlices("p", "p")
    for number in (10, 9, 1):
        slices.add(slice_finding(number, number / 100))
    (series,) = study_finding(slices, POLICY, Aggregation(reach=0)).series
    assert series.curve == (0.01, 0.09, 0.1)


@given(st.lists(st.none() | PROBABILITY, min_size=1, max_size=40))
def test_context_and_series_stay_within_what_was_seen(probabilities: list[float | None]) -> None:
    aggregation = Aggregation()
    known = [value for value in probabilities if value is not None]
    curve, series = aggregation.in_context(probabilities), aggregation.series(probabilities)
    assert [value is None for value in curve] == [value is None for value in probabilities]
    if not known:
        assert series is None
        return
    assert series is not None
    assert min(known) - 1e-9 <= series <= max(known) + 1e-9
    assert all(min(known) - 1e-9 <= value <= max(known) + 1e-9 for value in curve if value is not None)


@given(st.lists(PROBABILITY, min_size=1, max_size=40), st.integers(0, 39), PROBABILITY)
def test_a_higher_slice_never_lowers_the_study(probabilities: list[float], place: int, higher: float) -> None:
    raised = list(probabilities)
    place %= len(raised)
    raised[place] = max(raised[place], higher)
    before, after = Aggregation().series(probabilities), Aggregation().series(raised)
    assert before is not None
    assert after is not None
    assert after >= before - 1e-9
