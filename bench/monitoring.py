"""False alarms of stable sites, and delays until a change is found: ``make bench-monitor``.

Writes ``docs/results/monitoring.json`` and ``monitoring.md``. Studies of simulated sites are drawn from heads that were
measured as a scan measures them: as they are, and as another scanner, export or matrix would have stored them. With
``--data`` they are slices of real patients, else drawn heads.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the checkout's own

from bench.monitored_log import time_monitor  # noqa: E402
from export.data.phantoms import phantom  # noqa: E402
from screener.domain.slice import Identity, Refused, Slice  # noqa: E402
from screener.inbox import Entry, read  # noqa: E402
from screener.measurements import decompress_many  # noqa: E402
from screener.model.session import Model  # noqa: E402
from screener.monitor.indicators import BINS, BUDGET, CHANGES, FALSE_ALARMS, binned  # noqa: E402
from screener.monitor.martingales import exchangeability, sensitivity_below  # noqa: E402
from screener.pipeline.slice import PipelineSettings, SlicePipeline  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from screener.pipeline.slice import ScoredSlice

    Pixels = NDArray[np.float32]

PREVALENCE, TARGET = 0.1, 0.95
REFERENCE, CHANGE_WEEK = 8, 52
_SLICES, _PATIENTS = 5, 60
_LEAST = 3
"""Assessable slices below which a study is not assessable here."""
_STATISTICS = ("brightness", "contrast", "sharpness")
_SEED = 7


def _bias(pixels: Pixels) -> Pixels:
    """Multiply by a coil's field that rises from 0.5 to 1.5 across the slice."""
    return np.asarray((pixels * np.linspace(0.5, 1.5, pixels.shape[1], dtype=np.float32)).clip(0, 1))


