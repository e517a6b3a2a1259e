"""Grad-CAM by algebra must be Grad-CAM by gradient, in Keras and in the converted graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from export.data.phantoms import phantom

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

pytest.importorskip("tensorflow", reason="needs the extra [train]")


def heads(count: int, size: int) -> NDArray[np.float32]:
    drawn = [cv2.resize(phantom(seed, tumour=seed % 2 == 0), (size, size)) for seed in range(count)]
    return (np.stack(drawn)[..., None] / 255).astype(np.float32)


def by_gradient(model: keras.Model, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return Grad-CAM on the last pooling by what Keras itself differentiates."""
    import keras
    import tensorflow as tf

    layers = model.layers
    cut = layers.index(model.get_layer("pool4"))
    before = keras.Model(model.input, model.get_layer("pool4").output)
    entry = keras.Input(model.get_layer("pool4").output.shape[1:])
    # The part behind the pooling as a model of its own, so that the tape sees everything that depends on it.
    after = keras.Model(entry, _replay(model, cut, entry))
    maps = before(tf.convert_to_tensor(images), training=False)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        score = after(maps, training=False)
    weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2))
    found = tf.nn.relu(tf.einsum("nhwc,nc->nhw", maps, weights)).numpy()
    return np.asarray(found / np.maximum(found.max(axis=(1, 2), keepdims=True), 1e-12))


def _replay(model: keras.Model, cut: int, entry: Any) -> Any:  # noqa: ANN401 - Keras tensors
    """Apply the layers behind `cut` again, on another input."""
    made = {id(model.layers[cut].output): entry}
    found = entry
    for layer in model.layers[cut + 1 :]:
        given = layer.input if isinstance(layer.input, list) else [layer.input]
        inputs = [made[id(tensor)] for tensor in given]
        found = layer(inputs if isinstance(layer.input, list) else inputs[0])
        made[id(layer.output)] = found
    return found


@pytest.fixture(scope="module", params=["baseline", "attention", "autoencoder"])
def trained(request: pytest.FixtureRequest) -> keras.Model:
    """Return a network after a few steps on drawn heads, so that its last layers are not at rest."""
    import keras

    from export.architectures import Start, recipe

    keras.utils.set_random_seed(3)
    size = 224 if request.param == "baseline" else 96
    model = recipe(request.param).build(Start(size))
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")
    model.fit(heads(16, size), {"probability": np.arange(16)[:, None] % 2 == 0}, batch_size=8, epochs=2, verbose=0)
    return model


@pytest.mark.long
def test_algebra_agrees_with_gradient_tape_and_with_the_graph(trained: keras.Model) -> None:
    import onnxruntime

    from export.architectures import recipe
    from export.release.convert import to_onnx

    size = trained.input_shape[1]
    images = heads(6, size)
    requested = by_gradient(trained, images)
    exported = recipe(trained.name).exported(trained)
    in_keras = np.asarray(exported.predict(images, verbose=0)["heatmap"])
    session = onnxruntime.InferenceSession(to_onnx(exported).SerializeToString(), providers=["CPUExecutionProvider"])
    in_graph = session.run(["heatmap"], {"image": images})[0]
    assert requested.max() > 0
    agreement = [np.corrcoef(in_graph[index].ravel(), requested[index].ravel())[0, 1] for index in range(6)]
    print(f"{trained.name}: correlation with GradientTape at least {min(agreement):.6f}")  # noqa: T201 - quoted
    for ours in (in_keras, in_graph):
        assert ours.shape == (6, size // 16, size // 16)
        assert ours.min() >= 0
        assert ours.max() <= 1 + 1e-6
        for index in range(6):
            assert np.corrcoef(ours[index].ravel(), requested[index].ravel())[0, 1] >= 0.99
    assert "probability" in {output.name for output in session.get_outputs()}


@pytest.mark.long
def test_attention_is_an_output_that_sums_to_one() -> None:
    from export.architectures import Start, recipe

    chosen = recipe("attention")
    model = chosen.exported(chosen.build(Start(96)))
    attention = np.asarray(model.predict(heads(3, 96), verbose=0)["attention"])
    assert attention.shape == (3, 6, 6)
    assert attention.sum(axis=(1, 2)) == pytest.approx(1, abs=1e-5)


@pytest.mark.long
def test_every_recipe_whose_early_layers_are_shown_has_them() -> None:
    from export.architectures import Start, names, recipe

    for name in names():
        chosen = recipe(name)
        built = chosen.build(Start(96, blank=True))
        assert all(len(built.get_layer(layer).output.shape) == 4 for layer in chosen.early)


@pytest.mark.long
def test_early_layers_become_a_graph_of_their_own() -> None:
    import onnxruntime

    from export.architectures import Start, recipe
    from export.release.layers import layers_graph

    chosen = recipe("baseline")
    model = chosen.build(Start(224))
    graph = layers_graph(model, chosen.early)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert sorted(names) == ["conv1", "conv2"]
    images = heads(1, 224)
    found = dict(zip(names, session.run(names, {"image": images}), strict=True))
    assert found["conv1"].shape == (1, 224, 224, 32)
    assert np.allclose(found["conv1"], np.asarray(model.get_layer("conv1")(images)), atol=1e-4)
