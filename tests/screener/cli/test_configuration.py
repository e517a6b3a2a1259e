"""Options from the configuration file and from variables: which of them counts, and what is said of a wrong one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from typing import TYPE_CHECKING, Any, get_args
from unittest import mock

import pytest
import typer.main
from hypothesis import given, settings
from hypothesis import strategies as st

from screener.cli.config_file import kind_of, line_of, quoted, read, with_common
from screener.cli.main import app
from screener.cli.option_tree import CommandOption, leaves, options_of
from screener.errors import UsageError
from screener.pipeline.config import ScanConfig
from tests.in_process import InProcess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Command

ROOT: Any = typer.main.get_command(app)
OPTIONS = options_of(ROOT)
SCAN = [option for option in OPTIONS if option.command == ("scan",)]
SINGLE = [option for option in SCAN if not option.param.multiple]
LEVELS = ("command line", "own variable", "common variable", "own table", "common table")
"""Where a value may stand; the first that holds one wins."""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have set some, such as SCREENER_DATA."""
    for name in [name for name in os.environ if name.startswith("SCREENER_")]:
        monkeypatch.delenv(name)


def name_of(option: CommandOption) -> str:
    return f"{option.table}-{option.key}"


def example(option: CommandOption, number: int) -> object:
    """Return one of several unlike values that an option takes."""
    kind = option.param.type
    low, high = getattr(kind, "min", None) or 0, getattr(kind, "max", None)
    if kind.name == "boolean":
        return bool(number % 2)
    if kind.name in {"int", "int range"}:
        return low + number + 1
    if kind.name in {"float", "float range"}:
        return float(low) + (number + 1) * (1.0 if high is None else (high - low) / 8)
    choices = [one for part in get_args(kind_of(option)) for one in get_args(part) if isinstance(one, str)]
    return choices[number % len(choices)] if choices else f"text{number}"


def resolved(option: CommandOption, given_values: dict[str, object], folder: Path) -> object:
    """Return the value that a command gets, with values at some of the levels."""
    folder.mkdir(exist_ok=True)
    file = folder / "screener.toml"
    tables = {"own table": option.table, "common table": "common"}
    file.write_text(
        "".join(f"[{tables[at]}]\n{option.key} = {quoted(given_values[at])}\n" for at in tables if at in given_values)
    )
    names = dict(zip(("own variable", "common variable"), option.variables, strict=False))
    variables = {names[at]: str(given_values[at]) for at in names if at in given_values}
    arguments = ["--config", str(file), *option.command]
    if "command line" in given_values:
        flag = max(option.param.opts, key=len)
        arguments += [flag] if option.param.is_flag else [flag, str(given_values["command line"])]
    with mock.patch.dict(os.environ, variables):
        return parameters(arguments)[option.param.name]


def parameters(arguments: list[str]) -> dict[str, Any]:
    """Read a command line as Typer does, and return the parameters of the command without running it."""
    context = ROOT.make_context("screener", arguments)
    while hasattr(command := context.command, "commands"):
        name, below, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        required = [param for param in below.params if param.param_type_name == "argument" and param.required]
        context = below.make_context(name, [*rest, *("x" for _ in required)], parent=context)
    return context.params  # type: ignore[no-any-return]


@pytest.mark.parametrize("option", OPTIONS, ids=name_of)
def test_every_option_of_every_command_is_set_by_file_and_by_variable(option: CommandOption, tmp_path: Path) -> None:
    value = next(one for one in (example(option, number) for number in range(9)) if one != option.param.default)
    for at in LEVELS[1:] if option.common else ("own variable", "own table"):
        stands = [value] if option.param.multiple and "table" in at else value
        found = resolved(option, {at: stands}, tmp_path / "config")
        assert found == value or (option.param.multiple and list(found) == [value]), at  # type: ignore[call-overload]


