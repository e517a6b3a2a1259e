"""Models that are not what they say: refused with a reason, at load or at the first answer, never with a crash."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from screener.cli.info import lines
from screener.domain.slice import Prediction, Reason
from screener.errors import ModelError
from screener.model.card import Card
from screener.model.session import Model
from tests.conftest import EMBEDDING_REFERENCE, SIZE, tiny_card, tiny_graph, write_model

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

RATE = {"value": 0.9, "low": None, "high": None, "hits": 9, "count": 10, "units": 5}


def changed(where: str, value: object) -> dict[str, Any]:
    card = tiny_card()
    holder = card
    *way, last = where.split(".")
    for key in way:
        holder = holder[key]
    holder[last] = value
    return card


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("operating_points.auto.sensitivity", RATE | {"hits": float("inf")}),
        ("operating_points.auto.sensitivity", RATE | {"value": float("nan")}),
        ("operating_points.auto.threshold", 10**400),
        ("operating_points.auto.threshold", True),
        ("operating_points.auto.threshold", -0.1),
        ("operating_points.auto", []),
        (EMBEDDING_REFERENCE, {"cutoff": float("nan"), "centres": [[1.0]]}),
        (EMBEDDING_REFERENCE, {"cutoff": 1.0, "centres": [[float("inf")]]}),
        (EMBEDDING_REFERENCE, {"cutoff": 1.0, "centres": [[1.0]]}),  # there is no embedding to measure
        ("limitations", 5),
        ("limitations", [5]),
        ("training_data", []),
        ("training_data", {"sets": {"fit": 3}}),
        ("training_data", {"sources": [3]}),
        ("licence", None),
        ("name", "\x1b[31mred"),
        ("version", ""),
        ("schema", 1),
        ("preprocessing.size", 64.0),
        ("preprocessing.crop", []),
        ("outputs", {"probability": None}),
        ("outputs", {"probability": "p", "heatmap": 3}),
    ],
)
def test_a_card_that_promises_nonsense(where: str, value: object) -> None:
    with pytest.raises(ModelError):
        Card.parse(json.dumps(changed(where, value)))


def test_a_card_nested_without_end() -> None:
    for text in ("[" * 100_000, '{"schema":' * 100_000):
        with pytest.raises(ModelError):
            Card.parse(text)


values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.builds(list) | st.builds(dict)
)
prose = ["limitations", "intended_use", "licence", "architecture", "created", "name", "metrics"]
inner = ["training_data.sets", "training_data.sources", "training_data.fingerprint", "operating_points.auto"]
outer = [
    "training_data",
    EMBEDDING_REFERENCE,
    "outputs",
    "operating_points.auto.sensitivity",
    "operating_points.auto.recall_target",
]
outer += ["operating_points.auto.certificate", "operating_points.auto.certificate.holds_for"]
places = st.sampled_from(prose + inner + outer)


@settings(max_examples=300)
@given(st.lists(st.tuples(places, values | st.lists(values, max_size=2)), max_size=3))
def test_whatever_can_be_read_can_be_printed(changes: list[tuple[str, object]]) -> None:
    card = tiny_card()
    for where, value in changes:
        *way, last = where.split(".")
        holder: Any = card
        for key in way:
            holder = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(holder, dict):
            holder[last] = value
    try:
        read = Card.parse(json.dumps(card))
    except ModelError:
        return
    assert all(isinstance(line, str) for line in lines(read, "en"))


def with_output(index: int, name: str, shape: list[int], kind: str = "") -> onnx.ModelProto:
    """Return the tiny graph with one output reshaped, whatever it declares."""
    graph = tiny_graph()
    output = graph.graph.output[index]
    node = next(node for node in graph.graph.node if output.name in node.output)
    node.output[0] = "raw"
    graph.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), "shape"))
    graph.graph.node.append(helper.make_node("Reshape", ["raw", "shape"], [name]))
    if kind:
        graph.graph.node[-1].output[0] = "reshaped"
        graph.graph.node.append(helper.make_node("Cast", ["reshaped"], [name], to=getattr(TensorProto, kind)))
        output.type.tensor_type.elem_type = getattr(TensorProto, kind)
    for dim in output.type.tensor_type.shape.dim:
        dim.Clear()
    del output.type.tensor_type.shape.dim[len(shape) :]
    while len(output.type.tensor_type.shape.dim) < len(shape):
        output.type.tensor_type.shape.dim.add()
    return graph


def test_a_probability_of_another_kind_is_refused_at_load(tmp_path: Path) -> None:
    graph = with_output(0, "probability", [-1], "INT64")
    with pytest.raises(ModelError, match="float output"):
        Model.load(write_model(tmp_path / "whole", graph=graph))


def test_a_probability_for_each_slice_or_none(tmp_path: Path) -> None:
    # One row for two slices: whose would it be?
    model = Model.load(write_model(tmp_path / "pairs", graph=with_output(0, "probability", [-1, 2])))
    with pytest.raises(ModelError, match="probability"):
        model.predict(np.zeros((2, SIZE, SIZE, 1), np.float32))


def test_a_column_of_probabilities_is_fine(tmp_path: Path) -> None:
    model = Model.load(write_model(tmp_path / "column", graph=with_output(0, "probability", [-1, 1])))
    answers = model.predict(np.full((3, SIZE, SIZE, 1), 0.9, np.float32))
    assert [answer.probability for answer in answers] == pytest.approx([1.0] * 3)
    assert model.predict(np.zeros((0, SIZE, SIZE, 1), np.float32)) == []


def with_reference(folder: Path, centres: list[list[float]]) -> Model:
    card = tiny_card(
        outputs={"probability": "probability", "heatmap": None, "embedding": "heatmap"},
        **{EMBEDDING_REFERENCE: {"cutoff": 0.5, "centres": centres}},
    )
    return Model.load(write_model(folder, card, with_output(1, "heatmap", [-1, 4])))


def test_the_reference_measures_distance_to_the_nearest_centre(tmp_path: Path) -> None:
    model = with_reference(tmp_path / "referenced", [[0.0] * 4, [1.0] * 4])
    for grey, reason in ((0.1, None), (0.5, Reason.NOT_A_BRAIN_MRI), (0.9, None)):
        (answer,) = model.predict(np.full((1, SIZE, SIZE, 1), grey, np.float32))
        assert model.refuse(answer) is reason


def test_an_embedding_that_is_no_number_is_strange(tmp_path: Path) -> None:
    model = with_reference(tmp_path / "referenced", [[0.0] * 4])
    assert model.refuse(Prediction(0.5, None, np.full(4, np.nan, np.float32))) is Reason.NOT_A_BRAIN_MRI
    assert model.refuse(Prediction(float("nan"))) is Reason.NON_FINITE_SCORE


def test_centres_of_another_length_than_the_embedding(tmp_path: Path) -> None:
    model = with_reference(tmp_path / "referenced", [[0.0] * 3])
    with pytest.raises(ModelError, match="embedding"):
        model.predict(np.zeros((1, SIZE, SIZE, 1), np.float32))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_checksums_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "SHA256SUMS").unlink()
    if content is not None:
        (folder / "SHA256SUMS").write_bytes(content)
        with pytest.raises(ModelError, match="SHA256SUMS"):
            Model.load(folder)
    else:
        Model.load(folder)


def test_checksums_as_sha256sum_writes_them_for_binary_files(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    sums = folder / "SHA256SUMS"
    sums.write_text(sums.read_text().replace("  ", " *"))
    Model.load(folder)
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(ModelError, match="SHA256SUMS"):
        Model.load(folder)


def test_a_model_that_changed_on_disk(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    model = Model.load(folder)
    model.refuse_replaced()
    (folder / "model.onnx").touch()
    model.refuse_replaced()
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelError, match="replaced or removed"):
        model.refuse_replaced()
