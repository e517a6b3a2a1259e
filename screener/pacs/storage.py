"""Put a received instance into its study's folder, so that it is safely on the disk before anybody is told so."""

from __future__ import annotations

import filecmp
import hashlib
import os
import re
import shutil
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from screener.audit.files import sync_folder
from screener.inbox import Entry, Limits
from screener.inbox.header_index import look

if TYPE_CHECKING:
    from pathlib import Path

RECEIVING = ".receiving"
"""Folder below the inbox in which instances arrive, out of sight of every scan."""
_UID = re.compile(r"[0-9][0-9.]{0,63}")
_LETTERS = 32


class NotStoredError(Exception):
    """An instance that cannot be stored.

    Parameters
    ----------
    status : int
        Of the C-STORE response.
    why : str
        Without a name of a patient or a file.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Stored:
    """An instance that is on the disk.

    Attributes
    ----------
    folder : str
        Of its study, below the inbox.
    known : bool
        The very same bytes had been received before.
    """

    folder: str
    known: bool


class InstanceStore:
    """Folders of studies below an inbox.

    Parameters
    ----------
    inbox : Path
    min_free : int
        Bytes that must stay free on its disk.
    max_bytes : int
        Largest instance.

    Attributes
    ----------
    lock : Lock
        Held while a file moves into its folder; whoever takes a folder away holds it too.
    """

    OUT_OF_RESOURCES = 0xA700
    NOT_OF_ITS_CLASS = 0xA900
    NOT_UNDERSTOOD = 0xC000

    def __init__(self, inbox: Path, *, min_free: int = 1 << 30, max_bytes: int = 2 << 30) -> None:
        self.inbox, self.min_free, self.max_bytes = inbox, min_free, max_bytes
        self.lock = threading.Lock()
        self._limits = replace(Limits(), file_bytes=max_bytes)

    @property
    def receiving(self) -> Path:
        """Where instances arrive: on the disk of the inbox, so that moving one is a rename."""
        return self.inbox / RECEIVING

    def prepare(self) -> None:
        """Make the folder in which instances arrive, remove what a crash left there, and let temporary files lie there.

        Raises
        ------
        OSError
        """
        self.receiving.mkdir(mode=0o700, exist_ok=True)
        for left in self.receiving.iterdir():
            left.unlink()
        # pynetdicom asks the standard library for the files into which it writes what arrives.
        tempfile.tempdir = str(self.receiving)

    def has_room(self) -> bool:
        """Say whether the disk has more room than must stay free."""
        return shutil.disk_usage(self.inbox).free > self.min_free

    def keep(self, file: Path, instance_uid: str) -> Stored:
        """Move a whole file with its header into the folder of its study.

        Parameters
        ----------
        file : Path
            In `receiving`.
        instance_uid : str
            SOPInstanceUID that the sender named.

        Raises
        ------
        NotStoredError
            The disk is full, or the data set does not say what it is.
        """
        if not self.has_room():
            raise NotStoredError(self.OUT_OF_RESOURCES, "the disk of the inbox is nearly full")
        study = self._study_of(file, instance_uid)
        try:
            return self._moved(file, safe_name(study), safe_name(instance_uid))
        except OSError as error:
            raise NotStoredError(self.OUT_OF_RESOURCES, f"the disk refuses: {error.strerror}") from None

    def _study_of(self, file: Path, instance_uid: str) -> str:
        seen = look(Entry(file, file.name, None), self._limits)
        header = None if seen is None else seen.header
        if header is None or not header.study_uid:
            raise NotStoredError(self.NOT_UNDERSTOOD, "a data set that names no study")
        if header.sop_uid != instance_uid:
            raise NotStoredError(self.NOT_OF_ITS_CLASS, "a data set with another SOPInstanceUID than its command")
        return header.study_uid

    def _moved(self, file: Path, study: str, instance: str) -> Stored:
        _sync(file)
        folder = self.inbox / study
        with self.lock:
            if not folder.is_dir():
                folder.mkdir(mode=0o750)
                sync_folder(self.inbox)
            target = folder / f"{instance}.dcm"
            known = target.exists() and filecmp.cmp(file, target, shallow=False)
            if target.exists() and not known:
                # Behind the first by name: the first keeps its place, this one is refused as its duplicate.
                target = folder / f"{instance}.other-{_digest(file)}.dcm"
                known = target.exists()
            if known:
                file.unlink()
            else:
                file.rename(target)
        sync_folder(folder)
        return Stored(study, known)


def safe_name(uid: str) -> str:
    """Return a UID as a name of a file: itself, or a digest where it is not what a UID may be."""
    if _UID.fullmatch(uid):
        return uid
    return f"uid-{hashlib.sha256(uid.encode('utf-8', 'surrogateescape')).hexdigest()[:_LETTERS]}"


def discard(file: Path | None) -> None:
    """Remove a file that is not kept."""
    if file is not None:
        with suppress(OSError):
            file.unlink()


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:_LETTERS]


def _sync(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
