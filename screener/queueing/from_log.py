"""What a log knows of a site's queue: how many studies come, and how the tool does by the verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from screener.agreement.figures import agreement, weigh
from screener.agreement.opinions import collect
from screener.agreement.weighted_estimates import totals
from screener.audit import Kind
from screener.audit.reader import marked
from screener.domain.finding import Decision
from screener.errors import NothingFoundError
from screener.monitor.periods import wilson
from screener.monitor.units import DECISIONS, StudyColumns, StudyReader
from screener.monitor.watch import of_epoch

if TYPE_CHECKING:
    from pathlib import Path

    from screener.agreement.opinions import ReaderStudy
    from screener.errors import AuditLogError
    from screener.monitor.units import Columns

_WEEK = 604_800.0
_LEAST_SPAN = 1.0
"""Weeks below which no rate of arrival is told."""


@dataclass(frozen=True, slots=True)
class Known:
    """A figure with its 95 % interval; equal ends where it was given."""

    value: float
    low: float
    high: float

    @classmethod
    def given(cls, value: float) -> Known:
        """Return a figure without an interval."""
        return cls(value, value, value)


@dataclass(frozen=True, slots=True)
class Observed:
    """What a log tells; None where it does not.

    Attributes
    ----------
    figures : dict of str to Known
        ``arrivals``, ``prevalence``, ``sensitivity``, ``specificity`` and ``not_assessable``, as far as they are known.
    studies : int
    verdicts : int
        Studies with a verdict of tumour or no tumour.
    problem : AuditLogError or None
        What made the log untrustworthy at some point.
    """

    figures: dict[str, Known]
    studies: int
    verdicts: int
    problem: AuditLogError | None


def observe(log: Path) -> Observed:
    """Read a log, for the model and threshold of its last study.

    Raises
    ------
    AuditLogError
        There is no such log.
    NothingFoundError
        It holds no study.
    """
    folders = next(marked(log, Kind.STUDY), None) is None
    columns = StudyColumns(7, now=datetime.now(UTC).timestamp(), folders=folders)
    reader = StudyReader(log, columns, folders=folders)
    study = collect(reader, level="slice" if folders else "study", pictures=False)
    if columns.last is None:
        raise NothingFoundError(f"{log} holds no study", "scan first, or give --arrivals, --prevalence and the others")
    found = columns.epochs[columns.last]
    mine = of_epoch(study, columns.last, -math.inf)
    figures = _counted(found)
    decided = sum(one.reference.value in {"tumour", "no_tumour"} for one in mine.readings)
    if decided:
        figures |= _from_verdicts(mine, decided)
    return Observed(figures, len(found.times), decided, reader.problem)


def _counted(columns: Columns) -> dict[str, Known]:
    count = len(columns.times)
    refused = sum(one == DECISIONS.index(Decision.NOT_ASSESSABLE) for one in columns.decisions)
    found = {"not_assessable": Known(refused / count, *wilson(refused / count, count))}
    weeks = (max(columns.times) - min(columns.times)) / _WEEK
    if weeks >= _LEAST_SPAN:
        # Poisson, by the square root of the count.
        half = 2 * math.sqrt(count)
        found["arrivals"] = Known(count / weeks, max(count - half, 1) / weeks, (count + half) / weeks)
    return found


def _from_verdicts(study: ReaderStudy, decided: int) -> dict[str, Known]:
    headline = agreement(study).overall.figures.headline
    found = {}
    for name in ("sensitivity", "specificity"):
        one = headline[name]
        if one.value is not None and one.low is not None and one.high is not None:
            found[name] = Known(one.value, one.low, one.high)
    cells = totals(weigh(study.population, study.readings)[0])
    if "sensitivity" in found and cells.sum() > 0:
        share = float(cells[1::2].sum() / cells.sum())
        found["prevalence"] = Known(share, *wilson(share, decided))
    return found


def drawn(
    known: Known, rng: np.random.Generator, count: int, *, share: bool
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Draw a figure as often as asked for, so that its middle and 95 % interval are those that are known.

    Normal on the scale of the logit for a share, of the logarithm for a rate; the same value always where it was given.

    Parameters
    ----------
    known : Known
    rng : numpy.random.Generator
    count : int
    share : bool
        In [0, 1].
    """
    if known.low == known.high:
        return np.full(count, known.value)
    least, most = (1e-4, 1 - 1e-4) if share else (1e-9, math.inf)

    def scaled(value: float) -> float:
        inside = min(max(value, least), most)
        return math.log(inside / (1 - inside)) if share else math.log(inside)

    spread = (scaled(known.high) - scaled(known.low)) / (2 * 1.96)
    values = rng.normal(scaled(known.value), spread, count)
    return 1 / (1 + np.exp(-values)) if share else np.exp(values)
