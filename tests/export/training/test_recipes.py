"""The networks beside `baseline` and `lite`, and what is learnt without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np
import pytest

from export.architectures import Start, recipe
from export.data.cache import Views
from export.data.phantoms import phantom
from export.errors import DataError
from export.training.loop import resized
from export.training.pretrain import labelled_part, pretrain, spoil
from screener.evaluate.labelled import Record

if TYPE_CHECKING:
    from pathlib import Path


def kinds(model: keras.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


@pytest.mark.long
def test_densenet_is_what_its_recipe_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = recipe("densenet121")
    model = chosen.build(Start(64))
    assert "from scratch" in capsys.readouterr().out
    first, last = model.get_layer("to_colour"), model.get_layer("dense")
    assert (first.kernel_size, first.filters, last.units, model.get_layer("drop").rate) == ((1, 1), 3, 256, 0.5)
    backbone = model.get_layer("densenet121")
    backbone.save_weights(tmp_path / "imagenet.weights.h5")
    before = [weight.copy() for weight in backbone.get_weights()]
    frozen = chosen.build(Start(64, weights=tmp_path / "imagenet.weights.h5", frozen=True))
    frozen.compile("adam", "binary_crossentropy")
    frozen.fit(np.random.default_rng(0).random((8, 64, 64, 1)), {"probability": np.ones((8, 1))}, verbose=0)
    after = frozen.get_layer("densenet121").get_weights()
    assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))
    heat = chosen.exported(frozen).predict(np.zeros((1, 64, 64, 1)), verbose=0)["heatmap"]
    assert heat.shape == (1, 2, 2)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Skipping")
def test_densenet_refuses_weights_that_do_not_fit_and_to_freeze_nothing(tmp_path: Path) -> None:
    wrong = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save_weights(wrong)
    build = recipe("densenet121").build
    for start, result in (
        (Start(64, weights=wrong), "does not fit"),
        (Start(64, weights=tmp_path / "missing.h5"), "does not fit"),
        (Start(64, frozen=True), "learns nothing"),
    ):
        with pytest.raises(DataError, match=result):
            build(start)


def test_the_autoencoder_draws_what_it_was_shown() -> None:
    chosen = resized(recipe("autoencoder"), 64)
    model = chosen.build(Start(64))
    assert chosen.decoder is not None
    drawer = chosen.decoder(model)
    assert drawer.output_shape == (None, 64, 64, 1)
    assert kinds(drawer).count("UpSampling2D") == 4
    shared = {id(weight) for weight in model.weights} & {id(weight) for weight in drawer.weights}
    assert len(shared) == 4 * 6


def heads(count: int, side: int) -> Views:
    drawn = np.stack([phantom(seed, side, tumour=seed % 2 == 0) for seed in range(count)])
    blank = np.zeros((count, side // 4, side // 4), np.uint8)
    return Views(drawn, blank, np.ones(count, bool), np.ones(count, bool))


@pytest.mark.long
def test_drawing_gets_better_and_leaves_its_mark_on_the_encoder() -> None:
    keras.utils.set_random_seed(0)
    chosen = resized(recipe("autoencoder"), 64)
    model = chosen.build(Start(64))
    before = model.get_layer("conv1").get_weights()[0].copy()
    errors = pretrain(model, chosen, heads(24, chosen.view_side), np.arange(24), epochs=3, seed=0, batch_size=8)
    assert errors[-1] < errors[0]
    assert not np.allclose(before, model.get_layer("conv1").get_weights()[0])


def test_a_recipe_without_decoder_cannot_be_pretrained() -> None:
    chosen = recipe("baseline")
    with pytest.raises(ValueError, match="nothing to draw"):
        pretrain(chosen.build(Start(64)), chosen, heads(2, 64), np.arange(2), epochs=1, seed=0)


def test_a_spoilt_slice_is_another_one_of_the_same_range() -> None:
    image = np.full((40, 40), 0.5, np.float32)
    spoilt = spoil(image, np.random.default_rng(0))
    assert spoilt.shape == image.shape
    assert 0 <= spoilt.min() <= spoilt.max() <= 1
    assert (spoilt == 0).mean() > 0.03
    assert image.min() == image.max() == 0.5


def test_a_share_of_the_labels_keeps_units_whole_and_every_source() -> None:
    records = [Record(str(index), index % 2, source="ab"[index % 4 // 2]) for index in range(400)]
    units = np.arange(400) // 8 * 4 + np.arange(400) % 4
    parts = {share: labelled_part(records, units, np.arange(400), share, 0) for share in (0.1, 0.3, 1.0)}
    assert len(parts[1.0]) == 400
    assert set(parts[0.1].tolist()) < set(parts[0.3].tolist())
    for share, part in parts.items():
        assert len(part) == pytest.approx(400 * share, abs=10)
        assert {(records[index].source, records[index].label) for index in part.tolist()} == {
            (source, label) for source in "ab" for label in (0, 1)
        }
        kept, others = set(units[part].tolist()), set(units[np.setdiff1d(np.arange(400), part)].tolist())
        assert not kept & others
