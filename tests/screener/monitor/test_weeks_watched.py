"""Monitoring of whole logs: what is counted, what is left out and named, and what raises an alarm."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from monitor_logs import MONDAY, Site

from screener.audit import Kind, read, verify
from screener.audit.events import BadLineError, parse, skim
from screener.audit.reader import EventReader, PartialReader
from screener.errors import AuditLogError, NothingFoundError, UsageError
from screener.monitor.alerts import record_alarms
from screener.monitor.indicators import BUDGET, FALSE_ALARMS, RANGES
from screener.monitor.page import page
from screener.monitor.structs import Report
from screener.monitor.tables import alarm, left_out, parts
from screener.monitor.watch import MonitorOptions, watch

if TYPE_CHECKING:
    from tests.conftest import Command

RECORDED = Path(__file__).parents[2] / "data" / "audit"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "audit.jsonl")


def found(site: Site, **options: object) -> Report:
    return watch(MonitorOptions(site.path, **options))[0]  # type: ignore[arg-type]


def indicators(report: Report) -> dict[str, str | None]:
    return {one.name: one.alarm for one in report.indicators if one.alarm}


def test_the_shares_of_the_false_alarms_add_up() -> None:
    assert sum(BUDGET.values()) == pytest.approx(FALSE_ALARMS)
    assert set(RANGES) < set(BUDGET)


def test_a_stable_site_raises_no_alarm_and_its_figures_are_told(site: Site) -> None:
    site.weeks(12)
    site.end()
    report = found(site)
    assert verify(site.path).ok
    assert report.alarms == ()
    assert [one.state for one in report.periods] == ["told"] * 12
    assert [one.reference for one in report.periods] == [True] * 8 + [False] * 4
    week = report.periods[9]
    assert (week.name, week.studies, week.patients) == ("2026-W11", 25, 25)
    assert week.flagged is not None
    assert 0 <= week.flagged.low <= week.flagged.value <= week.flagged.high  # type: ignore[operator]
    assert week.statistics["brightness"].value == pytest.approx(0.2, abs=0.03)
    assert week.statistics["size"].value == 8
    assert week.shares == {"plane": {"axial": 25}, "sequence": {"T1": 25}, "manufacturer": {"Maker One": 25}}
    assert week.distances.keys() == {"psi", "jensen_shannon", "features"}
    assert report.excluded == type(report.excluded)()


@pytest.mark.parametrize(("name", "value"), [("brightness", 0.32), ("features", 25.0)])
def test_a_change_raises_an_alarm_in_its_own_indicator(site: Site, name: str, value: float) -> None:
    site.weeks(12)
    site.weeks(8, first=12, **{name: value})
    report = found(site)
    assert set(indicators(report)) == {name}
    assert "2026-W14" <= str(indicators(report)[name]) <= "2026-W19"
    first = found(site, since="2026-03-30")
    assert first.periods[0].name == "2026-W14"
    assert indicators(first) == {}, "watching begins anew on that day"
    assert first.excluded.before == 300


def test_refusals_raise_an_alarm_and_name_their_reason(site: Site) -> None:
    site.weeks(12)
    site.weeks(8, first=12, probability=None)
    report = found(site)
    assert "not_assessable" in indicators(report)
    assert report.periods[-1].reasons == {"too_few_slices": 25}
    assert report.periods[-1].slice_reasons == {"too_few_slices": 25}
    assert "psi" not in report.periods[-1].distances


def test_missed_tumours_raise_an_alarm(site: Site) -> None:
    for number in range(120):
        when = MONDAY + timedelta(hours=12 * number)
        missed = number % 3 == 0
        result = site.study(when, tumour=True, probability=0.1 if missed else 0.9)
        site.verdict(result, "tumour", when, drawn="sample" if missed else "flagged", sampling="1.0")
    report = found(site)
    assert "sensitivity" in indicators(report)
    sensitivity = report.overall["sensitivity"]
    assert (sensitivity.value, sensitivity.count) == (pytest.approx(2 / 3), 120)
    assert report.periods[3].verdicts["sensitivity"].count > 0
    assert indicators(found(site, target=0.7)) == {}, "two thirds are not far enough below"


def test_bad_input_is_named_excluded_and_counted(site: Site) -> None:
    site.weeks(3)
    site.weeks(1, first=4)  # an empty week before
    one = [MONDAY + timedelta(days=35, hours=number) for number in range(30)]
    for when in one:
        site.study(when, patient="only")
    site.study(datetime.now(UTC) + timedelta(days=30))
    site.study("yesterday")
    site.study(one[0], study="s1")
    site.study(one[0], model_sha256="2" * 64)
    contested = site.study(one[1])
    for doctor, diagnosis in (("a", "tumour"), ("b", "no_tumour")):
        site.verdict(contested, diagnosis, one[2], doctor)
    site.verdict(site.study(one[1]), "unsure", one[2])
    site.verdict(site.study(one[1], probability=0.1), "tumour", one[2], drawn="sample")
    site.verdict("f" * 64, "tumour", one[2])
    report = found(site)
    assert [period.state for period in report.periods] == ["told"] * 3 + ["empty", "told", "too_few"]
    last = report.periods[-1]
    assert (last.studies, last.patients, last.flagged, last.statistics) == (33, 4, None, {})
    counts = msgspec.structs.asdict(report.excluded)
    assert counts == {
        "future": 1, "undated": 1, "answered_again": 1, "other_model": 1, "before": 0, "seen_patients": 29,
        "contradictory": 1, "undecided": 1, "unattached": 1, "chance_unknown": 1, "runs_without_end": 1,
    }  # fmt: skip
    assert len(left_out(report, "en")) == 10
    assert all(re.search(r"\b\d+\b", line) for line in left_out(report, "fr"))


def test_a_broken_chain_is_read_up_to_the_break(site: Site) -> None:
    site.weeks(3)
    lines = site.path.read_bytes().splitlines(keepends=True)
    site.path.write_bytes(b"".join(lines[:61] + lines[63:]))
    report, problem = watch(MonitorOptions(site.path))
    assert problem is not None
    assert "chain breaks" in str(report.problem)
    assert sum(one.studies for one in report.periods) == 30
    site.path.write_bytes(b"".join([*lines[:61], lines[61].replace(b"T1", b"T2"), *lines[62:]]))
    report, problem = watch(MonitorOptions(site.path))
    assert "does not match its hash" in str(problem)
    site.path.write_bytes(b"".join(lines)[:-40])
    report, problem = watch(MonitorOptions(site.path))
    assert problem is None, "what is still being written is no damage"
    assert sum(one.studies for one in report.periods) == 74


def test_a_log_of_the_first_schema_is_watched_by_folder(tmp_path: Path) -> None:
    for file in RECORDED.iterdir():
        shutil.copy(file, tmp_path)
    report, problem = watch(MonitorOptions(tmp_path / "schema-1.jsonl"))
    assert problem is None
    assert report.level == "slice"
    assert sum(one.studies for one in report.periods) == 3
    assert "slices of a folder" in " ".join(str(one) for one in parts(report, "en"))


def test_a_reader_of_parts_yields_what_the_other_yields(site: Site) -> None:
    site.weeks(1, each=5)
    lines: list[bytes] = []
    partial = PartialReader(site.path, skimmed=Kind.RESULT, take=lines.append)
    whole = EventReader(site.path)
    events = list(whole.events())
    assert list(partial.events()) == [event for event in events if event["event"] != Kind.RESULT]
    assert [parse(line) for line in lines] == [event for event in events if event["event"] == Kind.RESULT]
    assert (partial.head, partial.runs) == (whole.head, whole.runs)
    with pytest.raises(AuditLogError):
        list(PartialReader(site.path.with_name("none"), skimmed=Kind.RESULT, take=lines.append).events())


def test_only_a_sound_line_in_its_place_is_skimmed(site: Site) -> None:
    line = site.path.read_bytes()
    event = parse(line)
    assert skim(line, event["prev"]) == event["hash"]
    assert skim(line, "f" * 64) is None
    changed = line.replace(b"/in", b"/on")
    assert skim(changed, event["prev"]) is None
    with pytest.raises(BadLineError):
        parse(changed)


def test_what_cannot_be_used_is_refused(site: Site) -> None:
    with pytest.raises(NothingFoundError):
        found(site)
    for wrong in ({"target": 0.5}, {"target": 1.0}, {"since": "soon"}):
        with pytest.raises(UsageError):
            MonitorOptions(site.path, **wrong)  # type: ignore[arg-type]


def test_an_alarm_is_recorded_once_and_the_log_verifies(site: Site) -> None:
    site.weeks(10)
    site.weeks(8, first=10, brightness=0.35)
    report = found(site)
    assert record_alarms(site.path, report) == 1
    assert record_alarms(site.path, found(site)) == 0
    (event,) = [event for event in read(site.path) if event["event"] == "ALERT"]
    assert event["indicator"] == "brightness"
    assert event["check"] in alarm(report.alarms[0], "en")
    assert float(event["evidence"]) >= float(event["limit"]) == 400
    assert verify(site.path).ok


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_the_page_shows_alarms_first_draws_and_escapes(site: Site, lang: str) -> None:
    site.weeks(10)
    site.weeks(8, first=10, brightness=0.35)
    report = msgspec.structs.replace(found(site), model="<script>")
    shown = page(report, lang)  # type: ignore[arg-type]
    assert shown.index('class="warning"') < shown.index("<svg")
    assert shown.count("<svg") >= 6
    assert "<script>" not in shown
    assert "{" not in re.sub(r"<style>.*?</style>", "", shown, flags=re.DOTALL)


def test_the_command_tells_writes_and_raises_the_alarm(screener: Command, site: Site, tmp_path: Path) -> None:
    site.weeks(10)
    site.weeks(8, first=10, brightness=0.35)
    site.end()
    out = tmp_path / "monitor.html"
    done = screener("monitor", site.path, "--out", out, "--alert", "--lang", "en")
    assert (done.returncode, done.stderr) == (12, "")
    assert done.stdout.startswith("ALARM, 2026-W1")
    assert "screener document" in out.read_text()
    done = screener("monitor", site.path, "--json")
    assert done.returncode == 0, "without --alert an alarm is no failure"
    report = msgspec.json.decode(done.stdout, type=Report)
    assert report.alarms[0].name == "brightness"
    assert json.loads(done.stdout)["indicators"][5]["check"] == "brightness"
    assert screener("monitor", tmp_path / "none.jsonl").returncode == 6


def test_a_model_is_watched_by_itself(site: Site) -> None:
    site.weeks(9)
    site.weeks(4, first=9, brightness=0.35, model_sha256="3" * 64, model="m 2")
    report = found(site)
    assert report.model == "m 2 ≥ 0.4"
    assert report.excluded.other_model == 225
    assert len(report.periods) == 4