def test_every_field_of_a_scan_is_an_option_that_a_file_holds() -> None:
    assert set(ScanConfig.__struct_fields__) <= {option.key for option in SCAN}
    assert set(ScanConfig.__struct_fields__) <= {str(option.param.name) for option in SCAN}


def test_an_option_that_means_another_thing_to_another_command_has_no_common_value(tmp_path: Path) -> None:
    assert "from_log" in {option.key for option in OPTIONS if not option.common}
    file = tmp_path / "screener.toml"
    file.write_text("[common]\nfrom_log = true\n")
    with pytest.raises(UsageError, match=r"common.from_log: \[common\] has no option of this name"):
        read(file, OPTIONS)


def test_no_variable_sets_two_things() -> None:
    commands = {path for path, _ in leaves(ROOT)}
    own = [option.variables[0] for option in OPTIONS]
    common = {option.variables[1] for option in OPTIONS if option.common}
    assert len(set(own)) == len(own)
    assert not set(own) & common
    assert not {"SCREENER_CONFIG", "SCREENER_DEBUG"} & {*own, *common}
    assert ("scan",) in commands


@settings(max_examples=60, deadline=None)
@given(
    option=st.sampled_from(SINGLE),
    levels=st.sets(st.sampled_from(LEVELS), min_size=1),
)
def test_precedence(option: CommandOption, levels: set[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    if option.param.is_flag and "command line" in levels:
        values: dict[str, object] = {at: at == "command line" for at in levels}
    else:
        values = {at: example(option, LEVELS.index(at)) for at in levels}
    winner = next(at for at in LEVELS if at in levels)
    folder = tmp_path_factory.getbasetemp() / "precedence"
    assert str(resolved(option, values, folder)) == str(values[winner])


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("limit = 3", ":1: limit: stands above the first table", "[common]"),
        ("[scann]\n", ":1: scann: no command has this name", "did you mean scan?"),
        ("[scan]\n\n# why\nsetle = 1", ":4: scan.setle: [scan] has no option", "did you mean settle?"),
        ("[scan]\npatient-regex = 'a'", ":2: scan.patient-regex: [scan] has no option", "did you mean patient_regex?"),
        ("[scan]\nlimit = 'many'", ":2: scan.limit: 'many': Expected `int`", "Files to look at"),
        ("[scan]\nlimit = 0", ":2: scan.limit: 0: Expected `int` >= 1", "Files to look at"),
        ("[common]\nnice = 20", ":2: common.nice: 20: Expected `int` <= 19", "Politeness"),
        ("scan.limit = true", ":1: scan.limit: True: Expected `int`", "Files to look at"),
        ("[scan]\nisolate = 'maybe'", ":2: scan.isolate: 'maybe'", "risky, always or never"),
        ("scan = 3", ":1: scan: is a command", "[scan]"),
        ("[scan.limit]", ":1: scan.limit: {}: Expected `int`", "Files to look at"),
        ("[config]\nshow.json = 1", ":2: config.show.json: 1: Expected `bool`", "JSON object"),
        ("[scan]\nmodel = [\n  'a',\n]", ":2: scan.model: ['a']: Expected `str`", "Model folder"),
        ("[scan]\nlimit = \n", "not TOML: Invalid value (at line 2", "quotation marks"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_key(text: str, message: str, hint: str, tmp_path: Path) -> None:
    file = tmp_path / "screener.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        read(file, OPTIONS)
    assert f"{file}{message}" in str(caught.value).replace(": not TOML", "not TOML")
    assert hint in caught.value.hint


@pytest.mark.parametrize("data", [b"\xff", b"a" * (2 << 20), b"[" * 5000], ids=["not UTF-8", "huge", "deep"])
def test_what_is_no_configuration_is_refused(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "screener.toml"
    file.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        read(file, OPTIONS)
    assert str(file) in str(caught.value)
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "nowhere.toml", OPTIONS)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[scan]\n# limit = 1\n"limit" = 2', 3),
        ("a = '''\n[scan]\nlimit = 1\n'''\n\n[scan]\nlimit = 2\n", 7),
        ("scan = { settle = 1, limit = 2 }", 1),
        ("[scan]\nmodel = [\n1,\n2,\n]\nlimit = 2", 6),
        ("[worklist]\nlimit = 1\n[scan]\nlimit = 2\n", 4),
        ('[scan]\nlimit = """\n\n"""', 2),
    ],
)
def test_the_line_of_a_key_however_it_is_written(text: str, line: int) -> None:
    assert line_of(text, ["scan", "limit"]) == line


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


@settings(max_examples=30, deadline=None)
@given(TEXT)
def test_quoted_text_reads_back(text: str) -> None:
    assert tomllib.loads(f"a = {quoted([text, True, 0.5, 3])}") == {"a": [text, True, 0.5, 3]}


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from(["model", "log", "lang"]), TEXT), st.booleans(), TEXT)
def test_the_model_is_set_and_nothing_else_changes(values: dict[str, str], more: bool, model: str) -> None:
    lines = [f"{key} = {quoted(value)}  # mine" for key, value in values.items()]
    text = "\n".join(["# head", *(["[scan]", "limit = 3"] if more else []), "[common]", *lines, ""])
    for before in (text, "", "# nothing yet\n", "[scan]\nlimit = 3"):
        after = with_common(before, "model", model)
        document = tomllib.loads(before)
        assert tomllib.loads(after) == {**document, "common": {**document.get("common", {}), "model": model}}
        assert {line for line in before.splitlines() if "model" not in line} <= set(after.splitlines())


