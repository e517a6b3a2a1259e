"""How the tool's decisions agree with what readers said, though most of the cases that are not flagged are never read.

A case is a study, or on demand a slice.

Reference standard: the verdicts *tumour* and *no tumour*; index test: flagged or not. What is not assessable counts as
everywhere: a positive as a miss, a negative as a false alarm; beside that stand the rates among assessable cases.

Weights (Horvitz & Thompson, J Am Stat Assoc 1952; ratio form of Hájek 1971). Cases are grouped by model,
threshold and decision, and those read stand for their whole group:

* flagged, and not assessable: all are to be read, so each one read weighs (cases of the group) / (cases read). Those
  not read yet are thereby taken to be missing at random.
* not flagged: a case drawn with the chance *s* weighs 1/s, scaled so that the weights add up to the group. Unscaled,
  cases that were drawn and not read yet, or nights of which no sample was drawn, would count as free of misses.
  Where a chance was not recorded, that is (cases of the group) / (cases read).
* not flagged, but opened because somebody asked for it: no random sample, since people open what worries them. Such
  cases are certain to be in and weigh 1; the sample stands for all others.

A figure that needs a group of which nothing was read is not known, and is not given.

For the intervals see `screener.agreement.weighted_estimates`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from screener.agreement.weighted_estimates import DECISIONS, Sample, estimates
from screener.domain.finding import Decision, Urgency
from screener.domain.verdict import Diagnosis, SelectionReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from screener.agreement.opinions import Level, ReaderStudy, Reading, Stratum
    from screener.domain.estimate import WeightedEstimate

_POSITIVE = {Diagnosis.TUMOUR: 1, Diagnosis.NO_TUMOUR: 0}
_THIN = 0.8
"""Below this share of the unflagged, the sample by its own chances stands for too few of them: worth a warning."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What agreement a set of cases shows.

    Attributes
    ----------
    read, blind : int
        Cases that were read, and of them those read before the tool's answer was shown.
    verdicts : mapping of str to int
        Cases by reference, and ``other``: those of the unsure that hold words of another kind.
    table : mapping of str to mapping
        By decision: ``tumour``, ``no_tumour`` and ``neither``, in cases read; ``weight``, cases for which they stand.
    headline, assessable : mapping of str to WeightedEstimate
        By `NAMES`.
    """

    read: int
    blind: int
    verdicts: Mapping[str, int]
    table: Mapping[str, Mapping[str, float]]
    headline: Mapping[str, WeightedEstimate]
    assessable: Mapping[str, WeightedEstimate]


@dataclass(frozen=True, slots=True)
class Group:
    """A model version at a threshold, or a week.

    Attributes
    ----------
    name : str
        Title of the model and threshold, such as ``lite 0.3.0 ≥ 0.31``, or ISO week such as ``2026-W48``.
    model_sha256 : str
        Empty for a week.
    screened : int or None
        By that model; None for a week.
    refused : int or None
        Of them, not assessable.
    reviewed : mapping of str to Share
        By urgency; empty for a week.
    figures : Figures
    """

    name: str
    model_sha256: str
    screened: int | None
    refused: int | None
    reviewed: Mapping[str, Share]
    figures: Figures


@dataclass(frozen=True, slots=True)
class Share:
    """How many cases of a kind were screened, and how many of them read."""

    screened: int
    reviewed: int


@dataclass(frozen=True, slots=True)
class Pair:
    """How far two readers agree.

    Attributes
    ----------
    readers : tuple of str
    shared : int
        Cases that both read.
    decided : int
        Of them, those to which both said tumour or no tumour.
    kappa : WeightedEstimate
        Unweighted, over the decided.
    """

    readers: tuple[str, str]
    shared: int
    decided: int
    kappa: WeightedEstimate


@dataclass(frozen=True, slots=True)
class Agreement:
    """All figures of a log.

    Attributes
    ----------
    level : {"study", "slice"}
        What a case is.
    overall : Group
        Over all models of which at least one case was read.
    models, weeks : tuple of Group
        Models in the order of the log, all of them; weeks of the verdicts, oldest first.
    pairs : tuple of Pair
        Readers who share most cases first.
    thin : float or None
        Share of the unflagged cases for which the sample stands by its own chances of being drawn, where below 0.8:
        drawn cases were not read, or the sample was drawn from a part of the log.
    verdicts, unattached : int
        See `screener.agreement.opinions.ReaderStudy`.
    misses, false_alarms, contested : tuple of Reading
        Disagreements: misses with the lowest probability first, false alarms with the highest first, and cases in
        neither about which readers differ.
    """

    level: Level
    overall: Group
    models: tuple[Group, ...]
    weeks: tuple[Group, ...]
    pairs: tuple[Pair, ...]
    thin: float | None
    verdicts: int
    unattached: int
    misses: tuple[Reading, ...]
    false_alarms: tuple[Reading, ...]
    contested: tuple[Reading, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON holds them; of the disagreements their number, since names are no figures."""
        named = ("overall", "models", "weeks", "pairs")
        shown: dict[str, Any] = {name: _plain(getattr(self, name)) for name in named}
        shown.update({name: getattr(self, name) for name in ("level", "thin", "verdicts", "unattached")})
        return shown | {name: len(getattr(self, name)) for name in ("misses", "false_alarms", "contested")}


