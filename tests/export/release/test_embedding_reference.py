"""The reference for quality control by embedding, in NumPy and as a layer."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from export.release.embedding_reference import (
    AXES,
    CENTRES,
    KEPT,
    Embed,
    Projection,
    attach,
    distances,
    embedding_reference,
)


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    """Draw 400 features of 64 dimensions, of unequal spread."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(400, 64)) * np.linspace(0.2, 3, 64) + 5).astype(np.float32)


def test_the_fit_set_has_unit_variance_along_each_axis(features: np.ndarray) -> None:
    embedded = Projection.fit(features).apply(features)
    assert embedded.shape == (400, AXES + 1)
    assert embedded[:, :AXES].mean(axis=0) == pytest.approx(np.zeros(AXES), abs=1e-6)
    assert embedded[:, :AXES].std(axis=0) == pytest.approx(np.ones(AXES), rel=1e-3)
    assert np.sqrt(np.mean(embedded[:, AXES] ** 2)) == pytest.approx(np.sqrt(AXES), rel=1e-6)


def test_what_lies_off_the_axes_is_farther(features: np.ndarray) -> None:
    known = Projection.fit(features)
    off = np.linalg.svd(known.basis, full_matrices=True)[0][:, -1]
    inside, outside = known.apply(np.stack([known.mean, known.mean + 5 * off]).astype(np.float32))
    assert inside[AXES] == pytest.approx(0, abs=1e-2)
    assert outside[AXES] > 5
    assert outside[:AXES] == pytest.approx(inside[:AXES], abs=1e-3)


def test_the_layer_computes_what_numpy_computes(features: np.ndarray) -> None:
    known = Projection.fit(features)
    assert np.asarray(Embed(known)(features)) == pytest.approx(known.apply(features), rel=2e-3, abs=2e-3)


def test_the_distance_is_that_to_the_nearest_centre() -> None:
    embedded, centres = np.array([[0.0, 0], [3, 4]]), np.array([[0.0, 1], [3, 0]])
    assert distances(embedded, centres).tolist() == pytest.approx([1, 4])


def test_the_cutoff_keeps_the_farthest_source_as_if_it_were_unknown(features: np.ndarray) -> None:
    sources = np.array(["near"] * 300 + ["far"] * 100)
    moved = features.astype(np.float64)
    moved[300:] += 4
    reference = embedding_reference(moved, sources)
    assert len(reference.centres) == CENTRES
    assert set(reference.distance_by_source) == {"near", "far"}
    assert reference.cutoff == max(reference.distance_by_source.values())
    centres = np.array(embedding_reference(moved[:300], sources[:300]).centres)
    assert (distances(moved[300:], centres) <= reference.cutoff).mean() >= KEPT - 0.01
    assert embedding_reference(moved, sources) == reference


def test_a_single_source_is_measured_against_itself_and_few_slices_have_few_centres(features: np.ndarray) -> None:
    reference = embedding_reference(features[:10].astype(np.float64), np.array(["only"] * 10))
    assert len(reference.centres) == 10
    assert reference.cutoff == pytest.approx(0, abs=1e-2)


def test_a_model_gets_its_projection_and_keeps_its_other_outputs() -> None:
    image = keras.Input((8, 8, 1), name="image")
    raw = keras.layers.Dense(64, name="raw")(keras.layers.Flatten()(image))
    probability = keras.layers.Dense(1, "sigmoid", name="probability")(raw)
    model = keras.Model(image, {"probability": probability, "embedding": raw})
    images = np.random.default_rng(0).random((80, 8, 8, 1)).astype(np.float32)
    attached, reference = attach(model, images, np.array(["a", "b"] * 40))
    first, again = model(images[:4]), attached(images[:4])
    assert np.array_equal(np.asarray(first["probability"]), np.asarray(again["probability"]))
    assert np.asarray(again["embedding"]).shape == (4, AXES + 1)
    assert len(reference.centres[0]) == AXES + 1
