"""Compare the formulas of waiting times with a simulation: ``make bench-queue``.

Writes ``docs/results/queue.json`` and ``queue.md``. The waits of several sites must agree within 3 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402 - the checkout's own

from screener.queueing.formulas import Site, Waits, waits  # noqa: E402
from screener.queueing.simulation import simulate  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

AIM = 0.03
_HOURS = 40.0
_SITES = {
    "1 reader, load 0.5": (1, 0.5, 0.1, 0.95, 0.85, 0.0),
    "2 readers, load 0.6": (2, 0.6, 0.1, 0.95, 0.85, 0.02),
    "3 readers, load 0.6": (3, 0.6, 0.2, 0.9, 0.9, 0.05),
}
"""Readers, load, prevalence, sensitivity, specificity and share not assessable.

At higher loads the mean of a simulation settles too slowly to tell 3 %."""
_NAMES = {
    "arrival": "order of arrival",
    "tumour": "tool's order, with a tumour",
    "no_tumour": "tool's order, without a tumour",
}


def site(readers: int, load: float, *shares: float) -> Site:
    """Return a site of that load, at 15 minutes a study."""
    prevalence, sensitivity, specificity, refused = shares
    return Site(
        arrivals=load * readers * _HOURS * 4,
        minutes=15.0,
        readers=readers,
        hours=_HOURS,
        prevalence=prevalence,
        sensitivity=sensitivity,
        specificity=specificity,
        not_assessable=refused,
    )


def main() -> None:
    """Measure every site and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=40_000, help="Studies in each run.")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/queue")
    arguments = parser.parse_args()
    started = time.perf_counter()
    sites = {name: measure(site(*values), arguments.studies, arguments.runs) for name, values in _SITES.items()}
    figures = {
        "studies": arguments.studies,
        "runs": arguments.runs,
        "seconds": time.perf_counter() - started,
        "sites": sites,
        "worst": max(one["worst"] for one in sites.values()),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(report(figures))
    print(report(figures))


def measure(one: Site, studies: int, runs: int) -> dict[str, Any]:
    """Return formula, simulation and their relative difference, by wait."""
    expected, found = waits(one), simulate(one, studies=studies, runs=runs)
    pairs = {name: (getattr(expected, name), getattr(found.mean, name)) for name in Waits.__struct_fields__}
    return {
        "site": msgspec.structs.asdict(one),
        "formula_hours": msgspec.structs.asdict(expected),
        "simulated_hours": msgspec.structs.asdict(found.mean),
        "half_interval_hours": msgspec.structs.asdict(found.error),
        "worst": max(abs(simulated / formula - 1) for formula, simulated in pairs.values()),
    }


def report(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "# Waiting times: formula and simulation",
        "",
        (
            f"Written by `make bench-queue`: {figures['runs']} runs of {figures['studies']:,} studies for each site "
            f"and order, {figures['seconds']:.0f} s in all. Mean hours of reading time until reading begins; behind "
            "the simulated ones half of their 95 % interval."
        ),
        "",
        "| site | wait | formula | simulated | difference |",
        "|---|---|---|---|---|",
        *_rows(figures["sites"]),
        "",
        f"The largest difference is {100 * figures['worst']:.1f} %; the aim is {100 * AIM:.0f} %.",
    ]
    return "\n".join(lines) + "\n"


def _rows(sites: dict[str, Any]) -> Sequence[str]:
    return [
        f"| {title} | {shown} | {one['formula_hours'][name]:.3f} | {one['simulated_hours'][name]:.3f} "
        f"± {one['half_interval_hours'][name]:.3f} | "
        f"{100 * (one['simulated_hours'][name] / one['formula_hours'][name] - 1):+.1f} % |"
        for title, one in sites.items()
        for name, shown in _NAMES.items()
    ]


if __name__ == "__main__":
    main()
