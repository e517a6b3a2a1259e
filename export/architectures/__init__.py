"""Recipes by name: an architecture, how it wants its slices, and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from export.errors import DataError
from export.training.augmentation import PLAIN, Augmentation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from screener.preprocess import Preprocessing

_RECIPES = {
    name: f"export.architectures.{name}:RECIPE"
    for name in ("attention", "autoencoder", "baseline", "densenet121", "lite")
}


@dataclass(frozen=True)
class Start:
    """How a network begins.

    Attributes
    ----------
    size : int
        Side of its input, in pixels.
    weights : Path or None
        File with ImageNet weights of that architecture; None: what the recipe finds by itself, else from scratch.
    frozen : bool
        Leave the backbone as the weights have it and train only what follows; only `densenet121` can.
    blank : bool
        The weights of a trained run will be loaded: look for no others.
    """

    size: int
    weights: Path | None = None
    frozen: bool = False
    blank: bool = False


@dataclass(frozen=True)
class Recipe:
    """Everything that a name such as ``lite`` stands for.

    Attributes
    ----------
    build : callable
        Takes a `Start`, returns a keras.Model that is ready to compile. Input ``image`` of shape (N, size, size, 1),
        float32, in [0, 1]; outputs by name: ``probability`` (N, 1), and where the recipe has one ``heatmap``
        (N, size / 16, size / 16), both in [0, 1].
    exported : callable
        Turns the trained model into the one that is converted: further outputs such as ``embedding``, features of
        shape (N, D) in which `export.release.from_run.embedding_reference` measures how strange a slice is.
    early : tuple of str
        Layers that ``screener explain --layers`` shows: where edges and textures can still be recognised.
    view_side : int
        Side of the stored views that training augments, in pixels.
    augment : {"classic", "hospital"}
    epochs : int
    steps : int or None
        Batches an epoch, drawn at random and balanced over sources; None: every slice once.
    learning_rate : float
    schedule : {"plateau", "cosine"}
    monitor : {"recall", "auc", "adjusted_auc"}
        What picks the best epoch on the tune set and stops the run.
    patience : int
        Epochs without a better one after which the run stops.
    averaging : float, in [0, 1)
        Decay of the running average of the weights, per batch; 0 keeps the last weights.
    label_smoothing : float, in [0, 1)
    shares : dict of str to float
        Share of each batch that named sources get when they are present; the rest is shared equally.
    augmentation : Augmentation
        What ``hospital`` augmentation does how often.
    settling : int
        Batches over which the statistics of frozen normalisation layers are taken before training; 0: as they came.
    decoder : callable or None
        Takes the built model, returns a keras.Model on the same input that draws it again, (N, size, size, 1): what the
        shared layers are trained for before any label is looked at.
    """

    name: str
    summary: str
    build: Callable[[Start], Any]
    exported: Callable[[Any], Any]
    preprocessing: Preprocessing
    view_side: int
    augment: Literal["classic", "hospital"]
    epochs: int
    steps: int | None
    learning_rate: float
    schedule: Literal["plateau", "cosine"]
    monitor: Literal["recall", "auc", "adjusted_auc"]
    patience: int
    averaging: float
    label_smoothing: float
    shares: dict[str, float]
    early: tuple[str, ...] = ()
    decoder: Callable[[Any], Any] | None = None
    augmentation: Augmentation = PLAIN
    settling: int = 0


def recipe(name: str) -> Recipe:
    """Look a recipe up; its module is imported only now, since it imports TensorFlow.

    Parameters
    ----------
    name : str
        One of `names`, or ``module:function`` for a recipe of one's own: a function that returns a `Recipe`.

    Raises
    ------
    DataError
        No recipe has that name.
    """
    module, _, attribute = _RECIPES.get(name, name).partition(":")
    if not attribute:
        raise DataError(
            f"no recipe is called {name!r}", f"choose one of {', '.join(names())}, or module:function of your own"
        )
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise DataError(f"no recipe at {name!r}: {error}", "name an importable module and its function") from None
    made = found() if callable(found) else found
    if not isinstance(made, Recipe):
        raise DataError(
            f"{name!r} gives a {type(made).__name__}, not a recipe", "return an export.architectures.Recipe"
        )
    return made


def names() -> list[str]:
    """Return the names of all recipes."""
    return sorted(_RECIPES)
