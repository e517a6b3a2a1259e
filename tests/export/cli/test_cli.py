"""What the bench's commands say and return when data, disk or the user stop them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest

from export.cli import main
from export.errors import DataError, StorageError
from export.training import loop as setup
from tests.conftest import write_slice

if TYPE_CHECKING:
    from pathlib import Path

    from export.training.options import Options

FULL = OSError(errno.ENOSPC, "No space left on device", "epoch-002.keras")


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["export", *words])
    with pytest.raises(SystemExit) as ended:
        main.main()
    return int(ended.value.code or 0), capsys.readouterr().err


def training(monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> list[Options]:
    """Put something in the place of training that fails, or notes its options."""
    asked: list[Options] = []

    def instead(_: Path, __: Path, options: Options, **___: Any) -> None:  # noqa: ANN401 - not looked at
        asked.append(options)
        if error is not None:
            raise error

    monkeypatch.setattr(setup, "train", instead)
    return asked


@pytest.mark.parametrize(
    ("error", "code", "result"),
    [
        (FULL, 1, ("epoch-002.keras: No space left on device", "free some space", "same command")),
        (OSError(errno.ENOSPC, "write failed, 3 bytes at 0x55"), 1, ("error: No space left on device", "free some")),
        (PermissionError(errno.EACCES, "Permission denied", "run"), 1, ("run: Permission denied", "put it right")),
        (KeyboardInterrupt(), 8, ("stopped", "the same command goes on")),
        (DataError("bad row", "mend it"), 2, ("bad row", "mend it")),
    ],
)
def test_every_end_has_a_sentence_a_hint_and_a_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    result: tuple[str, ...],
) -> None:
    training(monkeypatch, error)
    ended, said = run(monkeypatch, capsys, "train", "--data", "d", "--run", "r")
    assert ended == code
    assert all(part in said for part in result)
    assert said.startswith("error: ")
    assert "hint: " in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("module", "command"), [("leave_one_out", "leave-one-out"), ("cross_validation", "compare")])
def test_whatever_goes_on_later_may_be_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str, command: str
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"export.evaluation.{module}.run", stopped)
    monkeypatch.setattr("export.evaluation.cross_validation.prepare", lambda *_: None)
    code, said = run(monkeypatch, capsys, command, "--data", "d", "--run", "r", "--out", "o")
    assert (code, "the same command goes on" in said) == (8, True)


def test_resume_is_the_default_and_restart_deletes_what_the_run_wrote(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = training(monkeypatch)
    own = ("options.json", "progress.json", "groups.csv", "best.weights.h5", "epoch-012.keras", "epoch-012.npz")
    foreign = ("notes.txt", "epoch-notes.txt", "epoch-012.keras.bak")
    for name in (*own, *foreign):
        (tmp_path / name).write_text("x")
    words = ("train", "--data", "d", "--run", str(tmp_path))
    for more in ((), ("--resume",)):
        assert run(monkeypatch, capsys, *words, *more)[0] == 0
        assert all((tmp_path / name).exists() for name in own)
    assert run(monkeypatch, capsys, *words, "--restart", "--groups", str(tmp_path / "groups.csv"))[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == {*foreign, "groups.csv"}
    assert asked[-1].groups == str(tmp_path / "groups.csv")
    assert asked[0] == asked[1]


def test_restart_leaves_a_folder_alone_that_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text("x")
    setup.restart(tmp_path)
    setup.restart(tmp_path / "missing")
    assert (tmp_path / "groups.csv").exists()


def test_a_folder_without_labels_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_slice(tmp_path / "images/1.png")
    code, said = run(monkeypatch, capsys, "audit", str(tmp_path), "--out", str(tmp_path / "out"))
    assert code == 2
    assert "holds no slice labelled 'yes'" in said
    assert "add a yes/ and a no/ folder" in said
    assert not (tmp_path / "out").exists()


def test_a_storage_error_without_a_name_is_reported_too() -> None:
    assert str(StorageError.of(OSError("the drive is gone"))) == "the drive is gone"