def _plain(value: Group | Sequence[Group] | Sequence[Pair]) -> object:
    return [asdict(item) for item in value] if isinstance(value, tuple) else asdict(value)  # type: ignore[arg-type]


def agreement(study: ReaderStudy) -> Agreement:
    """Compute every figure of a reader study.

    Parameters
    ----------
    study : ReaderStudy
        See `screener.agreement.opinions.collect`.
    """
    readings = study.readings
    sample, thin = weigh(study.population, readings)
    misses, false_alarms, contested = _disagreements(readings)
    models = tuple(_of_model(study, sample, model) for model in dict.fromkeys(s[:2] for s in study.population))
    return Agreement(
        level=study.level,
        # Of a single model all figures would be computed twice.
        overall=replace(models[0], name="", model_sha256="") if len(models) == 1 else _overall(study, sample),
        models=models,
        weeks=_weeks(study, sample),
        pairs=pairs(readings),
        thin=thin,
        verdicts=study.verdicts,
        unattached=study.unattached,
        misses=misses,
        false_alarms=false_alarms,
        contested=contested,
    )


def weigh(population: Mapping[Stratum, int], readings: Sequence[Reading]) -> tuple[Sample, float | None]:
    """Give every case that was read its weight, see the head of this module.

    Parameters
    ----------
    population : mapping of Stratum to int
        Cases screened; at least as many as were read.
    readings : sequence of Reading

    Returns
    -------
    Sample
        In the order of the readings.
    thin : float or None
        See `Agreement.thin`.
    """
    weights, drawn = np.ones(len(readings)), np.ones(len(readings), dtype=bool)
    members: dict[Stratum, list[int]] = {}
    for number, reading in enumerate(readings):
        members.setdefault(reading.stratum, []).append(number)
    stood = rest = 0.0
    for stratum, numbers in members.items():
        asked = [
            n
            for n in numbers
            if stratum.decision is Decision.NOT_FLAGGED and readings[n].drawn != SelectionReason.SAMPLE
        ]
        # Once all were read, it does not matter why.
        if len(numbers) == population[stratum]:
            continue
        drawn[asked] = False
        random = [n for n in numbers if drawn[n]]
        others = population[stratum] - len(asked)
        base = np.array([1 / (readings[n].sampling or len(random) / others) for n in random])
        weights[random] = base * (others / base.sum()) if random else 1.0
        if random and stratum.decision is Decision.NOT_FLAGGED:
            stood, rest = stood + min(float(base.sum()), others), rest + others
    thin = stood / rest if rest and stood < _THIN * rest else None
    return _sample(readings, weights, drawn), thin


