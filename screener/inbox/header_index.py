"""Bring the files of an inbox into the order of their studies by a pass over DICOM headers, in bounded memory.

What the pass has seen lies in a temporary SQLite database without a name, which is gone when it is closed. A folder in
which no two studies lie side by side is trusted: its studies go on at once. All others wait until the walk has ended.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from screener.domain.slice import Reason, Refused
from screener.inbox import sniff
from screener.inbox.limits import Limits, RefusedError
from screener.inbox.walk import Entry, HeaderRead

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from screener.inbox.dicom import DicomHeader

_SNIFFED = 4 << 10
_HEAD = 64 << 10
"""Bytes in which a header is looked for first; most are shorter."""
_CACHE_KIB = 16 << 10
_PIXEL_DATA = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
"""The tag of the pixels, little-endian and big-endian."""
_PENDING = 1000
"""Files of no known type that may wait until it is known what their folder holds."""
_HASHED = 1 << 20
_TABLES = """
CREATE TABLE file (
    id INTEGER PRIMARY KEY, unit INTEGER, folder TEXT, study TEXT, series TEXT, sop TEXT, twin INTEGER,
    file BLOB, entry BLOB, header BLOB
);
CREATE INDEX by_study ON file (study, series);
CREATE INDEX by_unit ON file (unit, folder, study);
CREATE INDEX by_folder ON file (folder, study);
CREATE INDEX by_sop ON file (sop) WHERE sop IS NOT NULL;
CREATE TABLE owner (study TEXT PRIMARY KEY, uid TEXT, patient TEXT, alone INTEGER NOT NULL DEFAULT 0);
CREATE INDEX by_uid ON owner (uid);
CREATE TABLE answered (study TEXT PRIMARY KEY, data BLOB);
"""


class _Row(msgspec.Struct, array_like=True):
    """An entry as the index keeps it."""

    file: bytes
    path: str
    patient_id: str | None
    study_id: str | None
    series_id: str | None
    size: int
    modified: int
    covered: int
    checksum: int


class FileLook(NamedTuple):
    """What a look at the beginning of a file shows."""

    kind: str | None
    header: DicomHeader | None
    size: int
    modified: int
    covered: int
    checksum: int


class HeaderIndex:
    """The header pass over an inbox.

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._base = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._base.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._base.executescript(_TABLES)
        self._base.execute("BEGIN")
        self._unit = 0
        self._pending: list[Entry] = []
        self._pictures = False
        self._arriving: dict[str, str | None] = {}
        self._young: set[str] = set()
        self._young_folders: set[str] = set()
        self._left: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def ordered(self, found: Iterator[Entry | Refused]) -> Iterator[Entry | Refused]:
        """Yield the files of a walk, those of a DICOM study one after the other, each with its header.

        Pictures pass at once, in the order of the walk. A study with a file that still arrives is left out.
        """
        top: str | None = None
        for item in found:
            path = item.path if isinstance(item, Entry) else item.identity.path
            first, slash, _ = path.partition("/")
            if slash and first != top:
                yield from self._finish()
                top, self._unit, self._pictures = first, self._unit + 1, False
            if isinstance(item, Refused):
                yield self._refused(item)
            else:
                yield from self._take(item, 0 if not slash else self._unit)
        yield from self._finish()
        yield from self._unnamed(0)
        waiting = "SELECT study FROM file WHERE entry IS NOT NULL GROUP BY study ORDER BY MIN(id)"
        for (study,) in self._base.execute(waiting).fetchall():
            if study not in self._left:
                yield from self._study(study)

    def arrive(self, entry: Entry) -> None:
        """Note a file that is still young: the study that its header names must wait for it."""
        seen = look(entry, self._limits)
        study = None
        if seen is not None and seen.header is not None and seen.header.study_uid is not None:
            study = self._key(seen.header)
            self._young.add(study)
        else:
            self._young_folders.add(_folder(entry.path))
        self._arriving[entry.path] = study

    def keep(self, study_id: str, data: bytes) -> None:
        """Keep what was answered about a study, should more of it come."""
        self._base.execute("INSERT OR REPLACE INTO answered VALUES (?, ?)", (study_id, data))

    def kept(self, study_id: str) -> bytes | None:
        """Return what was kept of a study, once."""
        row = self._base.execute("SELECT data FROM answered WHERE study = ?", (study_id,)).fetchone()
        if row is not None:
            self._base.execute("DELETE FROM answered WHERE study = ?", (study_id,))
        return None if row is None else bytes(row[0])

    def no_longer_alone(self) -> list[str]:
        """Return the studies that went on before files of another patient were found under their UID."""
        query = (
            "SELECT study FROM owner WHERE alone AND uid IN (SELECT uid FROM owner GROUP BY uid HAVING COUNT(*) > 1)"
        )
        return [study for (study,) in self._base.execute(query)]

    def _take(self, entry: Entry, unit: int) -> Iterator[Entry]:
        """Keep DICOM for later, and with it what is of no known type; yield the rest."""
        seen = look(entry, self._limits)
        if seen is None or seen.kind in {sniff.JPEG, sniff.PNG, sniff.NIFTI}:
            self._pictures |= seen is not None
            yield from self._flush()
            yield entry
        elif seen.kind == sniff.DICOM:
            for waiting in self._pending:
                self._add(waiting, unit, None)
            self._pending = []
            self._add(entry, unit, seen)
        elif self._pictures or len(self._pending) >= _PENDING:
            yield from self._flush()
            yield entry
        else:
            self._pending.append(entry)

    def _flush(self) -> Iterator[Entry]:
        pending, self._pending = self._pending, []
        yield from pending

    def _refused(self, item: Refused) -> Refused:
        """Note that a study stays incomplete."""
        if item.reason is not Reason.STILL_BEING_WRITTEN or item.identity.path not in self._arriving:
            return item
        study = self._arriving.pop(item.identity.path)
        if study is None:
            study = self._only_study(_folder(item.identity.path))
        if study is None:
            return item
        self._left.add(study)
        return replace(item, identity=replace(item.identity, study_id=study))

    def _add(self, entry: Entry, unit: int, seen: FileLook | None) -> None:
        header = None if seen is None else seen.header
        known = (0, 0, 0, 0) if seen is None else (seen.size, seen.modified, seen.covered, seen.checksum)
        file = os.fsencode(entry.file)
        row = _Row(file, entry.path, entry.patient_id, entry.study_id, entry.series_id, *known)
        study = sop = series = twin = None
        if header is not None:
            study, sop, series = self._key(header, entry.study_id), header.sop_uid, header.series_uid
            query = "SELECT id FROM file WHERE sop = ? AND study = ? ORDER BY id LIMIT 1"
            twin = (self._base.execute(query, (sop, study)).fetchone() or (None,))[0]
        blobs = (msgspec.msgpack.encode(row), None if header is None else msgspec.msgpack.encode(header))
        self._base.execute(
            "INSERT INTO file VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (unit, _folder(entry.path), study, series, sop, twin, file, *blobs),
        )

    def _key(self, header: DicomHeader, folder: str | None = None) -> str:
        """Return the name of a study: its UID; with the patient's, for all but the first patient who has that UID."""
        if header.study_uid is None:
            # A folder names it, and no UID begins like this.
            return f"/{folder or ''}"
        uid, patient = header.study_uid, header.patient_id
        owners = self._base.execute("SELECT study, patient FROM owner WHERE uid = ?", (uid,)).fetchall()
        for study, owner in owners:
            if owner == patient:
                return str(study)
        key = uid if not owners else f"{uid} ({patient or 'no PatientID'})"
        self._base.execute("INSERT OR IGNORE INTO owner (study, uid, patient) VALUES (?, ?, ?)", (key, uid, patient))
        return key

    def _finish(self) -> Iterator[Entry]:
        """Yield the studies of a top folder that the walk has left, unless it mixes studies or they must wait."""
        yield from self._flush()
        unit = self._unit
        if not unit:
            return
        yield from self._unnamed(unit)
        mixed = "SELECT 1 FROM file WHERE unit = ? GROUP BY folder HAVING MIN(study) < MAX(study) LIMIT 1"
        if self._base.execute(mixed, (unit,)).fetchone():
            return
        own = "SELECT study FROM file WHERE unit = ? AND entry IS NOT NULL GROUP BY study ORDER BY MIN(id)"
        for (study,) in self._base.execute(own, (unit,)).fetchall():
            if not self._must_wait(study, unit):
                yield from self._study(study)

    def _must_wait(self, study: str, unit: int) -> bool:
        """Say whether a file of a study is still young, or others wait elsewhere."""
        if study in self._young:
            return True
        elsewhere = "SELECT 1 FROM file WHERE study = ? AND unit != ? AND entry IS NOT NULL LIMIT 1"
        if self._base.execute(elsewhere, (study, unit)).fetchone():
            return True
        folders = self._base.execute("SELECT DISTINCT folder FROM file WHERE study = ?", (study,))
        return bool(self._young_folders) and any(folder in self._young_folders for (folder,) in folders)

    def _unnamed(self, unit: int) -> Iterator[Entry]:
        """Give files without a readable header to the one study of their folder; yield those of other folders."""
        rows = self._base.execute(
            "SELECT id, folder, entry FROM file WHERE unit = ? AND header IS NULL AND entry IS NOT NULL", (unit,)
        ).fetchall()
        for key, folder, data in rows:
            study = self._only_study(folder)
            if study is None:
                self._base.execute("UPDATE file SET entry = NULL WHERE id = ?", (key,))
                yield _entry(data, None)
            else:
                self._base.execute("UPDATE file SET study = ? WHERE id = ?", (study, key))

    def _only_study(self, folder: str) -> str | None:
        """Return the study whose files lie in a folder, if it is the only one there and a header names it."""
        studies = self._base.execute(
            "SELECT DISTINCT study FROM file WHERE folder = ? AND study IS NOT NULL LIMIT 2", (folder,)
        ).fetchall()
        return str(studies[0][0]) if len(studies) == 1 and not studies[0][0].startswith("/") else None

    def _study(self, study: str) -> Iterator[Entry]:
        """Yield the files of a study, series by series, each volume in anatomical order."""
        several = "SELECT COUNT(*) FROM owner WHERE uid = (SELECT uid FROM owner WHERE study = ?)"
        warning = Reason.SEVERAL_PATIENTS if self._base.execute(several, (study,)).fetchone()[0] > 1 else None
        self._base.execute("UPDATE owner SET alone = ? WHERE study = ?", (warning is None, study))
        query = (
            "SELECT series FROM file WHERE study = ? AND entry IS NOT NULL AND header IS NOT NULL "
            "GROUP BY series ORDER BY MIN(id)"
        )
        for (series,) in self._base.execute(query, (study,)).fetchall():
            yield from self._series(study, series, warning)
        owner = self._base.execute("SELECT patient FROM owner WHERE study = ?", (study,)).fetchone()
        rest = "SELECT entry FROM file WHERE study = ? AND entry IS NOT NULL ORDER BY id"
        for (data,) in self._base.execute(rest, (study,)).fetchall():
            entry = _entry(data, None)
            yield replace(entry, study_id=study, patient_id=(owner and owner[0]) or entry.patient_id)
        self._base.execute("UPDATE file SET entry = NULL, header = NULL WHERE study = ?", (study,))

    def _series(self, study: str, series: str | None, warning: Reason | None) -> Iterator[Entry]:
        from screener.inbox.dicom import DicomHeader
        from screener.inbox.volumes import arrange

        rows = self._base.execute(
            "SELECT id, entry, header, twin FROM file WHERE study = ? AND series IS ? AND entry IS NOT NULL "
            "AND header IS NOT NULL ORDER BY id",
            (study, series),
        ).fetchall()
        named = None if study.startswith("/") else study
        headers = {
            key: msgspec.structs.replace(
                msgspec.msgpack.decode(header, type=DicomHeader), study_uid=named, warning=warning
            )
            for key, _, header, _ in rows
        }
        twins = {key: twin for key, _, _, twin in rows if twin is not None}
        first = [key for key in headers if key not in twins]
        headers.update(zip(first, arrange([headers[key] for key in first]), strict=True))
        for key, twin in twins.items():
            headers[key] = self._twin(key, twin, headers)
        self._base.execute(
            "UPDATE file SET entry = NULL, header = NULL WHERE study = ? AND series IS ? AND header IS NOT NULL",
            (study, series),
        )
        for key, data, _, _ in sorted(rows, key=lambda row: _place(headers[row[0]], row[0])):
            yield _entry(data, headers[key])

    def _twin(self, key: int, twin: int, headers: dict[int, DicomHeader]) -> DicomHeader:
        """Return the header of a file that has the SOPInstanceUID of an earlier one."""
        if self._digest(key) != self._digest(twin):
            return msgspec.structs.replace(headers[key], refusal=Reason.DUPLICATE_INSTANCE)
        # The same bytes: wherever the first went, it goes too.
        return headers.get(twin, headers[key])

    def _digest(self, key: int) -> bytes:
        (file,) = self._base.execute("SELECT file FROM file WHERE id = ?", (key,)).fetchone()
        digest = hashlib.sha256()
        try:
            with Path(os.fsdecode(file)).open("rb") as stream:
                while part := stream.read(_HASHED):
                    digest.update(part)
        except OSError:
            # Whoever reads it next says what is wrong with it.
            return b""
        return digest.digest()


