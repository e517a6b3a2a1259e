"""Confounders that were planted are found, on units that were not learnt from; absent ones are not."""

from __future__ import annotations

import numpy as np
import pytest

from export.data.confounding import Property, best_cut, bright_shares, confounding, cut_alone, levels, lone
from screener.evaluate.labelled import Record
from screener.evaluate.metrics import auc

COUNT = 400
RNG = np.random.default_rng(0)
LABELS = np.arange(COUNT) % 2
UNITS = np.arange(COUNT) // 4 * 2 + LABELS


def single(values: np.ndarray, name: str = "x") -> Property:
    return Property(name, values.astype(float).reshape(COUNT, -1))


def test_what_tells_the_label_is_found_whatever_its_shape() -> None:
    edges = np.where(LABELS == 1, 0.5, RNG.choice([0.1, 0.9], COUNT)) + RNG.normal(0, 0.05, COUNT)
    found = lone(single(edges), LABELS, UNITS)
    assert found["auc"]["value"] > 0.95
    assert found["auc"]["low"] <= found["auc"]["value"] <= found["auc"]["high"]
    assert (found["slices"], found["units"]) == (COUNT, len(np.unique(UNITS)))


def test_chance_is_called_chance_and_units_are_not_learnt_by_heart() -> None:
    by_unit = RNG.random(UNITS.max() + 1)[UNITS]
    found = lone(single(by_unit), LABELS, UNITS)
    assert found["auc"]["low"] <= 0.55
    assert abs(found["auc"]["value"] - 0.5) < 0.15


def test_what_cannot_be_said_is_not_said() -> None:
    unknown = lone(single(np.full(COUNT, np.nan)), LABELS, UNITS)
    assert (unknown["auc"], unknown["why"]) == (None, "not known")
    assert lone(single(np.ones(COUNT)), LABELS, UNITS)["why"] == "the same everywhere"
    assert lone(single(LABELS), np.ones(COUNT, np.int64), UNITS)["why"] == "no slice labelled no"
    few = lone(single(LABELS), LABELS, LABELS)
    assert few["why"] == "1 leak-free units labelled yes, fewer than 5 folds"
    assert cut_alone(single(LABELS), LABELS, LABELS)["balanced_accuracy"] is None


@pytest.mark.parametrize("above", [True, False])
def test_the_best_cut_is_the_best_of_all(*, above: bool) -> None:
    values = (RNG.normal(0, 1, COUNT) + 2 * (LABELS if above else -LABELS)).round(1)
    cut, side = best_cut(values, LABELS)
    assert side == above

    def balanced(threshold: float, over: bool) -> float:
        flagged = (values >= threshold) == over
        return float(flagged[LABELS == 1].mean() + (~flagged)[LABELS == 0].mean()) / 2

    best = max(balanced(threshold, over) for threshold in np.unique(values) for over in (True, False))
    assert balanced(cut, side) == pytest.approx(best)
    found = cut_alone(single(values), LABELS, UNITS)
    assert found["above"] == above
    assert found["balanced_accuracy"]["value"] <= best + 1e-9
    area = auc(LABELS, values)
    assert found["auc"] == pytest.approx(max(area, 1 - area), abs=1e-4)


def test_the_level_comes_from_the_name_where_patient_and_plane_are_known() -> None:
    known = [Record(f"p_{number}.png", 0, "a", "T1", "axial", "p") for number in (10, 30, 20)]
    found = levels([*known, Record("p_5.png", 0, "a", "T1", "", "p"), Record("x.png", 0, "a", "T1", "axial", "p")])
    assert found[:3].tolist() == [0.0, 1.0, 0.5]
    assert np.isnan(found[3:]).all()


def test_a_height_that_is_known_counts_before_the_name() -> None:
    known = [Record(f"p_{number}.png", 0, "a", "T1", "axial", "p", height=0.9) for number in (10, 20)]
    found = levels([*known, Record("p_30.png", 0, "a", "T1", "axial", "p"), Record("x.png", 0, height=0.0)])
    assert found.tolist() == [0.9, 0.9, 1.0, 0.0]


def test_bright_shares_count_pixels() -> None:
    view = np.zeros((1, 10, 10), np.uint8)
    view[0, 0] = 255
    view[0, 1] = 150
    assert bright_shares(view).tolist() == [[0.2, 0.1, 0.1]]


def test_sources_that_look_different_are_told_apart() -> None:
    records = [Record(f"{place}.png", int(LABELS[place]), "ab"[place // 4 % 2]) for place in range(COUNT)]
    sources = np.array([record.source == "b" for record in records])
    framed = RNG.integers(0, 100, (COUNT, 64, 64)).astype(np.uint8)
    framed[sources, :16] += 100
    sizes = np.full((COUNT, 2), 64)
    result = confounding(records, sizes, framed.mean(axis=(1, 2)) / 255, framed, UNITS)
    assert result["source"]["picture"]["accuracy"]["value"] > 0.95
    assert result["source"]["picture"]["names"] == ["a", "b"]
    assert result["source"]["picture"]["largest"] == 0.5
    assert np.sum(result["source"]["picture"]["matrix"]) == COUNT
    assert set(result["label"]["size"]) == {"all", "a", "b"}
    assert result["label"]["size"]["all"]["why"] == "the same everywhere"
    assert result["label"]["source"]["a"]["why"] == "the same everywhere"
    alone = confounding([Record("x", 1, "a")] * 4, sizes[:4], np.ones(4), framed[:4], UNITS[:4])
    assert alone["source"]["picture"]["accuracy"] is None
