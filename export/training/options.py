"""What a training is asked to do, and where it stands: both lie as JSON in the folder of the run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from export.architectures import Start
from export.errors import DataError
from screener.domain.estimate import Count

Loss = Literal["cross-entropy", "class-weighted", "focal"]
LOSSES: tuple[Loss, ...] = ("cross-entropy", "class-weighted", "focal")
AFRESH = "begin again with --restart, or choose another folder with --run"
Epochs = Annotated[int, Meta(ge=1)]
Steps = Annotated[int, Meta(ge=1)]
Side = Annotated[int, Meta(ge=64, multiple_of=32)]
"""Side of an input in pixels: the networks halve their maps five times, and leave two places to compare."""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run was asked to do; a run is only resumed with the same options."""

    recipe: Annotated[str, Meta(min_length=1, description="Name of a recipe, or `module:function`.")]
    loss: Annotated[Loss, Meta(description="Loss of the probability.")] = "cross-entropy"
    epochs: Annotated[Epochs | None, Meta(description="Most epochs; null: as the recipe has it.")] = None
    steps: Annotated[Steps | None, Meta(description="Batches an epoch; null: as the recipe has it.")] = None
    batch_size: Annotated[int, Meta(ge=1, description="Slices a batch.")] = 32
    seed: Annotated[Count, Meta(description="Of the split, the batches and the weights.")] = 1
    test_sources: Annotated[tuple[str, ...], Meta(description="Sources that choose nothing.")] = ()
    left_out: Annotated[tuple[str, ...], Meta(description="Sources, or `source:site`, never learnt from.")] = ()
    ignore_flips: Annotated[bool, Meta(description="Whether flipped copies may lie in two sets.")] = False
    size: Annotated[Side | None, Meta(description="Side of the input in pixels; null: as the recipe has it.")] = None
    weights: Annotated[str, Meta(description="File with pretrained weights; empty: what the recipe finds.")] = ""
    frozen: Annotated[bool, Meta(description="Whether the backbone stays as its weights have it.")] = False
    label_share: Annotated[float, Meta(gt=0, le=1, description="Share of the labels that is used.")] = 1.0
    pretrain_epochs: Annotated[Count, Meta(description="Epochs of learning to draw slices before.")] = 0
    augmentation: Annotated[tuple[str, ...], Meta(description="Changes to the recipe's, as `name=value`.")] = ()
    levels: Annotated[bool, Meta(description="Whether tumour-free slices are balanced by level.")] = True
    groups: Annotated[str, Meta(description="File that says which slice is in which set; empty: split.")] = ""

    @classmethod
    def of(cls, run: Path) -> Options:
        """Read the options that a run was started with.

        Raises
        ------
        DataError
            The file is damaged, or of another version.
        """
        try:
            return msgspec.json.decode((run / "options.json").read_bytes(), type=cls)
        except msgspec.DecodeError as error:
            raise DataError(f"{run / 'options.json'} does not tell a run's options: {error}", AFRESH) from None

    def check(self) -> None:
        """Hold the options to their ranges.

        Raises
        ------
        DataError
            Names the option that is outside its range.
        """
        hold_to_ranges(self, "see: python -m export train --help")

    def text(self) -> str:
        """Return the options as JSON."""
        return json.dumps(msgspec.to_builtins(self), indent=2) + "\n"

    def start(self, size: int, *, blank: bool = False) -> Start:
        """Say how the network begins."""
        return Start(size, Path(self.weights) if self.weights else None, self.frozen, blank)


def hold_to_ranges(given: msgspec.Struct, hint: str) -> None:
    """Make sure that a struct, which Python makes of any values, keeps the ranges that it declares.

    Raises
    ------
    DataError
        Names the field and its range; `hint` says what to do.
    """
    try:
        msgspec.convert(msgspec.structs.asdict(given), type(given))
    except msgspec.ValidationError as error:
        raise DataError(f"an option cannot be used: {error}", hint) from None


class Progress(msgspec.Struct):
    """Where a run stands; written after every epoch."""

    history: Annotated[
        list[dict[str, int | float]],
        Meta(description="Figures of every epoch: `epoch, rate, seconds, loss, val_loss, val_auc, val_recall, …`."),
    ]
    rate: Annotated[float, Meta(description="Learning rate of the next epoch.")]
    best_loss: Annotated[float, Meta(description="Least loss on the tune set so far.")] = math.inf
    since_best_loss: Annotated[Count, Meta(description="Epochs since then.")] = 0

    @classmethod
    def of(cls, run: Path) -> Progress:
        """Read where a run stands.

        Raises
        ------
        OSError, ValueError
            It cannot be read, or says nothing of the kind.
        """
        # Before the first epoch the best loss is infinite, which Python's JSON can say and strict JSON cannot.
        return msgspec.convert(json.loads((run / "progress.json").read_text()), cls)

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps(msgspec.structs.asdict(self), indent=1)

    def best(self, monitor: str) -> int:
        """Return the number of the best epoch so far (the earliest one on a tie), -1 before the first."""
        if not self.history:
            return -1
        return max(range(len(self.history)), key=lambda epoch: (self.history[epoch][f"val_{monitor}"], -epoch))
