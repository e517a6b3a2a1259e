"""Figures on whole heads, against small cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.evaluate.metrics import auc
from screener.evaluate.within_head import covariate_adjusted_auc, key_slice, parts


def test_a_score_that_only_knows_the_site_is_worth_nothing() -> None:
    labels = [1, 1, 1, 0, 1, 0, 0, 0]
    sites = ["a"] * 4 + ["b"] * 4
    scores = [0.9 if site == "a" else 0.1 for site in sites]
    assert auc(np.array(labels), np.array(scores)) == 0.75
    assert covariate_adjusted_auc(labels, scores, sites).value == 0.5


def test_strata_weigh_as_their_tumours_and_those_with_one_label_are_counted() -> None:
    found = covariate_adjusted_auc([1, 1, 0, 1, 0, 0], [0.9, 0.8, 0.1, 0.2, 0.6, 0.5], ["a", "a", "a", "b", "b", "c"])
    assert found.value == pytest.approx((2 * 1.0 + 1 * 0.0) / 3)
    assert (found.positives, found.strata, found.left_out) == (3, 2, 1)


def test_without_any_pair_there_is_no_figure() -> None:
    assert covariate_adjusted_auc([1, 0], [1, 0], ["a", "b"]).value is None


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=40))
def test_in_one_stratum_it_is_the_plain_area(rows: list[tuple[int, int]]) -> None:
    labels, scores = [label for label, _ in rows], [float(score) for _, score in rows]
    found = covariate_adjusted_auc(labels, scores, ["x"] * len(rows))
    if len(set(labels)) == 1:
        assert found.value is None
    else:
        assert found.value == pytest.approx(auc(np.array(labels), np.array(scores)))


def test_parts_of_a_head() -> None:
    labels = ["no"] * 3 + ["no"] * 8 + ["border"] + ["yes"] * 6 + ["border", "no"]
    found = parts(labels)
    assert found is not None
    assert list(found.without) == list(range(3, 11))
    assert len(found.with_tumour) == 8
    assert sum(labels[index] == "yes" for index in found.with_tumour) == 6


@pytest.mark.parametrize("labels", [["no"] * 30, ["yes"] * 30, ["no"] * 5 + ["yes"] * 15, []])
def test_a_head_without_both_parts_is_left_out(labels: list[str]) -> None:
    assert parts(labels) is None


@given(st.lists(st.sampled_from(["yes", "no", "none", "border"]), max_size=60))
def test_the_tumour_free_part_is_tumour_free(labels: list[str]) -> None:
    found = parts(labels)
    if found is not None:
        assert {labels[index] for index in found.without} == {"no"}
        assert len(found.with_tumour) == len(found.without) >= 5
        assert found.with_tumour.start >= 0
        assert found.with_tumour.stop <= len(labels)


def test_key_slice() -> None:
    assert key_slice([0.1, None, 0.4, 0.2]) == 2
    assert key_slice([None, None]) is None
    assert key_slice([]) is None
