"""What client and workers say to each other; picklable."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from screener.errors import NothingFoundError

if TYPE_CHECKING:
    from screener.inbox import Entry
    from screener.pipeline.slice import AnsweredFile, PipelineSettings

_LOOKED_AT = 1 << 20
"""Bytes at the beginning of the canary file that are compared."""

Known = frozenset[tuple[str, int | None]]
"""Digest and frame of the slices of a file that need no scoring."""


@dataclass(frozen=True, slots=True)
class Canary:
    """A file of the archive by which a worker shows that it sees the same archive.

    Attributes
    ----------
    file : str
        Absolute path.
    size : int
        Bytes.
    sha256 : str
        Of its first MiB, lower-case hex.
    """

    file: str
    size: int
    sha256: str

    @classmethod
    def of(cls, file: Path) -> Canary:
        """Look at a file.

        Raises
        ------
        OSError
            It cannot be read.
        """
        with file.open("rb") as stream:
            data = stream.read(_LOOKED_AT)
            size = stream.seek(0, 2)
        return cls(str(file), size, hashlib.sha256(data).hexdigest())

    def missing(self) -> str | None:
        """Say why this machine does not see the archive; None where it does."""
        try:
            same = Canary.of(Path(self.file)) == self
        except OSError as error:
            return f"does not see the archive: {self.file}: {error.strerror}"
        return None if same else f"sees another archive: {self.file} differs"


def canary_in(inbox: Path) -> Canary:
    """Return the first file of an archive that can be read.

    Raises
    ------
    NothingFoundError
        There is none.
    """
    from screener.inbox import Entry, find

    for item in find(inbox):
        if isinstance(item, Entry):
            try:
                return Canary.of(item.file)
            except OSError:
                continue
    raise NothingFoundError(f"no file of {inbox} can be read", "check the permissions of the archive")


@dataclass(frozen=True, slots=True)
class Question:
    """What a worker must show before it gets work.

    Attributes
    ----------
    settings : PipelineSettings
        With the hash of the model.
    tool_version : str
    preprocessing : str
        Fingerprint.
    canary : Canary
    """

    settings: PipelineSettings
    tool_version: str
    preprocessing: str
    canary: Canary


@dataclass(frozen=True, slots=True)
class Proof:
    """A worker's answer to a `Question`.

    Attributes
    ----------
    tool_version, model_sha256, preprocessing : str
        Of what it would screen with; empty where it has no such thing.
    problem : str or None
        Why it may not take part.
    """

    tool_version: str
    model_sha256: str
    preprocessing: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class Order:
    """Files to read, hash and score.

    Attributes
    ----------
    question : Question
        What the worker must still be able to show.
    entries : tuple of Entry
    known : tuple of frozenset
        For each entry, the slices that the log knows.
    """

    question: Question
    entries: tuple[Entry, ...]
    known: tuple[Known, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker found.

    Attributes
    ----------
    worker : str
    files : tuple of AnsweredFile
        One an entry, in the order of the order.
    seconds : float
        Spent on it.
    read_bytes : int
    """

    worker: str
    files: tuple[AnsweredFile, ...]
    seconds: float
    read_bytes: int


@dataclass(frozen=True, slots=True)
class Unfit:
    """The worker may not take part, or no longer: the order goes to another one."""

    worker: str
    why: str


def wrong_with(proof: object, question: Question) -> str | None:
    """Say why a worker may not take part; None where it may.

    Parameters
    ----------
    proof : object
        What it answered: a `Proof`, or an exception, or anything.
    question : Question
    """
    if not isinstance(proof, Proof):
        reason = str(proof).splitlines()
        return f"has no such tool: {type(proof).__name__}: {reason[0][:200] if reason else ''}"
    if proof.problem is not None:
        return proof.problem
    for what, shown, wanted in (
        ("screener", proof.tool_version, question.tool_version),
        ("the model", proof.model_sha256, question.settings.model_sha256),
        ("preprocessing", proof.preprocessing, question.preprocessing),
    ):
        if shown != wanted:
            return f"has another version of {what}: {shown[:40]!a} instead of {wanted[:40]}"
    return None
