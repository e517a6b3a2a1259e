"""Models side by side: listed, chosen, compared on a folder, and held to what earlier models missed."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from screener.comparison.misses import read_misses
from screener.domain.verdict import Verdict
from screener.errors import ExitCode, UsageError
from tests.conftest import tiny_card, write_model, write_slice

if TYPE_CHECKING:
    from pathlib import Path

    from tests.in_process import InProcess

pytest.importorskip("scipy", reason="needs the extra [evaluate]")


def model_with(folder: Path, threshold: float, name: str) -> Path:
    """Write the tiny model with another ``auto``: 0 flags everything, 1 nothing."""
    points = tiny_card()["operating_points"]
    points["auto"] = {**points["auto"], "threshold": threshold, "certified": False, "certificate": None}
    return write_model(folder, tiny_card(name=name, operating_points=points))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    thresholds = {"eager": 0.0, "usual": 0.4, "blind": 1.0}
    return {name: model_with(folder / name, threshold, name) for name, threshold in thresholds.items()}


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Return a set with a bright and a dark tumour, and a dark slice without."""
    folder = tmp_path / "labelled"
    for place, seed, bright in (("yes/a.png", 0, True), ("yes/b.png", 1, False), ("no/c.png", 2, False)):
        write_slice(folder / place, seed, bright=bright)
    return folder


def test_a_model_is_listed_chosen_and_not_touched(command: InProcess, models: dict[str, Path]) -> None:
    place = command.home / "screener/models/mine"
    shutil.copytree(models["usual"], place)
    before = {path: path.read_bytes() for path in place.iterdir()}
    file = command.write("# my settings\n[scan]\nlimit = 3  # a few\n\n[common]\nlang = 'en'\n")
    _, out, _ = command("model", "list", "--json")
    rows = {row["name"]: row for row in map(json.loads, out.splitlines())}
    assert rows["mine"]["model"] == "usual 1.0.0"
    assert (rows["mine"]["default"], rows["lite"]["default"]) == (False, True)

    code, out, err = command("model", "use", "mine")
    assert (code, err) == (0, "")
    assert file.read_text() == "# my settings\n[scan]\nlimit = 3  # a few\n\n[common]\nmodel = \"mine\"\nlang = 'en'\n"
    assert command("--version")[1].strip().endswith("model usual 1.0.0")
    assert "* mine" in command("model", "list")[1]
    assert {path: path.read_bytes() for path in place.iterdir()} == before

    # The first setting of a user makes the file; a path is kept as an absolute one.
    file.unlink()
    assert command("model", "use", models["eager"])[0] == 0
    assert command("--version")[1].strip().endswith("model eager 1.0.0")


def test_a_model_that_cannot_be_used_is_not_chosen(command: InProcess, models: dict[str, Path], tmp_path: Path) -> None:
    file = command.write("[common]\nmodel = 'lite'\n")
    broken = tmp_path / "broken"
    shutil.copytree(models["usual"], broken)
    (broken / "card.json").write_text("{}")
    for model in (broken, "nowhere"):
        assert command("model", "use", model)[0] == ExitCode.MODEL
    assert file.read_text() == "[common]\nmodel = 'lite'\n"
    command.environment["SCREENER_MODEL"] = str(models["eager"])
    assert "SCREENER_MODEL sets another model" in command("model", "use", models["usual"])[2]


def test_a_model_that_came_along_wins_over_one_of_its_name(command: InProcess, models: dict[str, Path]) -> None:
    shutil.copytree(models["eager"], command.home / "screener/models/lite")
    assert "eager" not in command("model", "list")[1]
    assert "eager" not in command("--version")[1]


