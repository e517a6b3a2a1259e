"""A certificate is believed as far as its own counts support it, and no further."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from screener.errors import ModelError
from screener.evaluate.metrics import lower_bound
from screener.model.card import Card
from screener.model.certificate import supports
from screener.triage import screening_point
from tests.conftest import CERTIFICATE, tiny_card


def card(certificate: object, *, certified: object = True) -> Card:
    data = tiny_card()
    data["operating_points"]["auto"] |= {"certificate": certificate, "certified": certified}
    return Card.parse(json.dumps(data))


@pytest.mark.parametrize(("units", "missed"), [(59, 0), (93, 1), (124, 2)])
def test_how_many_patients_it_takes(units: int, missed: int) -> None:
    assert supports(0.95, 0.95, units, missed)
    assert not supports(0.95, 0.95, units - 1, missed)
    assert not supports(0.95, 0.95, units, missed + 1)


@given(st.floats(0.5, 0.99), st.integers(1, 300), st.integers(0, 20))
def test_the_bound_is_that_of_the_binomial(sensitivity: float, units: int, missed: int) -> None:
    chance = binom.cdf(missed, units, 1 - sensitivity)
    if abs(chance - 0.05) > 1e-6:
        assert supports(sensitivity, 0.95, units, missed) == (missed < units and chance < 0.05)
    if missed < units:
        bound = lower_bound(units - missed, units)
        assert supports(bound - 1e-6, 0.95, units, missed)
        assert not supports(bound + 1e-4, 0.95, units, missed)


def test_a_sound_certificate_counts() -> None:
    point = card(CERTIFICATE).operating_points["auto"]
    assert point.certified
    assert point.certificate is not None
    assert (point.certificate.target, point.certificate.units, point.certificate.missed) == (0.95, 60, 0)
    assert screening_point("auto", card(CERTIFICATE).operating_points) == point


def changed(**changes: object) -> dict[str, Any]:
    return {**CERTIFICATE, **changes}


@pytest.mark.parametrize(
    ("certificate", "message"),
    [
        (None, "no certificate"),
        (changed(target=0.96), "does not reach"),
        (changed(bound=0.99), "do not support a bound of 0.99"),
        (changed(bound=0.94), "does not reach"),
        (changed(missed=1), "do not support"),
        (changed(units=58), "do not support"),
        (changed(units=0), "do not support"),
        (changed(target=None), "support no target"),
        (changed(target=1, bound=1), "does not reach"),
        (changed(target=0.05, bound=0.05, units=1), "below 0.5"),
        (changed(target=0, bound=0.9), "below 0.5"),
        (changed(level=0.5), "0.95 is asked"),
        (changed(level=1), "0.95 is asked"),
        (changed(threshold=0.9), "for the threshold 0.9"),
        (changed(unit=""), "what a unit is"),
        (changed(unit="a\x1b[2J"), "what a unit is"),
    ],
)
def test_one_that_does_not_hold_certifies_nothing(certificate: object, message: str) -> None:
    points = card(certificate).operating_points
    assert not points["auto"].certified
    assert points["auto"].certificate is None
    assert message in points["auto"].flaw
    with pytest.raises(ModelError, match="not certified"):
        screening_point("auto", points)
    assert screening_point("auto", points, accept_uncertified=True) is points["auto"]


@pytest.mark.parametrize(
    ("certificate", "named"),
    [
        ("yes", "certificate"),
        ({}, "threshold"),
        (changed(units="60"), "certificate.units"),
        (changed(units=60.0), "certificate.units"),
        (changed(units=10**400), "certificate.units"),
        (changed(missed=True), "certificate.missed"),
        (changed(missed=-1), "certificate.missed"),
        (changed(target=float("nan")), "not JSON"),
        (changed(bound=1.1), "certificate.bound"),
        (changed(certifies="everything"), "certificate.certifies"),
        ({name: value for name, value in CERTIFICATE.items() if name != "units"}, "units"),
    ],
)
def test_one_that_is_malformed_refuses_the_card_by_the_name_of_the_field(certificate: object, named: str) -> None:
    with pytest.raises(ModelError, match=named):
        card(certificate)


def test_a_card_must_also_say_so() -> None:
    assert not card(CERTIFICATE, certified=False).operating_points["auto"].certified
    for certified in (None, "true", 1):
        with pytest.raises(ModelError, match="certified"):
            card(CERTIFICATE, certified=certified)


def test_what_promises_nothing_is_not_refused() -> None:
    points = card(None).operating_points
    for expected in ("screening", "0.2"):
        assert screening_point(expected, points).threshold == pytest.approx(0.3 if expected == "screening" else 0.2)
