"""A card is read whole or refused by the name of what is wrong."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.errors import ModelError
from screener.model.card import Card
from tests.conftest import tiny_card

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
    assert card.gate is None


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


@pytest.mark.parametrize(
    "gate",
    [
        {"cutoff": 1},
        {"cutoff": "x", "centres": [[1]]},
        {"cutoff": 1, "centres": []},
        {"cutoff": 1, "centres": [[1], [1, 2]]},
        [],
    ],
)
def test_a_gate_that_cannot_measure(gate: object) -> None:
    with pytest.raises(ModelError, match="gate"):
        Card.parse(json.dumps(tiny_card(gate=gate)))
