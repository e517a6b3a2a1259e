"""A card is read whole or refused by the name of what is wrong."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.errors import ModelError
from screener.model.card import Card, same_content
from tests.conftest import EMBEDDING_REFERENCE, tiny_card

ROOT = Path(__file__).resolve().parents[3]
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def test_reads_what_was_written() -> None:
    card = Card.parse(json.dumps(tiny_card()))
    assert card.title == "tiny 1.0.0"
    assert card.operating_points["auto"].threshold == 0.4
    assert card.operating_points["auto"].sensitivity is not None
    assert card.embedding_reference is None
    assert card.study is None


@given(st.binary(max_size=200) | st.text(max_size=50))
def test_no_text_does_more_than_be_refused(text: bytes | str) -> None:
    with pytest.raises(ModelError):
        Card.parse(text)


def _paths(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else ()
    inner = [found for key, child in children for found in _paths(child, (*path, key))]
    return [path, *inner] if path else inner


@given(st.sampled_from(_paths(tiny_card())), junk)
def test_a_mutated_card_is_read_or_refused(path: tuple[Any, ...], value: object) -> None:
    card = copy.deepcopy(tiny_card())
    holder = card
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    try:
        read = Card.parse(json.dumps(card))
    except ModelError:
        return
    assert all(0 <= point.threshold <= 1 for point in read.operating_points.values())


def test_the_shipped_card_is_read_whole() -> None:
    """What a card says and the structs do not know would be lost when it is released again."""
    text = (ROOT / "models/lite/card.json").read_bytes()
    card, plain = Card.parse(text), json.loads(text)
    again = card.to_plain()
    assert {name: again[name] for name in plain} == plain or _without_defaults(again, plain) == plain
    assert Card.parse(json.dumps(again)) == card


def _without_defaults(again: Any, plain: Any) -> Any:  # noqa: ANN401 - JSON
    """Drop the keys that an older writer left out."""
    if isinstance(again, dict) and isinstance(plain, dict):
        return {name: _without_defaults(again[name], plain[name]) for name in plain if name in again}
    if isinstance(again, list) and isinstance(plain, list) and len(again) == len(plain):
        return [_without_defaults(one, other) for one, other in zip(again, plain, strict=True)]
    return again


def test_unknown_keys_are_ignored_but_those_of_preprocessing() -> None:
    data = tiny_card(colour="red")
    data["operating_points"]["auto"]["colour"] = "red"
    assert Card.parse(json.dumps(data)) == Card.parse(json.dumps(tiny_card()))
    data["preprocessing"]["colour"] = "red"
    with pytest.raises(ModelError, match=r"colour.*preprocessing"):
        Card.parse(json.dumps(data))


@pytest.mark.parametrize(
    ("where", "version", "message"), [("schema", 1, "has schema 1"), ("preprocessing", 7, "preprocessing version 7")]
)
def test_other_versions_are_named_before_anything_else(where: str, version: int, message: str) -> None:
    data = {"schema": 2, "preprocessing": {"version": 1}}
    data[where] = version if where == "schema" else {"version": version}
    with pytest.raises(ModelError, match=message):
        Card.parse(json.dumps(data))


def test_figures_that_are_not_finite_become_null() -> None:
    card = msgspec.structs.replace(
        Card.parse(json.dumps(tiny_card())),
        metrics={"auc": float("nan"), "slices": np.int64(3), "share": np.float64(0.5)},
    )
    assert card.to_plain()["metrics"] == {"auc": None, "slices": 3, "share": 0.5}
    with pytest.raises(TypeError, match="cannot hold"):
        msgspec.structs.replace(card, metrics={"path": ROOT}).to_plain()


def test_contents_are_compared_with_their_unknown_keys() -> None:
    assert same_content('{"a": 1, "b": [1.0]}', '{"b": [1.0], "a": 1}')
    assert not same_content('{"a": 1}', '{"a": 1, "b": null}')
    with pytest.raises(ModelError, match="not JSON"):
        same_content("{}", "{")


@pytest.mark.parametrize(
    "reference",
    [
        {"cutoff": 1},
        {"cutoff": "x", "centres": [[1]]},
        {"cutoff": 1, "centres": []},
        {"cutoff": 1, "centres": [[1], [1, 2]]},
        [],
    ],
)
def test_an_embedding_reference_that_cannot_measure(reference: object) -> None:
    with pytest.raises(ModelError, match=EMBEDDING_REFERENCE):
        Card.parse(json.dumps(tiny_card(**{EMBEDDING_REFERENCE: reference})))