def _half(pixels: Pixels) -> Pixels:
    """Return every second pixel each way, averaged."""
    height, width = (side // 2 * 2 for side in pixels.shape)
    four = pixels[:height, :width].reshape(height // 2, 2, width // 2, 2)
    return np.asarray(four.mean(axis=(1, 3)), dtype=np.float32)


VARIANTS: dict[str, Callable[[Pixels], Pixels]] = {
    "as it is": lambda pixels: pixels,
    "gamma 0.7": lambda pixels: pixels ** np.float32(0.7),
    "bias field": _bias,
    "inverted contrast": lambda pixels: 1 - pixels,
    "half resolution": _half,
}
DOUBLED = "doubled prevalence"


@dataclass(frozen=True)
class Pool:
    """Measured studies: by variant, two of each patient, first those without and then those with a tumour.

    Attributes
    ----------
    source : str
    values : dict of str to ndarray of shape (variants, 2 · patients)
        By `screener.monitor.indicators.CHANGES`, ``features`` left out.
    embeddings : ndarray of shape (variants, 2 · patients, d)
        NaN where there is none.
    """

    source: str
    values: dict[str, NDArray[np.float64]]
    embeddings: NDArray[np.float64]

    @property
    def patients(self) -> int:
        """How many patients there are."""
        return int(self.embeddings.shape[1]) // 2


def main() -> None:
    """Simulate and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("SCREENER_DATA") or None)
    parser.add_argument("--sites", type=int, default=1000)
    parser.add_argument("--changed", type=int, default=200, help="Sites of each change.")
    parser.add_argument("--weeks", type=int, default=104)
    parser.add_argument("--each", type=int, default=40, help="Studies a week.")
    parser.add_argument("--patients", type=int, default=_PATIENTS)
    parser.add_argument("--events", type=int, default=1_000_000, help="Of the log that is timed; 0: none.")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/monitoring")
    arguments = parser.parse_args()
    started = time.perf_counter()
    pool = measure(arguments.data, arguments.patients)
    figures = {
        "source": pool.source,
        "patients": pool.patients,
        "weeks": arguments.weeks,
        "each": arguments.each,
        "prevalence": PREVALENCE,
        "stable": stable(pool, arguments.sites, arguments.weeks, arguments.each),
        "changes": {
            name: changed(pool, name, arguments.changed, arguments.weeks, arguments.each)
            for name in (*list(VARIANTS)[1:], DOUBLED)
        },
        "sensitivity": {
            str(share): sensitivity_lost(share, arguments.changed, arguments.weeks, arguments.each)
            for share in (0.1, 0.5, 1.0)
        },
        "change_week": CHANGE_WEEK,
        "long_log": long_log(arguments.events),
        "seconds": time.perf_counter() - started,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(report(figures))
    print(report(figures))


def long_log(events: int) -> dict[str, float] | None:
    """Time the command on a log of so many events; None for none."""
    if not events:
        return None
    with tempfile.TemporaryDirectory() as folder:
        return time_monitor(Path(folder), events)


def measure(data: Path | None, patients: int) -> Pool:
    """Measure heads in every variant."""
    source, studies = _drawn(patients) if data is None else _real(Path(data), patients)
    model = Model.load()
    study = model.card.study
    points = model.card.operating_points if study is None else study.believed_points()
    threshold = points["auto"].threshold
    settings = PipelineSettings(str(model.location.onnx), model.sha256, measure=True)
    with SlicePipeline(settings, model) as pipeline:
        rows = [
            [_study(pipeline, [change(one) for one in slices], threshold) for slices in studies]
            for change in VARIANTS.values()
        ]
    width = max((len(row["embedding"]) for variant in rows for row in variant), default=0) or 1
    missing = np.full(width, np.nan)
    return Pool(
        source,
        {
            name: np.array([[row[name] for row in variant] for variant in rows])
            for name in rows[0][0].keys() - {"embedding"}
        },
        np.array([[row["embedding"] if len(row["embedding"]) else missing for row in variant] for variant in rows]),
    )


def _study(pipeline: SlicePipeline, slices: list[Pixels], threshold: float) -> dict[str, Any]:
    """Return what monitoring would see of a study of these slices."""
    outcomes = pipeline.score([Slice(Identity("", "", None), np.ascontiguousarray(one)) for one in slices])
    scored: list[ScoredSlice] = [one for one in outcomes if not isinstance(one, Refused) and one.refused is None]
    judged = len(scored) >= _LEAST
    score = float(np.mean([one.prediction.probability for one in scored])) if judged else np.nan
    kept = [one.measurements for one in outcomes if one.measurements is not None]
    found: dict[str, Any] = {
        name: float(np.mean([float(one.statistics.get(name, "nan")) for one in kept])) for name in _STATISTICS
    }
    embeddings = decompress_many([one.embedding for one in kept if one.embedding is not None])
    return found | {
        "size": float(np.mean([np.log2(one.size) / 2 for one in slices])),
        "score": score,
        "flagged": float(judged and score >= threshold),
        "not_assessable": float(not judged),
        "embedding": [] if embeddings is None else embeddings.mean(axis=0).tolist(),
    }


def _real(data: Path, patients: int) -> tuple[str, list[list[Pixels]]]:
    """Return slices of FLAIR heads from the middle of the head, without and with a tumour, of the same patients."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: {"no": [], "yes": []})
    with (data / "volumes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            height = int(row["slice_index"] or 0) / max(int(row["n_slices"] or 1), 1)
            if row["source"] == "tcga_lgg" and row["sequence"] == "FLAIR" and 0.3 <= height <= 0.85:
                found[row["patient"]].get(row["label"], []).append(row["path"])
    usable = sorted(one for one, paths in found.items() if min(map(len, paths.values())) >= _SLICES)[:patients]
    rng = np.random.default_rng(_SEED)
    studies = [
        [_pixels(data / path) for path in rng.choice(found[one][label], _SLICES, replace=False)]
        for label in ("no", "yes")
        for one in usable
    ]
    return "slices of real patients (TCGA-LGG, FLAIR, middle of the head)", studies


def _pixels(path: Path) -> Pixels:
    found = read(Entry(path, path.name, None))
    if isinstance(found, Refused):
        raise SystemExit(f"{path}: {found.reason} {found.detail}")
    return found.pixels


def _drawn(patients: int) -> tuple[str, list[list[Pixels]]]:
    """Return drawn heads, without and with a tumour."""
    return "drawn heads", [
        [np.float32(1 / 255) * phantom(one * _SLICES + number, 192, tumour=tumour) for number in range(_SLICES)]
        for tumour in (False, True)
        for one in range(patients)
    ]


@dataclass(frozen=True)
class Plan:
    """What simulated sites go through.

    Attributes
    ----------
    sites, weeks, each : int
    variant : int
        Index into `VARIANTS` of the studies from the week of the change on.
    later : float
        Prevalence from then on.
    """

    sites: int
    weeks: int
    each: int
    variant: int = 0
    later: float = PREVALENCE


def alarms(pool: Pool, plan: Plan, seed: int) -> NDArray[np.int64]:
    """Return the week of each site's first alarm by indicator, -1 without any: (indicators, sites)."""
    rng = np.random.default_rng(seed)
    weeks = np.repeat(np.arange(plan.weeks), plan.each)
    after = weeks >= CHANGE_WEEK
    chance = np.where(after, plan.later, PREVALENCE)[:, None]
    tumour = rng.random((len(weeks), plan.sites)) < chance
    unit = rng.integers(0, pool.patients, tumour.shape) + tumour * pool.patients
    variant = np.where(after, plan.variant, 0)[:, None]
    distances, used = _distances(pool, unit, weeks)
    table = np.empty((len(weeks), len(CHANGES), plan.sites), np.int16)
    for number, name in enumerate(CHANGES):
        if name == "features":
            values = binned(name, distances[np.arange(plan.sites), variant, unit])
            values[used] = -1
        else:
            values = binned(name, pool.values[name])[variant, unit]
        table[:, number] = values
    return _first(table.reshape(len(weeks), -1), rng, weeks, plan)


def _distances(
    pool: Pool, unit: NDArray[np.int64], weeks: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return each site's distance of every study in the pool, (sites, variants, studies), and the rows used for it."""
    used = np.flatnonzero(weeks < REFERENCE)[::2]
    usual = pool.embeddings[0][unit[used]]
    centre, spread = np.nanmean(usual, axis=0), np.maximum(np.nanstd(usual, axis=0), 1e-6)
    found = np.stack(
        [np.square((pool.embeddings - centre[site]) / spread[site]).mean(axis=-1) for site in range(unit.shape[1])]
    )
    return found, used


def _first(
    table: NDArray[np.int16], rng: np.random.Generator, weeks: NDArray[np.int64], plan: Plan
) -> NDArray[np.int64]:
    starts = (np.diff(weeks, prepend=-1) != 0) & (weeks >= REFERENCE)
    limits = np.repeat([1 / BUDGET[name] for name in CHANGES], plan.sites)
    first = np.full(table.shape[1], -1)
    chances = (rng.random((table.shape[1],)) for _ in range(len(table)))
    rows = exchangeability(table, chances, starts, BINS)
    for week, evidence in zip(weeks, rows, strict=True):
        first[(first < 0) & (evidence >= limits)] = week
    return first.reshape(len(CHANGES), plan.sites)


def verdict_alarms(before: float, after: float, share: float, plan: Plan, seed: int) -> NDArray[np.int64]:
    """Return the week of each site's alarm in sensitivity, -1 without: (sites,).

    Parameters
    ----------
    before, after : float
        Sensitivity until and from the week of the change.
    share : float
        Of the missed tumours that are read, by the random sample.
    plan : Plan
    seed : int
    """
    rng = np.random.default_rng(seed)
    weeks = np.repeat(np.arange(plan.weeks), plan.each)
    shape = (len(weeks), plan.sites)
    tumour = rng.random(shape) < PREVALENCE
    caught = rng.random(shape) < np.where(weeks < CHANGE_WEEK, before, after)[:, None]
    read = caught | (rng.random(shape) < share)
    outcomes = np.where(tumour & read, np.where(caught, 0.0, 1 / share), np.nan)
    first = np.full(plan.sites, -1)
    starts = np.diff(weeks, prepend=-1) != 0
    for week, evidence in zip(weeks, sensitivity_below(outcomes, starts, TARGET), strict=True):
        first[(first < 0) & (evidence >= 1 / BUDGET["sensitivity"])] = week
    return first


def stable(pool: Pool, sites: int, weeks: int, each: int) -> dict[str, Any]:
    """Return how many stable sites raise any alarm; their sensitivity is on target, where an alarm is likeliest."""
    from scipy.stats import beta

    plan = Plan(sites, weeks, each)
    by_indicator = np.vstack([verdict_alarms(TARGET, TARGET, 0.1, plan, _SEED), alarms(pool, plan, _SEED + 1)])
    any_alarm = int((by_indicator >= 0).any(axis=0).sum())
    names = ("sensitivity", *CHANGES)
    return {
        "sites": sites,
        "alarms": any_alarm,
        "share": any_alarm / sites,
        "upper": float(beta.ppf(0.95, any_alarm + 1, sites - any_alarm)) if any_alarm < sites else 1.0,
        "by_indicator": {name: int((row >= 0).sum()) for name, row in zip(names, by_indicator, strict=True)},
    }


def changed(pool: Pool, name: str, sites: int, weeks: int, each: int) -> dict[str, Any]:
    """Return the delay until a change is found."""
    variant = 0 if name == DOUBLED else list(VARIANTS).index(name)
    plan = Plan(sites, weeks, each, variant, 2 * PREVALENCE if name == DOUBLED else PREVALENCE)
    first = alarms(pool, plan, _SEED + 2 + variant)
    weeks_of = np.where(first < 0, weeks, first)
    leading = Counter(CHANGES[int(number)] for number in weeks_of.argmin(axis=0))
    return _delay(weeks_of.min(axis=0), weeks) | {"first": dict(leading.most_common())}


def sensitivity_lost(share: float, sites: int, weeks: int, each: int) -> dict[str, Any]:
    """Return the delay until a sensitivity that fell from 0.97 to 0.85 is found."""
    first = verdict_alarms(0.97, 0.85, share, Plan(sites, weeks, each), _SEED + 20)
    return _delay(np.where(first < 0, weeks, first), weeks)


def _delay(weeks_of: NDArray[np.int64], weeks: int) -> dict[str, Any]:
    """Return weeks from the change to the alarm, over the sites without an alarm before; null: not within the time."""
    later = weeks_of[weeks_of >= CHANGE_WEEK]
    found = later[later < weeks] - CHANGE_WEEK + 1
    ranked = np.sort(np.where(later < weeks, later - CHANGE_WEEK + 1, np.inf))

    def quantile(share: float) -> float | None:
        value = ranked[int(np.ceil(share * len(ranked))) - 1] if len(ranked) else np.inf
        return float(value) if np.isfinite(value) else None

    return {
        "sites": len(later),
        "found": len(found),
        "median_weeks": quantile(0.5),
        "most_weeks": quantile(0.9),
    }


def report(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    one = figures["stable"]
    lines = [
        "# Monitoring: false alarms and delays",
        "",
        (
            f"Written by `make bench-monitor`. Sites with {figures['each']} studies a week over {figures['weeks']} "
            f"weeks, prevalence {figures['prevalence']:g}; studies drawn from {figures['source']}, "
            f"{figures['patients']} patients, measured by the shipped model. Heads of one collection vary less than "
            "those of a clinic, where a change of pictures takes longer to show."
        ),
        "",
        "## False alarms",
        "",
        (
            f"{one['alarms']} of {one['sites']:,} stable sites raised any alarm in any indicator, looked at after "
            f"every study: {100 * one['share']:.1f} %, at most {100 * one['upper']:.1f} % (95 % confidence). Allowed: "
            f"{100 * FALSE_ALARMS:.0f} %. Their sensitivity is exactly its target of {TARGET:g}."
        ),
        "",
        "| indicator | sites with an alarm |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in one["by_indicator"].items()),
        "",
        f"## Delays after a change in week {figures['change_week']}",
        "",
        "| change | found within the time | weeks, median | weeks, 9 of 10 sites | first seen in |",
        "|---|---|---|---|---|",
        *(_row(name, found) for name, found in figures["changes"].items()),
        *(
            _row(f"sensitivity 0.97 to 0.85, {100 * float(share):.0f} % of the unflagged read", found)
            for share, found in figures["sensitivity"].items()
        ),
    ]
    return "\n".join([*lines, *_long_log(figures["long_log"])]) + "\n"


def _long_log(found: dict[str, float] | None) -> list[str]:
    if found is None:
        return []
    shown = f"A log of {found['events']:,.0f} events is read and told in {found['seconds']:.0f} s"
    return ["", "## A long log", "", f"{shown}, with {found['peak_memory_mb']:.0f} MB of memory (aims: 30 s, 500 MB)."]


def _row(name: str, found: dict[str, Any]) -> str:
    weeks = ["–" if found[key] is None else f"{found[key]:.0f}" for key in ("median_weeks", "most_weeks")]
    first = next(iter(found.get("first", {"sensitivity": 0})))
    return f"| {name} | {found['found']} of {found['sites']} sites | {weeks[0]} | {weeks[1]} | {first} |"


if __name__ == "__main__":
    main()