def test_a_file_that_cannot_be_edited_safely_is_left_alone() -> None:
    for text in ("common = { model = 'a' }", "common.model = 'a'", "[common]\nmodel = '''a\nb'''"):
        with pytest.raises(UsageError) as caught:
            with_common(text, "model", "b")
        assert caught.value.hint.endswith('model = "b"')


def test_start_says_which_file_was_used_and_where_options_come_from(screener: Command, inbox: Path) -> None:
    file = InProcess(screener.state, mock.Mock()).write(
        f"[common]\nmodel = {quoted(str(screener.model))}\n[scan]\nlimit = 3\n"
    )
    screener.environment["SCREENER_NICE"] = "6"
    assert screener("scan", inbox, "--threshold", "0.5", "--quiet").returncode == 0
    start = screener.events("START")[0]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert start["configuration"] == {"path": str(file), "sha256": digest}
    assert start["origins"] == {
        "model": "configuration",
        "limit": "configuration",
        "nice": "environment",
        "threshold": "command line",
        "quiet": "command line",
    }
    assert (start["options"]["limit"], start["options"]["nice"], start["threshold"]) == (3, 6, "0.5")
    assert len(screener.events()) == 3


def test_redacted_paths_redact_the_place_of_the_configuration(screener: Command, inbox: Path, tmp_path: Path) -> None:
    key = tmp_path / "site.key"
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    text = f"[scan]\nredact_paths = true\npseudonymise = {quoted(str(key))}\n"
    file = InProcess(screener.state, mock.Mock()).write(text)
    assert screener.scan(inbox).returncode == 0
    assert str(file) not in screener.log.read_text()
    assert screener.events("START")[0]["configuration"]["sha256"]


def shown(command: InProcess, *arguments: object) -> dict[str, Any]:
    """Return what ``config show`` prints, read as TOML."""
    code, out, _ = command(*arguments)
    assert code == 0
    return tomllib.loads(out)


def test_a_file_in_the_working_folder_does_not_count(
    command: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "screener.toml").write_text("[scan]\nlimit = 1\n")
    monkeypatch.chdir(tmp_path)
    assert shown(command, "config", "show", "--changed") == {}


