"""Decoded, framed slices on disk: training reads each file once, however many epochs and recipes follow."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from export.files import atomically
from screener.inbox import RefusedError, decode
from screener.preprocess import Frame, Preprocessing, frame, stretch

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from export.data.dataset import Dataset
    from screener.evaluate.labelled import Record

TARGET_STRIDE = 4
"""Side of a view divided by the side of its tumour map."""


@dataclass(frozen=True)
class Views:
    """Every slice of a data set as the model frames it.

    Attributes
    ----------
    images : ndarray of shape (N, S, S), uint8
    tumours : ndarray of shape (N, S // 4, S // 4), uint8
        255 where a box or mask says tumour.
    located : ndarray of shape (N,), bool
        Whether `tumours` can be believed: every negative, and the positives that somebody annotated.
    readable : ndarray of shape (N,), bool
    """

    images: NDArray[np.uint8]
    tumours: NDArray[np.uint8]
    located: NDArray[np.bool_]
    readable: NDArray[np.bool_]


def load_views(dataset: Dataset, how: Preprocessing, side: int, folder: Path) -> Views:
    """Return the views, from `folder` when they have been made before.

    Parameters
    ----------
    dataset : Dataset
    how : Preprocessing
        Its crop, padding and intensity apply; its size does not.
    side : int
        Side of the stored views, in pixels: a multiple of 4, larger than the model's input to leave room for zoom.
    folder : Path
        Where to keep them.
    """
    how = structs.replace(how, size=side)
    key = hashlib.sha256(json.dumps([dataset.fingerprint(), structs.asdict(how)]).encode()).hexdigest()[:16]
    path = folder / f"views-{key}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        views = _decode_all(dataset, how)
        atomically(path, lambda partial: np.savez(partial, **vars(views)))
        return views
    with np.load(path) as stored:
        return Views(**{name: stored[name] for name in stored.files})


def _decode_all(dataset: Dataset, how: Preprocessing) -> Views:
    """Decode on every core; OpenCV releases the interpreter lock."""
    count, side = len(dataset.records), how.size
    views = Views(
        np.zeros((count, side, side), np.uint8),
        np.zeros((count, side // TARGET_STRIDE, side // TARGET_STRIDE), np.uint8),
        np.zeros(count, bool),
        np.zeros(count, bool),
    )

    def work(index: int) -> None:
        _decode_one(dataset.root, dataset.records[index], how, views, index)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(work, range(count)))
    return views


def _decode_one(root: Path, record: Record, how: Preprocessing, views: Views, index: int) -> None:
    """Fill one row of `views`; an unreadable file leaves it black and marked."""
    try:
        pixels, _ = decode((root / record.path).read_bytes())
    except (RefusedError, OSError):
        return
    views.images[index], where = _framed(pixels, how)
    views.readable[index] = True
    tumour = tumour_map(root, record, (pixels.shape[0], pixels.shape[1]))
    views.located[index] = record.label == 0 or tumour is not None
    if tumour is not None:
        shown = where.cut(tumour, fill=0.0)
        small = shown.reshape(shown.shape[0] // TARGET_STRIDE, TARGET_STRIDE, -1, TARGET_STRIDE).mean(axis=(1, 3))
        views.tumours[index] = np.rint(small * 255)


def tumour_map(root: Path, record: Record, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """Draw what the annotators marked: (H, W), float32, 1 in the tumour, 0 elsewhere; None without annotation."""
    if record.mask:
        mask, _ = decode((root / record.mask).read_bytes())
        if mask.shape == shape:
            return (mask > 0).astype(np.float32)
    if not record.boxes:
        return None
    height, width = shape
    drawn = np.zeros(shape, np.float32)
    for x0, y0, x1, y1 in record.boxes:
        drawn[int(y0 * height) : int(np.ceil(y1 * height)), int(x0 * width) : int(np.ceil(x1 * width))] = 1.0
    return drawn


def frame_folder(folder: Path, how: Preprocessing) -> NDArray[np.uint8]:
    """Frame every picture below a folder that can be decoded: (M, size, size), uint8."""
    framed = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            try:
                framed.append(_framed(decode(path.read_bytes())[0], how)[0])
            except RefusedError:
                continue
    return np.stack(framed) if framed else np.empty((0, how.size, how.size), np.uint8)


def _framed(pixels: NDArray[np.float32], how: Preprocessing) -> tuple[NDArray[np.uint8], Frame]:
    """Show a slice as the model will, short of its final size: (size, size), uint8, and how it was cut."""
    where = frame(pixels, how)
    view = where.cut(pixels)
    if how.intensity == "percentile":
        view = stretch(view)
    return np.rint(view * 255).astype(np.uint8), where
