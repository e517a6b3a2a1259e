"""An event survives being written and read, whatever it holds, and nothing else is taken for one."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from audit_samples import FINDING, PREPROCESSING, finding, forge, refused
from hypothesis import given
from hypothesis import strategies as st

from screener.audit import events
from screener.audit.events import GENESIS, MAX_LINE, BadLineError, Kind, finding_of, new_event, parse, plain, seal
from screener.domain.finding import Decision, Urgency
from screener.errors import AuditLogError

TEXT = st.text(st.characters(), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def result(**changes: object) -> events.Event:
    """Return a RESULT event in its place at the head of a chain, as read back."""
    event = events.result_event(replace(FINDING, **changes), "run", doctor_id=None, preprocessing=PREPROCESSING)
    return parse(seal(event, GENESIS)[0])


@given(content=st.dictionaries(TEXT.map(lambda name: f"x{name}"), VALUES, max_size=5))
def test_any_content_comes_back_as_plain_gives_it(content: dict[str, object]) -> None:
    line, digest = seal(new_event(Kind.START, "run", content), GENESIS)
    event = parse(line)
    assert {name: event[name] for name in plain(content)} == plain(content)
    assert event["hash"] == digest
    assert line.isascii()
    assert line.count(b"\n") == 1


@given(content=st.dictionaries(TEXT, VALUES, max_size=5))
def test_the_faster_encoder_gives_the_same_text(content: dict[str, object]) -> None:
    event = plain(content)
    assert events.canonical(event) == events._encode_any(event)


@given(data=st.binary(max_size=300))
def test_rubbish_is_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(BadLineError):
        parse(data)


@given(probability=st.floats(0, 1), threshold=st.floats(0, 1))
def test_a_logged_probability_stands_on_the_side_of_its_decision(probability: float, threshold: float) -> None:
    event = result(probability=probability, threshold=threshold)
    assert (float(event["probability"]) >= float(event["threshold"])) == (probability >= threshold)


def test_decimals_are_strings_and_numbers_of_single_precision_too() -> None:
    numpy = pytest.importorskip("numpy")
    event = result(probability=numpy.float32(0.5), confidence=numpy.float64(0.25), threshold=1)
    assert (event["probability"], event["confidence"], event["threshold"]) == ("0.5", "0.25", "1.0")
    assert plain({"a": numpy.float64(0.25), "b": PurePosixPath("x/y")}) == {"a": "0.25", "b": "x/y"}


def test_a_finding_comes_back_whole() -> None:
    for made in (FINDING, refused(3), finding(4, probability=math.nan, path="a\nb\x1b[31m\udcff")):
        event = events.result_event(made, "run", doctor_id="dr", preprocessing=PREPROCESSING)
        assert repr(finding_of(parse(seal(event, GENESIS)[0]))) == repr(made)
    again = finding_of(result(), seen_before=True)
    assert again == replace(FINDING, seen_before=True)
    assert isinstance(again.decision, Decision)
    assert isinstance(again.urgency, Urgency)


def test_a_result_holds_what_the_contract_says() -> None:
    event = result()
    assert event["schema"] == 2
    assert event["event"] == "RESULT"
    assert event["timestamp"].endswith("Z")
    assert event["final_diagnosis"] is None
    assert event["agreement"] is None
    assert event["doctor_id"] is None
    assert event["preprocessing"] == PREPROCESSING
    assert event["prev"] == GENESIS


def test_halves_of_one_character_become_it() -> None:
    assert result(path="\ud83d\ude00")["path"] == "😀"


@pytest.mark.parametrize("value", [object(), {1: 2}, b"bytes", {"a": {"b": {1}}}])
def test_what_has_no_plain_text_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="audit event cannot hold"):
        plain(value)


def test_reserved_names_are_refused() -> None:
    with pytest.raises(ValueError, match="hash, prev"):
        new_event(Kind.START, "run", {"prev": "x", "hash": "y"})


def test_an_event_too_long_to_be_read_is_not_written() -> None:
    with pytest.raises(AuditLogError, match="longer than"):
        seal(new_event(Kind.START, "run", {"note": "x" * MAX_LINE}), GENESIS)


START = json.dumps(
    {"schema": 1, "event": "START", "timestamp": "t", "run_id": "r", "prev": GENESIS},
    sort_keys=True,
    separators=(",", ":"),
)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (START.replace('"r"', '"r","run_id":"s"'), "doubled key"),
        (START.replace('":1', '": 1'), "canonical"),
        (START.replace('"r"', '"\\u0072"'), "canonical"),
        (START.replace(":1", ":3"), "unknown schema '3'"),
        (START.replace(":1", ":true"), "unknown schema 'True'"),
        (START.replace(":1", ":1.0"), "not a string"),
        (START.replace(":1", ":NaN"), "not a string"),
        (START.replace("START", "DELETE"), "unknown event 'DELETE'"),
        (START.replace('"START"', "[]"), "unknown event"),
        (START.replace("START", "RESULT"), "lacks .*probability"),
        (START.replace('"r"', "[1]"), "not text"),
        ("[1]", "not JSON"),
        ("[" * 100_000 + "]", "nested too deeply|not JSON"),
    ],
)
def test_a_forged_line_is_named(body: str, why: str) -> None:
    with pytest.raises(BadLineError, match=why):
        parse(forge({}, body))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"x" * (MAX_LINE + 1), "longer than"),
        (forge({}, START)[:-1], "incomplete"),
        (b"[]\n", "not a JSON object"),
        (b"\xff\n", "byte 1 of the line is not ASCII"),
        (b"{}\n", "unknown schema"),
        (b'{"schema":1}\n', "does not end in its hash"),
        (forge({}, START).replace(b'"r"', b'"s"'), "does not match its hash"),
        (b'{"schema":' + b"1" * 5000 + b"}\n", "not JSON"),
    ],
)
def test_a_broken_line_is_named(line: bytes, why: str) -> None:
    with pytest.raises(BadLineError, match=why):
        parse(line)
