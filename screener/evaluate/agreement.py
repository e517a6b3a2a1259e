"""How often readers and tool agree, and what that says of the tool: figures from the verdicts in the log.

What was flagged or could not be assessed is all to be read; of the rest only a random sample is. So a verdict counts
for as many slices as it stands for: flagged and not assessable ones for those of their kind that nobody has read yet,
sampled ones by the inverse of the probability with which they were drawn (Horvitz & Thompson, JASA 1952), scaled to
the number that they were drawn from (Hájek 1971). A slice that was not flagged and that somebody opened on purpose
stands for itself only. Both rest on one assumption, which the report repeats: that the unread slices of a kind are
like the read ones.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from screener.audit import Kind
from screener.audit.events import BadLineError, hash_in, parse
from screener.audit.segments import lines
from screener.errors import AuditLogError
from screener.evaluate.metrics import LEVEL, exact_interval, resampled
from screener.types import Decision
from screener.worklist import Story, item_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from screener.audit import Event
    from screener.report.spool import Item

TUMOUR, NO_TUMOUR, UNSURE, BAD_IMAGE = "tumour", "no_tumour", "unsure", "bad_image"
_KNOWN = (TUMOUR, NO_TUMOUR, UNSURE, BAD_IMAGE)
_RESULT_MARK = b'"event":"RESULT"'
_SAMPLE = "sample"

_KINDS = tuple((decision, truth) for decision in Decision for truth in (True, False))
"""What a verdict can say of a decision: columns of the tables below."""
_AT = {kind: place for place, kind in enumerate(_KINDS)}


@dataclass(frozen=True, slots=True)
class Opinion:
    """The last verdict of one reader about one result.

    Attributes
    ----------
    week : str
        ISO year and week, such as ``2026-W48``.
    drawn : str
        Why the slice was asked about; ``asked`` where that is not recorded.
    sampling : float, in (0, 1], or None
        Probability of being drawn.
    """

    doctor: str
    diagnosis: str
    note: str
    week: str
    drawn: str
    sampling: float | None


@dataclass(frozen=True, slots=True)
class Reading:
    """A result that was read, by one reader or several.

    Attributes
    ----------
    item : Item
    version : str
        Model, start of its hash, and threshold.
    opinions : tuple of Opinion
        One for each reader.
    """

    item: Item
    version: str
    opinions: tuple[Opinion, ...]

    @property
    def truth(self) -> bool | None:
        """Whether most readers saw a tumour; None without a majority of those who decided."""
        votes = Counter(opinion.diagnosis for opinion in self.opinions)
        if votes[TUMOUR] == votes[NO_TUMOUR]:
            return None
        return votes[TUMOUR] > votes[NO_TUMOUR]

    @property
    def unit(self) -> tuple[str, str]:
        """The patient; for a slice without one, its folder."""
        finding = self.item.finding
        return self.item.inbox, finding.patient_id or finding.path.rpartition("/")[0] or finding.path

    @property
    def week(self) -> str:
        """The week of the last verdict."""
        return max(opinion.week for opinion in self.opinions)

    @property
    def disputed(self) -> bool:
        """Whether readers contradict each other."""
        return {TUMOUR, NO_TUMOUR} <= {opinion.diagnosis for opinion in self.opinions}


@dataclass
class Readings:
    """Everything that the log tells about reading.

    Attributes
    ----------
    readings : list of Reading
    totals : dict
        Results by (version, decision).
    urgencies, read : Counter
        Results, and results with a verdict, by urgency.
    head : str
        Hash of the last sound event.
    problem : AuditLogError or None
        What made the log untrustworthy at some point; what came before counts.
    """

    readings: list[Reading] = field(default_factory=list)
    totals: Counter[tuple[str, str]] = field(default_factory=Counter)
    urgencies: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)
    head: str = ""
    problem: AuditLogError | None = None


def collect(log: Path) -> Readings:
    """Read the log twice: once for verdicts and totals, once for the results that were read.

    Raises
    ------
    AuditLogError
        There is no such log.
    """
    found, story = Readings(), Story(log)
    opinions: dict[str, dict[str, Opinion]] = defaultdict(dict)
    for event in story.events():
        if event["event"] == Kind.RESULT:
            found.totals[_version(event), str(event["decision"])] += 1
            found.urgencies[str(event["urgency"])] += 1
        elif event["event"] == Kind.REVIEW and isinstance(event["result"], str):
            opinion = _opinion(event)
            opinions[event["result"]][opinion.doctor] = opinion
    found.head, found.problem = story.head, story.problem
    for event in _results(log, opinions):
        try:
            item = item_of(story, event)
        except AuditLogError as error:
            found.problem = found.problem or error
            continue
        found.readings.append(Reading(item, _version(event), tuple(opinions[event["hash"]].values())))
        found.read[item.finding.urgency.value] += 1
    return found


def _results(log: Path, wanted: dict[str, dict[str, Opinion]]) -> Iterable[Event]:
    for line in lines(log):
        if _RESULT_MARK in line.raw and hash_in(line.raw) in wanted:
            try:
                event = parse(line.raw)
            except BadLineError:
                # Told of already, by the first look at the log.
                continue
            if event["event"] == Kind.RESULT:
                yield event


def _version(event: Event) -> str:
    return f"{event['model']} ({str(event['model_sha256'])[:8]}) ≥ {event['threshold']}"


def _opinion(event: Event) -> Opinion:
    told = str(event["final_diagnosis"])
    return Opinion(
        doctor=str(event["doctor_id"]),
        diagnosis=told if told in _KNOWN else UNSURE,
        note=str(event.get("note") or "") if told in _KNOWN else told,
        week=_week(event["timestamp"]),
        drawn=str(event.get("drawn") or "asked"),
        sampling=_share(event.get("sampling")),
    )


def _week(timestamp: str) -> str:
    try:
        year, week, _ = datetime.fromisoformat(timestamp).isocalendar()
    except ValueError:
        return "?"
    return f"{year}-W{week:02d}"


def _share(text: object) -> float | None:
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if 0 < value <= 1 else None


def weights(found: Readings) -> list[float]:
    """Return for how many slices each reading stands; 0 for one without a majority.

    Parameters
    ----------
    found : Readings

    Returns
    -------
    list of float
        In the order of the readings.
    """
    strata = [_stratum(reading) for reading in found.readings]
    inverse = [_inverse(reading) for reading in found.readings]
    sums: Counter[tuple[str, str, str]] = Counter()
    asked: Counter[str] = Counter()
    for stratum, share in zip(strata, inverse, strict=True):
        if stratum is not None:
            sums[stratum] += share  # type: ignore[assignment]  # a Counter adds whatever is a number
            asked[stratum[0]] += stratum[2] == "asked"
    told = []
    for stratum, share in zip(strata, inverse, strict=True):
        if stratum is None:
            told.append(0.0)
        elif stratum[2] == "asked":
            told.append(1.0)
        else:
            version, decision, _ = stratum
            rest = asked[version] if decision == Decision.NOT_FLAGGED else 0
            told.append(share * (found.totals[version, decision] - rest) / sums[stratum])
    return told


def _stratum(reading: Reading) -> tuple[str, str, str] | None:
    """Return version, decision, and whether the slice was read by design or on purpose; None without a majority."""
    if reading.truth is None:
        return None
    decision = reading.item.finding.decision
    by_design = decision is not Decision.NOT_FLAGGED or any(opinion.drawn == _SAMPLE for opinion in reading.opinions)
    return reading.version, decision.value, _SAMPLE if by_design else "asked"


def _inverse(reading: Reading) -> float:
    shares = [opinion.sampling for opinion in reading.opinions if opinion.sampling is not None]
    return 1 / max(shares) if shares and reading.item.finding.decision is Decision.NOT_FLAGGED else 1.0


def figures(readings: Sequence[Reading], stands_for: Sequence[float], *, seed: int = 0) -> dict[str, Any]:
    """Return rates against the verdicts, weighted, with 95 % intervals by bootstrap over patients.

    Parameters
    ----------
    readings : sequence of Reading
    stands_for : sequence of float
        From `weights`.
    seed : int

    Returns
    -------
    dict
        ``counts`` of readings by decision and truth; ``sensitivity, specificity`` by the contract (a positive that is
        not assessable is a miss, a negative a false alarm), ``ppv, npv, kappa``, ``assessable_sensitivity,
        assessable_specificity``: each with ``value, low, high`` and the number of patients behind it, or None where
        it cannot be known, with ``why``.
    """
    import numpy as np

    units: dict[tuple[str, str], int] = {}
    rows = []
    for reading, weight in zip(readings, stands_for, strict=True):
        truth = reading.truth
        if truth is not None:
            unit = units.setdefault(reading.unit, len(units))
            rows.append((unit, _AT[reading.item.finding.decision, truth], weight))
    weighted, plain = np.zeros((len(units), len(_KINDS))), np.zeros((len(units), len(_KINDS)))
    for unit, place, weight in rows:
        weighted[unit, place] += weight
        plain[unit, place] += 1
    counts = plain.sum(axis=0)
    told: dict[str, Any] = {
        "readings": len(rows),
        "patients": len(units),
        "undecided": len(readings) - len(rows),
        "counts": {f"{decision.value}:{TUMOUR if truth else NO_TUMOUR}": int(counts[_AT[decision, truth]])
                   for decision, truth in _KINDS},
    }  # fmt: skip
    draws = resampled(weighted, seed)
    for name, (rate, needs) in _RATES.items():
        told[name] = _figure(rate, needs, weighted, plain, draws)
    return told


def _at(table: NDArray[np.float64], decision: Decision, *, truth: bool) -> NDArray[np.float64]:
    return table[..., _AT[decision, truth]]


def _cells(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return caught, false alarms, missed, quiet, and what was not assessable: positive and negative."""
    return (
        _at(table, Decision.FLAGGED, truth=True),
        _at(table, Decision.FLAGGED, truth=False),
        _at(table, Decision.NOT_FLAGGED, truth=True),
        _at(table, Decision.NOT_FLAGGED, truth=False),
        _at(table, Decision.NOT_ASSESSABLE, truth=True),
        _at(table, Decision.NOT_ASSESSABLE, truth=False),
    )


