"""What is drawn for training: strata weigh as said, copies count once, and each batch is the same in every run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from handmade import SIDE, made
from hypothesis import given, settings
from hypothesis import strategies as st
from small import SMALL

from export.training.batches import Sampler, TrainingBatches, plain, slice_weights, stratum_of, stratum_weights
from export.training.pretrain import SpoiltSlices, labelled_part, spoil
from screener.evaluate.labelled import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

STRATA = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.integers(0, 1), st.sampled_from(("FLAIR", "T1")), st.sampled_from(("", "top"))
    ),
    min_size=1,
    max_size=20,
    unique=True,
)


@given(STRATA)
def test_labels_weigh_the_same_whatever_else_there_is(keys: list[tuple[str, int, str, str]]) -> None:
    weights = stratum_weights(keys, {})
    assert sum(weights.values()) == pytest.approx(1)
    assert min(weights.values()) > 0
    by_label = Counter[int]()
    for key, weight in weights.items():
        by_label[key[1]] += weight  # type: ignore[assignment]  # shares of one
    assert max(by_label.values()) == pytest.approx(min(by_label.values()))


@given(STRATA, st.floats(0.05, 0.95))
def test_a_source_with_a_share_gets_it(keys: list[tuple[str, int, str, str]], share: float) -> None:
    weights = stratum_weights(keys, {"a": share, "elsewhere": 0.5})
    mine = sum(weight for key, weight in weights.items() if key[0] == "a")
    sources = {key[0] for key in keys}
    assert mine == pytest.approx({True: 1.0, False: share}[sources == {"a"}] if "a" in sources else 0.0)


def records(rows: Sequence[tuple[str, int, str]]) -> list[Record]:
    return [Record(f"{index}.png", label, source, sequence=kind) for index, (source, label, kind) in enumerate(rows)]


def test_slices_of_one_stratum_weigh_the_same() -> None:
    found = records([("a", 1, "T1")] * 3 + [("a", 0, "T1")] + [("b", 0, "T1")] * 2)
    weights = slice_weights(found, {})
    assert weights.sum() == pytest.approx(1)
    assert weights.tolist() == pytest.approx([1 / 6] * 3 + [1 / 4] + [1 / 8] * 2)


def test_a_tumour_is_not_divided_by_level_of_the_head() -> None:
    strata = [stratum_of(Record("x.png", label, "s", height=height)) for label in (0, 1) for height in (0.1, 0.9)]
    assert strata[0] != strata[1]
    assert strata[2] == strata[3]


@pytest.fixture
def batches() -> Any:  # noqa: ANN401 - a function of the options of `TrainingBatches`
    setup = made(source=lambda number: "ab"[number // 4 % 2])
    recipe = replace(SMALL, view_side=SIDE)
    sampler = Sampler.over(list(setup.dataset.records), setup.split.groups, np.arange(48), {})

    def build(**options: Any) -> TrainingBatches:  # noqa: ANN401
        return TrainingBatches(recipe, setup.views, setup.labels, sampler, **{"locate": False, "seed": 1, **options})

    return build


def test_a_batch_depends_on_seed_and_epoch_and_nothing_else(batches: Any) -> None:  # noqa: ANN401
    one, again, other = batches(batch_size=6), batches(batch_size=6), batches(batch_size=6, seed=2)
    first = _images(one[0])
    assert first.shape == (6, SIDE, SIDE, 1)
    assert 0 <= first.min() <= first.max() <= 1
    again[2]
    assert np.array_equal(first, _images(again[0])), "whatever was asked before"
    assert not np.array_equal(first, _images(other[0]))
    one.start_epoch(1)
    assert not np.array_equal(first, _images(one[0]))
    one.start_epoch(0)
    assert np.array_equal(first, _images(one[0]))


def _images(batch: tuple[Any, ...]) -> np.ndarray:
    found = batch[0]
    return np.asarray(found["image"] if isinstance(found, dict) else found)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16))
def test_drawing_gives_every_label_its_half(seed: int) -> None:
    found = records([("a", 1, "T1")] * 3 + [("a", 0, "T1")] * 30)
    sampler = Sampler.over(found, np.arange(33), np.arange(33), {})
    drawn = sampler.draw(400, np.random.default_rng(seed))
    assert abs(sum(index < 3 for index in drawn) - 200) < 60
    assert set(drawn) <= set(range(33))


def test_views_become_inputs_of_the_size_asked_for() -> None:
    setup = made(8)
    found = plain(setup.exact[:3], 32)
    assert (found.shape, found.dtype) == ((3, 32, 32, 1), np.float32)
    assert found[:, 16, 16, 0] == pytest.approx(setup.exact[:3, 32, 32] / 255, abs=1e-6)


def test_every_slice_is_drawn_again_once_an_epoch_and_alike_in_every_run() -> None:
    setup = made(20)
    chosen = np.arange(4, 20)

    def batch(seed: int = 3, epoch: int = 0) -> SpoiltSlices:
        return SpoiltSlices(SMALL, setup.views, chosen, seed=seed, epoch=epoch, batch_size=6)

    first = batch()
    assert len(first) == 3
    assert sorted(first.order.tolist()) == chosen.tolist()
    assert batch(epoch=1).order.tolist() != first.order.tolist()
    spoilt, intact = first[2]
    assert spoilt.shape == intact.shape == (4, SIDE, SIDE, 1)
    assert np.array_equal(spoilt, batch()[2][0])
    assert np.abs(spoilt - intact).mean() > 0.01
    assert not np.array_equal(spoilt, batch(seed=4)[2][0])


def test_spoiling_cuts_holes_and_stays_in_range() -> None:
    image = np.full((64, 64), 0.5, np.float32)
    spoilt = spoil(image, np.random.default_rng(0))
    assert 0 <= spoilt.min() <= spoilt.max() <= 1
    assert 0.03 < (spoilt == 0).mean() < 0.5
    assert np.array_equal(spoilt, spoil(image, np.random.default_rng(0)))


@given(st.floats(0.05, 1), st.floats(0.05, 1), st.integers(0, 99))
def test_fewer_labels_lie_within_more(one: float, other: float, seed: int) -> None:
    setup = made(48)
    chosen = np.flatnonzero(setup.split.sets == "fit")
    few, many = (
        labelled_part(list(setup.dataset.records), setup.split.units, chosen, share, seed)
        for share in sorted((one, other))
    )
    assert set(few.tolist()) <= set(many.tolist()) <= set(chosen.tolist())
    strata = {(setup.dataset.records[index].source, index % 2) for index in chosen.tolist()}
    assert {(setup.dataset.records[index].source, index % 2) for index in few.tolist()} == strata
    whole = labelled_part(list(setup.dataset.records), setup.split.units, chosen, 1.0, seed)
    assert whole.tolist() == chosen.tolist()
