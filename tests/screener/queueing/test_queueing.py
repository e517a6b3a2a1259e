"""Waiting times: known formulas, a law of conservation, a simulation, and what a log tells."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.errors import UsageError
from screener.queueing.answer import FIGURES, QueueAnswer, QueueOptions, answer
from screener.queueing.formulas import Site, erlang_c, waits
from screener.queueing.from_log import Known, drawn
from screener.queueing.show import duration, page

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Command

GIVEN = {"arrivals": 300.0, "prevalence": 0.1, "sensitivity": 0.95, "specificity": 0.85}


def site(**changes: float) -> Site:
    about = {"arrivals": 300.0, "minutes": 15.0, "readers": 2, "hours": 40.0, "prevalence": 0.1}
    return Site(**(about | {"sensitivity": 0.9, "specificity": 0.8} | changes))  # type: ignore[arg-type]


def options(log: Path | None = None, *, readers: int = 2, simulate: bool = False, **given_: float) -> QueueOptions:
    return QueueOptions(log, 15.0, 40.0, readers, given_ if log or given_ else dict(GIVEN), simulate)


def test_erlang_c_is_the_known_one() -> None:
    assert erlang_c(1, 0.7) == pytest.approx(0.7)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    offered, readers = 8.0, 10
    terms = [offered**k / math.factorial(k) for k in range(readers)]
    last = offered**readers / math.factorial(readers) * readers / (readers - offered)
    assert erlang_c(readers, offered) == pytest.approx(last / (sum(terms) + last))


def test_one_reader_waits_as_cobham_says() -> None:
    one = site(readers=1, arrivals=120, not_assessable=0.0)
    load, flagged = 0.75, 0.1 * 0.9 + 0.9 * 0.2
    first = load * 0.25 / (1 - load * flagged)
    other = first / (1 - load)
    found = waits(one)
    assert found.arrival == pytest.approx(load * 0.25 / (1 - load))
    assert found.tumour == pytest.approx(0.9 * first + 0.1 * other)
    assert found.no_tumour == pytest.approx(0.2 * first + 0.8 * other)


@given(st.integers(1, 12), st.floats(0.05, 0.97), st.tuples(*[st.floats(0, 1)] * 3, st.floats(0, 0.5)))
def test_the_mean_over_all_patients_does_not_depend_on_the_order(
    readers: int, load: float, shares: tuple[float, ...]
) -> None:
    prevalence, sensitivity, specificity, refused = shares
    one = Site(
        arrivals=load * readers * 160, minutes=15, readers=readers, hours=40, prevalence=prevalence,
        sensitivity=sensitivity, specificity=specificity, not_assessable=refused,
    )  # fmt: skip
    found = waits(one)
    assert sum(one.shares()) == pytest.approx(1)
    assert min(one.shares()) >= -1e-12
    assert prevalence * found.tumour + (1 - prevalence) * found.no_tumour == pytest.approx(found.arrival)
    if sensitivity > 1 - specificity and refused == 0:
        assert found.tumour <= found.no_tumour + 1e-12


def test_a_perfect_tool_puts_tumours_before_all_others() -> None:
    found = waits(site(sensitivity=1.0, specificity=1.0))
    assert found.tumour < found.arrival < found.no_tumour
    blind = waits(site(sensitivity=0.3, specificity=0.7))
    assert blind.tumour == pytest.approx(blind.no_tumour)


def test_a_queue_without_end_has_no_mean() -> None:
    with pytest.raises(ValueError, match="without end"):
        waits(site(readers=1))
    with pytest.raises(UsageError) as caught:
        answer(options(readers=1))
    assert "--readers 2" in caught.value.hint


@pytest.mark.parametrize("missing", FIGURES[:4])
def test_a_figure_that_nobody_knows_is_asked_for(missing: str) -> None:
    with pytest.raises(UsageError) as caught:
        answer(options(**{name: value for name, value in GIVEN.items() if name != missing}))
    assert f"--{missing}" in caught.value.hint


def test_given_figures_have_no_interval() -> None:
    found, problem = answer(options())
    assert problem is None
    assert found.figures == {}
    assert found.tumour.low == found.tumour.value == found.tumour.high < found.arrival.value
    assert found.load.value == pytest.approx(300 * 0.25 / 80)


def test_drawn_figures_have_the_interval_that_is_known() -> None:
    rng = np.random.default_rng(0)
    values = drawn(Known(0.9, 0.8, 0.95), rng, 20_000, share=True)
    assert np.quantile(values, [0.025, 0.5, 0.975]) == pytest.approx([0.79, 0.9, 0.957], abs=0.02)
    assert set(drawn(Known.given(0.5), rng, 5, share=True)) == {0.5}


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_a_short_simulation_agrees_within_its_error(load: float) -> None:
    pytest.importorskip("ciw")
    from screener.queueing.simulation import simulate

    one = site(arrivals=load * 320, not_assessable=0.03)
    found, expected = simulate(one, studies=1500, runs=4), waits(one)
    for name in ("arrival", "tumour", "no_tumour"):
        assert getattr(found.mean, name) == pytest.approx(
            getattr(expected, name), abs=2 * getattr(found.error, name) + 0.1 * getattr(expected, name)
        )


@pytest.mark.long
def test_simulation_and_formula_agree_within_three_percent() -> None:
    pytest.importorskip("ciw")
    from screener.queueing.simulation import simulate

    one = site(arrivals=0.7 * 320, not_assessable=0.03)
    found, expected = simulate(one, studies=40_000, runs=8), waits(one)
    for name in ("arrival", "tumour", "no_tumour"):
        # Of 256,000 studies the mean wait is still known to about 3 % only.
        allowed = 0.03 * getattr(expected, name) + getattr(found.error, name)
        assert getattr(found.mean, name) == pytest.approx(getattr(expected, name), abs=allowed)
        assert getattr(found.error, name) < 0.08 * getattr(expected, name)


def test_a_log_tells_arrivals_shares_and_verdicts(tmp_path: Path) -> None:
    from screener.queueing.from_log import observe
    from tests.screener.monitor.monitor_logs import MONDAY
    from tests.screener.monitor.monitor_logs import Site as Written

    written = Written(tmp_path / "audit.jsonl")
    for number in range(80):
        when = MONDAY + timedelta(hours=8.4 * number)
        tumour, missed = number % 4 == 0, number % 16 == 0
        flagged = tumour and not missed
        result = written.study(when, tumour=tumour, probability=0.9 if flagged else 0.1)
        details = {"drawn": "flagged"} if flagged else {"drawn": "sample", "sampling": "1.0"}
        written.verdict(result, "tumour" if tumour else "no_tumour", when, **details)
    seen = observe(written.path)
    assert (seen.studies, seen.verdicts) == (80, 80)
    assert seen.figures["arrivals"].value == pytest.approx(20, rel=0.03)
    assert seen.figures["prevalence"].value == pytest.approx(0.25)
    assert seen.figures["sensitivity"].value == pytest.approx(0.75)
    assert seen.figures["specificity"].value == 1
    found, _ = answer(options(written.path, readers=1))
    assert found.tumour.low < found.tumour.value < found.tumour.high
    assert answer(options(written.path, readers=1, sensitivity=1.0))[0].tumour.value < found.tumour.value


@pytest.mark.parametrize(("days", "shown"), [(2.5, "2.5 days"), (0.5, "12.0 hours"), (0.01, "14.4 minutes")])
def test_a_wait_is_told_in_a_unit_that_fits(days: float, shown: str) -> None:
    assert duration(days, "en") == shown


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_the_page_draws_three_curves(lang: str) -> None:
    found, _ = answer(options())
    shown = page(found, lang)  # type: ignore[arg-type]
    assert shown.count("<path") == 4
    assert "nan" not in shown
    assert shown.index('class="warning"') < shown.index("<svg")


def test_the_command_tells_and_writes(screener: Command, tmp_path: Path) -> None:
    figures = [part for name, value in GIVEN.items() for part in (f"--{name}", value)]
    out = tmp_path / "queue.html"
    done = screener("queue", *figures, "--readers", 2, "--minutes", 15, "--out", out, "--lang", "en")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("At a load of 94 % (readers: 2) a patient with a tumour waits ")
    assert "screener document" in out.read_text()
    done = screener("queue", *figures, "--readers", 2, "--minutes", 15, "--json")
    assert msgspec.json.decode(done.stdout, type=QueueAnswer).site.readers == 2
    assert screener("queue", "--arrivals", 300).returncode == 2
    assert screener("queue", tmp_path / "none.jsonl").returncode == 6
