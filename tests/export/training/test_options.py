"""What a training is asked and where it stands: read as written, and held to the declared ranges."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from export.errors import DataError
from export.training.options import LOSSES, Options, Progress, hold_to_ranges

if TYPE_CHECKING:
    from pathlib import Path

options = st.builds(
    Options,
    recipe=st.text(min_size=1, max_size=9),
    loss=st.sampled_from(LOSSES),
    epochs=st.none() | st.integers(1, 99),
    size=st.none() | st.integers(2, 12).map(lambda number: 32 * number),
    label_share=st.floats(0.01, 1),
    augmentation=st.lists(st.text(max_size=5), max_size=2).map(tuple),
)


@settings(deadline=None, max_examples=40)
@given(options)
def test_options_come_back_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, asked: Options) -> None:
    run = tmp_path_factory.mktemp("run")
    (run / "options.json").write_text(asked.text())
    assert Options.of(run) == asked
    asked.check()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"recipe": "lite", "colour": "red"}', '{"recipe": "lite", "epochs": "3"}', "{}"]
)
def test_what_tells_no_options_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "options.json").write_text(text)
    with pytest.raises(DataError, match=r"options\.json does not tell"):
        Options.of(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"steps": 0},
        {"batch_size": 0},
        {"seed": -1},
        {"size": 100},
        {"size": 32},
        {"label_share": 0.0},
        {"label_share": 1.01},
        {"pretrain_epochs": -1},
        {"loss": "hinge"},
    ],
)
def test_an_option_outside_its_range_is_named(change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises(DataError, match=name):
        structs.replace(Options("lite"), **change).check()
    with pytest.raises(DataError) as caught:
        hold_to_ranges(structs.replace(Options("lite"), **change), "mend it")
    assert caught.value.hint == "mend it"


def test_progress_before_and_after_the_first_epoch(tmp_path: Path) -> None:
    progress = Progress([], 1e-3)
    (tmp_path / "progress.json").write_text(progress.text())
    assert Progress.of(tmp_path) == progress
    assert (progress.best("auc"), progress.best_loss) == (-1, math.inf)
    progress.history += [{"epoch": 1, "val_auc": 0.9}, {"epoch": 2, "val_auc": 0.9}]
    (tmp_path / "progress.json").write_text(progress.text())
    assert Progress.of(tmp_path).best("auc") == 0
    assert isinstance(Progress.of(tmp_path).history[0]["epoch"], int)
    (tmp_path / "progress.json").write_text(json.dumps({"history": [{"epoch": "one"}], "rate": 1}))
    with pytest.raises(ValueError, match="history"):
        Progress.of(tmp_path)
