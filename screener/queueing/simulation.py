"""The same queue, simulated event by event with ciw: it must agree with the formulas, which assume nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from screener.errors import UsageError
from screener.queueing.formulas import Waits

if TYPE_CHECKING:
    from screener.queueing.formulas import Site

_WARM_UP = 0.2
"""Share of the simulated time that is left out: the queue begins empty."""
_STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 9: 2.262, 19: 2.093}
"""97.5th percentiles of Student's t by degrees of freedom; between two of them the larger one is used."""
_CLASSES = ("flagged", "not_assessable", "not_flagged")


class Simulated(Struct, frozen=True):
    """Mean hours of reading time until reading begins, over runs; `error` is half of the 95 % interval."""

    mean: Waits
    error: Waits
    runs: int
    studies: int


def simulate(site: Site, *, studies: int, runs: int, seed: int = 0) -> Simulated:
    """Simulate a site in both orders.

    Parameters
    ----------
    site : Site
        With a load below 1.
    studies : int
        Expected in each run.
    runs : int
        At least 2, independent of each other.
    seed : int

    Raises
    ------
    UsageError
        ciw is not installed.
    """
    found = np.array([_run(site, studies, seed + run) for run in range(runs)])
    quantile = next(value for degrees, value in reversed(_STUDENT.items()) if degrees <= runs - 1)
    error = quantile * found.std(axis=0, ddof=1) / np.sqrt(runs)
    return Simulated(Waits(*map(float, found.mean(axis=0))), Waits(*map(float, error)), runs, studies)


def _run(site: Site, studies: int, seed: int) -> tuple[float, float, float]:
    """Return one run's mean waits: in order of arrival, then in the tool's order with and without a tumour."""
    until = studies / site.arrivals * site.hours
    arrival = _waits(site, until, seed, ordered=False)
    tool = _waits(site, until, seed + 1_000_003, ordered=True)
    return (
        float(np.concatenate([arrival[True], arrival[False]]).mean()),
        float(tool[True].mean()),
        float(tool[False].mean()),
    )


def _waits(site: Site, until: float, seed: int, *, ordered: bool) -> dict[bool, np.ndarray[Any, np.dtype[np.float64]]]:
    """Return the waits of patients with and without a tumour."""
    ciw = _ciw()
    rates = {
        (tumour, number): site.arrivals / site.hours * share * part
        for tumour, share in ((True, site.prevalence), (False, 1 - site.prevalence))
        for number, part in enumerate(site.classes(tumour=tumour))
    }
    names = {key: f"{key[0]} {_CLASSES[key[1]]}" for key, rate in rates.items() if rate > 0}
    # ciw wants priorities without a gap.
    places = sorted({number if ordered else 0 for _, number in names})
    network = ciw.create_network(
        arrival_distributions={name: [ciw.dists.Exponential(rates[key])] for key, name in names.items()},
        service_distributions={name: [ciw.dists.Exponential(60 / site.minutes)] for name in names.values()},
        number_of_servers=[site.readers],
        priority_classes={name: places.index(key[1] if ordered else 0) for key, name in names.items()},
    )
    ciw.seed(seed)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(until)
    found: dict[bool, list[float]] = {True: [], False: []}
    for record in simulation.get_all_records(only=["service"]):
        if record.arrival_date >= _WARM_UP * until:
            found[record.customer_class.startswith("True")].append(record.waiting_time)
    return {tumour: np.array(waits or [0.0]) for tumour, waits in found.items()}


def _ciw() -> Any:  # noqa: ANN401 - ciw ships no types
    try:
        import ciw
    except ImportError:
        raise UsageError(
            "the simulation needs more than the base install",
            "run: pip install 'screener[queue]', or leave --simulate out",
        ) from None
    return ciw
