"""Show what the first layers of a network pass on, from a second graph that lies beside the model.

The model's own graph does not hand these out: every output of a graph is computed whether it is asked for or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from screener.errors import ModelError
from screener.model.store import Location, read_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from screener.model.session import Model

FILE = "layers.onnx"
"""Name of the second graph: input ``image`` as the model's, outputs of shape (N, h, w, channels), any names."""
_COLUMNS = 8
_TILE = 112
"""Side of one map, in pixels."""
_GAP = 4


def feature_maps(model: Model, tensor: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return what the first layers make of a slice.

    Parameters
    ----------
    model : Model
    tensor : ndarray of shape (size, size, 1), float32, in [0, 1]
        From `screener.preprocess.prepare`.

    Returns
    -------
    dict of str to ndarray of shape (h, w, channels), float32
        By name of the layer, the finest, which is the earliest, first.

    Raises
    ------
    ModelError
        The model came without its early layers, or they do not fit it.
    """
    import onnxruntime

    location = Location(model.location.folder, model.location.folder / FILE)
    if not location.onnx.is_file():
        raise ModelError(
            f"the model {model.card.title} came without its early layers: there is no {FILE} beside it",
            "leave --layers out, or export the model with its early layers",
        )
    data, _ = read_model(location)
    try:
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        maps = session.run(names, {"image": tensor[None]})
    except Exception as error:  # onnxruntime's own exception classes are not public
        raise ModelError(f"{location.onnx} does not fit the model: {error}", "install the model again") from error
    found = {name: maps_of[0] for name, maps_of in zip(names, maps, strict=True)}
    return dict(sorted(found.items(), key=lambda layer: -layer[1].shape[0]))


def sheet(maps: NDArray[np.float32], most: int = 4 * _COLUMNS) -> NDArray[np.uint8]:
    """Lay the strongest maps of one layer side by side, each stretched to its own range.

    Parameters
    ----------
    maps : ndarray of shape (h, w, channels), float32
    most : int
        Maps shown at most, by how much they vary.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8
    """
    import cv2
    import numpy as np

    from screener.report.overlay import colour

    chosen = np.argsort(-maps.std(axis=(0, 1)), kind="stable")[:most]
    rows = -(-len(chosen) // _COLUMNS)
    canvas = np.zeros((rows * (_TILE + _GAP), _COLUMNS * (_TILE + _GAP), 3), np.uint8)
    for place, channel in enumerate(chosen):
        grid = maps[:, :, channel]
        span = float(grid.max() - grid.min())
        tile = (grid - grid.min()) / span if span > 0 else np.zeros_like(grid)
        tile = np.asarray(cv2.resize(tile, (_TILE, _TILE), interpolation=cv2.INTER_LINEAR), np.float32)
        top, left = (place // _COLUMNS) * (_TILE + _GAP), (place % _COLUMNS) * (_TILE + _GAP)
        canvas[top : top + _TILE, left : left + _TILE] = colour(tile, "viridis")
    return canvas


def drawing(maps: dict[str, NDArray[np.float32]], note: str) -> NDArray[np.uint8]:
    """Return one picture of all layers, each under its name, with a note below."""
    import numpy as np

    from screener.report.explanation_sheet import caption

    width = _COLUMNS * (_TILE + _GAP)
    parts = [part for name, found in maps.items() for part in (caption([name], width), sheet(found))]
    return np.vstack([*parts, caption([note], width)])