def _over(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.asarray(whole) > 0, part / np.asarray(whole, float), np.nan)


def _sensitivity(table: NDArray[np.float64]) -> NDArray[np.float64]:
    caught, _, missed, _, refused, _ = _cells(table)
    return _over(caught, caught + missed + refused)


def _specificity(table: NDArray[np.float64]) -> NDArray[np.float64]:
    _, alarms, _, quiet, _, refused = _cells(table)
    return _over(quiet, quiet + alarms + refused)


def _assessable_sensitivity(table: NDArray[np.float64]) -> NDArray[np.float64]:
    caught, _, missed, *_ = _cells(table)
    return _over(caught, caught + missed)


def _assessable_specificity(table: NDArray[np.float64]) -> NDArray[np.float64]:
    _, alarms, _, quiet, *_ = _cells(table)
    return _over(quiet, quiet + alarms)


def _ppv(table: NDArray[np.float64]) -> NDArray[np.float64]:
    caught, alarms, *_ = _cells(table)
    return _over(caught, caught + alarms)


def _npv(table: NDArray[np.float64]) -> NDArray[np.float64]:
    _, _, missed, quiet, *_ = _cells(table)
    return _over(quiet, quiet + missed)


def _kappa(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Agreement beyond chance of tool and readers (Cohen, Educ. Psychol. Meas. 1960), among assessable slices."""
    caught, alarms, missed, quiet, *_ = _cells(table)
    total = caught + alarms + missed + quiet
    seen = _over(caught + quiet, total)
    by_chance = _over((caught + alarms) * (caught + missed) + (missed + quiet) * (alarms + quiet), total * total)
    return _over(seen - by_chance, 1 - by_chance)


_RATES: dict[str, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], bool]] = {
    "sensitivity": (_sensitivity, True),
    "specificity": (_specificity, True),
    "ppv": (_ppv, False),
    "npv": (_npv, True),
    "kappa": (_kappa, True),
    "assessable_sensitivity": (_assessable_sensitivity, True),
    "assessable_specificity": (_assessable_specificity, True),
}
"""Each rate, and whether it cannot be known without a reading of slices that were not flagged."""


def _figure(
    rate: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    needs_unflagged: bool,
    weighted: NDArray[np.float64],
    plain: NDArray[np.float64],
    draws: NDArray[np.float64],
) -> dict[str, Any]:
    import numpy as np

    unflagged = sum(float(_at(plain, Decision.NOT_FLAGGED, truth=truth).sum()) for truth in (True, False))
    if needs_unflagged and not unflagged:
        return {"value": None, "low": None, "high": None, "why": "no_unflagged"}
    value = float(rate(weighted.sum(axis=0)))
    if not math.isfinite(value):
        return {"value": None, "low": None, "high": None, "why": "no_readings"}
    found = np.asarray(rate(draws), float)
    found = found[np.isfinite(found)]
    low, high = (float(np.quantile(found, q)) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    if value in (0.0, 1.0) and rate is not _kappa:
        # A bootstrap sees no other patients than these. Weights make them count for more; this interval does not.
        patients = int(np.isfinite(rate(plain)).sum())
        low, high = exact_interval(patients if value else 0, patients)
    return {"value": value, "low": low, "high": high}


def reader_pairs(readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """Return Cohen's kappa between every two readers who decided on slices in common."""
    tables: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for reading in readings:
        decided = sorted(
            (opinion.doctor, opinion.diagnosis) for opinion in reading.opinions if opinion.diagnosis in _KNOWN[:2]
        )
        for index, (first, said) in enumerate(decided):
            for second, answered in decided[index + 1 :]:
                tables[first, second][2 * (said == NO_TUMOUR) + (answered == NO_TUMOUR)] += 1
    told = []
    for (first, second), (both, one, other, neither) in sorted(tables.items()):
        count = both + one + other + neither
        by_chance = ((both + one) * (both + other) + (other + neither) * (one + neither)) / count**2
        kappa = None if by_chance == 1 else ((both + neither) / count - by_chance) / (1 - by_chance)
        told.append({"readers": [first, second], "slices": count, "agree": both + neither, "kappa": kappa})
    return told


def report(found: Readings) -> dict[str, Any]:
    """Return all figures: over everything, by model version and by week; shares read; pairs of readers."""
    stands_for = weights(found)

    def part(key: Callable[[Reading], str]) -> dict[str, Any]:
        names = sorted({key(reading) for reading in found.readings})
        return {name: figures(*_chosen(found.readings, stands_for, key, name)) for name in names}

    return {
        "head": found.head,
        "overall": figures(found.readings, stands_for),
        "versions": part(lambda reading: reading.version),
        "weeks": part(lambda reading: reading.week),
        "groups": {
            urgency: {"results": count, "read": found.read[urgency], "share": found.read[urgency] / count}
            for urgency, count in sorted(found.urgencies.items())
        },
        "readers": reader_pairs(found.readings),
    }


def _chosen(
    readings: Sequence[Reading], stands_for: Sequence[float], key: Callable[[Reading], str], name: str
) -> tuple[list[Reading], list[float]]:
    pairs = [pair for pair in zip(readings, stands_for, strict=True) if key(pair[0]) == name]
    return [reading for reading, _ in pairs], [weight for _, weight in pairs]


def disagreements(found: Readings) -> dict[str, list[Reading]]:
    """Return what to look at again: ``missed`` (refused positives too), ``alarms``, and ``disputed`` among readers."""
    missed, alarms = [], []
    for reading in found.readings:
        flagged = reading.item.finding.decision is Decision.FLAGGED
        if reading.truth is True and not flagged:
            missed.append(reading)
        elif reading.truth is False and flagged:
            alarms.append(reading)
    lowest = sorted(missed, key=lambda reading: reading.item.finding.probability or 0.0)
    highest = sorted(alarms, key=lambda reading: -(reading.item.finding.probability or 0.0))
    return {
        "missed": lowest,
        "alarms": highest,
        "disputed": [reading for reading in found.readings if reading.disputed],
    }