def look(entry: Entry, limits: Limits) -> FileLook | None:
    """Look at the beginning of a file; None for what cannot be opened, which its reader will say better."""
    try:
        handle = os.open(entry.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return _look_at(handle, limits)
        finally:
            os.close(handle)
    except OSError:
        return None


def _look_at(handle: int, limits: Limits) -> FileLook | None:
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        return None
    data = os.read(handle, _SNIFFED)
    kind = sniff.kind(data)
    if kind != sniff.DICOM:
        return FileLook(kind, None, status.st_size, status.st_mtime_ns, 0, 0)
    from screener.inbox.dicom import header_ends, pydicom_module

    if pydicom_module() is None:
        return None
    if status.st_size > limits.file_bytes:
        return FileLook(kind, None, status.st_size, status.st_mtime_ns, 0, 0)
    data += os.read(handle, _HEAD - len(data))
    # Nearly always the pixels begin at the first of these bytes, so that a long header is not parsed twice.
    while not any(mark in data for mark in _PIXEL_DATA) and (part := os.read(handle, _HEAD)):
        data += part
    header = _parsed(data, limits)
    if (header is None or not header_ends(header, len(data))) and len(data) < status.st_size:
        while part := os.read(handle, status.st_size):
            data += part
        header = _parsed(data, limits)
    covered = len(data) if header is None or not header.pixels.offset else header.pixels.offset
    checksum = zlib.crc32(memoryview(data)[:covered])
    return FileLook(kind, header, status.st_size, status.st_mtime_ns, covered, checksum)


def _parsed(data: bytes, limits: Limits) -> DicomHeader | None:
    """Return the header; None where it cannot be followed, or ends before it names a study."""
    from screener.inbox.dicom import read_header

    try:
        found = read_header(data, limits)
    except RefusedError:
        return None
    return found if found.study_uid is not None or found.pixels.offset else None


def _entry(data: bytes, header: DicomHeader | None) -> Entry:
    row = msgspec.msgpack.decode(data, type=_Row)
    known = HeaderRead(header, row.size, row.modified, row.covered, row.checksum) if row.modified else None
    file = Path(os.fsdecode(row.file))
    return Entry(file, row.path, row.patient_id, row.study_id, row.series_id, known)


def _place(header: DicomHeader, key: int) -> tuple[str, float, int, int]:
    frame = header.frames[0]
    position = float("inf") if frame.position is None else frame.position
    return frame.volume or "", position, header.instance or 0, key


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
