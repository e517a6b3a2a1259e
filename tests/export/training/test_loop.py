"""Training on drawn heads: resumed as if never interrupted, and result what it must not believe."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import small
from msgspec import structs

from export.architectures import Recipe, Start, names, recipe
from export.data.groups import sets_of
from export.data.phantoms import phantom
from export.errors import DataError
from export.release.convert import parity, to_onnx, write_release
from export.training import loop as setup
from export.training.batches import Sampler, stratum_weights
from export.training.options import Options, Progress
from screener.evaluate.labelled import Record
from screener.model.card import Card
from screener.preprocess import Preprocessing
from tests.conftest import parsed_card

SIDE = 32


def build(start: Start) -> keras.Model:
    image = keras.Input((start.size, start.size, 1), name="image")
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="conv")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    probability = keras.layers.Dense(1, activation="sigmoid", name="probability")(pooled)
    return keras.Model(image, {"probability": probability}, name="small")


SMALL = replace(small.SMALL, build=build, preprocessing=Preprocessing(SIDE), view_side=SIDE)
SHORT = Options("small", epochs=1, batch_size=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("heads")
    for seed in range(60):
        image = phantom(seed, 64, tumour=seed % 2 == 1)
        rng = np.random.default_rng(seed)
        for _ in range(10):
            at = tuple(int(value) for value in rng.integers(18, 46, 2))
            cv2.circle(image, at, int(rng.integers(3, 6)), int(rng.integers(20, 250)), cv2.FILLED)
        path = root / ("yes" if seed % 2 else "no") / f"{seed}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return root


@pytest.fixture(autouse=True)
def small_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "recipe", lambda name: SMALL if name == "small" else recipe(name))


@pytest.fixture(scope="module")
def short_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of one epoch, not to be written to."""
    run = tmp_path_factory.mktemp("short") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "recipe", lambda _: SMALL)
        progress = setup.train(data, run, SHORT)
    assert np.isfinite(progress.history[0]["loss"])
    return run


def figures(progress: Progress) -> list[float]:
    return [epoch[name] for epoch in progress.history for name in ("loss", "val_loss", "val_auc")]


def test_an_interrupted_run_ends_as_if_never_interrupted(data: Path, tmp_path: Path) -> None:
    options = Options("small", epochs=3, batch_size=8)
    whole = setup.train(data, tmp_path / "a/run", options)
    part = setup.train(data, tmp_path / "b/run", options, max_minutes=0)
    assert len(part.history) == 1
    resumed = setup.train(data, tmp_path / "b/run", options)
    assert len(resumed.history) == len(whole.history) == 3
    assert figures(resumed) == pytest.approx(figures(whole), abs=1e-3)
    assert len(list((tmp_path / "b/run").glob("epoch-*.keras"))) == 1
    assert (tmp_path / "b/run/groups.csv").read_text() == (tmp_path / "a/run/groups.csv").read_text()


@pytest.mark.long
def test_a_failing_save_leaves_the_former_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, run = Options("small", batch_size=8), tmp_path / "run"
    setup.train(data, run, options, max_minutes=0)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(OSError, match="space"):
            setup.train(data, run, options)
    assert len(json.loads((run / "progress.json").read_text())["history"]) == 1
    assert len(setup.train(data, run, options).history) == 4


