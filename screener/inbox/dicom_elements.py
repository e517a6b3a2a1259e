"""Walk over the elements of a DICOM header without making an object of each: the usual encodings only.

pydicom reads every encoding and every header that can be followed, at ten times the cost. What is unusual is left to
it: nothing here guesses.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
_COMPRESSED = ("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")
"""Beginnings of the UIDs of compressed pixels; the elements around them are explicit and little-endian."""
BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
"""Types whose values are stored as numbers, and how `struct` calls these."""
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
"""Types whose length takes four bytes, after two that are reserved (PS3.5 7.1.2)."""
_SHORT = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS"}
    | {b"ST", b"TM", b"UI", b"UL", b"US"}
)
_BEGINNING = 132
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = 0x7FE00010
_PIXEL_GROUP, _DELIMITERS, _COMMANDS = 0x7FE0, 0xFFFE, 0x0002
_SYNTAX = 0x00020010
_UNKNOWN_LENGTH = 0xFFFFFFFF
_DEEPEST = 8
"""Sequences within sequences that are followed."""
_explicit = struct.Struct("<HH2sH").unpack_from
_implicit = struct.Struct("<HHL").unpack_from
_long = struct.Struct("<L").unpack_from


class Element(NamedTuple):
    """A value as it is stored.

    Attributes
    ----------
    kind : str or None
        The type that the file gives, DICOM's value representation; None where it gives none.
    value : object
        Bytes; what pydicom makes of them where it read them already.
    little : bool
        Whether numbers are little-endian.
    """

    kind: str | None
    value: object
    little: bool


class HeaderElements(NamedTuple):
    """The wanted elements of a header.

    Attributes
    ----------
    elements : dict of int to Element
        By tag.
    syntax : str
        UID of the transfer syntax.
    implicit : bool
        Whether the file gives no types.
    end : int
        Where the element of the pixels begins.
    """

    elements: dict[int, Element]
    syntax: str
    implicit: bool
    end: int


class _UnusualError(Exception):
    """A header that pydicom must read."""


def usual_header(data: bytes, wanted: Mapping[int, str]) -> HeaderElements | None:
    """Return the wanted elements up to the pixels, or None where the header is anything but usual.

    Usual is a file with a preamble, little-endian, not deflated, whose elements all have a known type and lie within
    `data` up to PixelData. Wanted sequences, and text that is not ASCII, are left to pydicom as well.

    Parameters
    ----------
    data : bytes
        The file, or its beginning.
    wanted : mapping of int to str
        Types by tag.
    """
    if data[128:_BEGINNING] != b"DICM":
        return None
    try:
        syntax, start = _meta(data)
        implicit = syntax == IMPLICIT
        if not implicit and syntax != EXPLICIT and not syntax.startswith(_COMPRESSED):
            return None
        # Some writers name the one and write the other: pydicom looks.
        if implicit == (data[start + 4 : start + 6] in _LONG | _SHORT):
            return None
        elements, end = (_implicit_elements if implicit else _explicit_elements)(data, start, wanted)
    except (_UnusualError, struct.error, UnicodeDecodeError):
        return None
    return HeaderElements(elements, syntax, implicit, end)


def _meta(data: bytes) -> tuple[str, int]:
    """Return the transfer syntax that the file's own elements name, and where the data set begins."""
    at, syntax = _BEGINNING, ""
    while True:
        group, element, kind, length = _explicit(data, at)
        if group != _COMMANDS:
            break
        if kind in _LONG:
            (length,) = _long(data, at + 8)
            at += 4
        elif kind not in _SHORT:
            raise _UnusualError
        at += 8
        if group << 16 | element == _SYNTAX:
            syntax = data[at : at + length].rstrip(b"\0 ").decode("ascii")
        at += length
        if at > len(data):
            raise _UnusualError
    if not syntax or not group:
        raise _UnusualError
    return syntax, at


