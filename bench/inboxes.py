"""Slices to measure on, real ones where a data folder is given, else drawn phantoms; and trees of any size."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SOURCE = "kaggle253"
_LINKS = 10_000
"""Names given to one file: file systems allow some ten thousand."""
_PHANTOMS = 250
_STUDY = 20
"""Slices a patient in a generated tree."""


def gather(data: Path | None, folder: Path) -> list[Path]:
    """Fill one flat folder with slices: copies, so that page cache and disk are the same for all."""
    folder.mkdir()
    if data is None:
        return _drawn(folder)
    files = sorted(path for path in (data / SOURCE).rglob("*") if path.is_file())
    if not files:
        raise SystemExit(f"no slices in {data / SOURCE}: give the folder that holds {SOURCE}/, or leave DATA out")
    # Packages that go by the name's ending know the lower-case ones only.
    return [_copy(file, folder / f"{number:04}{file.suffix.lower()}") for number, file in enumerate(files)]


def listing(files: Sequence[Path], path: Path) -> Path:
    """Write down the names of slices, for `bench.contestant`."""
    path.write_text("".join(f"{file}\n" for file in files))
    return path


def some(files: Sequence[Path], count: int, folder: Path) -> list[Path]:
    """Copy `count` slices, evenly spread, into a folder of their own."""
    folder.mkdir()
    step = max(1, len(files) // count)
    return [_copy(file, folder / file.name) for file in files[::step][:count]]


def tree(files: Sequence[Path], count: int, folder: Path) -> Path:
    """Generate an inbox of `count` files, 20 a patient, no two of the same bytes: a few behind the image's end tell."""
    contents = [file.read_bytes() for file in files]
    for number in range(count):
        source = files[number % len(files)]
        patient = folder / f"patient-{number // _STUDY:06}"
        patient.mkdir(parents=True, exist_ok=True)
        data = contents[number % len(files)] + b"slice %d" % number
        (patient / f"{number:07}{source.suffix}").write_bytes(data)
    return folder


def flat(file: Path, count: int, folder: Path) -> Path:
    """Generate one folder of `count` names for the same few files."""
    folder.mkdir()
    for number in range(count):
        source = folder / f"{number - number % _LINKS:07}{file.suffix}"
        target = folder / f"{number:07}{file.suffix}"
        if source == target:
            shutil.copy(file, target)
        else:
            os.link(source, target)
    return folder


def _copy(source: Path, target: Path) -> Path:
    shutil.copyfile(source, target)
    return target


def _drawn(folder: Path) -> list[Path]:
    import cv2

    from export.data.phantoms import phantom

    files = []
    for seed in range(_PHANTOMS):
        image = cv2.imencode(".jpg", phantom(seed, tumour=seed % 2 == 0))[1]
        files.append(folder / f"{seed:04}.jpg")
        files[-1].write_bytes(image.tobytes())
    return files
