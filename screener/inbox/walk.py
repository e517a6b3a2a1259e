"""Find the files of an inbox: lazily, in the order of their names, and only those that are complete."""

from __future__ import annotations

import os
import re
import stat
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from screener.domain.slice import Identity, Reason, Refused
from screener.errors import NothingFoundError
from screener.inbox.studies import Grouping, bids_subject, one_group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from screener.inbox.dicom import DicomHeader

_JUNK_NAMES = frozenset({b"thumbs.db", b"desktop.ini", b"dicomdir"})
"""In lower case. A DICOMDIR lists the files of a medium and holds no slice."""
_JUNK_ENDINGS = (b".part", b".tmp", b".crdownload")
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")
_BLOCK = 10_000
"""Names of one folder that are put in order at a time: a million would keep the first slice waiting for two seconds."""
_LOOK_GAP = 0.5
"""Seconds between the two looks at a file: less than that proves nothing about a copy in progress."""
_WINDOW = 512
"""Files between their first and second look; the walk runs this far ahead of its consumer, so the gap costs nothing."""
_SECOND_CHANCES = 100_000
"""Young files remembered until the end of the walk, a bound on memory; those beyond are deferred at once."""


class WalkOutcome(StrEnum):
    """What the walk did with a path."""

    TAKEN = "taken"
    IGNORED = "ignored"
    SKIPPED = "skipped"
    DEFERRED = "deferred"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class WalkOptions:
    """How an inbox is searched.

    Attributes
    ----------
    settle : float
        Seconds for which a file must not have changed; 0 takes every file as it is.
    follow_symlinks : bool
        Follow symbolic links whose target lies inside the inbox.
    patient_pattern : re.Pattern or None
        One group, searched for in the relative path, names the patient; without it the first folder does.
    grouping : Grouping
        Which study a file belongs to.
    only : tuple of str or None
        Names directly below the inbox, folders or files; None walks all of it.
    """

    settle: float = 0.0
    follow_symlinks: bool = False
    patient_pattern: re.Pattern[str] | None = None
    grouping: Grouping = field(default_factory=Grouping)
    only: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class HeaderRead:
    """What a pass over DICOM headers saw of a file, so that a later change of the file is noticed.

    Attributes
    ----------
    header : DicomHeader or None
        None where it could not be read.
    size : int
        Bytes.
    modified : int
        Time of the last change, ns.
    covered, checksum : int
        CRC-32 of that many bytes at the beginning of the file, which hold the header.
    """

    header: DicomHeader | None
    size: int
    modified: int
    covered: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A file to screen.

    Attributes
    ----------
    file : Path
        Absolute, without symbolic links; also holds names that are not UTF-8.
    path : str
        As shown and logged, see `shown`.
    patient_id : str or None
    study_id, series_id : str or None
        See `screener.inbox.studies`.
    known : HeaderRead or None
        What was seen of it before.
    """

    file: Path
    path: str
    patient_id: str | None
    study_id: str | None = None
    series_id: str | None = None
    known: HeaderRead | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """One path of the inbox and what happens to it; ``str`` parts are for a person.

    Attributes
    ----------
    path : str
    outcome : WalkOutcome
    why : str
        Empty for a file that is simply taken.
    item : Entry, Refused or None
        What `find` yields; None for what is ignored or skipped.
    """

    path: str
    outcome: WalkOutcome
    why: str = ""
    item: Entry | Refused | None = None


def check(inbox: Path, options: WalkOptions | None = None) -> None:
    """Make sure that there is something to screen, before anything is written anywhere.

    Raises
    ------
    NothingFoundError
        The inbox is missing, not a folder, unreadable, or holds no file to screen.
    """
    hint = "give the folder that holds the slices"
    try:
        os.scandir(os.fsencode(inbox)).close()
    except FileNotFoundError:
        raise NothingFoundError(f"the inbox does not exist: {inbox}", hint) from None
    except NotADirectoryError:
        raise NothingFoundError(f"the inbox is not a folder: {inbox}", hint) from None
    except OSError as error:
        raise NothingFoundError(
            f"the inbox cannot be read: {inbox} ({error.strerror})", "check its permissions and that it is mounted"
        ) from None
    # Without settling: a file that is still being written is something found.
    found = WalkOptions(follow_symlinks=(options or WalkOptions()).follow_symlinks)
    if next(find(inbox, options=found), None) is None:
        raise NothingFoundError(f"the inbox holds no file to screen: {inbox}", hint)


def find(
    inbox: Path,
    *,
    options: WalkOptions | None = None,
    counts: Counter[WalkOutcome] | None = None,
    arriving: Callable[[Entry], None] | None = None,
) -> Iterator[Entry | Refused]:
    """Yield the files to screen, and a refusal for what should have been one.

    Parameters
    ----------
    inbox : Path
    options : WalkOptions, optional
    counts : Counter of WalkOutcome, optional
        Filled as the walk goes on, ignored and skipped paths included.
    arriving : set of str, optional
        Takes the studies of files that are too young to be yielded in their place; these come at the end.

    Yields
    ------
    Entry or Refused
        Refused with ``still_being_written`` (all at the end) or ``unreadable`` (a folder that cannot be listed).
    """
    for seen in explain(inbox, options=options, arriving=arriving):
        if counts is not None:
            counts[seen.outcome] += 1
        if seen.item is not None:
            yield seen.item


def explain(
    inbox: Path, *, options: WalkOptions | None = None, arriving: Callable[[Entry], None] | None = None
) -> Iterator[Seen]:
    """Yield every path below the inbox with what happens to it and why, reading no file.

    Depth first and in the order of the names; a folder of more than ten thousand comes in blocks of so many, each in
    order, as the file system lists them. What comes into such a folder meanwhile may be left to the next run.
    """
    options = options or WalkOptions()
    paths = _Walk(inbox, options).run()
    return _settled(paths, options.settle, arriving=arriving) if options.settle > 0 else paths


def shown(relative: bytes) -> str:
    r"""Return a path as people and logs see it.

    Bytes that are not UTF-8 become ``\xNN``, and so does the backslash itself, so that no two names look alike and
    `locate` finds the way back.
    """
    return relative.replace(b"\\", rb"\x5c").decode("utf-8", "backslashreplace")


def locate(inbox: Path, path: str) -> Path | None:
    """Return the file that `path` stands for, or None if it is gone or lies outside the inbox."""
    raw = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), path.encode("utf-8", "surrogatepass"))
    if b"\0" in raw or any(part in (b"", b".", b"..") for part in raw.split(b"/")):
        return None
    root = os.path.realpath(os.fsencode(inbox))
    file = os.path.realpath(os.path.join(root, raw))  # noqa: PTH118 - pathlib holds no bytes
    inside = file.startswith(root.rstrip(b"/") + b"/")
    return Path(os.fsdecode(file)) if inside and os.path.isfile(file) else None  # noqa: PTH113


def patient_pattern(text: str) -> re.Pattern[str]:
    """Compile the expression that finds the patient in a relative path.

    Raises
    ------
    UsageError
        It does not compile or has not exactly one group.
    """
    hint = r"write one group around the patient's part, for example '^[^/]+/(P\d+)'"
    return one_group(f"the patient expression {text!r}", text, hint)


@dataclass(slots=True)
class _Walk:
    """A depth-first walk that keeps one sorted block of names per open folder and nothing else."""

    inbox: Path
    options: WalkOptions
    root: bytes = field(init=False)
    linked: set[tuple[int, int]] = field(default_factory=set)
    """Folders already entered through a link: each only once, or links among n folders would make n! paths."""

    def __post_init__(self) -> None:
        self.root = os.path.realpath(os.fsencode(self.inbox))

    def run(self) -> Iterator[Seen]:
        # A stack of our own: folders may be nested deeper than Python's recursion limit.
        stack = [self._folder(b"", self.root) if self.options.only is None else self._named(self.options.only)]
        while stack:
            for seen in stack[-1]:
                if isinstance(seen, Seen):
                    yield seen
                else:
                    stack.append(self._folder(*seen))
                    break
            else:
                stack.pop()

    def _named(self, names: tuple[str, ...]) -> Iterator[Seen | tuple[bytes, bytes]]:
        """Yield what lies directly below the inbox under some names; what is gone is passed over."""
        for name in sorted(map(os.fsencode, names)):
            absolute = self.root.rstrip(b"/") + b"/" + name
            try:
                mode = os.lstat(absolute).st_mode
            except OSError:
                continue
            sort = {stat.S_IFLNK: b"l", stat.S_IFDIR: b"d", stat.S_IFREG: b"f"}.get(stat.S_IFMT(mode), b"o")
            yield self._judge(name, absolute, name, sort)

    def _folder(self, relative: bytes, folder: bytes) -> Iterator[Seen | tuple[bytes, bytes]]:
        """Yield what is in one folder: paths, and (relative, absolute) for the folders to enter."""
        blocks = _blocks(folder)
        while True:
            try:
                block = next(blocks, None)
            except OSError as error:
                yield self._refused(relative, f"folder cannot be listed: {error.strerror}")
                return
            if block is None:
                return
            for item in block:
                name, sort = item[:-2], item[-1:]
                below = relative + b"/" + name if relative else name
                yield self._judge(below, folder.rstrip(b"/") + b"/" + name, name, sort)

    def _judge(self, relative: bytes, absolute: bytes, name: bytes, sort: bytes) -> Seen | tuple[bytes, bytes]:
        path = shown(relative)
        if why := _junk(name, sort):
            return Seen(path, WalkOutcome.IGNORED, why)
        if sort == b"l":
            return self._link(relative, absolute)
        if sort == b"d":
            return relative, absolute
        if sort == b"f":
            return self._taken(relative, absolute)
        return Seen(path, WalkOutcome.SKIPPED, "not a regular file")

    def _link(self, relative: bytes, absolute: bytes) -> Seen | tuple[bytes, bytes]:
        path = shown(relative)
        if not self.options.follow_symlinks:
            return Seen(path, WalkOutcome.SKIPPED, "symbolic link")
        target = os.path.realpath(absolute)
        if not (target + b"/").startswith(self.root.rstrip(b"/") + b"/"):
            return Seen(path, WalkOutcome.SKIPPED, "symbolic link out of the inbox")
        try:
            status = os.stat(target)  # noqa: PTH116 - pathlib holds no bytes
        except OSError:
            return Seen(path, WalkOutcome.SKIPPED, "broken symbolic link")
        if stat.S_ISREG(status.st_mode):
            return self._taken(relative, target)
        key = (status.st_dev, status.st_ino)
        if not stat.S_ISDIR(status.st_mode) or key in self.linked or _above(target, absolute):
            return Seen(path, WalkOutcome.SKIPPED, "symbolic link to a folder already seen")
        self.linked.add(key)
        return relative, target

    def _taken(self, relative: bytes, absolute: bytes) -> Seen:
        path = shown(relative)
        member = self.options.grouping.membership(path)
        entry = Entry(Path(os.fsdecode(absolute)), path, self._patient(path), *member)
        return Seen(path, WalkOutcome.TAKEN, "", entry)

    def _refused(self, relative: bytes, why: str) -> Seen:
        path = shown(relative) or "."
        # A folder that cannot be listed may hold slices: its study is told of by its own path.
        study, series = self.options.grouping.membership(f"{path}/")
        identity = Identity(path, "", self._patient(path), study_id=study, series_id=series)
        return Seen(path, WalkOutcome.REFUSED, why, Refused(identity, Reason.UNREADABLE, why))

    def _patient(self, path: str) -> str | None:
        if self.options.patient_pattern is not None:
            match = self.options.patient_pattern.search(path)
            return match[1] if match else None
        folder, slash, _ = path.partition("/")
        return bids_subject(path) or (folder if slash else None)


def _blocks(folder: bytes) -> Iterator[list[bytes]]:
    """Yield the names of a folder in ordered blocks: ``name NUL sort``, where NUL sorts before any byte of a name."""
    with os.scandir(folder) as listing:
        while True:
            # One bytes object per name keeps a block small.
            block = sorted(item.name + b"\0" + _sort_of(item) for item in islice(listing, _BLOCK))
            if len(block) < _BLOCK:
                break
            yield block
    # Not within `with`: folders may be nested deeper than files may be open.
    yield block


def _sort_of(item: os.DirEntry[bytes]) -> bytes:
    """Return ``l``, ``d``, ``f`` or ``o`` for a link, a folder, a regular file or another thing."""
    if item.is_symlink():
        return b"l"
    if item.is_dir(follow_symlinks=False):
        return b"d"
    return b"f" if item.is_file(follow_symlinks=False) else b"o"


def _junk(name: bytes, sort: bytes) -> str:
    """Say why a name is never a slice, or return an empty string."""
    if name.startswith(b"."):
        return "hidden"
    if sort == b"d":
        return ""
    if name.lower() in _JUNK_NAMES:
        return "system file"
    return "unfinished download or temporary file" if name.lower().endswith(_JUNK_ENDINGS) else ""


def _above(target: bytes, absolute: bytes) -> bool:
    """Tell whether a link leads to a folder that contains it."""
    return (os.path.realpath(os.path.dirname(absolute)) + b"/").startswith(target.rstrip(b"/") + b"/")  # noqa: PTH120


_Look = tuple[int, int, int]
"""Size, mtime and ctime, the times in nanoseconds."""


def _settled(
    paths: Iterator[Seen],
    settle: float,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    arriving: Callable[[Entry], None] | None = None,
) -> Iterator[Seen]:
    """Let only those files pass that are older than `settle` seconds and the same at two looks."""
    window: deque[tuple[Seen, float, _Look | None]] = deque()
    young: list[tuple[Seen, float, _Look | None]] = []

    def leave() -> Iterator[Seen]:
        seen, first, look = window.popleft()
        if look is not None:
            sleep(max(0.0, first + _LOOK_GAP - clock()))
            if not _quiet(seen, look, settle, clock()):
                if arriving is not None and isinstance(seen.item, Entry):
                    arriving(seen.item)
                if len(young) < _SECOND_CHANCES:
                    young.append((seen, first, look))
                    return
                seen = _deferred(seen)
        yield seen

    for seen in paths:
        window.append((seen, clock(), _look(seen)))
        if len(window) > _WINDOW:
            yield from leave()
    while window:
        yield from leave()
    for seen, _, look in young:
        yield seen if look is not None and _quiet(seen, look, settle, clock()) else _deferred(seen)


def _look(seen: Seen) -> _Look | None:
    """Look at a file; None for what has no second look: no file, or one that is gone (reading it will say so)."""
    if not isinstance(seen.item, Entry):
        return None
    try:
        status = seen.item.file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _quiet(seen: Seen, look: _Look, settle: float, now: float) -> bool:
    """Tell whether a file is unchanged since `look` and older than `settle` seconds."""
    again = _look(seen)
    if again is None:
        return True
    # A copy that keeps the times of a machine whose clock runs ahead would stay young for ever: then the change time,
    # which our own side sets, decides alone.
    times = [moment / 1e9 for moment in again[1:]]
    newest = max((moment for moment in times if moment <= now), default=now)
    return again == look and times[1] <= now and now - newest >= settle


def _deferred(seen: Seen) -> Seen:
    why = "changed a moment ago; the next run takes it"
    identity = Identity(seen.path, "", None)
    if isinstance(seen.item, Entry):
        item = seen.item
        identity = Identity(seen.path, "", item.patient_id, study_id=item.study_id, series_id=item.series_id)
    refused = Refused(identity, Reason.STILL_BEING_WRITTEN, why)
    return Seen(seen.path, WalkOutcome.DEFERRED, why, refused)
