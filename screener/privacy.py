"""Pseudonyms for what an inbox's names give away: the same for the same name, and only the key's owner knows whose.

HMAC-SHA-256 (RFC 2104) under a key of the site, shortened to 80 bits: a plain hash would fall to a list of names.
"""

from __future__ import annotations

import hashlib
import hmac
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from screener.errors import UsageError
from screener.inbox import Entry

if TYPE_CHECKING:
    from pathlib import Path

    from screener.domain.slice import Identity, Refused
    from screener.inbox import FileBytes

_KEY_BYTES = 16
_LETTERS = 20


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Renames folders and patients, and on request files.

    Attributes
    ----------
    key : bytes
    files : bool
        Rename files too; without, only the folders that lead to them.
    """

    key: bytes
    files: bool = False

    @classmethod
    def read(cls, keyfile: Path, *, files: bool) -> Pseudonyms:
        """Read the site's key.

        Raises
        ------
        UsageError
            It cannot be read, is too short to be secret, or others may read it.
        """
        make = "make one with: (umask 077; head -c 32 /dev/urandom > KEYFILE)"
        try:
            mode, key = keyfile.stat().st_mode, keyfile.read_bytes()
        except OSError as error:
            raise UsageError(f"the key file {keyfile} cannot be read: {error.strerror}", make) from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UsageError(f"others may read the key file {keyfile}", f"run: chmod 600 {keyfile}")
        if len(key) < _KEY_BYTES:
            raise UsageError(f"the key file {keyfile} holds fewer than {_KEY_BYTES} bytes", make)
        return cls(key, files)

    def rename(self, item: Entry | Refused) -> Entry | Refused:
        """Return the item under its pseudonym; an `Entry` still knows the file to read."""
        named = item if isinstance(item, Entry) else item.identity
        path, patient = self.path(named.path), self._patient(named.patient_id)
        # A study of one file is named by the file.
        study = path if named.study_id == named.path else self._folders(named.study_id)
        series = self._folders(named.series_id)
        if isinstance(item, Entry):
            return replace(item, path=path, patient_id=patient, study_id=study, series_id=series)
        hidden = replace(item.identity, path=path, patient_id=patient, study_id=study, series_id=series)
        return replace(item, identity=hidden)

    def rename_header(self, item: FileBytes | Refused, named: Identity) -> FileBytes | Refused:
        """Hide what a DICOM header says; what is still `named` by folders bears its pseudonym already."""

        def hidden(value: str | None, folder: str | None) -> str | None:
            return value if value is None or value == folder else self.name(value)

        who = item.identity
        identity = replace(
            who,
            patient_id=hidden(who.patient_id, named.patient_id),
            study_id=hidden(who.study_id, named.study_id),
            series_id=hidden(who.series_id, named.series_id),
            accession_number=hidden(who.accession_number, None),
            study_date=hidden(who.study_date, None),
        )
        return replace(item, identity=identity)

    def name(self, name: str) -> str:
        """Return the pseudonym of one name."""
        return hmac.new(self.key, name.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:_LETTERS]

    def path(self, path: str) -> str:
        """Return the pseudonym of a path relative to the inbox."""
        *folders, name = path.split("/")
        return "/".join([*map(self.name, folders), self.name(name) if self.files else name])

    def _patient(self, patient: str | None) -> str | None:
        return None if patient is None else self.name(patient)

    def _folders(self, names: str | None) -> str | None:
        return None if names is None else "/".join(map(self.name, names.split("/")))