def _explicit_elements(data: bytes, at: int, wanted: Mapping[int, str]) -> tuple[dict[int, Element], int]:
    """Return the wanted elements of a data set that gives types, and where its pixels begin."""
    elements: dict[int, Element] = {}
    size = len(data)
    while True:
        group, low, kind, length = _explicit(data, at)
        tag = group << 16 | low
        if group >= _PIXEL_GROUP:
            _only_pixels(tag)
            return elements, at
        value = at + 8
        if kind in _LONG:
            (length,) = _long(data, value)
            value += 4
        elif kind not in _SHORT:
            raise _UnusualError
        if length == _UNKNOWN_LENGTH:
            if kind != b"SQ" or tag in wanted:
                raise _UnusualError
            at = _after_sequence(data, value, _explicit_length, 0)
            continue
        at = value + length
        if at > size:
            raise _UnusualError
        if tag in wanted:
            elements[tag] = _element(kind.decode("ascii"), data[value:at], wanted[tag])


def _implicit_elements(data: bytes, at: int, wanted: Mapping[int, str]) -> tuple[dict[int, Element], int]:
    """Return the wanted elements of a data set that gives no types, and where its pixels begin."""
    elements: dict[int, Element] = {}
    size = len(data)
    while True:
        group, low, length = _implicit(data, at)
        tag = group << 16 | low
        if group >= _PIXEL_GROUP:
            _only_pixels(tag)
            return elements, at
        value = at + 8
        if length == _UNKNOWN_LENGTH:
            if tag in wanted:
                raise _UnusualError
            at = _after_sequence(data, value, _implicit_length, 0)
            continue
        at = value + length
        if at > size:
            raise _UnusualError
        if tag in wanted:
            elements[tag] = _element(None, data[value:at], wanted[tag])


def _only_pixels(tag: int) -> None:
    """Leave floating-point pixels, and whatever stands where it should not, to pydicom."""
    if tag != _PIXELS:
        raise _UnusualError


def _element(kind: str | None, value: bytes, meant: str) -> Element:
    if meant == "SQ" or kind == "SQ" or (meant not in BINARY and not value.isascii()):
        raise _UnusualError
    return Element(kind, value, little=True)


def _after_sequence(data: bytes, at: int, length_at: Callable[[bytes, int], tuple[int, int]], depth: int) -> int:
    """Return the place after a sequence of unknown length that begins at a place."""
    if depth > _DEEPEST:
        raise _UnusualError
    while True:
        group, low, length = _implicit(data, at)
        tag, at = group << 16 | low, at + 8
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM:
            raise _UnusualError
        at = at + length if length != _UNKNOWN_LENGTH else _after_item(data, at, length_at, depth)
        if at > len(data):
            raise _UnusualError


def _after_item(data: bytes, at: int, length_at: Callable[[bytes, int], tuple[int, int]], depth: int) -> int:
    """Return the place after an item of unknown length."""
    while True:
        group, low, _ = _implicit(data, at)
        if group << 16 | low == _ITEM_END:
            return at + 8
        if group >= _DELIMITERS:
            raise _UnusualError
        at, length = length_at(data, at)
        at = at + length if length != _UNKNOWN_LENGTH else _after_sequence(data, at, length_at, depth + 1)
        if at > len(data):
            raise _UnusualError


def _explicit_length(data: bytes, at: int) -> tuple[int, int]:
    """Return where a value begins, and its length."""
    _, _, kind, length = _explicit(data, at)
    if kind in _SHORT:
        return at + 8, length
    if kind not in _LONG:
        raise _UnusualError
    (length,) = _long(data, at + 8)
    if length == _UNKNOWN_LENGTH and kind != b"SQ":
        raise _UnusualError
    return at + 12, length


def _implicit_length(data: bytes, at: int) -> tuple[int, int]:
    _, _, length = _implicit(data, at)
    return at + 8, length
