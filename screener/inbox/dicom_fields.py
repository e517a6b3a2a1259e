"""The values of a DICOM data set, decoded from their stored bytes when they are asked for.

pydicom would make an object of every value; reading the stored bytes takes a tenth of that time.
"""

from __future__ import annotations

import math
import struct
from functools import cache
from typing import TYPE_CHECKING, Any

from screener.inbox.dicom_elements import BINARY, Element

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_WIDTH = {"H": 2, "h": 2, "I": 4, "i": 4, "f": 4, "d": 8}
_NUMERIC = frozenset({None, "UN", *BINARY})
"""Types under which a number may be stored as such: a file may give none, or not know it."""
_PRIVATE = {"SiemensBValue": (0x0019100C, "IS")}
_LONGEST_TEXT = 128
_MOST_WORDS = 64
_PADDING = b"\0 \t\r\n"


@cache
def tag_of(name: str) -> tuple[Any, str]:
    """Return the tag of a keyword, as pydicom keeps it, and the type of its value."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.tag import Tag

    if name in _PRIVATE:
        number, kind = _PRIVATE[name]
        return Tag(number), kind
    tag = Tag(tag_for_keyword(name))
    return tag, dictionary_VR(tag)


@cache
def number_of(name: str) -> int:
    """Return the tag of a keyword as a whole number."""
    return int(tag_of(name)[0])


def tags_of(names: Iterable[str]) -> list[Any]:
    """Return the tags of keywords."""
    return [tag_of(name)[0] for name in names]


class Fields:
    """A data set, or an item of a sequence.

    Parameters
    ----------
    elements : mapping of int to Element
        By tag.
    dataset : pydicom.Dataset, optional
        Where pydicom read them: makes sequences, and text in other character sets.
    """

    __slots__ = ("_dataset", "_elements", "_texts")

    def __init__(self, elements: Mapping[int, Element], dataset: Any = None) -> None:  # noqa: ANN401 - no types
        self._elements, self._dataset = elements, dataset
        self._texts: dict[str, str | None] = {}

    @classmethod
    def of(cls, dataset: Any) -> Fields:  # noqa: ANN401 - pydicom ships no types
        """Return the fields of what pydicom read, past its own access: comparing its tags takes long."""
        elements = {
            int(tag): Element(element.VR, element.value, getattr(element, "is_little_endian", True))
            for tag, element in dataset._dict.items()  # noqa: SLF001
        }
        return cls(elements, dataset)

    def __contains__(self, name: str) -> bool:
        return number_of(name) in self._elements

    def text(self, name: str) -> str | None:
        """Return the value as text without padding, at most 128 characters; None where there is none."""
        if name not in self._texts:
            self._texts[name] = _clean(self._string(name))[:_LONGEST_TEXT].strip() or None
        return self._texts[name]

    def words(self, name: str) -> list[str]:
        """Return the values of a text of several, in upper case."""
        return [word.strip().upper() for word in self._string(name).split("\\")[:_MOST_WORDS] if word.strip()]

    def numbers(self, name: str, count: int | None = None) -> tuple[float, ...] | None:
        """Return finite numbers, `count` of them where that is given; None where the value is anything else."""
        try:
            found = tuple(map(float, self._values(name)))
        except (ValueError, TypeError, OverflowError):
            return None
        fits = bool(found) if count is None else len(found) == count
        return found if fits and all(map(math.isfinite, found)) else None

    def number(self, name: str) -> float | None:
        """Return the first of one or several numbers."""
        found = self.numbers(name)
        return None if found is None else found[0]

    def integer(self, name: str) -> int | None:
        """Return the first of one or several numbers as a whole number."""
        found = self.number(name)
        return None if found is None else int(found)

    def items(self, name: str) -> list[Fields]:
        """Return the items of a sequence."""
        value: Any = self._dataset[tag_of(name)[0]].value if name in self else None
        return [Fields.of(item) for item in value] if _is_many(value) else []

    def _string(self, name: str) -> str:
        element = self._elements.get(number_of(name))
        value: Any = None if element is None else element.value
        if value is None:
            return ""
        if isinstance(value, bytes):
            if value.isascii():
                return value.strip(_PADDING).decode("ascii")
            # In the character set that the file names.
            value = self._dataset[tag_of(name)[0]].value
        return "\\".join(map(str, value)) if _is_many(value) else str(value)

    def _values(self, name: str) -> Sequence[Any]:
        element = self._elements.get(number_of(name))
        if element is None or element.value is None:
            return ()
        value: Any = element.value
        if not isinstance(value, bytes):
            return value if _is_many(value) else (value,)
        letter = BINARY.get(element.kind if element.kind in BINARY else tag_of(name)[1])
        if letter is not None and element.kind in _NUMERIC:
            count = min(len(value) // _WIDTH[letter], _MOST_WORDS)
            order = "<" if element.little else ">"
            return struct.unpack_from(f"{order}{count}{letter}", value)
        return value.strip(_PADDING).decode("ascii").split("\\")[:_MOST_WORDS]


class FrameFields:
    """What holds for one frame: its own functional group, then the shared one, then the top level.

    Parameters
    ----------
    top : Fields
    groups : sequence of Fields
        The functional groups of the frame, the most particular one first.
    """

    __slots__ = ("_groups", "top")

    def __init__(self, top: Fields, groups: Sequence[Fields] = ()) -> None:
        self.top = top
        self._groups = groups

    def numbers(self, name: str, group: str, count: int | None = None) -> tuple[float, ...] | None:
        """Return the numbers under a name in a functional group, or at the top level."""
        for place in self._places(name, group):
            return place.numbers(name, count)
        return self.top.numbers(name, count)

    def number(self, name: str, group: str) -> float | None:
        """Return the first number under a name."""
        found = self.numbers(name, group)
        return None if found is None else found[0]

    def text(self, name: str, group: str) -> str | None:
        """Return the text under a name."""
        for place in self._places(name, group):
            return place.text(name)
        return self.top.text(name)

    def _places(self, name: str, group: str) -> list[Fields]:
        return [item for groups in self._groups for item in groups.items(group)[:1] if name in item]


def frames_of(top: Fields, count: int) -> list[FrameFields]:
    """Return the fields of each frame."""
    if "PerFrameFunctionalGroupsSequence" not in top and "SharedFunctionalGroupsSequence" not in top:
        return [FrameFields(top)] * count
    shared = top.items("SharedFunctionalGroupsSequence")[:1]
    own = top.items("PerFrameFunctionalGroupsSequence")
    return [FrameFields(top, [*own[index : index + 1], *shared]) for index in range(count)]


def _is_many(value: Any) -> bool:  # noqa: ANN401 - what pydicom makes of a value
    return isinstance(value, (list, tuple)) or hasattr(value, "append")


def _clean(text: str) -> str:
    """Drop what neither a database nor a terminal should meet."""
    printable = "".join(letter for letter in text if letter.isprintable()) if not text.isprintable() else text
    return printable.encode("utf-8", "replace").decode("utf-8")
