"""Recipes by name: an architecture, how it wants its slices, and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from export.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from screener.preprocess import Preprocessing

_RECIPES = {"baseline": "export.architectures.baseline", "lite": "export.architectures.lite"}


@dataclass(frozen=True)
class Recipe:
    """Everything that a name such as ``lite`` stands for.

    Attributes
    ----------
    build : callable returning a compiled-ready keras.Model
        Input ``image`` of shape (N, size, size, 1), float32, in [0, 1]; outputs by name: ``probability`` (N, 1), and
        where the recipe has one ``heatmap`` (N, size / 16, size / 16), both in [0, 1].
    exported : callable
        Turns the trained model into the one that is converted: further outputs such as ``embedding``, features of
        shape (N, D) in which `export.reference` measures how strange a slice is.
    view_side : int
        Side of the stored views that training augments, in pixels.
    augment : {"classic", "hospital"}
    epochs : int
    steps : int or None
        Batches an epoch, drawn at random and balanced over sources; None: every slice once.
    learning_rate : float
    schedule : {"plateau", "cosine"}
    monitor : {"recall", "auc"}
        What picks the best epoch on the tune set and stops the run.
    patience : int
        Epochs without a better one after which the run stops.
    averaging : float, in [0, 1)
        Decay of the running average of the weights, per batch; 0 keeps the last weights.
    label_smoothing : float, in [0, 1)
    shares : dict of str to float
        Share of each batch that named sources get when they are present; the rest is shared equally.
    """

    name: str
    summary: str
    build: Callable[[], Any]
    exported: Callable[[Any], Any]
    preprocessing: Preprocessing
    view_side: int
    augment: Literal["classic", "hospital"]
    epochs: int
    steps: int | None
    learning_rate: float
    schedule: Literal["plateau", "cosine"]
    monitor: Literal["recall", "auc"]
    patience: int
    averaging: float
    label_smoothing: float
    shares: dict[str, float]


def recipe(name: str) -> Recipe:
    """Look a recipe up; its module is imported only now, since it imports TensorFlow.

    Raises
    ------
    DataError
        No recipe has that name.
    """
    if name not in _RECIPES:
        raise DataError(f"no recipe is called {name!r}", f"choose one of {', '.join(sorted(_RECIPES))}")
    found: Recipe = import_module(_RECIPES[name]).RECIPE
    return found


def names() -> list[str]:
    """Return the names of all recipes."""
    return sorted(_RECIPES)
