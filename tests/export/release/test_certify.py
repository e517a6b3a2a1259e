"""The threshold that is chosen with a margin, and what one look at other patients then supports."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.data.splits import Split
from export.errors import DataError
from export.evaluation.localisation import nowhere
from export.evaluation.sample import Sample
from export.release.certify import certify, choose_auto, even_specificity, refuse_leaks
from export.release.threshold_selection import operating_points
from screener.evaluate.labelled import Record
from screener.evaluate.metrics import Scored
from screener.model.certificate import flaw_of

Slice = tuple[str, str, str, int, float]
"""Source, patient, sequence, label, score."""


def sample(*slices: Slice) -> Sample:
    records = tuple(
        Record(f"{number}.png", label, source=source, sequence=sequence, patient=patient)
        for number, (source, patient, sequence, label, _) in enumerate(slices)
    )
    known = {patient: number for number, (_, patient, *_) in enumerate(slices)}
    units = np.array([known[patient] if patient else 10_000 + number for number, (_, patient, *_) in enumerate(slices)])
    scored = Scored(np.array([one[3] for one in slices]), np.array([one[4] for one in slices]), units)
    return Sample(records, scored, ("",) * len(slices), nowhere(len(slices)))


def patients(count: int, score: float, source: str = "a", sequence: str = "FLAIR", start: int = 0) -> list[Slice]:
    return [(source, f"p{start + number}", sequence, 1, score) for number in range(count)]


def negatives(count: int, score: float, source: str = "a") -> list[Slice]:
    return [(source, f"n{number}", "FLAIR", 0, score) for number in range(count)]


def test_margin_is_bought_while_specificity_lasts() -> None:
    found = choose_auto(sample(*patients(95, 0.8), *patients(5, 0.3, start=95), *negatives(20, 0.1)))
    assert found.threshold == pytest.approx(0.3), "95 of 100 reach the aim; all of them give a bound of 0.97"
    assert found.margin == 0.95
    dear = choose_auto(sample(*patients(95, 0.8), *patients(5, 0.3, start=95), *negatives(20, 0.5)))
    assert dear.threshold == pytest.approx(0.8), "the aim is kept, margin is not bought at any price"
    assert (dear.margin, dear.specificity) == (0.85, 1.0)


def test_the_aim_is_kept_whatever_it_costs() -> None:
    found = choose_auto(sample(*patients(90, 0.8), *patients(10, 0.3, start=90), *negatives(20, 0.5)))
    assert found.threshold == pytest.approx(0.3)
    assert found.specificity == 0.0


def test_the_largest_source_does_not_decide() -> None:
    small = [*patients(9, 0.8, "b", start=1000), *patients(1, 0.2, "b", start=1009)]
    found = choose_auto(sample(*patients(500, 0.9), *small, *negatives(20, 0.1)), 0.96)
    assert found.threshold == pytest.approx(0.2)
    assert found.by_source == {"a": 1.0, "b": 1.0}


def test_a_patient_counts_by_the_share_of_slices_that_are_flagged() -> None:
    half = [("a", "p0", "FLAIR", 1, score) for score in (0.9, 0.9, 0.2, 0.2)]
    found = choose_auto(sample(*half, *patients(1, 0.9, start=1), *negatives(2, 0.1)), 0.75)
    assert found.threshold == pytest.approx(0.9)
    assert found.by_source["a"] == pytest.approx(0.75)
    assert (found.margin, found.units) == (None, 2), "two patients support no bound"


def test_plain_t1_neither_chooses_nor_is_certified() -> None:
    hidden = patients(50, 0.05, sequence="T1", start=500)
    found = choose_auto(sample(*patients(60, 0.9), *hidden, *negatives(5, 0.1)))
    assert found.threshold == pytest.approx(0.9)
    shown = certify(sample(*patients(60, 0.9), *hidden, *negatives(5, 0.1)), 0.5)
    assert shown is not None
    assert (shown.units, shown.sequences) == (60, ("FLAIR",))
    with pytest.raises(DataError, match="promises"):
        choose_auto(sample(*hidden, *negatives(5, 0.1)))


def test_without_patients_leak_free_units_choose_and_nothing_is_certified() -> None:
    unknown_patients = [("a", "", "", 1, 0.9)] * 60 + [("a", "", "", 0, 0.1)] * 10
    assert choose_auto(sample(*unknown_patients)).units == 60
    assert certify(sample(*unknown_patients), 0.5) is None


def test_refused_positives_count_as_missed() -> None:
    some = sample(*patients(99, 0.9), *patients(1, math.nan, start=99), *negatives(5, 0.1))
    assert choose_auto(some).threshold == pytest.approx(0.9)
    assert choose_auto(some).by_source["a"] == pytest.approx(0.99)
    with pytest.raises(DataError, match="10 of its positive slices were refused"):
        choose_auto(sample(*patients(10, 0.9), *patients(10, math.nan, start=10), *negatives(5, 0.1)))


@given(st.lists(st.integers(1, 9999).map(lambda value: value / 1e4), min_size=1, max_size=60), st.floats(0.5, 1))
def test_reaches_the_aim_and_no_more(scores: list[float], target: float) -> None:
    slices = [("a", f"p{number}", "", 1, score) for number, score in enumerate(scores)]
    found = choose_auto(sample(*slices, ("a", "n", "", 0, 1.0)), target)
    assert np.mean([score >= found.threshold for score in scores]) >= target - 1e-9
    higher = [score for score in scores if score > found.threshold + 1e-4]
    assert len(higher) / len(scores) < target + 1e-9


@pytest.mark.parametrize(
    ("missed", "units", "target"), [(0, 59, 0.95), (1, 93, 0.95), (2, 124, 0.95), (6, 119, 0.90), (9, 30, None)]
)
def test_the_highest_rung_that_the_counts_support_is_certified(missed: int, units: int, target: float | None) -> None:
    found = certify(
        sample(*patients(units - missed, 0.9), *patients(missed, 0.1, start=units), *negatives(9, 0.1)), 0.5
    )
    assert found is not None
    assert (found.missed, found.units, found.target) == (missed, units, target)
    assert found.mean_detected == pytest.approx(1 - missed / units)
    assert (flaw_of(found, 0.5) == "") == (target is not None)


def test_nothing_above_the_aim_is_certified() -> None:
    found = certify(sample(*patients(400, 0.9), *negatives(3, 0.1)), 0.5, 0.9)
    assert found is not None
    assert found.target == 0.9 < found.bound


def test_one_fixed_draw_counts_and_the_others_say_whether_it_was_lucky() -> None:
    slices = [("a", f"p{number // 2}", "FLAIR", 1, 0.9 if number % 2 else 0.1) for number in range(80)]
    first, second = (certify(sample(*slices, *negatives(3, 0.1)), 0.5) for _ in range(2))
    assert first == second
    assert first is not None
    assert first.mean_detected == 0.5
    assert first.missed_interval is not None
    low, high = first.missed_interval
    assert low < 20 < high
    assert low <= first.missed <= high
    assert first.specificity is not None
    assert first.specificity.hits == 3


def test_specificity_weighs_sources_alike() -> None:
    found = sample(*negatives(90, 0.1), *negatives(10, 0.9, "b"))
    assert even_specificity(found, 0.5) == 0.5


def test_a_leak_between_the_sets_is_refused() -> None:
    units, sets = np.array([0, 1, 1, 2]), np.array(["fit", "certify", "withheld", "tune"])
    refuse_leaks(Split(units, units, sets))
    with pytest.raises(DataError, match="1 units"):
        refuse_leaks(Split(units, np.array([0, 2, 1, 2]), sets))


def test_points_carry_their_figures() -> None:
    scored = Scored(np.array([1, 1, 1, 0, 0]), np.array([0.9, 0.6, 0.2, 0.1, 0.4]), np.arange(5))
    points = operating_points(scored, 0.6, 0.95, "other slices")
    assert points["auto"].threshold == 0.6
    assert points["auto"].recall_target == 0.95
    assert points["default"].sensitivity is not None
    assert points["default"].sensitivity.hits == 2
    assert not any(point.certified for point in points.values())