def compared(command: InProcess, *arguments: object) -> dict[str, Any]:
    code, out, err = command("model", "compare", *arguments, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_two_models_on_a_folder(command: InProcess, models: dict[str, Path], inbox: Path) -> None:
    write_slice(inbox / "dark" / "0.png", 9)
    found = compared(command, models["usual"], models["blind"], inbox)
    assert found["labels"] is None
    assert found["studies"]["decisions"]["flagged"] == {"flagged": 0, "not_flagged": 2, "not_assessable": 0}
    assert found["studies"]["decisions"]["not_flagged"]["not_flagged"] == 1
    assert [one["study"] for one in found["changed"]] == ["p0", "p1"]
    assert found["slices"]["changed"] == 2
    assert found["slices"]["flagged"] is None
    assert found["studies"]["auc"] is None
    assert not (command.home / "screener/audit.jsonl").exists()


def test_two_models_on_labelled_slices(command: InProcess, models: dict[str, Path], labelled: Path) -> None:
    found = compared(command, models["usual"], models["eager"], labelled)
    assert found["labels"] == "the labelled set"
    assert (found["studies"]["sensitivity"]["first"], found["studies"]["sensitivity"]["second"]) == (1, 2)
    assert (found["studies"]["specificity"]["first"], found["studies"]["specificity"]["second"]) == (1, 0)
    assert found["studies"]["auc"]["difference"] == 0
    assert [one["positive"] for one in found["changed"]] == [True, False]
    text = command("model", "compare", models["usual"], models["eager"], labelled)[1]
    assert "right A 1 of 2, B 2 of 2" in text


@pytest.mark.parametrize("arguments", [[], ["a"], ["a", "b"], ["a", "b", "c", "--from-log"]])
def test_half_a_comparison_is_a_usage_error(command: InProcess, arguments: list[str]) -> None:
    assert command("model", "compare", *arguments)[0] == ExitCode.USAGE


def recorded(file: Path) -> list[tuple[str, ...]]:
    return [(line["model"].split()[0], line["decision"]) for line in map(json.loads, file.read_text().splitlines())]


def check(command: InProcess, model: Path, file: Path, *options: object) -> tuple[int, str]:
    code, out, _ = command("model", "check", model, "--misses", file, *options)
    return code, out


def test_a_miss_that_was_found_must_not_come_back(
    command: InProcess, models: dict[str, Path], labelled: Path, tmp_path: Path
) -> None:
    file = tmp_path / "misses.jsonl"
    assert command("model", "misses", labelled, "--model", models["usual"], "--out", file)[0] == 0
    assert command("model", "misses", labelled, "--model", models["usual"], "--out", file)[0] == 0
    assert recorded(file) == [("usual", "not_flagged")]
    # What no model has found cannot come back; --strict asks for more.
    code, out = check(command, models["blind"], file, "--data", labelled)
    assert code == 0
    assert out.startswith("still missed")
    assert check(command, models["blind"], file, "--data", labelled, "--strict")[0] == ExitCode.MODEL

    code, out = check(command, models["eager"], file, "--data", labelled, "--record")
    assert code == 0
    assert out.startswith("found")
    assert recorded(file) == [("usual", "not_flagged"), ("eager", "flagged")]
    code, out = check(command, models["blind"], file, "--data", labelled)
    assert code == ExitCode.MODEL
    assert out.startswith("COMES BACK")

    # Pictures that are found nowhere are counted, never passed over; a recorded answer needs none.
    assert check(command, models["blind"], file)[0] == ExitCode.NOTHING_FOUND
    assert check(command, models["eager"], file)[0] == 0
    assert (labelled / "yes/b.png").rename(labelled / "moved.png")
    assert check(command, models["blind"], file, "--data", labelled)[0] == ExitCode.MODEL


def test_a_miss_is_judged_as_the_study_that_it_was(command: InProcess, models: dict[str, Path], inbox: Path) -> None:
    """Verdicts in a log name the misses; the candidate answers about the study as a scan of it would."""
    dark = inbox / "dark"
    for number in range(3):
        write_slice(dark / f"{number}.png", 20 + number)
    command("scan", inbox, "--model", models["usual"], "--accept-uncertified")
    log = command.home / "screener/audit.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    study = next(event for event in events if event["event"] == "STUDY" and event["study_id"] == "dark")
    from screener.audit import AuditLog

    with AuditLog(log, exclusive=False) as writer:
        writer.reviews([Verdict(study["hash"], "dr-1", "tumour", agreement=False)])
    assert command("model", "misses", "--from-log")[1].startswith("1 missed studies, 1 of them new")
    file = command.home / "screener/misses/misses.jsonl"
    line = json.loads(file.read_text())
    assert line["study"] == "dark"
    assert {one["sha256"] for one in line["slices"]} == {
        event["sha256"] for event in events if event["event"] == "RESULT" and event["path"].startswith("dark/")
    }
    code, out, _ = command("model", "check", models["eager"], "--data", inbox, "--json", "--record")
    assert code == 0
    outcome = json.loads(out)
    assert outcome["outcome"] == "found"
    assert outcome["probability"] == pytest.approx(float(study["probability"]))
    assert recorded(file) == [("usual", "not_flagged"), ("eager", "flagged")]


def test_misses_of_nothing(command: InProcess, models: dict[str, Path], tmp_path: Path) -> None:
    code, _, err = command("model", "check", models["eager"])
    assert code == 0
    assert "nothing was checked" in err
    assert command("model", "misses")[0] == ExitCode.USAGE
    assert command("model", "misses", tmp_path, "--from-log")[0] == ExitCode.USAGE


@pytest.mark.parametrize("line", ["{", "[]", '{"study": "a"}', "\x00", "[" * 100_000])
def test_a_line_that_is_no_miss_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "misses.jsonl"
    file.write_text(f"\n{line}\n")
    with pytest.raises(UsageError, match=r"misses.jsonl:2: "):
        read_misses([file])
    with pytest.raises(UsageError, match="cannot be read"):
        read_misses([tmp_path / "none.jsonl"])
