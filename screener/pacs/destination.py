"""Where answers are sent: a DICOM node, or a DICOMweb service."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from screener.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

_NODE = re.compile(r"([^@\\\s][^@\\]{0,15})@(\[[0-9A-Fa-f:.]+\]|[^@:/\s\[\]]+):(\d{1,5})")
_TITLE = re.compile(r"[ -\[\]-~]{1,16}")
_LAST_PORT = 65535
_HINT = "write AET@host:port, such as PACS@10.0.0.5:4242, or the address of a DICOMweb service, such as https://pacs/dicom-web"


@dataclass(frozen=True, slots=True)
class Destination:
    """A DICOM node, or a DICOMweb service.

    Attributes
    ----------
    name : str
        As it was given, and as the log has it.
    title : str
        AE title of a node; empty for a service.
    host : str
    port : int
    """

    name: str
    title: str = ""
    host: str = ""
    port: int = 0

    @property
    def is_web(self) -> bool:
        """Whether it speaks DICOMweb."""
        return not self.title

    @classmethod
    def read(cls, text: str) -> Destination:
        """Read what stands behind ``--send``.

        Raises
        ------
        UsageError
            It is neither a node nor an address, or an address that holds a password, which the log must not.
        """
        if text.lower().startswith(("http://", "https://")):
            return cls._web(text)
        found = _NODE.fullmatch(text)
        if found is None or not found[1].strip() or not 0 < int(found[3]) <= _LAST_PORT:
            raise UsageError(f"--send {text!r} names no destination", _HINT)
        return cls(text, found[1].strip(), found[2].strip("[]"), int(found[3]))

    @classmethod
    def _web(cls, text: str) -> Destination:
        parts = urlsplit(text)
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise UsageError(
                "--send: an address with a password, a query or a fragment would stand in the log",
                "leave it out; a token for the service goes into the variable SCREENER_DICOMWEB_TOKEN",
            )
        if not parts.hostname:
            raise UsageError(f"--send {text!r} names no destination", _HINT)
        return cls(text.rstrip("/"))


def read_destinations(texts: Iterable[str]) -> tuple[Destination, ...]:
    """Read several, each once; see `Destination.read`."""
    return tuple(dict.fromkeys(map(Destination.read, texts)))


def checked_title(title: str) -> str:
    """Return an own AE title that the network accepts.

    Raises
    ------
    UsageError
        It is empty, longer than 16 letters, or not ASCII.
    """
    if not title.strip() or _TITLE.fullmatch(title) is None:
        raise UsageError(f"--ae-title {title!r} is no AE title", "give 1 to 16 ASCII letters without backslashes")
    return title.strip()
