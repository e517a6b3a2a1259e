"""A profile from clinicians' verdicts: weighted by how cases came to be read, or refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from screener.calibrate.site import SiteOptions, profile_from_log
from screener.calibrate.threshold import Target
from screener.errors import AuditLogError, ModelError, NotShownError, UsageError
from tests.calibration_logs import logged_model, site_log
from tests.study_logs import THRESHOLD

if TYPE_CHECKING:
    from pathlib import Path

    from screener.pipeline.site_profile import SiteLevel

OPTIONS = SiteOptions("mercy", "dr.a")
LOWER = SiteOptions("mercy", "dr.a", Target(0.8, 0.95))


def level_of(path: Path, options: SiteOptions = OPTIONS) -> SiteLevel:
    found = profile_from_log(path, logged_model(), options).profile
    assert found.slice is None
    assert found.study is not None
    return found.study


def test_a_log_of_which_all_was_read_is_as_good_as_labels(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    site_log(log, 64, 80)
    result = profile_from_log(log, logged_model(), OPTIONS)
    found = result.profile.study
    assert found is not None
    assert (found.certified, found.units, found.missed, found.least_chance, found.cases) == (True, 64, 0, 1.0, 144)
    assert found.before.threshold == THRESHOLD
    assert found.prevalence.value == pytest.approx(64 / 144)
    assert (result.profile.source, result.left_out, result.faults) == ("log", (), ())
    last = json.loads(log.read_text().splitlines()[-1])
    assert result.profile.fingerprint == f"sha256:{last['hash']}"


def test_a_sampled_log_weighs_and_asks_for_more_patients(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    site_log(log, 64, 200, sampling=0.25)
    with pytest.raises(NotShownError, match=r"64 patients .* 1\d\d more patients with a tumour are needed"):
        level_of(log)
    found = level_of(log, LOWER)
    assert 0.15 < found.least_chance <= 0.25
    assert found.prevalence.value == pytest.approx(64 / 264)
    assert found.units == 64


def test_the_ladder_ends_where_flagged_studies_went_unread(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    site_log(log, 200, 40, extra={"t900": [0.95] * 5})
    found = level_of(log)
    assert found.threshold <= THRESHOLD
    assert found.certified


def test_without_sampled_negatives_a_log_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    site_log(log, 64, 40, sampling=None)
    with pytest.raises(
        NotShownError, match=r"none of the \d+ cases that were not flagged was drawn at random"
    ) as caught:
        level_of(log)
    assert "--sample 0.1" in caught.value.hint
    uncertified = SiteOptions("mercy", "dr.a", accept_uncertified=True)
    with pytest.raises(NotShownError):
        level_of(log, uncertified)


def test_refused_studies_that_nobody_read_are_named(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    site_log(log, 64, 40, extra={"x1": [None] * 6})
    with pytest.raises(NotShownError, match="none of the 1 cases that are not assessable was read"):
        level_of(log)


def test_contradictions_doubts_small_studies_and_other_models_are_counted(tmp_path: Path) -> None:
    log = site_log(tmp_path / "audit.jsonl", 64, 40)
    log.run({"small": [0.9, 0.9], "other": [0.1] * 5}, model_sha256="d" * 64)
    log.review(log.studies["other"], "no_tumour", drawn="sample", sampling="1.0")
    log.run({"tiny": [0.9, 0.9]})
    log.review(log.studies["tiny"], "tumour", drawn="flagged")
    log.review(log.studies["t0"], "no_tumour", "dr.b")
    log.review(log.studies["n0"], "unsure", "dr.a")
    log.run({f"m{n}": [0.9] * 5 for n in range(3)}, threshold=0.7)
    log.review(log.studies["m0"], "tumour", drawn="flagged")
    found = level_of(log.log)
    assert found.excluded == {
        "too_small": 1,
        "other_model": 1,
        "contradictory_verdicts": 1,
        "not_decided": 1,
        "other_threshold": 1,
    }
    assert (found.units, found.cases) == (63, 102)


def test_dates_in_the_future_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = site_log(tmp_path / "audit.jsonl", 64, 40)
    later = (datetime.now(UTC) + timedelta(days=400)).isoformat().replace("+00:00", "Z")
    monkeypatch.setattr("screener.audit.events.now", lambda: later)
    log.review(log.studies["t1"], "tumour", "dr.b")
    found = level_of(log.log)
    assert found.excluded == {"in_future": 1}
    assert found.units == 63


def test_single_slices_calibrate_the_threshold_of_slices(tmp_path: Path) -> None:
    log = site_log(tmp_path / "audit.jsonl", 0, 1)
    rng = np.random.default_rng(0)
    scores = {f"t{n}": [0.5 + 0.5 * float(rng.random())] for n in range(60)} | {"n1": [0.1]}
    log.run(scores)  # type: ignore[arg-type]
    for name in scores:
        log.review(log.studies[name], "tumour" if name[0] == "t" else "no_tumour")
    result = profile_from_log(log.log, logged_model(), OPTIONS)
    assert result.profile.slice is not None
    assert result.profile.slice.certified
    assert result.profile.study is None
    assert "study: 0 patients with a tumour cannot certify" in str(result.left_out[0])


def test_a_broken_chain_another_model_and_an_unknown_inbox_are_refused(tmp_path: Path) -> None:
    log = site_log(tmp_path / "audit.jsonl", 60, 10)
    with pytest.raises(ModelError, match="holds no result of tiny"):
        profile_from_log(log.log, logged_model("f" * 64), OPTIONS)
    with pytest.raises(UsageError, match="no run"):
        profile_from_log(log.log, logged_model(), OPTIONS, tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="names no site"):
        profile_from_log(log.log, logged_model(), SiteOptions("", "dr.a"))
    lines = log.log.read_text().splitlines(keepends=True)
    log.log.write_text("".join(lines[:40] + lines[41:]))
    with pytest.raises(AuditLogError, match="chain breaks"):
        level_of(log.log)


@pytest.mark.parametrize(
    "changes",
    [
        {"target": Target(0.5, 0.95)},
        {"target": Target(1.0, 0.95)},
        {"target": Target(float("nan"), 0.95)},
        {"target": Target(0.9, 0.9)},
        {"prevalence": 0.0},
        {"prevalence": 1.5},
        {"who": " "},
        {"who": "a\x1b"},
        {"site": "x" * 61},
    ],
)
def test_options_out_of_range_are_named(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--"):
        SiteOptions(**({"site": "mercy", "who": "dr.a"} | changes)).check()
