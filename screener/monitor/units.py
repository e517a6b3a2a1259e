"""The studies of a log as columns of numbers: what monitoring needs of each, in about 300 bytes."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from screener.audit import Kind
from screener.audit.reader import PartialReader
from screener.domain.finding import Decision
from screener.measurements import decompress_many

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from screener.audit import Event

DECISIONS = tuple(Decision)
STATISTICS = ("brightness", "contrast", "sharpness", "size")
SHARES = ("plane", "sequence", "manufacturer")
_DAY = 86_400.0
_MONDAY = 4
"""The first Monday of 1970 was day 4: periods of seven days are ISO weeks."""
_HASH_BITS = 52
_KEPT_NAMES = 200
"""Different manufacturers or sequences that are told apart: a hostile log must not fill the memory."""


class _Statistics(msgspec.Struct, gc=False):
    """Of `screener.measurements.image_statistics`; numbers are read from their text."""

    brightness: float = math.nan
    contrast: float = math.nan
    sharpness: float = math.nan
    height: float = math.nan
    width: float = math.nan
    manufacturer: str = ""
    manufacturer_model: str = ""


class _Result(msgspec.Struct, gc=False):
    """What monitoring reads of a RESULT, of whatever schema."""

    event: str
    run_id: str
    path: str
    timestamp: str
    decision: str
    model: str
    model_sha256: str
    threshold: float
    hash: str
    patient_id: str | None = None
    probability: float | None = None
    reason: str | None = None
    study_id: str | None = None
    sequence: str | None = None
    plane: str | None = None
    statistics: _Statistics | None = None
    embedding: str | None = None


class Epoch(NamedTuple):
    """A model at a threshold, watched by itself.

    Attributes
    ----------
    model : str
        Title and threshold, as `screener.agreement.opinions.Stratum` has them.
    model_sha256 : str
    """

    model: str
    model_sha256: str


@dataclass(slots=True)
class Slices:
    """What the slices of one study add up to."""

    sums: list[float] = field(default_factory=lambda: [0.0] * len(STATISTICS))
    counts: list[int] = field(default_factory=lambda: [0] * len(STATISTICS))
    embeddings: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    shares: tuple[set[str], ...] = field(default_factory=lambda: tuple(set() for _ in SHARES))
    answers: list[_Result] = field(default_factory=list)

    def take(self, found: _Result) -> None:
        """Add a slice."""
        if found.reason is not None:
            self.reasons[found.reason] += 1
        if found.embedding is not None:
            self.embeddings.append(found.embedding)
        if found.plane is not None:
            self.shares[0].add(found.plane)
        if found.sequence is not None:
            self.shares[1].add(found.sequence)
        if found.statistics is not None:
            self._measure(found.statistics)

    def _measure(self, found: _Statistics) -> None:
        area = found.height * found.width
        size = math.log2(area) / 2 if 0 < area < math.inf else math.nan
        sums, counts = self.sums, self.counts
        for number, value in enumerate((found.brightness, found.contrast, found.sharpness, size)):
            # Neither NaN nor infinite: this runs for each slice of a log.
            if -math.inf < value < math.inf:
                sums[number] += value
                counts[number] += 1
        if found.manufacturer or found.manufacturer_model:
            self.shares[2].add(f"{found.manufacturer} {found.manufacturer_model}".strip())

    def means(self) -> list[float]:
        """Return the mean of each statistic; NaN where no slice has it."""
        return [total / count if count else math.nan for total, count in zip(self.sums, self.counts, strict=True)]

    def embedding(self) -> NDArray[np.float32] | None:
        """Return the mean of the embeddings of one length; None without any."""
        import numpy as np

        found = decompress_many(self.embeddings)
        return None if found is None else np.mean(found, axis=0, dtype=np.float32)


def _number(text: str | float | None) -> float:
    try:
        return math.nan if text is None else float(text)
    except (TypeError, ValueError):
        return math.nan


@dataclass(slots=True)
class Columns:
    """The studies of one model and threshold, one entry each, in the order of the log.

    Attributes
    ----------
    times : array of float
        Seconds since 1970.
    patients : array of int
        A digest of the patient, or of the study where no patient is known.
    decisions : array of int
        Index into `DECISIONS`.
    probabilities : array of float
        NaN where not assessable.
    chances : array of float, in (0, 1)
        From the hash of the event: the same whenever the log is read.
    statistics : tuple of array of float
        By `STATISTICS`.
    embeddings : list of (ndarray or None)
        float16.
    shares : tuple of list of tuple of str
        By `SHARES`: the values that a study has.
    reasons : list of (str or None)
    slice_reasons : dict of int to Counter
        By period.
    studies : set of int
    """

    times: array[float] = field(default_factory=lambda: array("d"))
    patients: array[int] = field(default_factory=lambda: array("q"))
    decisions: array[int] = field(default_factory=lambda: array("b"))
    probabilities: array[float] = field(default_factory=lambda: array("d"))
    chances: array[float] = field(default_factory=lambda: array("d"))
    statistics: tuple[array[float], ...] = field(default_factory=lambda: tuple(array("f") for _ in STATISTICS))
    embeddings: list[NDArray[np.float16] | None] = field(default_factory=list)
    shares: tuple[list[tuple[str, ...]], ...] = field(default_factory=lambda: tuple([] for _ in SHARES))
    reasons: list[str | None] = field(default_factory=list)
    slice_reasons: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    studies: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Answer:
    """One answer about a study, from a STUDY or from the slices of a folder."""

    epoch: Epoch
    study: str
    patient: str | None
    timestamp: str
    decision: str
    probability: str | float | None
    reason: str | None
    digest: str


class StudyColumns:
    """Collects the studies of a log.

    Parameters
    ----------
    days : int
        Of a period.
    now : float
        Seconds since 1970: what is dated later, by more than a day, is left out.
    since : float
        Seconds since 1970: what is dated earlier is left out.
    folders : bool
        The log holds no STUDY: the slices of a folder, as one run judged them, stand for a study.
    """

    def __init__(self, days: int, *, now: float, since: float = -math.inf, folders: bool = False) -> None:
        self.days, self._now, self._since, self._folders = days, now, since, folders
        self.epochs: dict[Epoch, Columns] = {}
        self.last: Epoch | None = None
        self.excluded: Counter[str] = Counter()
        self._open: dict[tuple[str, str], Slices] = {}
        self._names: tuple[set[str], ...] = tuple(set() for _ in SHARES)
        self._decoder = msgspec.json.Decoder(_Result, strict=False)

    def result_line(self, raw: bytes) -> None:
        """Take the line of a RESULT; one that makes no sense is passed over, as its study stands for it."""
        try:
            self.result(self._decoder.decode(raw))
        except msgspec.ValidationError:
            self.excluded["undated"] += self._folders

    def result(self, found: _Result) -> None:
        """Take a slice."""
        name = (found.patient_id or found.path.rpartition("/")[0]) if self._folders else found.study_id
        if name is None:
            return
        key = found.run_id, name
        slices = self._open.get(key)
        if slices is None:
            slices = self._open[key] = Slices()
        slices.take(found)
        if self._folders:
            slices.answers.append(found)

    def event(self, event: Event) -> None:
        """Take any other event; a RESULT that was parsed, too."""
        kind = event["event"]
        if kind == Kind.STUDY:
            self._study(event)
        elif kind == Kind.RESULT:
            try:
                self.result(msgspec.convert(event, _Result, strict=False))
            except msgspec.ValidationError:
                self.excluded["undated"] += 1
        elif kind in {Kind.START, Kind.END}:
            self.close()

    def close(self) -> None:
        """End a run: in a log without studies its folders are answered, else its open slices belong to none."""
        for (_, name), slices in self._open.items():
            if slices.answers:
                self._add(_of_folder(name, slices.answers), slices)
        self._open.clear()

    def _study(self, event: Event) -> None:
        epoch = Epoch(f"{event['model']} ≥ {_threshold(event['threshold'])}", str(event["model_sha256"]))
        slices = self._open.pop((event["run_id"], event["study_id"]), Slices())
        values = (str(event["study_id"]), event["patient_id"], event["timestamp"], str(event["decision"]))
        self._add(_Answer(epoch, *values, event["probability"], event["reason"], event["hash"]), slices)

    def _add(self, answer: _Answer, slices: Slices) -> None:
        time = seconds_of(answer.timestamp)
        why = self._unwanted(answer, time)
        if why is not None:
            self.excluded[why] += 1
            return
        self.last = answer.epoch
        columns = self.epochs.setdefault(answer.epoch, Columns())
        key = _digest(answer.study)
        if key in columns.studies:
            self.excluded["answered_again"] += 1
            return
        columns.studies.add(key)
        columns.times.append(time)
        columns.patients.append(key if answer.patient is None else _digest(f"patient {answer.patient}"))
        columns.decisions.append(DECISIONS.index(Decision(answer.decision)))
        columns.probabilities.append(_number(answer.probability))
        # Half a step keeps it off 0 and 1.
        columns.chances.append((int(answer.digest[:13], 16) + 0.5) / 2**_HASH_BITS)
        columns.reasons.append(answer.reason)
        for column, value in zip(columns.statistics, slices.means(), strict=True):
            column.append(value)
        embedding = slices.embedding()
        columns.embeddings.append(None if embedding is None else embedding.astype("float16"))
        for number, values in enumerate(slices.shares):
            columns.shares[number].append(self._named(number, values))
        if slices.reasons:
            columns.slice_reasons[period_of(time, self.days)].update(slices.reasons)

    def _unwanted(self, answer: _Answer, time: float) -> str | None:
        """Return why an answer counts in no figure."""
        if not math.isfinite(time) or answer.decision not in DECISIONS:
            return "undated"
        if time > self._now + _DAY:
            return "future"
        return "before" if time < self._since else None

    def _named(self, number: int, values: set[str]) -> tuple[str, ...]:
        """Return values, of which so many are told apart; the others are one."""
        known = self._names[number]
        for value in sorted(values):
            if len(known) < _KEPT_NAMES:
                known.add(value)
        return tuple(sorted({value if value in known else "…" for value in values}))


def _of_folder(name: str, answers: list[_Result]) -> _Answer:
    """Return the answer about a folder: that of its strongest slice; not assessable when no slice is."""
    strongest = max(answers, key=lambda one: -1.0 if one.probability is None else _number(one.probability))
    epoch = Epoch(f"{strongest.model} ≥ {_threshold(strongest.threshold)}", strongest.model_sha256)
    values = (name, strongest.patient_id, strongest.timestamp, strongest.decision, strongest.probability)
    return _Answer(epoch, *values, strongest.reason, strongest.hash)


def _threshold(text: object) -> object:
    """Return a threshold as a number prints, as the readings of a log have it."""
    try:
        return float(str(text))
    except ValueError:
        return text


def _digest(name: str) -> int:
    data = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(data, "big", signed=True)


def seconds_of(timestamp: str) -> float:
    """Return a timestamp in seconds since 1970; NaN when it is none."""
    try:
        found = datetime.fromisoformat(timestamp)
    except ValueError:
        return math.nan
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def period_of(time: float, days: int) -> int:
    """Return the number of the period that a time falls in."""
    return math.floor((time / _DAY - _MONDAY) / days)


def first_day(period: int, days: int) -> datetime:
    """Return the day on which a period begins, UTC."""
    return datetime.fromtimestamp((period * days + _MONDAY) * _DAY, UTC)


def period_name(period: int, days: int) -> str:
    """Return the ISO week such as ``2026-W48``, or of other periods the first day."""
    start = first_day(period, days)
    if days != 7:  # noqa: PLR2004 - days of a week
        return start.strftime("%Y-%m-%d")
    year, week, _ = start.isocalendar()
    return f"{year}-W{week:02d}"


class StudyReader(PartialReader):
    """Events of a log without its results, which go to the columns line by line.

    Parameters
    ----------
    log : Path
    columns : StudyColumns
    folders : bool
        The log holds no STUDY: results are events like the others.
    """

    def __init__(self, log: Path, columns: StudyColumns, *, folders: bool) -> None:
        super().__init__(log, skimmed=None if folders else Kind.RESULT, take=columns.result_line)
        self._columns = columns

    def events(self) -> Iterator[Event]:
        """Yield events as `EventReader.events` does, results left out where the log holds studies."""
        for event in super().events():
            self._columns.event(event)
            yield event
        self._columns.close()
