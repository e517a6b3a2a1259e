"""What monitoring found, as ``screener monitor --json`` prints it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from screener.domain.estimate import Count, Rate

Date = Annotated[str, Meta(description="Year, month and day.")]


class Mean(Struct, frozen=True):
    """A mean over patients, or a figure of them, with its 95 % interval."""

    value: Annotated[float, Meta(description="The figure.")]
    low: Annotated[float, Meta(description="Lower end of the 95 % interval.")]
    high: Annotated[float, Meta(description="Upper end of the 95 % interval.")]
    count: Annotated[Count, Meta(description="Patients behind it.")]
    chance: Annotated[
        float | None, Meta(description="Of a distance: what chance alone stays below in 95 % of cases; else null.")
    ] = None


class Weighted(Struct, frozen=True):
    """A figure from verdicts, weighted for the sampling; see `screener.agreement.figures`."""

    value: Annotated[float | None, Meta(description="Null where it is not known.")]
    low: Annotated[float | None, Meta(description="Lower end of the 95 % interval.")]
    high: Annotated[float | None, Meta(description="Upper end of the 95 % interval.")]
    hits: Annotated[Count, Meta(description="Cases read that agree.")]
    count: Annotated[Count, Meta(description="Cases read.")]
    units: Annotated[Count, Meta(description="Patients behind them.")]
    unknown: Annotated[str | None, Meta(description="Why it is not known.")] = None


class Period(Struct, frozen=True, kw_only=True):
    """A week, or as many days as were asked for."""

    name: Annotated[str, Meta(description="ISO week such as `2026-W48`, or the first day.")]
    start: Annotated[Date, Meta(description="First day, UTC.")]
    state: Annotated[str, Meta(description="`told`; `too_few` patients for figures; or `empty`: nothing was screened.")]
    reference: Annotated[bool, Meta(description="Whether it is part of the reference.")]
    studies: Annotated[Count, Meta(description="Studies answered for the first time.")] = 0
    patients: Annotated[Count, Meta(description="Their patients.")] = 0
    flagged: Annotated[Rate | None, Meta(description="Share of studies flagged; null: too few.")] = None
    not_assessable: Annotated[Rate | None, Meta(description="Share of studies not assessable; null: too few.")] = None
    reasons: Annotated[dict[str, Count], Meta(description="Studies not assessable, by reason.")] = {}
    slice_reasons: Annotated[dict[str, Count], Meta(description="Slices refused, by reason.")] = {}
    distances: Annotated[
        dict[str, Mean],
        Meta(description="Of the scores from the reference: `psi`, `jensen_shannon`; of the features: `features`."),
    ] = {}
    statistics: Annotated[
        dict[str, Mean], Meta(description="`score`, `brightness`, `contrast`, `sharpness` and `size` of studies.")
    ] = {}
    shares: Annotated[
        dict[str, dict[str, Count]], Meta(description="Studies by `plane`, `sequence` and `manufacturer`.")
    ] = {}
    verdicts: Annotated[
        dict[str, Weighted], Meta(description="`sensitivity`, `specificity`, `kappa`, by week of the verdict.")
    ] = {}


class Indicator(Struct, frozen=True, kw_only=True):
    """Something that can raise an alarm."""

    name: Annotated[str, Meta(description="What is watched.")]
    evidence: Annotated[float, Meta(description="Now: capital won by betting that something changed; 1 at first.")]
    most: Annotated[float, Meta(description="The most that it ever was.")]
    limit: Annotated[float, Meta(description="An alarm from here on: one over its share of the false alarms.")]
    count: Annotated[Count, Meta(description="Patients, or tumours, that it rests on.")]
    alarm: Annotated[str | None, Meta(description="Period in which the limit was first reached; null: no alarm.")] = (
        None
    )
    check: Annotated[str | None, Meta(description="What to check first; null: no alarm.")] = None


class Excluded(Struct, frozen=True, kw_only=True):
    """What counts in no figure, and why."""

    future: Annotated[Count, Meta(description="Studies dated in the future.")] = 0
    undated: Annotated[Count, Meta(description="Studies without a date that can be read.")] = 0
    answered_again: Annotated[Count, Meta(description="Further answers about a study that was counted.")] = 0
    other_model: Annotated[Count, Meta(description="Studies by another model or threshold than the last one's.")] = 0
    before: Annotated[Count, Meta(description="Studies before the day that was asked for.")] = 0
    seen_patients: Annotated[Count, Meta(description="Studies of patients counted before: in no test for change.")] = 0
    contradictory: Annotated[Count, Meta(description="Studies read by several, without a majority.")] = 0
    undecided: Annotated[Count, Meta(description="Studies whose verdict is unsure or a bad image.")] = 0
    unattached: Annotated[Count, Meta(description="Verdicts on something else than a study in this log.")] = 0
    chance_unknown: Annotated[Count, Meta(description="Missed tumours drawn with a chance that was not recorded.")] = 0
    runs_without_end: Annotated[Count, Meta(description="Runs without an END: their studies count.")] = 0


class Report(Struct, frozen=True, kw_only=True):
    """What monitoring found."""

    log: Annotated[str, Meta(description="The log.")]
    head: Annotated[str, Meta(description="Hash of the last event that was read.")]
    written: Annotated[str, Meta(description="When, UTC.")]
    level: Annotated[str, Meta(description="`study`; `slice` where the log holds no study: folders of a run stand in.")]
    model: Annotated[str, Meta(description="Model and threshold that are watched: those of the last answer.")]
    model_sha256: Annotated[str, Meta(description="Digest of its ONNX file.")]
    days: Annotated[Count, Meta(description="Days of a period.")]
    minimum: Annotated[Count, Meta(description="Patients below which a period has too few for figures.")]
    reference: Annotated[str, Meta(description="What periods are compared with.")]
    false_alarms: Annotated[float, Meta(description="Chance of any alarm, ever, while nothing changes: at most this.")]
    target: Annotated[float, Meta(description="Sensitivity below which an alarm is due.")]
    periods: Annotated[tuple[Period, ...], Meta(description="Oldest first, empty ones included.")]
    indicators: Annotated[tuple[Indicator, ...], Meta(description="What can raise an alarm.")]
    overall: Annotated[dict[str, Weighted], Meta(description="Figures from all verdicts.")]
    excluded: Annotated[Excluded, Meta(description="What counts in no figure.")]
    problem: Annotated[str | None, Meta(description="Why the log cannot be trusted to its end; null: it can.")] = None

    @property
    def alarms(self) -> tuple[Indicator, ...]:
        """The indicators that raised an alarm."""
        return tuple(one for one in self.indicators if one.alarm is not None)
