"""What the audit log says about an inbox that is served: which folders were received, answered and deleted."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from screener.audit import Kind
from screener.audit.events import BadLineError, parse, run_answered
from screener.audit.segments import lines, segments

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from screener.audit import Event

_MARKS = tuple(f'"event":"{kind}"'.encode() for kind in (Kind.START, Kind.STUDY, Kind.RECEIVED, Kind.DELETED, Kind.END))
_RESULT_MARK = b'"event":"RESULT"'
# Quotes within a value are escaped, so that these can only be the fields themselves.
_PATH = re.compile(rb'"path":("(?:[^"\\]|\\.)*")')
_STUDY = re.compile(rb'"study_id":("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, slots=True)
class ReceivedFolder:
    """A RECEIVED event.

    Attributes
    ----------
    result : str
        Its hash.
    folder, contents_sha256, timestamp : str
        As the event has them.
    """

    result: str
    folder: str
    contents_sha256: str
    timestamp: str


class LoggedAnswers:
    """The answered folders of one inbox, read from the log as it grows.

    Parameters
    ----------
    log : Path
        Need not exist yet.
    inbox : str
        As START events name it.

    Attributes
    ----------
    answered : dict of str to ReceivedFolder
        The last answered RECEIVED event of each folder that was not deleted since.
    deleted : dict of str to str
        Contents of folders whose deletion the log tells, and which were not received again.
    last_study : str or None
        Timestamp of the last STUDY event of this inbox.
    """

    def __init__(self, log: Path, inbox: str) -> None:
        self._log, self._inbox = log, inbox
        self._segment = self._offset = 0
        self._ours = False
        self._pending: list[ReceivedFolder] = []
        self._folders: dict[str, set[str]] = {}
        self._studies: dict[str, set[str]] = {}
        self._latest: dict[str, str] = {}
        self.answered: dict[str, ReceivedFolder] = {}
        self.deleted: dict[str, str] = {}
        self.last_study: str | None = None

    def refresh(self) -> None:
        """Read what was appended since.

        Raises
        ------
        AuditLogError
            The log cannot be read.
        """
        if not (self._log.parent.is_dir() and segments(self._log)):
            return
        for line in lines(self._log, segment=self._segment, offset=self._offset):
            if not line.raw.endswith(b"\n"):
                return
            self._segment, self._offset = line.segment, line.offset + len(line.raw)
            if _RESULT_MARK in line.raw:
                if self._ours:
                    self._relate(line.raw)
            elif any(mark in line.raw for mark in _MARKS):
                # What is not sound is the business of `screener verify`.
                with suppress(BadLineError, KeyError, TypeError):
                    self._take(parse(line.raw))

    def is_answered(self, folder: str, contents_sha256: str) -> bool:
        """Say whether the log holds the answer about these very contents of a folder."""
        found = self.answered.get(folder)
        return found is not None and found.contents_sha256 == contents_sha256

    def folders_of(self, studies: Iterable[str]) -> set[str]:
        """Return the folders in which slices of some studies were found."""
        return {folder for study in studies for folder in self._folders.get(study, ())}

    def study_events(self, folder: str) -> set[str]:
        """Return the hash of the last STUDY event of each study that has slices in a folder."""
        return {self._latest[study] for study in self._studies.get(folder, ()) if study in self._latest}

    def _relate(self, raw: bytes) -> None:
        """Note in which folder a slice of a study lies; parsing every result would take minutes for a long log."""
        path, study = _PATH.search(raw), _STUDY.search(raw)
        if path is not None and study is not None:
            folder, name = str(json.loads(path[1])).partition("/")[0], str(json.loads(study[1]))
            self._folders.setdefault(name, set()).add(folder)
            self._studies.setdefault(folder, set()).add(name)

    def _forget(self, folder: str) -> None:
        """Drop what was noted of the studies in a folder: a service that runs for years must not grow with them."""
        for study in self._studies.pop(folder, set()):
            left = self._folders.get(study, set()) - {folder}
            if left:
                self._folders[study] = left
            else:
                self._folders.pop(study, None)
                self._latest.pop(study, None)

    def _take(self, event: Event) -> None:
        kind = event["event"]
        if kind == Kind.START:
            # One run at a time writes results: one that was killed answers nothing any more.
            self._ours, self._pending = event.get("inbox") == self._inbox, []
        elif kind == Kind.STUDY and self._ours:
            self._latest[event["study_id"]] = event["hash"]
            self.last_study = event["timestamp"]
        elif kind == Kind.RECEIVED and event["inbox"] == self._inbox:
            self._pending.append(_received(event))
            self.deleted.pop(event["folder"], None)
        elif kind == Kind.END and run_answered(event):
            self.answered.update((one.folder, one) for one in self._pending)
            self._pending = []
        elif kind == Kind.DELETED and event["inbox"] == self._inbox:
            self.answered.pop(event["folder"], None)
            self.deleted[event["folder"]] = event["contents_sha256"]
            self._forget(event["folder"])


def _received(event: dict[str, Any]) -> ReceivedFolder:
    return ReceivedFolder(event["hash"], event["folder"], event["contents_sha256"], event["timestamp"])
