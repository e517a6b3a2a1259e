"""The site profile: written, read, believed as far as its counts go, applied to the model it was made for."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from screener.domain.estimate import Rate
from screener.errors import ModelError, UsageError
from screener.model.card import Card, StudyAggregation
from screener.pipeline.site_profile import (
    SiteLevel,
    SiteProfile,
    ThresholdEffect,
    find_profile,
    read_profile,
    refuse_second_profile,
    shown_sensitivity,
    site_policy,
    write_profile,
)
from tests.conftest import parsed_card, tiny_card

if TYPE_CHECKING:
    from pathlib import Path

SHA256 = "c" * 64


def level(threshold: float = 0.3, **changes: Any) -> SiteLevel:  # noqa: ANN401 - any field
    shown = ThresholdEffect("auto", 0.4, 8.0, 1.0, Rate(1.0, 0.95, 1.0, 60, 60, 60), Rate(0.9, 0.8, 1.0, 9, 10, 10))
    fields: dict[str, Any] = {
        "threshold": threshold,
        "certified": True,
        "target": 0.95,
        "confidence": 0.95,
        "units": 60,
        "missed": 0,
        "cases": 100,
        "patients": 70,
        "prevalence": Rate(0.05),
        "before": shown,
        "after": msgspec.structs.replace(shown, name="site", threshold=threshold),
    }
    return SiteLevel(**(fields | changes))


def profile(**changes: Any) -> SiteProfile:  # noqa: ANN401 - any field
    fields: dict[str, Any] = {
        "schema": 1,
        "site": "mercy",
        "who": "dr.a",
        "created": "2026-01-31T08:00:00Z",
        "tool_version": "0",
        "model": "tiny 1.0.0",
        "model_sha256": SHA256,
        "aggregation": StudyAggregation(),
        "source": "labelled",
        "fingerprint": "sha256:0",
        "study": level(),
    }
    return SiteProfile(**(fields | changes))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    made = profile(slice=level(0.2, excluded={"in_future": 2}, least_chance=0.5, units=200))
    write_profile(tmp_path / "site.toml", made)
    found = read_profile(tmp_path / "site.toml")
    assert found.profile == made
    assert found.sha256 == hashlib.sha256((tmp_path / "site.toml").read_bytes()).hexdigest()
    assert [path.name for path in tmp_path.iterdir()] == ["site.toml"]
    with (tmp_path / "site.toml").open("a") as file:
        file.write("# a remark\n")
    again = read_profile(tmp_path / "site.toml")
    assert again.sha256 != found.sha256
    assert again.profile.name == made.name, "the name is of what it says, not of how the file is laid out"


def test_two_profiles_have_operating_points_of_two_names() -> None:
    one, other = profile(), profile(study=level(0.31))
    assert one.name.startswith("site-")
    assert one.name != other.name


@pytest.mark.parametrize(
    ("changes", "flaw"),
    [
        ({"missed": 1}, "1 missed of 60 do not support"),
        ({"units": 58}, "0 missed of 58"),
        ({"least_chance": 0.1}, "0 missed of 60"),
        ({"confidence": 0.9}, "is no certificate"),
        ({"target": 0.3}, "is no certificate"),
        ({"certified": False}, "does not call it certified"),
    ],
)
def test_a_certificate_is_believed_as_far_as_its_counts_go(changes: dict[str, Any], flaw: str) -> None:
    assert level().flaw == ""
    found = level(**changes)
    assert flaw in found.flaw
    point = found.point("site-1", "labelled data")
    assert (point.name, point.certified, point.certificate) == ("site-1-uncertified", False, None)
    with pytest.raises(ModelError, match="study threshold of the profile of mercy is not certified"):
        site_policy(profile(study=found), parsed_card(), SHA256)
    policy = site_policy(profile(study=found), parsed_card(), SHA256, accept_uncertified=True)
    assert policy.study_point is not None
    assert policy.study_point.name.endswith("-uncertified")


def test_a_chance_lowers_what_known_patients_show() -> None:
    assert shown_sensitivity(0.95, 1.0) == pytest.approx(0.95)
    assert shown_sensitivity(0.95, 0.1) == pytest.approx(0.995)


def test_a_profile_is_for_one_model_and_one_aggregation() -> None:
    with pytest.raises(ModelError, match=r"is for tiny 1\.0\.0, not for tiny"):
        site_policy(profile(), parsed_card(), "d" * 64)
    with pytest.raises(ModelError, match="judged in another way"):
        site_policy(profile(aggregation=StudyAggregation(window=3)), parsed_card(), SHA256)


def test_the_models_own_threshold_stays_for_the_level_left_out() -> None:
    card = parsed_card()
    studies = site_policy(profile(), card, SHA256)
    assert studies.point == card.operating_points["auto"]
    assert studies.study_point is not None
    assert (studies.study_point.threshold, studies.study_point.certified) == (0.3, True)
    slices = site_policy(profile(study=None, slice=level(0.2)), card, SHA256)
    assert (slices.point.threshold, slices.study_point) == (0.2, None)
    assert slices.confirmation == card.operating_points["confirmation"].threshold
    uncertified = tiny_card()
    uncertified["operating_points"]["auto"]["certified"] = False
    with pytest.raises(ModelError, match="auto of this model is not certified"):
        site_policy(profile(), Card.parse(json.dumps(uncertified)), SHA256)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no site profile"),
        ("schema = 1\n", "no site profile"),
        ("\x00", "no site profile"),
        ("[study\n", "no site profile"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_profile(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_profile(tmp_path / "none.toml")


def test_unknown_fields_other_versions_and_dates_in_the_future_are_refused(tmp_path: Path) -> None:
    path, text = tmp_path / "site.toml", profile().text()
    later = (datetime.now(UTC) + timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for change, message in (
        (("schema = 1", "schema = 2"), "has schema 2"),
        (('site = "mercy"', 'site = "mercy"\nwish = 1'), "unknown field"),
        (("2026-01-31T08:00:00Z", later), "says that it was made"),
        (("2026-01-31T08:00:00Z", "soon"), "says that it was made"),
        (("threshold = 0.3", "threshold = 3"), "no site profile"),
        (('site = "mercy"', 'site = "mer\\u001bcy"'), "not printable"),
    ):
        path.write_text(text.replace(*change))
        with pytest.raises(UsageError, match=message):
            read_profile(path)
    with pytest.raises(ValueError, match="neither"):
        profile(study=None)


def test_a_folder_holds_one_profile_for_a_model(tmp_path: Path) -> None:
    write_profile(tmp_path / "one.toml", profile())
    write_profile(tmp_path / "other.toml", profile(model_sha256="d" * 64))
    (tmp_path / "screener.toml").write_text("threshold = 'auto'\n")
    assert find_profile(tmp_path, "tiny 1.0.0", SHA256).path.name == "one.toml"
    with pytest.raises(ModelError, match="is for tiny"):
        find_profile(tmp_path / "other.toml", "tiny 1.0.0", SHA256)
    with pytest.raises(UsageError, match="holds no profile"):
        find_profile(tmp_path, "tiny 2.0.0", "e" * 64)
    write_profile(tmp_path / "two.toml", profile(study=level(0.5)))
    with pytest.raises(UsageError, match=r"2 profiles for tiny 1\.0\.0: one\.toml, two\.toml"):
        find_profile(tmp_path, "tiny 1.0.0", SHA256)


def test_a_site_gets_no_second_profile_and_no_other_file_is_lost(tmp_path: Path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    refuse_second_profile(one, "mercy", SHA256, replace=False)
    write_profile(one, profile())
    with pytest.raises(UsageError, match="exists"):
        refuse_second_profile(one, "mercy", SHA256, replace=False)
    refuse_second_profile(one, "mercy", SHA256, replace=True)
    with pytest.raises(UsageError, match="has a profile for this model already"):
        refuse_second_profile(two, "mercy", SHA256, replace=True)
    refuse_second_profile(two, "north", SHA256, replace=False)
    two.write_text("precious")
    with pytest.raises(UsageError, match="no site profile"):
        refuse_second_profile(two, "north", SHA256, replace=True)
    with pytest.raises(UsageError, match="does not exist"):
        refuse_second_profile(tmp_path / "none/site.toml", "north", SHA256, replace=False)
    with pytest.raises(UsageError, match="cannot be written"):
        write_profile(tmp_path / "none/site.toml", profile())
