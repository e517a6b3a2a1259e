"""The operating point of studies: chosen by patient, sensitivity first, the floor of specificity kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.errors import DataError
from export.files import save_json
from export.release.study_threshold import (
    FLOOR,
    TARGET,
    StudyScores,
    _of_model,
    _of_recipe,
    choose,
    measured,
    study_scores,
)
from screener.evaluate.heads import Row
from screener.model.certificate import flaw_of

if TYPE_CHECKING:
    from pathlib import Path


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


def test_the_certification_set_certifies_the_model_where_no_cross_fit_does() -> None:
    found = _of_model(scores([0.9] * 16, [0.1] * 3), 0.4)
    assert found is not None
    assert (found.missed, found.units, found.target, found.certifies) == (0, 16, 0.8, "model")
    assert flaw_of(found, 0.4) == ""
    assert _of_model(scores([], [0.1]), 0.4) is None


def test_a_cross_fit_certifies_the_recipe_once_every_fold_is_there(tmp_path: Path) -> None:
    path = tmp_path / "cross-fit.json"
    folds = {"a": {"epochs": 8}, "b": {"epochs": 8}}
    counts = {"folds": folds, "certificate": {"missed": 1, "patients": 91}, "specificity": {"hits": 13, "count": 14}}
    save_json(path, {**counts, "missing": []})
    found = _of_recipe(path, 0.4)
    assert found is not None
    assert (found.missed, found.units, found.target, found.certifies) == (1, 91, 0.93, "recipe")
    assert found.rule.endswith("Each fold is trained for 8 epochs.")
    save_json(path, {**counts, "missing": ["tcga_gbm"]})
    assert _of_recipe(path, 0.4) is None
    assert _of_recipe(tmp_path / "none.json", 0.4) is None
