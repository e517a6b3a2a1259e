"""Labelled heads on disk that the tiny model can be measured on."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.conftest import write_slice

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = ("path", "label", "source", "patient", "site", "sequence", "plane", "boxes")


@dataclass(frozen=True)
class Labelled:
    """A folder of labelled heads with ``manifest.csv``, and a run's folder with ``groups.csv``."""

    data: Path
    run: Path


def write_labelled(data: Path, rows: list[dict[str, str]]) -> Path:
    """Write ``manifest.csv``; columns that a row lacks are empty."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return data


def write_groups_csv(run: Path, rows: list[tuple[str, int, str]]) -> Path:
    """Write ``groups.csv`` from path, unit and set; every slice is a group of its own."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / "groups.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "group", "unit", "set"])
        writer.writerows([path, number, unit, name] for number, (path, unit, name) in enumerate(rows))
    return run


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    """Write 24 heads of two sources. Bright ones are positive, but for one dark positive and one bright negative.

    Source ``north`` is the test set, ``south`` the fit set; two slices of a patient share a unit.
    """
    root = tmp_path_factory.mktemp("labelled")
    rows, places = [], []
    for number in range(24):
        source, yes = ("north", "south")[number % 2], number % 4 < 2
        path = f"{source}/{number}.png"
        bright = yes if number not in {0, 2} else not yes
        write_slice(root / "data" / path, number, bright=bright)
        rows.append({
            "path": path,
            "label": "yes" if yes else "no",
            "source": source,
            "patient": f"p{number // 4}",
            "sequence": ("FLAIR", "T1")[number // 12],
            "plane": "axial",
            "boxes": "0.3 0.3 0.6 0.6" if yes else "",
        })  # fmt: skip
        places.append((path, 10 * (number % 2) + number // 4, "test" if source == "north" else "fit"))
    return Labelled(write_labelled(root / "data", rows), write_groups_csv(root / "run", places))
