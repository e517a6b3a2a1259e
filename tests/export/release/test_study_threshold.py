"""The operating point of studies: chosen by patient, sensitivity first, the floor of specificity kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.errors import DataError
from export.release.study_threshold import FLOOR, TARGET, StudyScores, choose, measured, study_scores
from screener.evaluate.heads import Row


def scores(positives: list[float], heads: list[float], parts: list[float] | None = None) -> StudyScores:
    return StudyScores(
        {f"s/p{index}": value for index, value in enumerate(positives)},
        {f"s/n{index}": value for index, value in enumerate(heads)},
        {f"s/p{index}": value for index, value in enumerate(parts or [])},
        {},
    )


def test_margin_is_bought_down_to_the_floor_of_specificity() -> None:
    found = choose(scores([0.9, 0.95, 0.99], [0.1] * 9 + [0.6], [0.2] * 10))
    # Two of twenty may be flagged; the third highest answer is 0.2.
    assert found.threshold == pytest.approx(0.2001)
    assert (found.by_source, found.specificity) == ({"s": 1.0}, 0.95)


def test_sensitivity_comes_before_specificity() -> None:
    found = choose(scores([0.3, 0.95, 0.99], [0.5] * 10))
    assert found.threshold == pytest.approx(0.3)
    assert (found.by_source, found.specificity) == ({"s": 1.0}, 0.0)


answers = st.lists(st.floats(0, 1), min_size=1, max_size=60)


@given(answers, answers)
def test_the_target_is_always_reached(positives: list[float], negatives: list[float]) -> None:
    found = choose(scores(positives, negatives))
    assert found.by_source["s"] >= TARGET
    assert found.specificity is not None
    higher = [value for value in positives if value > found.threshold + 1e-4]
    if found.specificity < FLOOR:
        # Only because the next higher threshold would have missed too many.
        assert len(higher) < len(positives)


def test_nothing_is_chosen_on_nobody() -> None:
    with pytest.raises(DataError, match="no whole head"):
        choose(scores([], [0.1]))


def test_refusals_count_by_the_contract_and_plain_t1_is_not_used() -> None:
    def row(patient: str, label: str, sequence: str, index: int, score: float | None) -> Row:
        return Row("x", label, "s", sequence, patient, "A", f"{patient}/{sequence}", index, 6, score)

    rows = [
        *(row("sick", "yes", "FLAIR", index, None) for index in range(1, 7)),
        *(row("sick", "yes", "T1", index, 0.99) for index in range(1, 7)),
        *(row("well", "no", "FLAIR", index, 0.1) for index in range(1, 7)),
        *(row("well", "no", "T1", index, 0.99) for index in range(1, 7)),
    ]
    found = study_scores(rows)
    assert dict(found.with_tumour) == {"s/sick": 0.0}
    assert found.without["s/well"] == pytest.approx(0.1)
    sensitivity, specificity = measured(found, 0.5)
    assert (sensitivity.hits, specificity.hits) == (0, 1)
    assert specificity.low == pytest.approx(0.025)
