"""The configuration of a scan: said once, checked once, recorded whole."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st

from screener import Screener
from screener.audit.events import plain
from screener.cli.main import app
from screener.errors import UsageError
from screener.pipeline.config import ScanConfig, field_types

if TYPE_CHECKING:
    from collections.abc import Mapping

HINTS: Mapping[str, Any] = field_types()
OPTIONS: Mapping[str, Any] = {str(one.name): one for one in typer.main.get_command(app).commands["scan"].params}  # type: ignore[attr-defined]
PLACES = {"profile", "model", "log", "anchor", "pseudonymise"}


@pytest.mark.parametrize("name", ScanConfig.__struct_fields__)
def test_each_field_is_an_option_of_the_same_default_range_and_meaning(name: str) -> None:
    option, meta = OPTIONS[name], HINTS[name].__metadata__[0]
    assert option.default == getattr(ScanConfig(), name)
    assert option.help == meta.description
    low, high = getattr(option.type, "min", None), getattr(option.type, "max", None)
    assert (low, high) == (meta.ge, meta.le)


def test_only_what_is_shown_of_the_results_is_no_field() -> None:
    shown = {"inbox", "json", "top", "lang", "quiet", "no_color", "level", "dry_run", "report"}
    sent = {"dicom_out", "send", "ae_title", "outbox"}
    assert OPTIONS.keys() - set(ScanConfig.__struct_fields__) == shown | sent


def test_start_records_every_field_and_no_place_of_this_machine(tmp_path: Path) -> None:
    secret = tmp_path / "dr-meyer"
    config = ScanConfig.of(model=str(secret), log=secret, anchor=secret, threshold="screening", limit=3, settle=1.5)
    recorded = plain(config.recorded())
    assert recorded.keys() == set(ScanConfig.__struct_fields__)
    assert "meyer" not in str(recorded)
    assert (recorded["limit"], recorded["settle"], recorded["threshold"]) == (3, "1.5", "screening")
    assert {name: recorded[name] for name in PLACES} == {
        "profile": False,
        "model": True,
        "log": True,
        "anchor": True,
        "pseudonymise": False,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"treshold": "auto"}, "no option treshold"),
        ({"limit": 0}, "--limit 0"),
        ({"limit": "many"}, "--limit 'many'"),
        ({"settle": -1.0}, "--settle -1.0"),
        ({"jobs": 0}, "--jobs 0"),
        ({"nice": 20}, "--nice 20"),
        ({"rescan": "yes"}, "--rescan 'yes'"),
        ({"isolate": "maybe"}, "--isolate 'maybe'"),
        ({"precision": "fp16"}, "--precision 'fp16'"),
        ({"log": 3}, "--log 3"),
        ({"patient_regex": "("}, "no valid expression"),
        ({"patient_regex": "P"}, "0 groups"),
        ({"group_by": "("}, "no valid expression"),
        ({"redact_paths": True}, "--redact-paths needs a key"),
        ({"profile": "site.toml", "threshold": "screening"}, "--profile sets the threshold"),
    ],
)
def test_what_cannot_be_used_is_a_usage_error_that_names_the_option(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        ScanConfig.of(**values)
    assert message in str(caught.value)
    assert caught.value.hint


def test_the_hint_of_a_choice_lists_the_choices() -> None:
    with pytest.raises(UsageError) as caught:
        ScanConfig.of(isolate="maybe")
    assert caught.value.hint == "choose one of risky, always, never"


@given(st.sampled_from([n for n, h in HINTS.items() if h.__metadata__[0].ge is not None]), st.integers(-9, 40))
def test_ranges_hold_from_python_as_on_the_command_line(name: str, value: int) -> None:
    meta = HINTS[name].__metadata__[0]
    if meta.ge <= value and (meta.le is None or value <= meta.le):
        assert getattr(ScanConfig.of(**{name: value}), name) == value
    else:
        with pytest.raises(UsageError):
            ScanConfig.of(**{name: value})


def test_a_file_can_hold_a_configuration() -> None:
    text = 'threshold = "screening"\nsettle = 2.5\nlog = "/var/log/audit.jsonl"\nlimit = 7\nrescan = true\n'
    config = ScanConfig.of(**tomllib.loads(text))
    assert (config.threshold, config.settle, config.limit, config.rescan) == ("screening", 2.5, 7, True)
    assert config.log == Path("/var/log/audit.jsonl")
    assert config.isolate == "risky"


def test_a_configuration_is_not_changed() -> None:
    with pytest.raises(AttributeError):
        ScanConfig().limit = 3  # type: ignore[misc]
    assert msgspec.structs.replace(ScanConfig(), limit=3) == ScanConfig.of(limit=3)


def test_every_field_has_a_type_that_a_file_can_hold() -> None:
    for name, hint in HINTS.items():
        kinds = set(get_args(get_args(hint)[0])) or {get_args(hint)[0]}
        assert all(isinstance(one, str) or one in {str, bool, int, float, Path, type(None)} for one in kinds), name


def test_python_takes_the_same_options(tiny_model: Path, inbox: Path) -> None:
    tool = Screener(tiny_model, threads=1)
    assert len(list(tool.scan(inbox, limit=2))) == 2
    assert len(list(tool.studies(inbox))) == 2
    assert len(list(tool.studies(inbox, group_by="file"))) == 4
    for options in ({"limit": 0}, {"log": "audit.jsonl"}, {"group_bye": "file"}):
        with pytest.raises(UsageError):
            tool.scan(inbox, **options)
    with pytest.raises(UsageError, match="--jobs 0"):
        Screener(tiny_model, threads=0)
