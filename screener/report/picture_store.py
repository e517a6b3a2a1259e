"""Keeps the pictures of a page on disk while it is being made, and no more of them than it will show.

Two sizes are kept of a slice: a large one with its evidence, for a key slice, and a small one, for the strip of its
series. Until a study is answered nobody knows which slices are key slices: both are kept of each. Then the large
ones of the others go, and of a study that is not flagged all small ones.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.report.pictures import Picture
from screener.study_store import LOW_RANK, RANK, stored_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from screener.domain.finding import Finding
    from screener.domain.study import StudyFinding

_CACHE_KIB = 8 << 10
_SLACK = 100
"""Pictures beyond twice those wanted before any is let go: trimming looks at every picture."""
_NO_FRAME = -1
_TABLE = """
CREATE TABLE picture (
    path BLOB, sha256 BLOB, frame INTEGER, study BLOB, rank INTEGER, minus_p REAL, large BLOB, small BLOB,
    width INTEGER, height INTEGER, "left" REAL, top REAL, wide REAL, high REAL, heat BLOB, heat_height INTEGER,
    missing TEXT, PRIMARY KEY (path, sha256, frame)
);
CREATE INDEX by_study ON picture (study);
"""
_COLUMNS = 'large, small, width, height, "left", top, wide, high, heat, heat_height, missing'
_NAME = "path = ? AND sha256 = ? AND frame = ?"


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """What is kept of one slice.

    Attributes
    ----------
    picture : Picture or None
        With empty bytes for a size that is not kept.
    heatmap : ndarray of shape (h, w), float32, in [0, 1], or None
    missing : str or None
        Why there is no picture: ``moved`` or ``unreadable``.
    """

    picture: Picture | None
    heatmap: NDArray[np.float32] | None = None
    missing: str | None = None


class PictureStore:
    """Pictures by slice; use it as a context manager.

    Parameters
    ----------
    urgent, low : int
        Large pictures kept of what is flagged or not assessable, and of what is not flagged: the first in reading
        order.
    strip : int
        Small pictures kept.
    """

    def __init__(self, urgent: int, low: int, strip: int) -> None:
        self._base = sqlite3.connect("", isolation_level=None)
        self._base.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._base.executescript(_TABLE)
        self._base.execute("BEGIN")
        self._keep = {"urgent": urgent, "low": low, "strip": strip}
        self._added = dict.fromkeys(self._keep, 0)

    def close(self) -> None:
        """Let go of everything."""
        self._base.close()

    def put(self, finding: Finding, picture: Picture | None, heatmap: NDArray[np.float32] | None = None) -> None:
        """Keep what there is of a slice; it replaces what was kept before.

        Parameters
        ----------
        finding : Finding
        picture : Picture or None
        heatmap : ndarray of shape (h, w), float32, in [0, 1], or None
        """
        if picture is None:
            return
        rank = RANK[finding.urgency]
        self._base.execute(
            "INSERT OR REPLACE INTO picture VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                *(*_key(finding), stored_text(finding.study_id or ""), rank, -(finding.probability or 0.0)),
                *(picture.large or None, picture.small or None, picture.width, picture.height, *picture.view),
                *((None, None) if heatmap is None else (heatmap.astype("float32").tobytes(), heatmap.shape[0])),
            ),
        )
        kinds = [("low" if rank == LOW_RANK else "urgent") if picture.large else "", "strip" if picture.small else ""]
        for kind in filter(None, kinds):
            self._count(kind)

    def note_missing(self, finding: Finding, why: str) -> None:
        """Remember why there is no picture of a slice."""
        self._base.execute(
            "INSERT OR REPLACE INTO picture (path, sha256, frame, study, rank, missing) VALUES (?, ?, ?, ?, ?, ?)",
            (*_key(finding), stored_text(finding.study_id or ""), RANK[finding.urgency], why),
        )

    def get(self, finding: Finding) -> StoredPicture | None:
        """Return what is kept of a slice; None where nothing was ever put."""
        row = self._base.execute(
            f"SELECT {_COLUMNS} FROM picture WHERE {_NAME}",  # noqa: S608 - built from constants
            _key(finding),
        ).fetchone()
        if row is None:
            return None
        large, small, width, height, left, top, wide, high, heat, heat_height, missing = row
        if missing is not None:
            return StoredPicture(None, None, missing)
        picture = Picture(large or b"", small or b"", width, height, (left, top, wide, high))
        return StoredPicture(picture, _heatmap(heat, heat_height))

    def answer(self, study: StudyFinding, shown: Iterable[Finding]) -> None:
        """Keep of a study that is answered what the page can show.

        Parameters
        ----------
        study : StudyFinding
        shown : iterable of Finding
            Slices of which the large picture is shown.
        """
        rank, name = RANK[study.urgency], stored_text(study.study_id)
        small = "NULL" if rank == LOW_RANK else "small"
        keys = [_key(finding) for finding in shown]
        others = " AND NOT (path = ? AND sha256 = ? AND frame = ?)" * len(keys)
        self._base.execute(
            f"UPDATE picture SET large = NULL, heat = NULL WHERE study = ?{others}",  # noqa: S608 - marks only
            (name, *(value for key in keys for value in key)),
        )
        self._base.execute(
            f"UPDATE picture SET rank = ?, minus_p = ?, small = {small} WHERE study = ?",  # noqa: S608 - constants
            (rank, -(study.probability or 0.0), name),
        )

    def _count(self, kind: str) -> None:
        self._added[kind] += 1
        if self._added[kind] > 2 * self._keep[kind] + _SLACK:
            self._trim(kind)

    def _trim(self, kind: str) -> None:
        """Let go of pictures that cannot make it into the page, before they fill the disk."""
        column = "small" if kind == "strip" else "large"
        of_kind = {"urgent": f"rank != {LOW_RANK}", "low": f"rank = {LOW_RANK}", "strip": "1"}[kind]
        self._base.execute(
            f"UPDATE picture SET {column} = NULL WHERE {column} IS NOT NULL AND {of_kind} AND rowid NOT IN ("  # noqa: S608
            f"SELECT rowid FROM picture WHERE {column} IS NOT NULL AND {of_kind} ORDER BY rank, minus_p LIMIT ?)",
            (self._keep[kind],),
        )
        self._added[kind] = self._keep[kind]


def _key(finding: Finding) -> tuple[bytes, bytes, int]:
    frame = _NO_FRAME if finding.frame is None else finding.frame
    return stored_text(finding.path), stored_text(finding.sha256), frame


def _heatmap(data: bytes | None, height: int | None) -> NDArray[np.float32] | None:
    if data is None or height is None:
        return None
    import numpy as np

    return np.frombuffer(data, np.float32).reshape(height, -1)
