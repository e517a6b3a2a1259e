"""Split the frames of one DICOM series into volumes, each with at most one slice a place, and put them in order."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from screener.inbox.dicom import DicomFrame, DicomHeader

_NEAR = 0.02
"""mm; positions nearer than this are one place."""
_KINDS: tuple[tuple[str, Callable[[DicomFrame], float | None]], ...] = (
    ("echo", lambda frame: frame.echo),
    ("b", lambda frame: frame.b_value),
    ("t", lambda frame: frame.time),
)


class _Member(NamedTuple):
    """A frame, and where it stands among the headers."""

    header: int
    frame: int
    shot: DicomFrame
    instance: int | None

    @property
    def place(self) -> int | None:
        """Number of the place along the normal."""
        return None if self.shot.position is None else round(self.shot.position / _NEAR)


def arrange(headers: Sequence[DicomHeader]) -> list[DicomHeader]:
    """Return the headers of a series with the volume and the final position of each frame.

    A series is split where its slices lie in several planes, or where places repeat: by echo time, b-value and
    temporal position if these differ, then by the order of InstanceNumber. In a volume where a position is missing,
    InstanceNumber takes its place for all slices.

    Parameters
    ----------
    headers : sequence of DicomHeader
        In the order of the file names. What a header refuses takes no part.
    """
    members = [
        _Member(at, number, frame, header.instance)
        for at, header in enumerate(headers)
        if header.refusal is None
        for number, frame in enumerate(header.frames)
    ]
    frames = [list(header.frames) for header in headers]
    for label, volume in _volumes(members).items():
        positions = _positions(volume, alone=len(headers) == 1)
        for member, position in zip(volume, positions, strict=True):
            frames[member.header][member.frame] = replace(member.shot, volume=label or None, position=position)
    return [replace(header, frames=tuple(own)) for header, own in zip(headers, frames, strict=True)]


def _volumes(members: Sequence[_Member]) -> dict[str, list[_Member]]:
    """Return the members of each volume by its label, which is empty for a series that is one volume."""
    found: dict[str, list[_Member]] = {}
    planes = _grouped(members, lambda member: member.shot.plane or "unknown")
    for plane, part in planes.items():
        for label, volume in _by_times(part).items():
            words = [*([plane] if len(planes) > 1 else []), *([label] if label else [])]
            found[",".join(words)] = volume
    return found


def _by_times(part: Sequence[_Member]) -> dict[str, list[_Member]]:
    if not _repeats(part):
        return {"": list(part)}
    kinds = [(name, value) for name, value in _KINDS if _differs(part, value)]
    groups = _grouped(part, lambda member: ",".join(f"{name}={_told(value(member.shot))}" for name, value in kinds))
    found: dict[str, list[_Member]] = {}
    for label, group in groups.items():
        for number, volume in enumerate(_by_occurrence(group), 1):
            repeated = f"volume={number}" if len(volume) < len(group) else ""
            found[",".join(filter(None, (label, repeated)))] = volume
    return found


def _repeats(part: Sequence[_Member]) -> bool:
    """Say whether places repeat, or cannot be told apart since all are unknown."""
    places = Counter(member.place for member in part)
    return len(places) < len(part) and (None not in places or len(places) == 1)


def _differs(part: Sequence[_Member], value: Callable[[DicomFrame], float | None]) -> bool:
    """Say whether a value divides the slices into volumes: it differs, and not from slice to slice."""
    different = len({value(member.shot) for member in part})
    return 1 < different <= len(part) // 2


def _by_occurrence(group: Sequence[_Member]) -> list[list[_Member]]:
    """Divide what lies at the same places by the order of InstanceNumber.

    A few slices that were taken twice make no volume of their own, which a single slice could then answer for.
    """
    places = {member.place for member in group}
    if None in places or len(places) == len(group):
        return [list(group)]
    seen: Counter[int | None] = Counter()
    volumes: defaultdict[int, list[_Member]] = defaultdict(list)
    for member in sorted(group, key=lambda one: (one.instance or 0, one.header, one.frame)):
        volumes[seen[member.place]].append(member)
        seen[member.place] += 1
    whole = all(2 * len(volume) >= len(places) for volume in volumes.values())
    return list(volumes.values()) if whole else [list(group)]


def _positions(volume: Sequence[_Member], *, alone: bool) -> list[float | None]:
    known = [member.shot.position for member in volume]
    if None not in known:
        return known
    numbers = [member.shot.number if alone else member.instance for member in volume]
    if None in numbers or len(set(numbers)) < len(numbers):
        return [None] * len(volume)
    return [None if number is None else float(number) for number in numbers]


def _grouped(members: Iterable[_Member], key: Callable[[_Member], str]) -> dict[str, list[_Member]]:
    found: defaultdict[str, list[_Member]] = defaultdict(list)
    for member in members:
        found[key(member)].append(member)
    return dict(sorted(found.items()))


def _told(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"
