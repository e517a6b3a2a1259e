"""Where models lie, and whether what lies there is what was released."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from screener.errors import ModelError
from screener.model.card import Card

DEFAULT = "lite"
_MODEL_BYTES = 512 << 20
_PACKAGE = Path(__file__).resolve().parent.parent
Mark = tuple[int, int, int, int]
"""Device, inode, size and modification time in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Location:
    """A model's files; `folder` holds the card and the checksums."""

    folder: Path
    onnx: Path


def locate(model: str | None = None) -> Location:
    """Find a model.

    Parameters
    ----------
    model : str, optional
        A folder with ``model.onnx``, an ONNX file, or the name of a model that came with the tool or lies in
        ``screener/models`` in the user's data folder.

    Raises
    ------
    ModelError
        There is no such model.
    """
    name = model or DEFAULT
    path = Path(name)
    if model and path.is_file():
        return Location(path.parent, path)
    # An installed wheel carries its models inside the package, a checkout at its top.
    for folder in (*([path] if model else []), *(place / name for place in _places())):
        if (folder / "model.onnx").is_file():
            return Location(folder, folder / "model.onnx")
    raise ModelError(f"no model at {name!r}", "give a model folder, an ONNX file, or leave --model out")


def _places() -> list[Path]:
    """Return the folders that hold models by name; what came with the tool wins over what a user put beside it."""
    own = data_folder()
    return [_PACKAGE / "models", _PACKAGE.parent / "models", *([own / "models"] if own else [])]


def data_folder() -> Path | None:
    """Return the tool's folder in the user's XDG data folder; None for a user without a home."""
    home = os.environ.get("XDG_DATA_HOME", "")
    # The XDG rule: a relative value is to be ignored.
    try:
        return (Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "share") / "screener"
    except RuntimeError:
        return None


def installed() -> list[tuple[str, Path]]:
    """Return name and folder of every model that can be named, each name once."""
    found: dict[str, Path] = {}
    for place in _places():
        with suppress(OSError):
            for folder in sorted(place.iterdir()):
                if (folder / "model.onnx").is_file():
                    found.setdefault(folder.name, folder)
    return sorted(found.items())


def read_card(location: Location) -> Card:
    """Read ``card.json``, without touching the model itself.

    Raises
    ------
    ModelError
        It is missing or invalid.
    """
    return Card.parse(read_card_text(location))


def read_card_text(location: Location) -> bytes:
    """Read ``card.json`` as it lies there.

    Raises
    ------
    ModelError
        It cannot be read.
    """
    try:
        return (location.folder / "card.json").read_bytes()
    except OSError as error:
        raise ModelError(
            f"no card beside the model: {error.strerror}", "copy the whole model folder, not model.onnx alone"
        ) from None


def read_model(location: Location) -> tuple[bytes, str]:
    """Read the ONNX file and return its bytes and their SHA-256, checked against ``SHA256SUMS`` where there is one.

    Raises
    ------
    ModelError
        It cannot be read, is too large, or is not what was released.
    """
    try:
        if location.onnx.stat().st_size > _MODEL_BYTES:
            raise ModelError(
                f"{location.onnx.name} is larger than {_MODEL_BYTES >> 20} MiB", "this is no screener model"
            )
        data = location.onnx.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{location.onnx} cannot be read: {error.strerror}", "check the path and permissions"
        ) from None
    digest = hashlib.sha256(data).hexdigest()
    _check_sums(location, digest)
    return data, digest


def mark_of(location: Location) -> Mark | None:
    """Return what changes whenever the ONNX file is replaced or written to; None when it is gone."""
    try:
        status = location.onnx.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def sha256_of(location: Location) -> str:
    """Return the digest of the ONNX file as it lies there now; empty when it cannot be read."""
    return _digest(location.onnx)


def _check_sums(location: Location, model_digest: str) -> None:
    """Compare the model and its card with the release's checksums."""
    sums = location.folder / "SHA256SUMS"
    if not sums.is_file():
        return
    hint = "install the model again; do not edit its files by hand"
    try:
        lines = (line.split(maxsplit=1) for line in sums.read_text("utf-8").splitlines())
        listed = {parts[1].removeprefix("*"): parts[0] for parts in lines if len(parts) == 2}  # noqa: PLR2004 - digest, name
    except (OSError, UnicodeDecodeError):
        raise ModelError(f"{sums} cannot be read", hint) from None
    for name, digest in ((location.onnx.name, model_digest), ("card.json", _digest(location.folder / "card.json"))):
        if name in listed and listed[name] != digest:
            raise ModelError(f"{location.folder / name} is not the file that was released (SHA256SUMS)", hint)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
