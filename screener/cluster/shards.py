"""Divide an archive into shards of whole studies, in the order of the walk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from screener.domain.slice import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from screener.inbox import Entry

FEWEST, MOST = 32, 128
"""Files of a shard, in a small cluster and in a large one."""


def files_for(cores: int) -> int:
    """Return how many files make a shard: few, so that little is done twice; more for many cores.

    The scheduler then has as much to do for 64 cores as for 16.
    """
    return min(MOST, max(FEWEST, 2 * cores))


@dataclass(frozen=True, slots=True)
class Shard:
    """Files that are screened together.

    Attributes
    ----------
    number : int
        From 0, in the order of the walk.
    group : int
        What must be answered without other groups between: the slices of a study, or of a folder of pictures. Shards of
        one group follow each other. A shard of several small groups bears the number of the last.
    items : tuple of (Entry or Refused)
        What the walk found; what it refused needs no worker.
    last : bool
        The group ends here. False where more of it follows, and where the walk ended: it may have been cut short.
    """

    number: int
    group: int
    items: tuple[Entry | Refused, ...]
    last: bool


class StudyGroups:
    """Says which files of a walk must stay together.

    Parameters
    ----------
    by : str
        As `Grouping.by`: for ``folder``, the study that a DICOM header names, else the first folder; otherwise no two
        files must stay together, because studies are files or are answered at the end of the run.
    alias : callable, optional
        From the study that a header names to the name under which files without a header belong to it.
    """

    def __init__(self, by: str, alias: Callable[[str], str] | None = None) -> None:
        self._free = by != "folder"
        self._alias = alias
        self._study: str | None = None
        self._count = 0

    def __call__(self, item: Entry | Refused) -> str:
        """Return the name of the group that the next file of the walk belongs to."""
        if self._free:
            self._count += 1
            return str(self._count)
        if isinstance(item, Refused):
            return self._folder(item.identity.path)
        header = None if item.known is None else item.known.header
        if header is not None and header.study_uid is not None:
            self._study = header.study_uid
        elif self._study is None or item.study_id not in {self._study, self._alias and self._alias(self._study)}:
            self._study = None
            return self._folder(item.path)
        return f"study {self._study}"

    @staticmethod
    def _folder(path: str) -> str:
        return f"folder {path.partition('/')[0]}"


def cut(
    found: Iterator[Entry | Refused], group_of: Callable[[Entry | Refused], str], files: int = FEWEST
) -> Iterator[Shard]:
    """Yield shards of whole groups; a group with more files than a shard holds becomes several.

    Parameters
    ----------
    found : iterator of (Entry or Refused)
        Files of one group follow each other.
    group_of : callable
        Names the group of each, in order.
    files : int
        Of a shard, at most.
    """
    whole: list[Entry | Refused] = []
    current: list[Entry | Refused] = []
    name: str | None = None
    number = group = 0
    divided = False
    for item in found:
        former, name = name, group_of(item)
        if name != former:
            if divided:
                yield Shard(number, group, tuple(current), last=True)
                number, divided = number + 1, False
            else:
                whole += current
            current, group = [], group + 1
        if whole and len(whole) + len(current) >= files:
            yield Shard(number, group - 1, tuple(whole), last=True)
            whole, number = [], number + 1
        if len(current) >= files:
            yield Shard(number, group, tuple(current), last=False)
            current, number, divided = [], number + 1, True
        current.append(item)
    if whole:
        yield Shard(number, group - 1, tuple(whole), last=True)
        number += 1
    if current:
        yield Shard(number, group, tuple(current), last=False)
