"""The benches of monitoring and of waiting times: what they simulate and what they report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench import monitored_log, monitoring, queueing
from screener.audit import verify
from screener.monitor.indicators import CHANGES
from screener.monitor.watch import MonitorOptions, watch

if TYPE_CHECKING:
    from pathlib import Path


def pool(patients: int = 10) -> monitoring.Pool:
    """Return a pool in which the second variant is brighter."""
    rng = np.random.default_rng(0)
    shape = (len(monitoring.VARIANTS), 2 * patients)
    values = {name: rng.uniform(0.2, 0.4, shape) for name in CHANGES if name != "features"}
    for name in ("flagged", "not_assessable"):
        values[name] = np.zeros(shape)
    values["brightness"][1] += 0.4
    return monitoring.Pool("drawn numbers", values, rng.normal(size=(*shape, 6)))


def test_a_change_is_found_and_a_stable_site_is_not_alarmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "CHANGE_WEEK", 10)
    monkeypatch.setattr(monitoring, "REFERENCE", 4)
    found = monitoring.changed(pool(), "gamma 0.7", sites=6, weeks=24, each=8)
    assert found["found"] == found["sites"] == 6
    assert 1 <= found["median_weeks"] <= found["most_weeks"] <= 10
    calm = monitoring.stable(pool(), sites=6, weeks=16, each=8)
    assert (calm["alarms"], calm["share"]) == (0, 0)
    assert calm["upper"] == pytest.approx(1 - 0.05 ** (1 / 6))
    assert calm["by_indicator"].keys() == {"sensitivity", *CHANGES}


def test_delays_count_what_was_not_found_and_leave_false_alarms_out() -> None:
    change = monitoring.CHANGE_WEEK
    found = monitoring._delay(np.array([3, change, change + 4, 100, 100]), 100)
    assert found == {"sites": 4, "found": 2, "median_weeks": 5.0, "most_weeks": None}


def test_heads_are_changed_as_named() -> None:
    head = np.random.default_rng(0).random((9, 8)).astype(np.float32)
    changed = {name: change(head) for name, change in monitoring.VARIANTS.items()}
    assert changed["half resolution"].shape == (4, 4)
    assert changed["inverted contrast"] == pytest.approx(1 - head)
    assert changed["bias field"][:, -1].mean() > head[:, -1].mean()
    assert all(one.dtype == np.float32 and one.min() >= 0 and one.max() <= 1 for one in changed.values())


def test_reports_give_every_figure() -> None:
    stable = {"sites": 1000, "alarms": 3, "share": 0.003, "upper": 0.008, "by_indicator": {"size": 3}}
    delay = {"sites": 9, "found": 8, "median_weeks": 2.0, "most_weeks": None, "first": {"features": 8}}
    about = {"source": "drawn heads", "patients": 5, "weeks": 104, "each": 40, "prevalence": 0.1, "change_week": 52}
    timed = {"events": 1_000_000, "seconds": 21.4, "peak_memory_mb": 210.0}
    text = monitoring.report(
        about | {"stable": stable, "changes": {"gamma": delay}, "sensitivity": {"0.1": delay}, "long_log": timed}
    )
    assert "3 of 1,000 stable sites" in text
    assert "0.3 %, at most 0.8 %" in text
    assert "| gamma | 8 of 9 sites | 2 | – | features |" in text
    assert "10 % of the unflagged read" in text
    assert "1,000,000 events is read and told in 21 s, with 210 MB" in text


def test_the_log_that_is_timed_is_sound_and_is_watched(tmp_path: Path) -> None:
    count = monitored_log.write_log(tmp_path / "audit.jsonl", 400)
    found = verify(tmp_path / "audit.jsonl")
    assert (found.ok, found.events) == (True, count)
    report, problem = watch(MonitorOptions(tmp_path / "audit.jsonl"))
    assert problem is None
    assert sum(one.studies for one in report.periods) == 19


def test_the_bench_of_waits_compares_what_it_says() -> None:
    pytest.importorskip("ciw")
    one = queueing.measure(queueing.site(1, 0.3, 0.2, 0.9, 0.9, 0.0), studies=300, runs=2)
    assert one["worst"] < 1
    text = queueing.report({"runs": 2, "studies": 300, "seconds": 1.0, "worst": 0.021, "sites": {"a": one}})
    assert "The largest difference is 2.1 %; the aim is 3 %." in text
    assert text.count("| a |") == 3
