"""What lies directly below an inbox, and whether it is still the same."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from screener.inbox import Entry, Limits, find
from screener.inbox.header_index import look
from screener.inbox.walk import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from screener.inbox import WalkOptions
    from screener.privacy import Pseudonyms


@dataclass(frozen=True, slots=True)
class Contents:
    """The files that a scan would find below one name.

    Attributes
    ----------
    files : int
        At least one.
    bytes : int
    sha256 : str
        Digest of names, sizes and times of change.
    newest : float
        Time at which the last of them came or was changed here, seconds since the epoch. A copy keeps the time of
        change of its original, but not this one.
    """

    files: int
    bytes: int
    sha256: str
    newest: float


def names(inbox: Path) -> Iterator[str]:
    """Yield the names directly below an inbox, hidden ones left out, in no order.

    Raises
    ------
    OSError
        The inbox cannot be listed.
    """
    with os.scandir(inbox) as listing:
        yield from (item.name for item in listing if not item.name.startswith("."))


def contents(inbox: Path, name: str, options: WalkOptions) -> Contents | None:
    """Look at the files below one name, reading none of them; None where there is nothing to screen."""
    rows, size, newest = [], 0, 0.0
    for item in find(inbox, options=replace(options, settle=0.0, only=(name,))):
        path, length, changed, came = item.path if isinstance(item, Entry) else item.identity.path, 0, 0, 0.0
        if isinstance(item, Entry):
            try:
                status = item.file.stat()
            except OSError:
                continue
            length, changed, came = status.st_size, status.st_mtime_ns, status.st_ctime
        rows.append(f"{path}\0{length}\0{changed}\n")
        size, newest = size + length, max(newest, came)
    if not rows:
        return None
    # A long folder is not listed in order.
    return Contents(len(rows), size, hashlib.sha256("".join(sorted(rows)).encode()).hexdigest(), newest)


def logged_name(inbox: Path, name: str, pseudonyms: Pseudonyms | None) -> str:
    """Return a name directly below an inbox as paths in the log begin."""
    path = shown(os.fsencode(name))
    if pseudonyms is None:
        return path
    return pseudonyms.path(f"{path}/x").partition("/")[0] if (inbox / name).is_dir() else pseudonyms.path(path)


def studies_in(inbox: Path, name: str, options: WalkOptions, pseudonyms: Pseudonyms | None) -> set[str]:
    """Return the studies that files below a name may belong to, as the log names them; headers are read for it."""
    found: set[str] = set()
    for entry in find(inbox, options=replace(options, settle=0.0, only=(name,))):
        if not isinstance(entry, Entry):
            continue
        seen = look(entry, Limits()) if options.grouping.by == "folder" else None
        header = None if seen is None else seen.header
        if header is not None and header.study_uid is not None:
            uid = header.study_uid
            several = f"{uid} ({header.patient_id or 'no PatientID'})"
            found.update((uid, several) if pseudonyms is None else map(pseudonyms.name, (uid, several)))
            continue
        renamed = entry if pseudonyms is None else pseudonyms.rename(entry)
        if isinstance(renamed, Entry) and renamed.study_id is not None:
            found.add(renamed.study_id)
    return found
