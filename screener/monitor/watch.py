"""Read a log, and say how the site stands: figures by period, indicators, alarms."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from screener.agreement.figures import agreement
from screener.agreement.opinions import collect
from screener.audit import Kind
from screener.audit.reader import marked
from screener.errors import NothingFoundError, UsageError
from screener.monitor.indicators import (
    BUDGET,
    FALSE_ALARMS,
    Calendar,
    changes,
    feature_distances,
    indicator,
    measured,
    sensitivity,
    tumours,
)
from screener.monitor.periods import Site, periods, weighted
from screener.monitor.structs import Excluded, Indicator, Report
from screener.monitor.units import StudyColumns, StudyReader, period_name, period_of, seconds_of

if TYPE_CHECKING:
    from pathlib import Path

    from screener.agreement.figures import Agreement
    from screener.agreement.opinions import ReaderStudy
    from screener.errors import AuditLogError
    from screener.monitor.structs import Weighted
    from screener.monitor.units import Columns, Epoch

WEEK = 7
_RATES = ("sensitivity", "specificity", "kappa")


@dataclass(frozen=True, slots=True)
class MonitorOptions:
    """How to watch.

    Attributes
    ----------
    log : Path
    days : int
        Of a period, from 1.
    reference : int
        Periods, from the first, with which the others are compared; from 1.
    minimum : int
        Patients below which a period has too few for figures; from 2.
    target : float, in [0.7, 1)
        Sensitivity below which an alarm is due.
    since : str or None
        Day from which on studies count, such as ``2026-11-24``: watching begins anew there.
    """

    log: Path
    days: int = WEEK
    reference: int = 8
    minimum: int = 20
    target: float = 0.95
    since: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be used.

        Raises
        ------
        UsageError
        """
        if not 0.7 <= self.target < 1:  # noqa: PLR2004 - the stakes of the bets allow no less
            raise UsageError(f"--sensitivity {self.target:g} is outside 0.7 to 1", "0.95 is what models are tuned for")
        if self.since is not None and not math.isfinite(seconds_of(self.since)):
            raise UsageError(f"--since {self.since!r} is no date", "write it as 2026-11-24")


def watch(options: MonitorOptions) -> tuple[Report, AuditLogError | None]:
    """Read a log and say how the site stands.

    Returns
    -------
    Report
    AuditLogError or None
        What made the log untrustworthy at some point; everything rests on what came before.

    Raises
    ------
    AuditLogError
        There is no such log.
    NothingFoundError
        It holds no study.
    """
    folders = next(marked(options.log, Kind.STUDY), None) is None
    now = datetime.now(UTC)
    since = -math.inf if options.since is None else seconds_of(options.since)
    columns = StudyColumns(options.days, now=now.timestamp(), since=since, folders=folders)
    reader = StudyReader(options.log, columns, folders=folders)
    readings = collect(reader, level="slice" if folders else "study", pictures=False)
    if columns.last is None:
        raise NothingFoundError(f"{options.log} holds no study to watch", "scan first, or ask for an earlier --since")
    excluded = _excluded(columns, reader)
    epoch = columns.last
    site = _site(columns.epochs[epoch], options)
    study = of_epoch(readings, epoch, since)
    found = agreement(study)
    indicators = _indicators(site, study, options, excluded)
    excluded["unattached"] = readings.unattached
    report = Report(
        log=str(options.log),
        head=reader.head,
        written=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        level="slice" if folders else "study",
        model=epoch.model,
        model_sha256=epoch.model_sha256,
        days=options.days,
        minimum=options.minimum,
        reference=_reference(site),
        false_alarms=FALSE_ALARMS,
        target=options.target,
        periods=periods(site, _by_week(found) if options.days == WEEK else {}),
        indicators=indicators,
        overall={name: weighted(found.overall.figures.headline[name]) for name in _RATES},
        excluded=msgspec.convert(dict(excluded), Excluded),
        problem=None if reader.problem is None else str(reader.problem),
    )
    return report, reader.problem


def _excluded(columns: StudyColumns, reader: StudyReader) -> Counter[str]:
    found = Counter(columns.excluded)
    found["other_model"] = sum(len(one.times) for epoch, one in columns.epochs.items() if epoch != columns.last)
    found["runs_without_end"] = len(reader.runs.keys() - reader.ends.keys())
    return found


def _site(columns: Columns, options: MonitorOptions) -> Site:
    times, patients = np.array(columns.times), np.array(columns.patients)
    # Events stand in the order of the chain; a clock that was set back must not make a period come twice.
    order = np.argsort(times, kind="stable")
    calendar = Calendar(options.days, period_of(float(times[order[0]]), options.days), options.reference)
    numbers = calendar.numbers(times[order])
    reference = numbers < calendar.first + calendar.reference
    embeddings = [columns.embeddings[place] for place in order]
    distances = feature_distances(embeddings, reference, first_of(patients[order]))
    back = np.empty_like(distances)
    back[order] = distances
    values = {name: column[order] for name, column in measured(columns, back).items()}
    decisions = np.array(columns.decisions)[order].astype(np.int64)
    return Site(columns, order, numbers, patients[order], decisions, values, calendar, options.minimum)


def first_of(patients: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which entries are the first of their patient."""
    found = np.zeros(len(patients), dtype=bool)
    found[np.unique(patients, return_index=True)[1]] = True
    return found


def _indicators(
    site: Site, study: ReaderStudy, options: MonitorOptions, excluded: Counter[str]
) -> tuple[Indicator, ...]:
    """Return every indicator; the studies of one patient are alike, so that each patient counts once."""
    first = first_of(site.patients)
    excluded["seen_patients"] = int((~first).sum())
    chances = np.array(site.columns.chances)[site.order][first]
    values = {name: column[first] for name, column in site.values.items()}
    found = tumours(study.readings, excluded)
    paths = [
        sensitivity(found, options.target, site.calendar),
        *changes(values, chances, site.periods[first], site.calendar),
    ]
    names = {
        number: period_name(number, options.days) for _, path, _ in paths for number in {period for period, _ in path}
    }
    made = {name: indicator(name, path, count, names) for name, path, count in paths}
    return tuple(made[name] for name in BUDGET)


def of_epoch(study: ReaderStudy, epoch: Epoch, since: float) -> ReaderStudy:
    """Return the part of a reader study that one model and threshold answered for."""
    return replace(
        study,
        population=Counter({one: count for one, count in study.population.items() if one[:2] == epoch}),
        urgencies=Counter({one: count for one, count in study.urgencies.items() if one[0][:2] == epoch}),
        readings=[one for one in study.readings if one.stratum[:2] == epoch and seconds_of(one.item.judged) >= since],
    )


def _by_week(found: Agreement) -> dict[str, dict[str, Weighted]]:
    return {
        week.name: {name: weighted(week.figures.headline[name]) for name in _RATES if week.figures.read}
        for week in found.weeks
    }


def _reference(site: Site) -> str:
    """Say what periods are compared with: the model's card holds no distribution of scores."""
    first, last = (
        period_name(number, site.calendar.days)
        for number in (site.calendar.first, site.calendar.first + site.calendar.reference - 1)
    )
    return f"{first} to {last}, the first {site.calendar.reference} periods of this model and threshold in the log"
