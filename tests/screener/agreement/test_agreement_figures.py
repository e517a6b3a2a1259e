"""Agreement with readers: weights, intervals and what is not known, against known truths."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from screener.agreement.figures import agreement, week_of, weigh
from screener.agreement.opinions import ReaderStudy, Reading, Stratum
from screener.agreement.weighted_estimates import totals
from screener.domain.finding import Decision
from screener.domain.verdict import Diagnosis
from screener.evaluate.metrics import Scored, exact_interval, operating_figures
from tests.agreement_logs import THRESHOLD, Clinic, clinic, finding, reading, sampled

TUMOUR, NO_TUMOUR = "tumour", "no_tumour"


def study_of(findings: list[object], readings: list[Reading]) -> ReaderStudy:
    population: Counter[Stratum] = Counter()
    study = ReaderStudy("slice", population, readings=readings)
    for found in findings:
        stratum = Stratum.of(found)  # type: ignore[arg-type]
        population[stratum] += 1
        study.urgencies[stratum, found.urgency] += 1  # type: ignore[attr-defined]
    return study


def read_sample(of: Clinic, seed: int, **options: float) -> ReaderStudy:
    """Let readers who know the truth read a sample."""
    readings = [
        reading(of.findings[c["number"]], TUMOUR if of.truths[c["number"]] else NO_TUMOUR, drawn=c["drawn"],
                sampling=c.get("sampling"))
        for c in sampled(of, seed, **options)
    ]  # fmt: skip
    return study_of(list(of.findings), readings)


def sensitivity(study: ReaderStudy) -> float:
    cells = totals(weigh(study.population, study.readings)[0])
    return float(cells[1] / (cells[1] + cells[3] + cells[5]))


def naive(study: ReaderStudy) -> float:
    read = [r for r in study.readings if r.reference is Diagnosis.TUMOUR]
    return sum(r.item.finding.decision is Decision.FLAGGED for r in read) / len(read)


def test_weights_undo_the_sampling_and_counting_what_was_read_does_not() -> None:
    of = clinic(1)
    studies = [read_sample(of, seed) for seed in range(60)]
    errors = np.array([[sensitivity(study), naive(study)] for study in studies]) - of.sensitivity()
    weighted, plain = errors.mean(axis=0)
    assert abs(weighted) < 0.015, "three standard errors of the mean"
    assert plain > 0.1
    study = studies[0]
    study.readings = [replace(r, sampling=None) for r in study.readings]
    assert sensitivity(study) == pytest.approx(sensitivity(studies[0]))


@pytest.mark.long
def test_intervals_of_a_sample_hold_the_truth() -> None:
    held = []
    for seed in range(20):
        of = clinic(seed, 2000)
        found = agreement(read_sample(of, seed)).overall.figures.headline["sensitivity"]
        assert found.low is not None
        assert found.high is not None
        held.append(found.low <= of.sensitivity() <= found.high)
    assert sum(held) >= 17


def test_unequal_chances_of_being_drawn() -> None:
    """Two wards sample at 5 % and 50 %; in the second, misses are ten times as frequent."""
    rng = np.random.default_rng(3)
    findings, readings = [], []
    for number in range(8000):
        chance, risk = ((0.05, 0.01), (0.5, 0.1))[number % 2]
        found = finding(number, 0.1)
        findings.append(found)
        truth = TUMOUR if rng.random() < risk else NO_TUMOUR
        if rng.random() < chance:
            readings.append(reading(found, truth, drawn="sample", sampling=chance))
    cells = totals(weigh(study_of(findings, []).population, readings)[0])
    assert cells.sum() == pytest.approx(8000)
    assert cells[3] == pytest.approx(440, rel=0.25)


def test_what_somebody_asked_for_stands_for_itself_only() -> None:
    findings = [finding(n, 0.1) for n in range(100)]
    asked = [reading(found, TUMOUR) for found in findings[:5]]
    drawn = [reading(found, NO_TUMOUR, drawn="sample", sampling=0.1) for found in findings[5:15]]
    sample, thin = weigh(study_of(findings, []).population, asked + drawn)
    assert sample.weights.tolist() == [1.0] * 5 + [9.5] * 10
    assert sample.drawn.tolist() == [False] * 5 + [True] * 10
    assert thin is None


def test_a_sample_that_was_not_all_read_stands_for_all_and_is_reported() -> None:
    findings = [finding(n, 0.1) for n in range(1000)]
    drawn = [reading(found, NO_TUMOUR, drawn="sample", sampling=0.1) for found in findings[:50]]
    sample, thin = weigh(study_of(findings, []).population, drawn)
    assert sample.weights.sum() == pytest.approx(1000)
    assert thin == pytest.approx(0.5)


def test_sensitivity_is_not_known_while_no_unflagged_slice_was_read() -> None:
    findings = [finding(n, 0.95 if n < 20 else 0.1) for n in range(100)]
    readings = [reading(found, TUMOUR, drawn="flagged") for found in findings[:20]]
    found = agreement(study_of(findings, readings)).overall.figures.headline
    for name in ("sensitivity", "specificity", "npv", "kappa"):
        assert (found[name].value, found[name].unknown) == (None, "not_flagged_unread")
    assert found["ppv"].value == 1
    assert found["ppv"].low == pytest.approx(exact_interval(2, 2)[0])
    readings.append(reading(findings[50], NO_TUMOUR, drawn="asked"))
    found = agreement(study_of(findings, readings)).overall.figures.headline
    assert found["sensitivity"].unknown == "not_flagged_unread", "opened on purpose, it stands for no other"


def test_refused_slices_that_nobody_read_leave_the_headline_open() -> None:
    findings = [finding(0, 0.95), finding(10, 0.1), finding(20, None)]
    readings = [reading(findings[0], TUMOUR), reading(findings[1], NO_TUMOUR)]
    figures = agreement(study_of(findings, readings)).overall.figures
    assert figures.headline["sensitivity"].unknown == "not_assessable_unread"
    assert figures.assessable["sensitivity"].value == 1


def test_no_miss_among_few_of_many_leaves_room_for_misses() -> None:
    """20 of 2,000 unflagged patients were read, none with a tumour: up to 1 - 0.025 ** (1 / 20) of the rest may be."""
    findings = [finding(10 * n, 0.95 if n < 100 else 0.1) for n in range(2100)]
    readings = [reading(found, TUMOUR, drawn="flagged") for found in findings[:100]]
    readings += [reading(found, NO_TUMOUR, drawn="sample", sampling=0.01) for found in findings[100:120]]
    found = agreement(study_of(findings, readings)).overall.figures.headline["sensitivity"]
    possible = (1 - 0.025 ** (1 / 20)) * 1980
    assert found.value == found.high == 1
    assert found.low == pytest.approx(100 / (100 + possible), rel=0.1)
    assert found.low < 0.4 < exact_interval(100, 100)[0]


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from([TUMOUR, NO_TUMOUR]), st.sampled_from([None, 0.05, 0.3999, 0.4, 0.95])),
        min_size=1,
        max_size=60,
    ),
    st.sampled_from(["asked", "sample", "flagged"]),
)
def test_with_everything_read_the_rates_are_those_of_the_plain_count(
    slices: list[tuple[str, float | None]], drawn: str
) -> None:
    findings = [finding(7 * n, probability) for n, (_, probability) in enumerate(slices)]
    readings = [reading(f, truth, drawn=drawn) for f, (truth, _) in zip(findings, slices, strict=True)]
    figures = agreement(study_of(findings, readings)).overall.figures
    scored = Scored(
        np.array([truth == TUMOUR for truth, _ in slices], dtype=np.int64),
        np.array([np.nan if p is None else p for _, p in slices]),
        np.array([7 * n // 10 for n in range(len(slices))]),
    )
    plain = operating_figures(scored, THRESHOLD)
    for prefix, mine in (("", figures.headline), ("assessable_", figures.assessable)):
        for name in ("sensitivity", "specificity"):
            same, other = mine[name], plain[prefix + name]
            assert same.value == pytest.approx(other["value"])
            assert (same.hits, same.count, same.units) == (other["hits"], other["count"], other["units"])
            if same.hits in (0, same.count) and same.count:
                assert (same.low, same.high) == pytest.approx((other["low"], other["high"]))


def test_kappa_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    truths = rng.random(300) < 0.4
    flags = np.where(rng.random(300) < 0.8, truths, ~truths)
    findings = [finding(n, 0.95 if flag else 0.1) for n, flag in enumerate(flags)]
    readings = [reading(f, TUMOUR if truth else NO_TUMOUR) for f, truth in zip(findings, truths, strict=True)]
    found = agreement(study_of(findings, readings)).overall.figures.headline["kappa"]
    assert found.value == pytest.approx(cohen_kappa_score(truths, flags))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_weighted_kappa_is_that_of_the_slices_repeated() -> None:
    findings = [finding(n, 0.95 if n < 10 else 0.1) for n in range(50)]
    readings = [reading(f, TUMOUR if n < 7 else NO_TUMOUR, drawn="flagged") for n, f in enumerate(findings[:10])]
    truths = [TUMOUR] + [NO_TUMOUR] * 7
    readings += [reading(f, t, drawn="sample", sampling=0.2) for f, t in zip(findings[10:18], truths, strict=True)]
    found = agreement(study_of(findings, readings)).overall.figures.headline["kappa"]
    repeated = [1] * 7 + [0] * 3 + [1] * 5 + [0] * 35
    assert found.value == pytest.approx(cohen_kappa_score(repeated, [1] * 10 + [0] * 40))


def test_perfect_agreement_has_no_perfect_interval() -> None:
    findings = [finding(10 * n, 0.95 if n < 6 else 0.1) for n in range(12)]
    readings = [reading(f, TUMOUR if n < 6 else NO_TUMOUR) for n, f in enumerate(findings)]
    found = agreement(study_of(findings, readings)).overall.figures.headline["kappa"]
    assert found.value == found.high == 1
    assert found.low == pytest.approx(2 * 0.025 ** (1 / 12) - 1)
    assert agreement(study_of(findings[:3], readings[:3])).overall.figures.headline["kappa"].value is None


def test_majority_of_the_readers() -> None:
    found = finding(0, 0.95)
    assert reading(found, TUMOUR, TUMOUR, NO_TUMOUR).reference is Diagnosis.TUMOUR
    assert reading(found, TUMOUR, NO_TUMOUR).reference is Diagnosis.UNSURE
    assert reading(found, TUMOUR, NO_TUMOUR, "bad_image").reference is Diagnosis.UNSURE
    assert reading(found, "bad_image").reference is Diagnosis.BAD_IMAGE


def test_disagreements_stand_in_order_and_once() -> None:
    cases = [
        (0.3, [TUMOUR]), (0.1, [TUMOUR]), (None, [TUMOUR]), (0.5, [NO_TUMOUR]), (0.99, [NO_TUMOUR, NO_TUMOUR, TUMOUR]),
        (None, [NO_TUMOUR]), (0.6, [TUMOUR, "unsure"]), (0.95, [TUMOUR]), (0.2, [NO_TUMOUR]), (0.2, ["unsure"]),
    ]  # fmt: skip
    readings = [reading(finding(n, p), *said) for n, (p, said) in enumerate(cases)]
    found = agreement(study_of([r.item.finding for r in readings], readings))
    shown = [
        [r.item.finding.probability for r in group] for group in (found.misses, found.false_alarms, found.contested)
    ]
    assert shown == [[0.1, 0.3, None], [0.99, 0.5, None], [0.6]]
    assert found.overall.figures.verdicts == {
        "tumour": 4, "no_tumour": 4, "unsure": 2, "bad_image": 0, "other": 0
    }  # fmt: skip


def test_readers_are_compared_two_by_two() -> None:
    said = [(TUMOUR, TUMOUR), (TUMOUR, NO_TUMOUR), (NO_TUMOUR, NO_TUMOUR), (NO_TUMOUR, NO_TUMOUR), ("unsure", TUMOUR)]
    readings = [reading(finding(10 * n, 0.95), *both) for n, both in enumerate(said)]
    readings.append(reading(finding(900, 0.95), TUMOUR))
    (pair,) = agreement(study_of([r.item.finding for r in readings], readings)).pairs
    assert (pair.readers, pair.shared, pair.decided) == (("dr-0", "dr-1"), 5, 4)
    assert pair.kappa.value == pytest.approx(cohen_kappa_score([1, 1, 0, 0], [1, 0, 0, 0]))
    assert (pair.kappa.hits, pair.kappa.count) == (3, 4)


def test_models_have_figures_of_their_own_and_one_that_nobody_read_spoils_none() -> None:
    old = [finding(n, 0.95 if n < 5 else 0.1, model="old", model_sha256="c" * 64) for n in range(20)]
    new = [finding(n, 0.95 if n < 5 else 0.1) for n in range(20)]
    readings = [reading(found, TUMOUR if n < 5 else NO_TUMOUR) for n, found in enumerate(new)]
    found = agreement(study_of([*old, *new], readings))
    first, second = found.models
    assert (first.name, first.screened, first.figures.read) == ("old ≥ 0.4", 20, 0)
    assert first.figures.headline["sensitivity"].value is None
    assert second.figures.headline["sensitivity"].value == 1
    assert found.overall.figures.headline["sensitivity"].value == 1
    assert found.overall.screened == 20
    assert second.reviewed["HIGH"].screened == second.reviewed["HIGH"].reviewed == 5
    readings.append(reading(old[0], TUMOUR))
    found = agreement(study_of([*old, *new], readings))
    assert found.overall.figures.headline["sensitivity"].unknown == "not_flagged_unread"


def test_weeks_are_those_of_the_verdicts() -> None:
    findings = [finding(10 * n, 0.95 if n < 6 else 0.1) for n in range(12)]
    readings = [reading(f, TUMOUR if n < 6 else NO_TUMOUR) for n, f in enumerate(findings)]
    for number in (0, 1, 2, 6, 7):
        (opinion,) = readings[number].opinions.values()
        readings[number].opinions = {"dr-0": replace(opinion, timestamp="2027-01-03T23:59:00Z")}
    (opinion,) = readings[3].opinions.values()
    readings[3].opinions = {"dr-0": replace(opinion, timestamp="yesterday")}
    found = agreement(study_of(findings, readings))
    assert [(week.name, week.figures.read) for week in found.weeks] == [("", 1), ("2026-W48", 6), ("2026-W53", 5)]
    assert found.weeks[0].figures.headline["sensitivity"].unknown == "not_flagged_unread"
    assert found.weeks[2].figures.headline["sensitivity"].count == 3
    assert week_of("2026-12-31T12:00:00Z") == "2026-W53"


def test_nothing_was_read() -> None:
    found = agreement(study_of([finding(n, 0.95) for n in range(3)], []))
    assert found.overall.screened == 3
    assert all(figure.value is None for figure in found.overall.figures.headline.values())
    assert found.weeks == found.pairs == ()
    assert agreement(ReaderStudy()).models == ()
