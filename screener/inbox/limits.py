"""How much one file may cost, and the exception that says why it was turned away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from screener.domain.slice import Reason


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one file. All but `file_bytes` are checked on the header, before anything is decoded.

    Attributes
    ----------
    file_bytes : int
        Largest file that is read at all; with the number of files in flight it bounds the memory of a scan.
    pixels : int
        Largest width times height.
    decoded_bytes : int
        Largest decoded image, counting channels and bit depth.
    side_max, side_min : int
        Longest and shortest side, in pixels. Below 32 pixels no lesion can be told from noise.
    metadata_bytes : int
        Metadata beyond which a file counts as risky and is decoded in the worker process.
    seconds : float
        Time that the worker process may take for one file.
    worker_bytes : int
        Memory that the worker process may add to what it needs to start.
    """

    file_bytes: int = 32 << 20
    pixels: int = 64_000_000
    decoded_bytes: int = 256 << 20
    side_max: int = 32_768
    side_min: int = 32
    metadata_bytes: int = 1 << 20
    seconds: float = 10.0
    worker_bytes: int = 1 << 30


class RefusedError(Exception):
    """Bytes that cannot become a `Slice`; never leaves `screener.inbox.read`.

    Parameters
    ----------
    reason : Reason
    detail : str
        One clause for a person, without the file's name.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
