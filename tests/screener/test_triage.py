"""The rules of the contract, for any probability and threshold."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.domain.finding import Decision, Finding, Urgency
from screener.domain.slice import Identity, Prediction, Reason, Refused
from screener.errors import UsageError
from screener.model.card import OperatingPoint
from screener.report.console import Summary, TopFindings, lines, safe
from screener.triage import TriagePolicy, operating_point, reading_order

shares = st.floats(0, 1)
IDENTITY = Identity("p/a.png", "0" * 64, "p")


def triage_policy(threshold: float, confirmation: float = 0.7) -> TriagePolicy:
    return TriagePolicy(OperatingPoint("auto", threshold), confirmation, "tiny 1", "1" * 64)


@given(shares, shares, shares)
def test_decision_urgency_and_confidence(probability: float, threshold: float, confirmation: float) -> None:
    found = triage_policy(threshold, confirmation).finding(IDENTITY, Prediction(probability))
    flagged = probability >= threshold
    assert found.decision is (Decision.FLAGGED if flagged else Decision.NOT_FLAGGED)
    high = flagged and probability >= max(threshold, confirmation)
    assert found.urgency is (Urgency.HIGH if high else Urgency.MEDIUM if flagged else Urgency.LOW)
    assert found.confidence == (probability if flagged else 1 - probability)
    assert found.probability == probability  # never rescaled
    assert found.reason is None


@given(st.sampled_from([math.nan, math.inf, -math.inf]), shares)
def test_a_score_that_is_no_number_is_never_negative(probability: float, threshold: float) -> None:
    found = triage_policy(threshold).finding(IDENTITY, Prediction(probability))
    assert (found.decision, found.urgency) == (Decision.NOT_ASSESSABLE, Urgency.REVIEW)
    assert found.reason is Reason.NON_FINITE_SCORE
    assert found.probability is found.confidence is None


@pytest.mark.parametrize("reason", Reason)
def test_a_refusal_keeps_its_reason(reason: Reason) -> None:
    found = triage_policy(0.5).refusal(Refused(IDENTITY, reason))
    assert (found.urgency, found.reason, found.probability) == (Urgency.REVIEW, reason, None)


POINTS = {name: OperatingPoint(name, value) for name, value in {"auto": 0.2, "default": 0.5}.items()}


@given(shares)
def test_a_number_is_a_threshold(value: float) -> None:
    assert operating_point(repr(value), POINTS) == OperatingPoint("custom", value)


@pytest.mark.parametrize("expected", ["-0.1", "1.01", "nan", "inf", "", "sometimes", "0,5"])
def test_what_is_no_threshold(expected: str) -> None:
    with pytest.raises(UsageError):
        operating_point(expected, POINTS)


findings = st.builds(
    lambda probability, path: (
        triage_policy(0.4).refusal(Refused(Identity(path, "", None), Reason.BLANK))
        if probability is None
        else triage_policy(0.4).finding(Identity(path, "", None), Prediction(probability))
    ),
    st.none() | shares,
    st.text("ab/é", max_size=4),
)


@given(st.lists(findings, max_size=30), st.integers(0, 12))
def test_the_table_shows_the_first_of_the_reading_order(found: list[Finding], top: int) -> None:
    shown = TopFindings(top)
    for finding in found:
        shown.add(finding)
    keys = [reading_order(finding) for finding in shown.ordered()]
    assert keys == sorted(map(reading_order, found))[: top or None]
    assert shown.hidden == len(found) - len(keys)


def test_reading_order_puts_review_above_low() -> None:
    order = [Urgency.HIGH, Urgency.MEDIUM, Urgency.REVIEW, Urgency.LOW]
    made = [triage_policy(0.4).finding(IDENTITY, Prediction(value)) for value in (0.1, 0.5, 0.9)]
    made.append(triage_policy(0.4).refusal(Refused(IDENTITY, Reason.BLANK)))
    assert [finding.urgency for finding in sorted(made, key=reading_order)] == order


@given(st.text())
def test_nothing_from_a_file_name_reaches_the_terminal_raw(name: str) -> None:
    import unicodedata

    assert not any(unicodedata.category(letter).startswith("C") for letter in safe(name))


def test_a_custom_threshold_says_that_nothing_was_measured() -> None:
    summary = Summary(Counter(), OperatingPoint("custom", 0.33), "tiny 1", "")
    message = "\n".join(lines(TopFindings(5), summary, "en"))
    assert "no figures were measured" in message
    assert "custom: not certified" in message
