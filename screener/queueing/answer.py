"""Waiting times of a site with intervals, by formula and, on demand, by simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from msgspec import Meta, Struct, structs

from screener.errors import UsageError
from screener.queueing.formulas import Site, Waits, waits
from screener.queueing.from_log import Known, Observed, drawn, observe

if TYPE_CHECKING:
    from pathlib import Path

    from screener.errors import AuditLogError

FIGURES = ("arrivals", "prevalence", "sensitivity", "specificity", "not_assessable")
_DRAWS = 2000
_SEED = 0
_TAIL = 0.025
_RUNS = 8
_LEAST_STUDIES, _MOST_STUDIES = 4000, 30_000
_MEMORY = 100
"""A queue forgets within some ``1 / (1 - load)²`` studies; a run is as many times as long."""
LOADS = tuple(number / 100 for number in range(30, 98))
"""Loads of the curve on the page."""


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """What is asked; None where the log is to tell.

    Attributes
    ----------
    log : Path or None
    minutes, hours : float
        Of one reading; of reading a week.
    readers : int
    given : dict of str to float
        By `FIGURES`: takes the place of what the log tells.
    simulate : bool
    """

    log: Path | None
    minutes: float
    hours: float
    readers: int
    given: dict[str, float]
    simulate: bool = False


class Between(Struct, frozen=True):
    """A figure with its 95 % interval."""

    value: Annotated[float, Meta(description="The figure.")]
    low: Annotated[float, Meta(description="Lower end; the figure itself where it was given.")]
    high: Annotated[float, Meta(description="Upper end.")]


class QueueAnswer(Struct, frozen=True, kw_only=True):
    """What reading in the tool's order gains and costs; waiting times in days."""

    site: Annotated[Site, Meta(description="What it follows from.")]
    figures: Annotated[dict[str, Between], Meta(description="Of these, what the log tells, with intervals.")]
    studies: Annotated[int, Meta(ge=0, description="Studies in the log; 0 without one.")]
    verdicts: Annotated[int, Meta(ge=0, description="Of them, with a verdict of tumour or no tumour.")]
    load: Annotated[Between, Meta(description="Share of the readers' time that reading takes.")]
    arrival: Annotated[Between, Meta(description="Wait in order of arrival, whoever it is.")]
    tumour: Annotated[Between, Meta(description="Wait in the tool's order, with a tumour.")]
    no_tumour: Annotated[Between, Meta(description="Wait in the tool's order, without a tumour.")]
    overloaded: Annotated[float, Meta(ge=0, le=1, description="Share of draws in which the queue has no end.")]
    simulated: Annotated[
        dict[str, Between] | None,
        Meta(description="The three waits, simulated, with the error of that; or null."),
    ] = None
    problem: Annotated[str | None, Meta(description="Why the log cannot be trusted to its end; null: it can.")] = None


def answer(options: QueueOptions) -> tuple[QueueAnswer, AuditLogError | None]:
    """Compute waiting times.

    Raises
    ------
    UsageError
        A figure is neither given nor in the log, or the readers cannot keep up.
    AuditLogError, NothingFoundError
        See `screener.queueing.from_log.observe`.
    """
    seen = Observed({}, 0, 0, None) if options.log is None else observe(options.log)
    known = seen.figures | {name: Known.given(value) for name, value in options.given.items()}
    known.setdefault("not_assessable", Known.given(0.0))
    _refuse_unknown(known, options)
    site = Site(
        minutes=options.minutes,
        hours=options.hours,
        readers=options.readers,
        **{name: known[name].value for name in FIGURES},
    )
    _refuse_overload(site)
    sites = _draws(site, known)
    steady = [one for one in sites if one.load < 1]
    found = [waits(one) for one in steady]
    middle, days = waits(site), _days(site)
    made = QueueAnswer(
        site=site,
        figures={name: Between(one.value, one.low, one.high) for name, one in known.items() if one.low != one.high},
        studies=seen.studies,
        verdicts=seen.verdicts,
        load=_between(site.load, [one.load for one in sites]),
        overloaded=1 - len(steady) / len(sites),
        simulated=_simulated(site, days) if options.simulate else None,
        problem=None if seen.problem is None else str(seen.problem),
        **{
            name: _between(days * getattr(middle, name), [days * getattr(one, name) for one in found])
            for name in Waits.__struct_fields__
        },
    )
    return made, seen.problem


def _refuse_unknown(known: dict[str, Known], options: QueueOptions) -> None:
    missing = [name for name in FIGURES if name not in known]
    if not missing:
        return
    asked = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
    where = "is not given" if options.log is None else f"cannot be told from {options.log}"
    hint = f"give {asked}" if options.log is None else f"give {asked}; verdicts on a random sample tell the others"
    raise UsageError(f"{missing[0].replace('_', ' ')} {where}", hint)


def _refuse_overload(site: Site) -> None:
    if site.load < 1:
        return
    enough = math.floor(site.load * site.readers) + 1
    raise UsageError(
        f"the readers ({site.readers}) cannot keep up: {site.arrivals:g} studies a week take {site.load:.0%} of their "
        "time, and the queue grows without end in either order",
        f"give --readers {enough} or more, or more --hours",
    )


def _draws(site: Site, known: dict[str, Known]) -> list[Site]:
    """Return sites as they may be, by the intervals of what is known; the site alone where all was given."""
    if all(one.low == one.high for one in known.values()):
        return [site]
    rng = np.random.default_rng(_SEED)
    columns = {name: drawn(known[name], rng, _DRAWS, share=name != "arrivals") for name in FIGURES}
    return [
        structs.replace(site, **{name: float(column[number]) for name, column in columns.items()})
        for number in range(_DRAWS)
    ]


def _between(value: float, values: list[float]) -> Between:
    low, high = (float(np.quantile(values, tail)) for tail in (_TAIL, 1 - _TAIL))
    return Between(value, min(low, value), max(high, value))


def _days(site: Site) -> float:
    """Return how many days of the calendar an hour of reading time is."""
    return 7 / site.hours


def _simulated(site: Site, days: float) -> dict[str, Between]:
    from screener.queueing.simulation import simulate

    studies = round(min(max(_MEMORY / (1 - site.load) ** 2, _LEAST_STUDIES), _MOST_STUDIES))
    found = simulate(site, studies=studies, runs=_RUNS)
    return {
        name: Between(
            days * getattr(found.mean, name),
            days * (getattr(found.mean, name) - getattr(found.error, name)),
            days * (getattr(found.mean, name) + getattr(found.error, name)),
        )
        for name in Waits.__struct_fields__
    }


def curve(site: Site) -> list[tuple[float, Waits]]:
    """Return the waits in days at other loads, by the number of studies that arrive."""
    days = _days(site)
    found = []
    for load in LOADS:
        one = waits(structs.replace(site, arrivals=site.arrivals * load / site.load))
        found.append((load, Waits(one.arrival * days, one.tumour * days, one.no_tumour * days)))
    return found