def _sample(readings: Sequence[Reading], weights: NDArray[np.float64], drawn: NDArray[np.bool_]) -> Sample:
    numbers: dict[str, int] = {}
    units = [numbers.setdefault(reading.unit, len(numbers)) for reading in readings]
    return Sample(
        decisions=np.array([DECISIONS.index(r.item.finding.decision) for r in readings], dtype=np.int64),
        truths=np.array([_POSITIVE.get(r.reference, -1) for r in readings], dtype=np.int64),
        weights=weights,
        drawn=drawn,
        units=np.array(units, dtype=np.int64),
    )


def _overall(study: ReaderStudy, sample: Sample) -> Group:
    read = {reading.stratum[:2] for reading in study.readings}
    strata = [stratum for stratum in study.population if stratum[:2] in read]
    every = np.ones(len(study.readings), dtype=bool)
    # With nothing read at all, the shares are still those of the whole log.
    return _group(study, sample, ("", ""), strata or list(study.population), every)


def _of_model(study: ReaderStudy, sample: Sample, model: tuple[str, str]) -> Group:
    strata = [stratum for stratum in study.population if stratum[:2] == model]
    chosen = np.array([reading.stratum[:2] == model for reading in study.readings], dtype=bool)
    return _group(study, sample, model, strata, chosen)


def _group(
    study: ReaderStudy, sample: Sample, name: tuple[str, str], strata: Sequence[Stratum], chosen: NDArray[np.bool_]
) -> Group:
    readings = [reading for reading, taken in zip(study.readings, chosen, strict=True) if taken]
    unread = _unread(study.population, strata, readings, sample.drawn[chosen])
    refused = sum(study.population[stratum] for stratum in strata if stratum.decision is Decision.NOT_ASSESSABLE)
    return Group(
        *name,
        screened=sum(study.population[stratum] for stratum in strata),
        refused=refused,
        reviewed=_reviewed(study, strata, readings),
        figures=figures(readings, sample.part(chosen), unread),
    )


def _unread(
    population: Mapping[Stratum, int], strata: Iterable[Stratum], readings: Sequence[Reading], drawn: NDArray[np.bool_]
) -> set[Decision]:
    """Return the decisions with cases for which no case that was read may stand."""
    stood = {reading.stratum for reading, counts in zip(readings, drawn, strict=True) if counts}
    read = Counter(reading.stratum for reading in readings)
    return {s.decision for s in strata if s not in stood and read[s] < population[s]}


def _reviewed(study: ReaderStudy, strata: Iterable[Stratum], readings: Sequence[Reading]) -> dict[str, Share]:
    chosen = set(strata)
    cases: Counter[Urgency] = Counter()
    for (stratum, urgency), count in study.urgencies.items():
        if stratum in chosen:
            cases[urgency] += count
    read = Counter(reading.item.finding.urgency for reading in readings)
    return {urgency.value: Share(cases[urgency], read[urgency]) for urgency in Urgency}


def _weeks(study: ReaderStudy, sample: Sample) -> tuple[Group, ...]:
    """Return the figures by week of the verdict: parts of the whole, with the weights of the whole.

    That no case of the flagged or of the unflagged was read in a week leaves figures unknown; that none was read which
    is not assessable is taken to mean that there was none.
    """
    weeks = [week_of(reading.settled) for reading in study.readings]
    groups = []
    for week in sorted(set(weeks)):
        chosen = np.array([other == week for other in weeks], dtype=bool)
        readings = [reading for reading, taken in zip(study.readings, chosen, strict=True) if taken]
        models = {reading.stratum[:2] for reading in readings}
        screened = {s.decision for s in study.population if s[:2] in models} - {Decision.NOT_ASSESSABLE}
        stood = {r.stratum.decision for r, counts in zip(readings, sample.drawn[chosen], strict=True) if counts}
        found = figures(readings, sample.part(chosen), screened - stood)
        groups.append(Group(week, "", None, None, {}, found))
    return tuple(groups)


