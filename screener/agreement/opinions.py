"""What readers said about what was screened: the part of an audit log from which agreement is computed."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from screener.audit import Kind
from screener.audit.reader import marked
from screener.domain.verdict import Diagnosis, SelectionReason
from screener.errors import AuditLogError
from screener.finding_store import item_of

if TYPE_CHECKING:
    from screener.audit import Event
    from screener.audit.reader import EventReader
    from screener.domain.finding import Decision, Finding, Urgency
    from screener.finding_store import Item

NOTE = 500
"""Letters of a note that are kept."""
_LEAST_SAMPLING = 1e-9
"""A smaller probability of being drawn is a slip: its weight would drown all others."""


class Stratum(NamedTuple):
    """Slices of which those read may stand for those not read.

    Attributes
    ----------
    model : str
        Its title and the threshold: at another one it is another test, with another sensitivity.
    model_sha256 : str
    decision : Decision
    """

    model: str
    model_sha256: str
    decision: Decision

    @classmethod
    def of(cls, finding: Finding) -> Stratum:
        """Return where a slice belongs."""
        return cls(f"{finding.model} ≥ {finding.threshold}", finding.model_sha256, finding.decision)


@dataclass(frozen=True, slots=True)
class Opinion:
    """The last word of one reader about one slice.

    Attributes
    ----------
    doctor : str
    diagnosis : Diagnosis
    other : bool
        The log says something that is no `Diagnosis`.
    told : str
        What it says.
    note : str
        At most `NOTE` letters.
    blind : bool
        Whether it was given before the tool's answer was shown.
    timestamp : str
    """

    doctor: str
    diagnosis: Diagnosis
    other: bool = False
    told: str = ""
    note: str = ""
    blind: bool = False
    timestamp: str = ""


@dataclass(slots=True)
class Reading:
    """A slice that was read.

    Attributes
    ----------
    item : Item
        Its latest result.
    drawn : SelectionReason
        Why it was first put before a reader: what happens later, such as a second look, makes no sample of it, and
        takes none away.
    sampling : float, in (0, 1], or None
        The chance with which it was drawn, where that is known.
    opinions : dict of str to Opinion
        By reader.
    """

    item: Item
    drawn: SelectionReason
    sampling: float | None
    opinions: dict[str, Opinion] = field(default_factory=dict)

    @property
    def stratum(self) -> Stratum:
        """Where it belongs."""
        return Stratum.of(self.item.finding)

    @property
    def reference(self) -> Diagnosis:
        """What most readers say; unsure without a majority."""
        (most, count), *_ = Counter(opinion.diagnosis for opinion in self.opinions.values()).most_common(1)
        return most if 2 * count > len(self.opinions) else Diagnosis.UNSURE

    @property
    def contested(self) -> bool:
        """Whether its readers differ."""
        return len({opinion.diagnosis for opinion in self.opinions.values()}) > 1

    @property
    def settled(self) -> str:
        """Timestamp of the last verdict that counts."""
        return max(opinion.timestamp for opinion in self.opinions.values())

    @property
    def unit(self) -> str:
        """What the intervals take as independent: the patient, or the folder where no patient is known.

        One name in two inboxes is taken for one patient: should they be two, intervals come out too wide, which is the
        safe side.
        """
        finding = self.item.finding
        if finding.patient_id is not None:
            return f"patient {finding.patient_id}"
        return f"folder {self.item.inbox}\0{finding.path.rpartition('/')[0]}"


@dataclass(slots=True)
class Study:
    """All that was screened, counted, and all that was read.

    Attributes
    ----------
    population : Counter of Stratum
        Slices as last judged: by model, preprocessing and threshold each counts once.
    urgencies : Counter of (Stratum, Urgency)
        The same, by urgency.
    readings : list of Reading
    verdicts : int
        REVIEW events, corrected ones included.
    unattached : int
        Of them, those about a result that this log does not hold.
    """

    population: Counter[Stratum] = field(default_factory=Counter)
    urgencies: Counter[tuple[Stratum, Urgency]] = field(default_factory=Counter)
    readings: list[Reading] = field(default_factory=list)
    verdicts: int = 0
    unattached: int = 0


def collect(reader: EventReader, inbox: str | None = None) -> Study:
    """Read a log: count what was screened, keep what was read.

    The slice is named by inbox, path and bytes; judged again by the same model, preprocessing and threshold, it counts
    once, as last judged, and keeps its verdicts. Another model's result about it is a result of its own.

    Memory grows by some 150 bytes a slice, and by what was said of those that were read.

    Parameters
    ----------
    reader : EventReader
        Its `problem` tells whether the log can be trusted to its end.
    inbox : str, optional
        As START events record it; by default all inboxes.

    Raises
    ------
    AuditLogError
        There is no such log.
    UsageError
        No run in the log screened that inbox.
    """
    gathering = _Gathering(reader, inbox, {str(event["result"]) for event in marked(reader.log, Kind.REVIEW)})
    for event in reader.events():
        if event["event"] == Kind.RESULT:
            gathering.result(event)
        elif event["event"] == Kind.REVIEW:
            gathering.review(event)
    if inbox is not None:
        reader.refuse_unscreened(inbox)
    return gathering.study()


class _Gathering:
    """A study in the making.

    Parameters
    ----------
    reader : EventReader
    inbox : str or None
    wanted : set of str
        Hashes of the results that somebody judged: of the others nothing but a place is kept.
    """

    def __init__(self, reader: EventReader, inbox: str | None, wanted: set[str]) -> None:
        self._reader, self._inbox, self._wanted = reader, inbox, wanted
        self._places: list[tuple[Stratum, Urgency]] = []
        self._numbers: dict[tuple[Stratum, Urgency], int] = {}
        self._slices: dict[bytes, int] = {}
        self._keys: dict[str, bytes | None] = {}
        self._items: dict[bytes, Item] = {}
        self._readings: dict[bytes, Reading] = {}
        self._study = Study()

    def result(self, event: Event) -> None:
        """Take a result in; one that makes no sense is told of and does not hide the others."""
        if self._inbox is not None and self._reader.inbox(event) != self._inbox:
            if event["hash"] in self._wanted:
                self._keys[event["hash"]] = None
            return
        try:
            item = item_of(self._reader, event)
        except AuditLogError as error:
            self._reader.problem = error
            return
        key = _key(item, event)
        self._slices[key] = self._number((Stratum.of(item.finding), item.finding.urgency))
        if item.result in self._wanted:
            self._keys[item.result] = key
        if item.result in self._wanted or key in self._items:
            self._items[key] = item

    def review(self, event: Event) -> None:
        """Take a verdict in."""
        result = event["result"]
        if not isinstance(result, str) or result not in self._keys:
            self._study.verdicts += 1
            self._study.unattached += 1
            return
        key = self._keys[result]
        if key is None:
            return
        self._study.verdicts += 1
        reading = self._readings.get(key)
        if reading is None:
            drawn, sampling = _drawn(event)
            reading = self._readings[key] = Reading(self._items[key], drawn, sampling)
        opinion = _opinion(event)
        reading.opinions[opinion.doctor] = opinion

    def study(self) -> Study:
        """Return what was gathered."""
        places = Counter(self._slices.values())
        self._study.urgencies = Counter({self._places[number]: count for number, count in places.items()})
        for (stratum, _), count in self._study.urgencies.items():
            self._study.population[stratum] += count
        for key, reading in self._readings.items():
            reading.item = self._items[key]
        self._study.readings = list(self._readings.values())
        return self._study

    def _number(self, place: tuple[Stratum, Urgency]) -> int:
        number = self._numbers.setdefault(place, len(self._places))
        if number == len(self._places):
            self._places.append(place)
        return number


def _key(item: Item, event: Event) -> bytes:
    """Name a slice as one model, preprocessing and threshold judged it, in 16 bytes."""
    finding = item.finding
    names = (item.inbox, finding.path, finding.sha256, finding.model_sha256, finding.threshold, event["preprocessing"])
    return hashlib.blake2b(repr(names).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _opinion(event: Event) -> Opinion:
    told = str(event["final_diagnosis"])
    known = told in set(Diagnosis)
    return Opinion(
        doctor=str(event["doctor_id"]),
        diagnosis=Diagnosis(told) if known else Diagnosis.UNSURE,
        other=not known,
        told=_short(told),
        note=_short(event.get("note")),
        blind=event.get("blind") is True,
        timestamp=event["timestamp"],
    )


def _drawn(event: Event) -> tuple[SelectionReason, float | None]:
    drawn = SelectionReason.ASKED
    with suppress(ValueError):
        drawn = SelectionReason(event.get("drawn", SelectionReason.ASKED))
    sampling = math.nan
    with suppress(ValueError, TypeError):
        sampling = float(event.get("sampling") or "nan")
    return drawn, sampling if drawn is SelectionReason.SAMPLE and _LEAST_SAMPLING <= sampling <= 1 else None


def _short(words: object) -> str:
    told = words if isinstance(words, str) else ""
    return told if len(told) <= NOTE else f"{told[: NOTE - 1]}…"
