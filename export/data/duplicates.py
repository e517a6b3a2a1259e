"""Near-duplicate groups: the same picture twice, also when flipped, turned, re-cropped or re-compressed.

Public sets copy from each other, often mirrored; a split that ignores it measures memory instead of skill.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from export.files import atomically
from screener.preprocess import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

GROUPING = Preprocessing(192, crop="head", pad="square", intensity="percentile")
"""How slices are framed to look for near-duplicates, whatever the recipe."""
UPRIGHT = 0.96
"""Cosine similarity of thumbnails above which two slices of the same orientation are one picture."""
TURNED = 0.97
"""The same for a flipped or turned copy: seven more chances to match by accident want a higher bar."""
_QUARTER, _BACK = 1, 3
"""Places of the quarter turns among `orientations`; what one of them finds, the other finds from the other side."""
_THUMBNAIL = 32
_BLOCK = 1024


@dataclass(frozen=True)
class Pairs:
    """Near-duplicate pairs: indices ``first < second`` and whether the copy is flipped or turned, all of shape (P,)."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    turned: NDArray[np.bool_]


def thumbnails(views: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Reduce framed slices to comparable thumbnails.

    Parameters
    ----------
    views : ndarray of shape (N, S, S), uint8
        Cropped to the head and padded square, so that re-cropped copies align.

    Returns
    -------
    ndarray of shape (N, 32, 32), float32
        Each with zero mean and unit norm; a blank view is all zero and matches nothing.
    """
    small = np.stack([cv2.resize(view, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA) for view in views])
    flat = small.reshape(len(views), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return flat.reshape(-1, _THUMBNAIL, _THUMBNAIL)


def orientations(images: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield the eight flips and quarter turns of square images (N, S, S), as they are first."""
    for mirrored in (images, images[:, :, ::-1]):
        for turns in range(4):
            yield np.rot90(mirrored, turns, axes=(1, 2))


def find_pairs(thumbs: NDArray[np.float32], upright: float = UPRIGHT, turned: float = TURNED) -> Pairs:
    """Compare every slice with every other under the eight orientations.

    Parameters
    ----------
    thumbs : ndarray of shape (N, 32, 32), float32
        From `thumbnails`.
    upright, turned : float, in [-1, 1]
        Similarity above which a pair counts.
    """
    flat = thumbs.reshape(len(thumbs), -1)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], bool]] = []
    for number, oriented in enumerate(orientations(thumbs)):
        if number == _BACK:
            continue
        rotated = np.ascontiguousarray(oriented).reshape(flat.shape)
        bar = turned if number else upright
        for start in range(0, len(flat), _BLOCK):
            # Every other orientation undoes itself: a matches b turned whenever b matches a turned.
            lowest = 0 if number == _QUARTER else start
            rows, columns = np.nonzero(rotated[start : start + _BLOCK] @ flat[lowest:].T > bar)
            rows, columns = rows + start, columns + lowest
            keep = rows != columns
            found.append((np.minimum(rows, columns)[keep], np.maximum(rows, columns)[keep], number > 0))
    first = np.concatenate([a for a, _, _ in found])
    second = np.concatenate([b for _, b, _ in found])
    flags = np.concatenate([np.full(len(a), turned_copy) for a, _, turned_copy in found])
    pairs = np.stack([first, second], axis=1)
    # An upright match wins over a turned one: symmetric slices match both ways.
    order = np.argsort(flags, kind="stable")
    _, kept = np.unique(pairs[order], axis=0, return_index=True)
    kept = order[kept]
    return Pairs(first[kept], second[kept], flags[kept])


def remembered_pairs(thumbs: NDArray[np.float32], folder: Path, turned: float = TURNED) -> Pairs:
    """Return `find_pairs`, from `folder` when the same thumbnails have been compared before."""
    key = hashlib.sha256(f"{UPRIGHT} {turned} {thumbs.shape}".encode() + thumbs.tobytes()).hexdigest()[:16]
    path = folder / f"pairs-{key}.npz"
    if not path.exists():
        found = find_pairs(thumbs, turned=turned)
        atomically(path, lambda partial: np.savez(partial, **vars(found)))
    with np.load(path) as stored:
        return Pairs(**{name: stored[name] for name in stored.files})


def join(count: int, *links: Sequence[tuple[int, int]] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Join linked slices transitively.

    Parameters
    ----------
    count : int
        Number of slices, N.
    *links : sequences of (int, int)

    Returns
    -------
    ndarray of shape (N,), int64
        Group number of every slice.
    """
    edges = np.concatenate([np.asarray(link, np.int64).reshape(-1, 2) for link in links])
    graph = coo_array((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
