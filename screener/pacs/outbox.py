"""Answers that wait to be sent, as files: they survive a restart, and can be made again from the log.

An entry is a folder, whole or not there at all. Its name begins with the time of the answer, so that a later answer
about a study never overtakes the one that it replaces.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from screener.audit.files import sync_folder
from screener.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from screener.pacs.destination import Destination
    from screener.report.dicom_answer import DicomAnswer

_ENTRY, _LOCK, _CREATED, _DRAFT = "entry.json", ".lock", ".created", ".draft-"


class StoredObject(msgspec.Struct, frozen=True):
    """One DICOM object of an entry."""

    sop_instance_uid: Annotated[str, Meta(description="As in the file.")]
    sha256: Annotated[str, Meta(description="Digest of the file.")]
    file: Annotated[str, Meta(description="Its name in the entry's folder.")]


class OutboxEntry(msgspec.Struct, frozen=True):
    """What one entry is about; who the patient is stands in the objects alone."""

    event: Annotated[str, Meta(description="`hash` of the STUDY event.")]
    destination: Annotated[str, Meta(description="Where it goes.")]
    language: Annotated[str, Meta(description="Of its texts.")]
    objects: Annotated[tuple[StoredObject, ...], Meta(description="In the order in which they are sent.")]


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry with its folder."""

    folder: Path
    entry: OutboxEntry

    def read(self) -> list[bytes]:
        """Return its objects.

        Raises
        ------
        OSError, ValueError
            One of them cannot be read, or is not what was put in.
        """
        found = [(self.folder / one.file).read_bytes() for one in self.entry.objects]
        for one, data in zip(self.entry.objects, found, strict=True):
            if hashlib.sha256(data).hexdigest() != one.sha256:
                raise ValueError("an object of the outbox is damaged")
        return found


class Outbox:
    """A folder of answers that wait; several processes may use it.

    Parameters
    ----------
    folder : Path
        Made when missing, for its owner only.

    Raises
    ------
    UsageError
        It cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with _usable(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                # From here on whatever is answered must be sent.
                moment = datetime.now(UTC).isoformat(timespec="microseconds")
                _write(folder / _CREATED, moment.encode("ascii"), new=True)

    @property
    def created(self) -> str:
        """When the outbox was made, UTC, ISO 8601."""
        with _usable(self.folder):
            return (self.folder / _CREATED).read_text(encoding="ascii").replace("+00:00", "Z")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from sending or adding meanwhile.

        Raises
        ------
        UsageError
            The outbox cannot be used.
        """
        with _usable(self.folder):
            handle = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def add(self, made: DicomAnswer, destination: Destination) -> bool:
        """Put an answer in for a destination; the disk has it before this returns.

        Returns
        -------
        bool
            False where it waits already.

        Raises
        ------
        UsageError
            It cannot be written.
        """
        line = made.line
        stem = hashlib.sha256(f"{line.event}\0{line.language}\0{destination.name}".encode()).hexdigest()[:16]
        place = self.folder / f"{line.judged.replace(':', '').replace('-', '')}-{stem}"
        if place.exists():
            return False
        draft = self.folder / f"{_DRAFT}{stem}"
        with _usable(self.folder):
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(mode=0o700)
            stored = []
            for number, (uid, data) in enumerate(made.objects.items(), 1):
                _write(draft / f"{number}.dcm", data)
                stored.append(StoredObject(uid, hashlib.sha256(data).hexdigest(), f"{number}.dcm"))
            entry = OutboxEntry(line.event, destination.name, line.language, tuple(stored))
            _write(draft / _ENTRY, msgspec.json.encode(entry))
            sync_folder(draft)
            draft.rename(place)
            sync_folder(self.folder)
        return True

    def entries(self) -> Iterator[Waiting]:
        """Yield what waits, oldest answer first; a folder that is no entry is left alone."""
        with _usable(self.folder):
            places = sorted(place for place in self.folder.iterdir() if not place.name.startswith("."))
        for place in places:
            with suppress(OSError, msgspec.DecodeError):
                yield Waiting(place, msgspec.json.decode((place / _ENTRY).read_bytes(), type=OutboxEntry))

    @property
    def occupied(self) -> bool:
        """Whether anything may wait; cheaper than reading the entries."""
        with _usable(self.folder):
            return any(not place.name.startswith(".") for place in self.folder.iterdir())

    def remove(self, waiting: Waiting) -> None:
        """Take an entry out."""
        with _usable(self.folder):
            gone = self.folder / f"{_DRAFT}{waiting.folder.name}"
            waiting.folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def __len__(self) -> int:
        return sum(1 for _ in self.entries())


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"the outbox {folder} cannot be used: {error.strerror}",
            "free some space, or name another folder with --outbox; what is missing there can be made from the log: "
            "screener send --all",
        ) from None


def _write(path: Path, data: bytes, *, new: bool = False) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_EXCL if new else os.O_TRUNC)
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