def week_of(timestamp: str) -> str:
    """Return the ISO week of a timestamp such as ``2026-W48``; empty when it is none."""
    try:
        year, week, _ = datetime.fromisoformat(timestamp).isocalendar()
    except ValueError:
        return ""
    return f"{year}-W{week:02d}"


def figures(readings: Sequence[Reading], sample: Sample, unread: set[Decision]) -> Figures:
    """Compute the figures of a set of cases.

    Parameters
    ----------
    readings : sequence of Reading
    sample : Sample
        The same cases, weighted.
    unread : set of Decision
        Decisions of which a whole group went unread.
    """
    verdicts = Counter(reading.reference.value for reading in readings)
    counts = {diagnosis.value: verdicts[diagnosis.value] for diagnosis in Diagnosis}
    counts["other"] = sum(
        reading.reference is Diagnosis.UNSURE and any(opinion.other for opinion in reading.opinions.values())
        for reading in readings
    )
    headline, assessable = estimates(sample, unread)
    return Figures(
        read=len(readings),
        blind=sum(all(opinion.blind for opinion in reading.opinions.values()) for reading in readings),
        verdicts=counts,
        table={decision.value: _row(sample, number) for number, decision in enumerate(DECISIONS)},
        headline=headline,
        assessable=assessable,
    )


def _row(sample: Sample, decision: int) -> dict[str, float]:
    chosen = sample.part(sample.decisions == decision)
    return {
        "tumour": int((chosen.truths == 1).sum()),
        "no_tumour": int((chosen.truths == 0).sum()),
        "neither": int((chosen.truths < 0).sum()),
        "weight": float(chosen.weights.sum()),
    }


def pairs(readings: Sequence[Reading]) -> tuple[Pair, ...]:
    """Compare readers two by two, over the cases that both read; most shared cases first."""
    shared: dict[tuple[str, str], list[Reading]] = {}
    for reading in readings:
        for couple in combinations(sorted(reading.opinions), 2):
            shared.setdefault((couple[0], couple[1]), []).append(reading)
    found = [_pair(readers, theirs) for readers, theirs in shared.items()]
    return tuple(sorted(found, key=lambda pair: (-pair.shared, pair.readers)))


def _pair(readers: tuple[str, str], shared: Sequence[Reading]) -> Pair:
    said = [[_POSITIVE.get(reading.opinions[reader].diagnosis, -1) for reader in readers] for reading in shared]
    both = np.array(said, dtype=np.int64)
    decided: NDArray[np.bool_] = (both[:, 0] >= 0) & (both[:, 1] >= 0)
    one = np.ones(len(shared))
    sample = _sample(shared, one, one.astype(bool))
    # The first reader takes the place of the tool: saying tumour is a flag.
    compared = Sample(1 - both[:, 0], both[:, 1], one, sample.drawn, sample.units).part(decided)
    figure = estimates(compared, set())[0]["kappa"]
    return Pair(readers, len(shared), int(decided.sum()), figure)


def _disagreements(
    readings: Iterable[Reading],
) -> tuple[tuple[Reading, ...], tuple[Reading, ...], tuple[Reading, ...]]:
    misses, false_alarms, contested = [], [], []
    for reading in readings:
        decision, reference = reading.item.finding.decision, reading.reference
        if reference is Diagnosis.TUMOUR and decision is not Decision.FLAGGED:
            misses.append(reading)
        elif reference is Diagnosis.NO_TUMOUR and decision is not Decision.NOT_FLAGGED:
            false_alarms.append(reading)
        elif reading.contested:
            contested.append(reading)
    return (
        tuple(sorted(misses, key=lambda r: (_probability(r, 1.0), r.item.finding.path))),
        tuple(sorted(false_alarms, key=lambda r: (-_probability(r, 0.0), r.item.finding.path))),
        tuple(sorted(contested, key=lambda r: (-_probability(r, 0.0), r.item.finding.path))),
    )


def _probability(reading: Reading, refused: float) -> float:
    """Return the probability; what was not assessable stands last."""
    found = reading.item.finding.probability
    return refused if found is None else found
