"""What is typed reaches the function that a command calls, and what it returns reaches the screen and the disk."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from export.cli import main
from export.evaluation import ablation, cross_fit, cross_validation, leak, leave_one_out
from export.release import from_run, model_card, release
from export.reports import ablation as changes_compared
from export.reports import cross_validation as comparison
from export.reports import leave_one_out as sources_left_out
from export.reports import run as run_report
from export.training import loop
from export.training.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parents[3] / "docs/results"
WHERE = ("--data", "d", "--run", "runs/mine")


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs a command to a good end and returns what it printed."""

    def run(*words: object) -> str:
        monkeypatch.setattr("sys.argv", ["export", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        printed = capsys.readouterr()
        assert ended.value.code in {0, None}, printed.err
        return printed.out

    return run


class Calls:
    """Stands in for a function: notes what it is given and returns what it is told to."""

    def __init__(self, answer: object = None) -> None:
        self.answer, self.given, self.named = answer, (), {}

    def __call__(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - of any function
        self.given, self.named = given, named
        return self.answer


def test_every_option_of_a_training_is_an_option_of_the_run(
    typed: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    train = Calls()
    monkeypatch.setattr(loop, "train", train)
    words = {
        "--recipe": "baseline", "--loss": "focal", "--epochs": 3, "--steps": 7, "--batch-size": 9, "--seed": 5,
        "--size": 96, "--weights": tmp_path / "w.pth", "--label-share": 0.5, "--pretrain-epochs": 2,
        "--max-minutes": 4,
    }  # fmt: skip
    (tmp_path / "w.pth").touch()
    repeated = ("--test-source", "a", "--test-source", "b", "--leave-out", "c:HT", "--augment", "paste=0.1")
    typed("train", *WHERE, *(part for pair in words.items() for part in pair), *repeated, "--frozen", "--ignore-flips")
    data, run, options = train.given
    assert (data, run) == (Path("d"), Path("runs/mine"))
    assert options == Options(
        "baseline", "focal", 3, 7, 9, 5, ("a", "b"), ("c:HT",),
        ignore_flips=True, size=96, weights=str(tmp_path / "w.pth"), frozen=True, label_share=0.5, pretrain_epochs=2,
        augmentation=("paste=0.1",),
    )  # fmt: skip
    assert train.named == {"unseen": None, "max_minutes": 4.0}
    typed("train", *WHERE)
    assert train.given[2] == Options("lite")
    assert train.named["max_minutes"] == math.inf


def test_a_release_is_asked_for_by_name_version_and_recall(
    typed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, again = Calls("card"), Calls("card")
    monkeypatch.setattr(from_run, "release", made)
    monkeypatch.setattr(release, "certify_again", again)
    monkeypatch.setattr(model_card, "verdict", lambda card: f"verdict on a {card}")
    printed = typed("convert", *WHERE, "--out", "m", "--name", "mine", "--version", "2.0.0", "--recall-target", 0.9)
    assert printed.strip() == "m: verdict on a card"
    asked = made.given[2]
    assert (asked.folder, asked.name, asked.version, asked.recall_target) == (Path("m"), "mine", "2.0.0", 0.9)
    assert asked.cross_fit is None
    assert made.given[3] == Path("docs/demo/inbox")
    typed("certify", *WHERE, "--model", "m", "--cross-fit", "c.json", "--demo", "slices")
    asked = again.given[2]
    assert (asked.folder, asked.version, asked.cross_fit) == (Path("m"), None, Path("c.json"))
    assert again.given[3] == Path("slices")


def test_a_leak_is_written_as_json_and_page(
    typed: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = json.loads((RESULTS / "leak.json").read_text())
    measured = Calls(known)
    monkeypatch.setattr(leak, "leak", measured)
    words = ("--leaking", "runs/l", "--control", "runs/c", "--source", "s", "--out", tmp_path / "leak")
    printed = typed("leak", "--data", "d", *words)
    assert measured.given == (Path("d"), Path("runs/l"), Path("runs/c"), "s")
    assert json.loads((tmp_path / "leak.json").read_text()) == known
    assert printed.strip() == (tmp_path / "leak.md").read_text().strip() == (RESULTS / "leak.md").read_text().strip()


@pytest.mark.parametrize("finished", [True, False])
def test_a_comparison_is_written_once_every_cell_is_measured(
    typed: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, finished: bool
) -> None:
    prepared, measured, written = Calls("course"), Calls(finished), Calls()
    monkeypatch.setattr(cross_validation, "prepare", prepared)
    monkeypatch.setattr(cross_validation, "run", measured)
    monkeypatch.setattr(comparison, "write_report", written)
    (tmp_path / "out.md").write_text("the table")
    words = ("--slices", 300, "--size", 64, "--epochs", 5, "--seed", 2, "--test-source", "kept", "--max-minutes", 9)
    printed = typed("compare", *WHERE, "--out", tmp_path / "out", *words)
    terms = cross_validation.Terms(300, 64, 5, 2, ("kept",))
    assert prepared.given == (Path("d"), Path("runs/cache"), terms, None)
    assert (measured.given, measured.named) == (("course", Path("runs/mine"), terms), {"max_minutes": 9.0})
    assert bool(written.given) == finished
    assert ("the table" in printed) == finished


def test_sources_are_left_out_in_turn(
    typed: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured, left_out = Calls(answer=True), Calls()
    monkeypatch.setattr(leave_one_out, "run", measured)
    monkeypatch.setattr(sources_left_out, "gather", lambda *_: "gathered")
    monkeypatch.setattr(sources_left_out, "write_leave_one_out", left_out)
    (tmp_path / "out.md").write_text("the table")
    words = ("--epochs", 2, "--steps", 3, "--size", 64, "--test-source", "kept")
    assert "the table" in typed("leave-one-out", *WHERE, "--out", tmp_path / "out", *words)
    data, folder, experiments, terms = measured.given
    assert (data, folder) == (Path("d"), Path("runs/mine"))
    assert experiments == leave_one_out.EXPERIMENTS
    assert (terms.epochs, terms.steps, terms.size, terms.test_sources) == (2, 3, 64, ("kept",))
    assert left_out.given == (tmp_path / "out", "gathered")


def test_changes_of_the_recipe_are_compared_as_far_as_they_are_measured(
    typed: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured, written = Calls(answer=False), Calls()
    monkeypatch.setattr(ablation, "run", measured)
    monkeypatch.setattr(changes_compared, "gather", lambda *_: "gathered")
    monkeypatch.setattr(changes_compared, "write_ablation", written)
    typed("ablation", *WHERE, "--out", tmp_path / "out", "--epochs", 2, "--steps", 3, "--max-minutes", 5)
    data, folder, terms = measured.given
    assert (data, folder) == (Path("d"), Path("runs/mine"))
    assert (terms.epochs, terms.steps, terms.size) == (2, 3, None)
    assert measured.named == {"unseen": None, "max_minutes": 5.0}
    assert written.given == (tmp_path / "out", "gathered")


def test_a_cross_fit_goes_on_until_its_time_is_over(
    typed: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured, gathered, written = Calls(), Calls({"folds": []}), Calls()
    monkeypatch.setattr(cross_fit, "run", measured)
    monkeypatch.setattr(cross_fit, "gather", gathered)
    monkeypatch.setattr(main, "_write", written)
    words = ("--epochs", 2, "--steps", 3, "--test-source", "kept", "--demo", "slices", "--max-minutes", 5)
    typed("cross-fit", *WHERE, "--out", tmp_path / "out", *words)
    data, folder, terms, demo = measured.given
    assert (data, folder, demo) == (Path("d"), Path("runs/mine"), Path("slices"))
    assert (terms.epochs, terms.steps, terms.test_sources) == (2, 3, ("kept",))
    assert measured.named == {"unseen": None, "max_minutes": 5.0}
    assert gathered.given == (Path("runs/mine"), Path("d"))
    assert written.given == (tmp_path / "out", "cross_fit", {"folds": []})


def test_a_report_names_its_page_and_its_area(typed: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    made = Calls({"figures": {"auc": {"value": 0.98765}}})
    monkeypatch.setattr(run_report, "run_report", made)
    assert typed("report", *WHERE, "--out", "r", "--set", "test").strip() == "r/index.html: AUC 0.988 on test"
    assert made.given == (Path("d"), Path("runs/mine"), Path("r"), "test")


def test_the_same_control_is_measured_as_the_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    from handmade import Brightness, made
    from small import SMALL

    monkeypatch.setattr(leak, "best_model", lambda _: (Brightness(), SMALL, SimpleNamespace()))
    monkeypatch.setattr(leak, "prepare_training", lambda *_: made())
    found = leak._figures(Path("d"), Path("runs/l"), "a")
    assert (found["slices"], found["positives"], found["epochs"]) == (24, 12, SMALL.epochs)
    assert found["at_default"]["sensitivity"]["count"] == 12
    assert found["auc"]["value"] > 0.5
