"""Labelled heads of several hospitals, each with patients of both labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conftest import write_slice
from tests.export.conftest import write_labelled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_hospitals(folder: Path, hospitals: Sequence[str], patients: int = 8) -> Path:
    """Write two slices a patient, a bright one with a tumour and a dark one without."""
    rows = []
    for place, name in enumerate(hospitals):
        source, site = name.split(":")
        for patient in range(patients):
            for bright in (True, False):
                path = f"{source}/{site}-{patient}-{bright}.png"
                write_slice(folder / path, 100 * place + patient, bright=bright)
                label = "yes" if bright else "no"
                rows.append({"path": path, "label": label, "source": source, "site": site, "patient": f"p{patient}"})
    return write_labelled(folder, rows)