@pytest.mark.parametrize("where", ["progress", "keras", "weights"])
@pytest.mark.long
def test_a_full_disk_keeps_the_checkpoint_and_leaves_no_half_file(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    options, run = Options("small", epochs=2, batch_size=8), tmp_path / "run"
    setup.train(data, run, options, max_minutes=0)
    before = {path.name: path.read_bytes() for path in run.glob("epoch-*")}

    def full(_: object, path: Path, *__: object, **___: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if where == "keras":
            patch.setattr(keras.Model, "save", full)
        elif where == "weights":
            patch.setattr(keras.Model, "save_weights", full)
            patch.setattr(Progress, "best", lambda progress, _: len(progress.history) - 1)
        else:
            write = Path.write_text
            patch.setattr(
                Path,
                "write_text",
                lambda path, text: full(None, path) if "progress" in path.name else write(path, text),
            )
        with pytest.raises(OSError, match="space"):
            setup.train(data, run, options)
    assert {path.name: path.read_bytes() for path in run.glob("epoch-001*")} == before
    assert not list(run.glob("partial-*"))
    assert len(setup.train(data, run, options).history) == 2


@pytest.mark.parametrize("name", ["options.json", "progress.json", "epoch-001.npz", "epoch-001.keras"])
@pytest.mark.long
def test_a_damaged_checkpoint_is_reported_and_left_alone(data: Path, tmp_path: Path, name: str) -> None:
    options, run = Options("small", epochs=2, batch_size=8), tmp_path / "run"
    setup.train(data, run, options, max_minutes=0)
    (run / name).write_bytes(b"")
    with pytest.raises(DataError, match=re.escape(str(run))) as caught:
        setup.train(data, run, options)
    assert "--restart" in caught.value.hint
    setup.restart(run)
    assert len(setup.train(data, run, options).history) == 2


@pytest.mark.long
def test_the_sets_may_come_from_a_file(data: Path, tmp_path: Path) -> None:
    setup.train(data, tmp_path / "a", Options("small", epochs=1, batch_size=8))
    given = tmp_path / "mine.csv"
    swapped = {"certify": "test", "test": "certify"}
    rows = [line.rsplit(",", 1) for line in (tmp_path / "a/groups.csv").read_text().splitlines()]
    given.write_text("".join(f"{start},{swapped.get(name, name)}\n" for start, name in rows))
    options, run = Options("small", epochs=2, batch_size=8, groups=str(given)), tmp_path / "b"
    setup.train(data, run, options, max_minutes=0)
    assert sets_of(run / "groups.csv") == sets_of(given) != sets_of(tmp_path / "a/groups.csv")
    text = given.read_text()
    given.write_text(text.replace(",certify\n", ",withheld\n", 1))
    with pytest.raises(DataError, match="not those that the run began with"):
        setup.train(data, run, options)
    given.unlink()
    assert setup.best_model(run)[2].groups == str(run / "groups.csv")
    given.write_text(text)
    assert len(setup.train(data, run, options).history) == 2


@pytest.mark.parametrize("more", [{"ignore_flips": True}, {"test_sources": ("heads",)}])
def test_sets_from_a_file_and_by_option_exclude_each_other(data: Path, tmp_path: Path, more: dict[str, object]) -> None:
    options = structs.replace(Options("small", groups="mine.csv"), **more)
    with pytest.raises(DataError, match="--groups says who tests"):
        setup.train(data, tmp_path / "run", options)
    assert not (tmp_path / "run").exists(), "the corrected command may use the folder"


def test_sets_from_a_file_already_say_what_stays_unseen(data: Path, short_run: Path, tmp_path: Path) -> None:
    options = Options("small", groups=str(short_run / "groups.csv"))
    with pytest.raises(DataError, match="--unseen cannot"):
        setup.train(data, tmp_path / "run", options, unseen=np.zeros((1, 192, 192), np.uint8))


def test_a_run_belongs_to_its_options(data: Path, short_run: Path) -> None:
    with pytest.raises(DataError, match="other options"):
        setup.train(data, short_run, structs.replace(SHORT, seed=2))


# The first one is the default, which all other tests train with.
@pytest.mark.parametrize("loss", [pytest.param("class-weighted", marks=pytest.mark.long), "focal"])
def test_every_other_loss_trains(data: Path, tmp_path: Path, loss: setup.Loss) -> None:
    progress = setup.train(data, tmp_path / "run", Options("small", loss=loss, epochs=1, batch_size=8))
    assert np.isfinite(progress.history[0]["loss"])


def test_an_all_positive_winner_is_called_out(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress([{"val_recall": 1.0, "val_flagged": 1.0}, {"val_recall": 0.9, "val_flagged": 0.5}], 1e-3)
    setup._warn_all_positive(progress, replace(SMALL, monitor="recall"))
    assert "flagging every slice" in capsys.readouterr().out


def test_the_rate_halves_on_a_plateau_and_training_stops() -> None:
    progress = Progress([], 1e-3)
    for loss in (1.0, *[1.0] * 5):
        setup._follow_plateau(progress, loss)
    assert progress.rate == 5e-4
    for _ in range(200):
        setup._follow_plateau(progress, 1.0)
    assert progress.rate == 1e-7
    progress.history = [{"val_auc": 0.9}, *({"val_auc": 0.8} for _ in range(10))]
    assert setup.finished(progress, replace(SMALL, epochs=99))
    assert not setup.finished(progress, replace(SMALL, epochs=99, patience=11))


def test_the_rate_falls_along_a_cosine_after_one_slower_epoch() -> None:
    chosen = replace(recipe("lite"), learning_rate=1.0, epochs=4)
    rates = [setup._rate(Progress([], 1.0), chosen, epoch) for epoch in range(4)]
    assert rates == pytest.approx([0.333, 0.854, 0.5, 0.146], abs=1e-3)


def test_sources_and_labels_weigh_the_same() -> None:
    keys = [
        ("a", 1, "", ""),
        ("b", 1, "", ""),
        ("b", 0, "", ""),
        ("c", 0, "FLAIR", "lower"),
        ("c", 0, "FLAIR", "top"),
        ("c", 0, "T1", ""),
        ("c", 1, "T1", ""),
    ]
    weights = stratum_weights(keys, {"c": 0.4})
    assert sum(weights.values()) == pytest.approx(1)
    assert sum(weight for key, weight in weights.items() if key[0] == "c") == pytest.approx(0.4)
    assert sum(weight for key, weight in weights.items() if key[1] == 1) == pytest.approx(0.5)
    assert weights["c", 0, "FLAIR", "lower"] == pytest.approx(weights["c", 0, "FLAIR", "top"])
    assert weights["c", 0, "T1", ""] == pytest.approx(2 * weights["c", 0, "FLAIR", "top"])


def test_tumour_free_slices_are_balanced_by_level_of_the_head() -> None:
    heights = [0.1] * 80 + [0.5] * 15 + [0.9] * 5
    records = [Record(str(index), 0, source="a", height=height) for index, height in enumerate(heights)]
    records.append(Record("tumour", 1, source="a", height=0.1))
    drawn = Sampler.over(records, np.arange(101), np.arange(101), {}).draw(6000, np.random.default_rng(0))
    places = np.array(drawn)
    for low, high in ((0, 80), (80, 95), (95, 100)):
        assert np.mean((places >= low) & (places < high)) == pytest.approx(1 / 6, abs=0.03)


def test_the_adjusted_auc_compares_within_site_sequence_and_tenth() -> None:
    def record(label: int, site: str, height: float) -> Record:
        return Record("x", label, source="a", sequence="FLAIR", site=site, series="s", height=height)

    # Perfect within each stratum, although the scores of one site all lie above those of the other.
    records = [record(1, "A", 0.5), record(0, "A", 0.5), record(1, "B", 0.5), record(0, "B", 0.5), record(0, "A", 0.1)]
    answers = np.array([0.2, 0.1, 0.9, 0.8, 0.95], np.float32)
    assert setup.adjusted_auc(records, answers, fallback=0.0) == 1.0
    assert setup.adjusted_auc([structs.replace(records[0], series="")], answers[:1], fallback=0.25) == 0.25


def test_a_much_copied_picture_counts_once() -> None:
    records = [Record(str(index), 1, source="a") for index in range(100)]
    groups = np.array([0] * 99 + [1])
    drawn = Sampler.over(records, groups, np.arange(100), {}).draw(2000, np.random.default_rng(0))
    assert np.mean(np.array(drawn) == 99) == pytest.approx(0.5, abs=0.05)


def test_conversion_is_exact_named_and_repeatable(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = build(Start(SIDE))
    graphs = [to_onnx(model) for _ in range(2)]
    images = np.random.default_rng(0).random((16, SIDE, SIDE, 1), dtype=np.float32)
    assert parity(model, graphs[0], images) <= 1e-5
    for name, graph in zip("ab", graphs, strict=True):
        write_release(tmp_path / name, graph, parsed_card(), "card")
    assert (tmp_path / "a/model.onnx").read_bytes() == (tmp_path / "b/model.onnx").read_bytes()
    session = onnxruntime.InferenceSession(tmp_path / "a/model.onnx")
    assert [value.name for value in session.get_inputs()] == ["image"]
    assert session.get_inputs()[0].shape == ["batch", SIDE, SIDE, 1]
    assert [value.name for value in session.get_outputs()] == ["probability"]
    assert session.run(None, {"image": images[:3]})[0].shape == (3,)
    text = session.get_modelmeta().custom_metadata_map["screener.card"]
    assert json.loads(text) == json.loads((tmp_path / "a/card.json").read_text())
    assert Card.parse(text) == parsed_card()


def test_a_conversion_that_changes_answers_is_refused() -> None:
    model, graph = build(Start(SIDE)), to_onnx(build(Start(SIDE)))
    images = np.random.default_rng(0).random((16, SIDE, SIDE, 1), dtype=np.float32)
    assert isinstance(graph, onnx.ModelProto)
    with pytest.raises(DataError, match="differ"):
        parity(model, graph, images)


def test_baseline_is_the_classic_network() -> None:
    model = recipe("baseline").build(Start(224))
    kinds = [type(layer).__name__ for layer in model.layers]
    block = ["Conv2D", "BatchNormalization", "MaxPooling2D"]
    assert kinds == ["InputLayer", *block * 4, "Flatten", "Dropout", "Dense", "Dropout", "Dense"]
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [32, 64, 128, 256]
    assert {(layer.kernel_size, layer.padding, layer.activation.__name__) for layer in convolutions} == {
        ((3, 3), "same", "relu")
    }
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.5, 0.3]
    assert model.input_shape == (None, 224, 224, 1)
    requested = recipe("baseline")
    assert (requested.learning_rate, requested.epochs, requested.patience, requested.monitor) == (
        1e-4,
        50,
        10,
        "recall",
    )


def test_lite_says_whether_and_where() -> None:
    from export.architectures import lite

    model = lite.exported(lite.build(Start(160, blank=True)))
    shapes = {name: tuple(output.shape[1:]) for name, output in dict(model.output).items()}
    assert shapes == {"probability": (1,), "heatmap": (10, 10), "embedding": (112,)}


def test_an_unknown_recipe_is_named() -> None:
    with pytest.raises(DataError, match="bigger") as caught:
        recipe("bigger")
    assert all(name in caught.value.hint for name in names())


def mine() -> Recipe:
    """Return a recipe as a user would write one: one function."""
    return replace(SMALL, name="mine")


def test_a_recipe_of_ones_own_is_one_function() -> None:
    assert recipe(f"{__name__}:mine").name == "mine"
    with pytest.raises(DataError, match="no recipe at"):
        recipe(f"{__name__}:yours")
    with pytest.raises(DataError, match="gives a float, not a recipe"):
        recipe("time:time")


@pytest.mark.long
def test_a_recipe_may_be_trained_at_another_size(data: Path, tmp_path: Path) -> None:
    options = Options("small", epochs=1, batch_size=8, size=64)
    setup.train(data, tmp_path / "run", options)
    model, chosen, _ = setup.best_model(tmp_path / "run")
    assert model.input_shape == (None, 64, 64, 1)
    assert (chosen.preprocessing.size, chosen.view_side) == (64, 64)
    with pytest.raises(DataError, match="does not suit"):
        setup.resized(SMALL, 100)


def test_options_of_an_older_run_still_count(data: Path, short_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(short_run, tmp_path / "run")
    stored = json.loads((run / "options.json").read_text())
    for name in ("size", "weights", "frozen", "label_share", "pretrain_epochs"):
        del stored[name]
    (run / "options.json").write_text(json.dumps(stored))
    assert len(setup.train(data, run, SHORT).history) == 1


@pytest.mark.parametrize(
    ("options", "result"),
    [
        (Options("small", pretrain_epochs=1), "no decoder"),
        (Options("small", label_share=0.0), "label_share"),
        (Options("small", label_share=1.5), "label_share"),
        (Options("small", size=100), "multiple of 32"),
        (Options("small", epochs=0), "epochs"),
        (Options("small", batch_size=0), "batch_size"),
    ],
)
def test_what_a_recipe_cannot_do_is_reported(data: Path, tmp_path: Path, options: Options, result: str) -> None:
    with pytest.raises(DataError, match=result):
        setup.train(data, tmp_path / "run", options)


@pytest.mark.long
def test_a_run_becomes_a_release_in_one_go_and_promises_nothing_that_was_not_shown(data: Path, tmp_path: Path) -> None:
    from export.release.from_run import release
    from export.release.release import Release
    from screener.model.session import Model

    setup.train(data, tmp_path / "run", Options("small", epochs=1, batch_size=8))
    (tmp_path / "demo").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model/layers.onnx").write_bytes(b"of a former model")
    card = release(data, tmp_path / "run", Release(tmp_path / "model", "small", "1.0.0"), tmp_path / "demo")
    point = Model.load(tmp_path / "model").card.operating_points["auto"]
    assert (point.certified, card.points["auto"].certificate) == (False, None), "no patient is known"
    assert card.calibration is not None
    assert card.calibration.kind in {"temperature", "Platt"}, "what Keras makes of a dense layer can be folded"
    assert card.metrics["parity"]["largest_difference"] <= 1e-5
    assert card.licence == "as the owners of the training slices allow"
    assert not [text for text in card.limitations if "adults" in text or "three hospitals" in text]
    result = (tmp_path / "model/MODEL_CARD.md").read_text()
    assert "no patient with a tumour is known" in result
    assert not (tmp_path / "run/draft").exists()
    assert not (tmp_path / "model/layers.onnx").exists()
    assert "layers" not in (tmp_path / "model/SHA256SUMS").read_text()


def test_a_model_that_is_made_again_keeps_its_version(tmp_path: Path) -> None:
    from export.release.from_run import _version
    from export.release.release import Release

    assert _version(Release(tmp_path, "lite", None)) == "0.1.0"
    (tmp_path / "card.json").write_text('{"name": "lite", "version": "0.1.1"}')
    assert _version(Release(tmp_path, "lite", None)) == "0.1.1"
    assert _version(Release(tmp_path, "mine", None)) == "0.1.0"
    assert _version(Release(tmp_path, "lite", "0.2.0")) == "0.2.0"


def test_the_card_tells_the_epoch_that_was_kept(tmp_path: Path) -> None:
    from export.release.from_run import _history

    history = [
        {"epoch": epoch, "seconds": 60.0, "val_auc": area, "val_recall": recall}
        for epoch, area, recall in ((1, 0.9, 0.5), (2, 0.8, 0.7), (3, 0.8, 0.7))
    ]
    (tmp_path / "progress.json").write_text(json.dumps({"history": history, "rate": 1e-3}))
    assert [_history(tmp_path, monitor)["best_epoch"] for monitor in ("auc", "recall")] == [1, 2]
    assert _history(tmp_path, "recall") == {"epochs": 3, "best_epoch": 2, "monitor": "recall", "minutes": 3.0}