def test_the_named_file_wins_over_the_variable_and_the_users_own(command: InProcess, tmp_path: Path) -> None:
    command.write("[worklist]\ntop = 1\n")
    for number, name in ((2, "a"), (3, "b")):
        (tmp_path / name).write_text(f"[worklist]\ntop = {number}\n")
    assert shown(command, "config", "show", "worklist")["worklist"]["top"] == 1
    command.environment["SCREENER_CONFIG"] = str(tmp_path / "a")
    assert shown(command, "config", "show", "worklist")["worklist"]["top"] == 2
    assert shown(command, "--config", tmp_path / "b", "config", "show", "worklist")["worklist"]["top"] == 3


def test_show_names_the_origin_of_each_value(command: InProcess) -> None:
    file = command.write("[common]\nlang = 'fr'\n\n[scan]\nlimit = 7\n")
    command.environment |= {"SCREENER_SCAN_SETTLE": "2", "SCREENER_WAIT": "3"}
    _, out, _ = command("config", "show", "scan", "--json")
    rows = {row["option"]: (row["value"], row["origin"]) for row in map(json.loads, out.splitlines())}
    assert rows["limit"] == (7, f"{file}:5")
    assert rows["lang"] == ("fr", f"{file}:2")
    assert rows["settle"] == (2.0, "SCREENER_SCAN_SETTLE")
    assert rows["wait"] == (3.0, "SCREENER_WAIT")
    assert rows["threshold"] == ("auto", "default")
    assert rows.keys() == {option.key for option in SCAN}
    changed = shown(command, "config", "show", "scan", "--changed")
    assert changed == {"scan": {"limit": 7, "lang": "fr", "settle": 2.0, "wait": 3.0}}
    assert command("config", "show", "nonsense")[0] == 2


def test_the_template_is_a_file_in_which_every_option_stands(command: InProcess, tmp_path: Path) -> None:
    _, text, _ = command("config", "template")
    file = tmp_path / "screener.toml"
    file.write_text(text)
    assert read(file, OPTIONS).tables == {}
    file.write_text(re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE))
    whole = read(file, OPTIONS)
    assert all(whole.origin(option) for option in OPTIONS)


def test_a_wrong_file_stops_every_command_but_not_its_help_nor_its_repair(command: InProcess, tmp_path: Path) -> None:
    command.write("[scan]\nlimit = 0\n")
    for arguments in (["verify"], ["config", "show"]):
        code, out, err = command(*arguments)
        assert (code, out) == (2, "")
        assert "screener.toml:2: scan.limit: 0" in err
    assert command("scan", "--help")[0] == 0
    assert command("config", "template")[0] == 0
    assert command("--config", tmp_path / "nowhere", "verify")[0] == 2


def test_a_value_that_a_command_cannot_use_is_told_with_its_place(command: InProcess) -> None:
    command.write("[common]\nmodel = 'nowhere'\n[worklist]\nlevel = 'up'\n")
    message = command("worklist")[2]
    assert "(--level comes from " in message
    assert "screener.toml:4)" in message
    code, _, message = command("info")
    assert code == 7
    assert "(--model comes from " in message
    command.environment["SCREENER_MODEL"] = "gone"
    assert "(--model comes from the variable SCREENER_MODEL)" in command("info")[2]


def test_a_variable_that_sets_nothing_or_is_wrong_is_told(command: InProcess) -> None:
    command.environment |= {"SCREENER_TRESHOLD": "0.9", "SCREENER_TOP": "many"}
    code, _, message = command("worklist")
    assert "'SCREENER_TRESHOLD' sets no option; did you mean SCREENER_THRESHOLD?" in message
    assert code == 2
    assert "in the variable SCREENER_TOP" in message
    assert "the variable SCREENER_TOP" in command("config", "show")[2]


def test_the_version_names_the_configured_model(command: InProcess, tiny_model: Path) -> None:
    command.write(f"[common]\nmodel = {quoted(str(tiny_model))}\n")
    assert command("--version")[1].strip().endswith("model tiny 1.0.0")
