"""Which study and series a picture belongs to, from the folders that it lies in."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from screener.errors import UsageError

LABEL_FOLDERS = frozenset(
    {"yes", "no", "y", "n", "pos", "neg", "positive", "negative", "healthy", "normal", "training", "testing"}
    | {"tumor", "tumour", "notumor", "notumour", "no_tumor", "no_tumour", "train", "test"}
    | {f"{kind}{ending}" for kind in ("glioma", "meningioma", "pituitary") for ending in ("", "_tumor", "_tumour")}
)
"""Folder names that say what a picture shows or is for, not whose it is; compared in lower case."""
MAX_UNLIKE = 400
"""A folder that holds more pictures than this, with names of many patterns, is a collection and no study."""
_PATTERNS = 1000
"""Patterns of names that are told apart, a bound on memory."""
_DATE = re.compile(r"(19|20)\d\d[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])")
_DIGITS = re.compile(r"(\d+)")


_SUBJECT = re.compile(r"(?:^|/)(sub-[A-Za-z0-9]+)(?:[/_](ses-[A-Za-z0-9]+))?(?=[/_])")
"""A subject of BIDS, and the session: as folders, or at the beginning of a file's name."""
MAX_VOLUMES = 20
"""A folder with more NIfTI volumes than this is a collection of many patients."""


def is_volume(path: str) -> bool:
    """Say whether a file is a NIfTI volume by its name."""
    return path.lower().endswith((".nii", ".nii.gz"))


def bids_subject(path: str) -> str | None:
    """Return the subject that the path of a NIfTI volume names, as BIDS has it."""
    found = _SUBJECT.search(path) if is_volume(path) else None
    return None if found is None else found[1]


def _bids(path: str, subject: re.Match[str]) -> tuple[str, str]:
    """Return study and series of a volume of BIDS: a session is a study, or the subject where there are none."""
    above = path[: subject.start(1)]
    study = f"{above}{subject[1]}" + (f"/{subject[2]}" if subject[2] else "")
    *folders, name = path[subject.end() :].strip("/_").split("/")
    return study, "/".join([*folders, _stem(name)])


def _stem(name: str) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", name, flags=re.IGNORECASE)


def one_group(name: str, text: str, hint: str) -> re.Pattern[str]:
    """Compile an expression with one group, which a user wrote.

    Parameters
    ----------
    name : str
        What to call it in a message.
    text, hint : str
        The expression, and what to write instead.

    Raises
    ------
    UsageError
        It does not compile, or has not exactly one group.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(f"{name} is no valid expression: {error}", hint) from None
    if pattern.groups != 1:
        raise UsageError(f"{name} has {pattern.groups} groups instead of one", hint)
    return pattern


class Membership(NamedTuple):
    """Where a picture belongs.

    Attributes
    ----------
    study_id : str
    series_id : str or None
        Folder of the series below the study; None where the study has no series folders.
    """

    study_id: str
    series_id: str | None


@dataclass(frozen=True, slots=True)
class Grouping:
    """How pictures are grouped into studies.

    Attributes
    ----------
    by : {"folder", "file"} or a regular expression
        ``folder``: the first folder under the inbox is a study, or each of its sub-folders that is named like a date;
        further sub-folders are series. A NIfTI volume is a series of its folder's study, or of its BIDS session or
        subject. ``file``: every picture is a study. Otherwise one group of the expression,
        searched for in the relative path, names the study; a path that does not match is a study of its own.
    """

    by: str = "folder"
    pattern: re.Pattern[str] | None = field(default=None, repr=False)

    @classmethod
    def read(cls, text: str) -> Grouping:
        """Read the option ``--group-by``.

        Raises
        ------
        UsageError
            The expression does not compile, or has not exactly one group.
        """
        if text in {"folder", "file"}:
            return cls(text)
        hint = r"write folder, file, or an expression with one group, for example '^[^/]+/(S\d+)/'"
        return cls(text, one_group(f"--group-by {text!r}", text, hint))

    def membership(self, path: str) -> Membership:
        """Return the study and series of a path relative to the inbox, ``/``-separated."""
        *folders, name = path.split("/")
        if self.pattern is not None:
            match = self.pattern.search(path)
            return Membership(match[1] if match and match[1] else path, "/".join(folders) or None)
        if (not folders and _SUBJECT.search(path) is None) or self.by == "file":
            return Membership(path, None)
        if (subject := _SUBJECT.search(path)) is not None and is_volume(path):
            return Membership(*_bids(path, subject))
        first, *below = folders
        below += [_stem(name)] if is_volume(name) else []
        if len(folders) > 1 and _DATE.fullmatch(below[0]):
            return Membership(f"{first}/{below[0]}", "/".join(below[1:]) or None)
        return Membership(first, "/".join(below) or None)


class FolderNames:
    """The names of a study's files: a series numbers its slices, a collection of many patients does not.

    Parameters
    ----------
    study_id : str
        As the folders say, before any renaming.
    """

    def __init__(self, study_id: str | None) -> None:
        self.study_id = study_id
        self._count = 0
        self._volumes = 0
        self._labelled = False
        self._patterns: Counter[str] = Counter()

    def add(self, path: str) -> None:
        """Take the path of a file in, relative to the inbox."""
        *folders, name = path.split("/")
        self._count += 1
        self._volumes += is_volume(name)
        self._labelled |= any(folder.lower() in LABEL_FOLDERS for folder in folders)
        pattern = _DIGITS.sub("#", name)
        if pattern in self._patterns or len(self._patterns) < _PATTERNS:
            self._patterns[pattern] += 1

    @property
    def collection(self) -> bool:
        """Whether these are pictures of many patients: under a label, or too many with names too unlike."""
        unlike = self._count > MAX_UNLIKE and 2 * max(self._patterns.values()) < self._count
        return unlike or self._volumes > MAX_VOLUMES or (self._labelled and self._count > 1)


def natural_key(path: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key in which ``slice10`` comes after ``slice9``."""
    # The text behind the number keeps 01 and 1 apart.
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in _DIGITS.split(path) if part)
