"""What readers said about what was screened: the part of an audit log from which agreement is computed."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from screener.audit import Kind
from screener.audit.reader import marked
from screener.domain.study import StudyFinding
from screener.domain.verdict import Diagnosis, SelectionReason
from screener.errors import AuditLogError
from screener.finding_store import item_of
from screener.study_store import StudyItem, study_item_of

if TYPE_CHECKING:
    from pathlib import Path

    from screener.audit import Event
    from screener.audit.reader import EventReader
    from screener.domain.finding import Decision, Finding, Urgency
    from screener.finding_store import Item

Level: TypeAlias = Literal["study", "slice"]
NOTE = 500
"""Letters of a note that are kept."""
_LEAST_SAMPLING = 1e-9
"""A smaller probability of being drawn is a slip: its weight would drown all others."""


class Stratum(NamedTuple):
    """Cases of which those read may stand for those not read.

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
    def of(cls, finding: Finding | StudyFinding) -> Stratum:
        """Return where a study or slice belongs."""
        return cls(f"{finding.model} ≥ {finding.threshold}", finding.model_sha256, finding.decision)


@dataclass(frozen=True, slots=True)
class Opinion:
    """The last word of one reader about one study or slice.

    Attributes
    ----------
    doctor : str
    diagnosis : Diagnosis
    other : bool
        The log says something that is no `Diagnosis`.
    said : str
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
    said: str = ""
    note: str = ""
    blind: bool = False
    timestamp: str = ""


@dataclass(slots=True)
class Reading:
    """A study or slice that was read.

    Attributes
    ----------
    item : StudyItem or Item
        Its latest result.
    drawn : SelectionReason
        Why it was first put before a reader: what happens later, such as a second look, makes no sample of it, and
        takes none away.
    sampling : float, in (0, 1], or None
        The chance with which it was drawn, where that is known.
    opinions : dict of str to Opinion
        By reader.
    picture : Item or None
        The slice that shows it: the slice itself, or the key slice of a study.
    """

    item: StudyItem | Item
    drawn: SelectionReason
    sampling: float | None
    opinions: dict[str, Opinion] = field(default_factory=dict)
    picture: Item | None = None

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
        folder = finding.path if isinstance(finding, StudyFinding) else finding.path.rpartition("/")[0]
        return f"folder {self.item.inbox}\0{folder}"


@dataclass(slots=True)
class ReaderStudy:
    """All that was screened, counted, and all that was read; a case is a study or a slice.

    Attributes
    ----------
    level : {"study", "slice"}
        What a case is.
    population : Counter of Stratum
        Cases as last judged: by model, preprocessing and threshold each counts once.
    urgencies : Counter of (Stratum, Urgency)
        The same, by urgency.
    readings : list of Reading
    verdicts : int
        REVIEW events about such cases, corrected ones included.
    unattached : int
        REVIEW events about a result that this log does not hold.
    """

    level: Level = "slice"
    population: Counter[Stratum] = field(default_factory=Counter)
    urgencies: Counter[tuple[Stratum, Urgency]] = field(default_factory=Counter)
    readings: list[Reading] = field(default_factory=list)
    verdicts: int = 0
    unattached: int = 0


def collect(
    reader: EventReader, inbox: str | None = None, level: Level = "study", *, pictures: bool = True
) -> ReaderStudy:
    """Read a log: count what was screened, keep what was read.

    A study is named by inbox and StudyInstanceUID or folder, a slice by inbox, path, bytes and frame. Judged again by
    the same model, preprocessing and threshold, it counts once, as last judged, and keeps its verdicts. Another model's
    result about it is a result of its own.

    Memory grows by some 150 bytes a case, and by what was said of those that were read.

    Parameters
    ----------
    reader : EventReader
        Its `problem` tells whether the log can be trusted to its end.
    inbox : str, optional
        As START events record it; by default all inboxes.
    level : {"study", "slice"}
        What a case is. A log without any STUDY event is counted by slice.
    pictures : bool
        Also find the slice that shows each study that was read, which takes reading the log again.

    Raises
    ------
    AuditLogError
        There is no such log.
    UsageError
        No run in the log screened that inbox.
    """
    if level == "study" and next(marked(reader.log, Kind.STUDY), None) is None:
        level = "slice"
    reviewed = {str(event["result"]) for event in marked(reader.log, Kind.REVIEW)}
    gathering = _Gathering(reader, inbox, level, reviewed, pictures=pictures)
    for event in reader.events():
        if event["event"] in {Kind.RESULT, Kind.STUDY}:
            gathering.result(event)
        elif event["event"] == Kind.REVIEW:
            gathering.review(event)
    if inbox is not None:
        reader.refuse_unscreened(inbox)
    return gathering.reader_study()


class _Gathering:
    """A reader study in the making.

    Parameters
    ----------
    reader : EventReader
    inbox : str or None
    level : {"study", "slice"}
    reviewed : set of str
        Hashes of the results that somebody judged: of the others nothing but a place is kept.
    pictures : bool
        See `collect`.
    """

    def __init__(
        self, reader: EventReader, inbox: str | None, level: Level, reviewed: set[str], *, pictures: bool
    ) -> None:
        self._reader, self._inbox, self._reviewed = reader, inbox, reviewed
        self._kind = Kind.STUDY if level == "study" else Kind.RESULT
        self._places: list[tuple[Stratum, Urgency]] = []
        self._numbers: dict[tuple[Stratum, Urgency], int] = {}
        self._cases: dict[bytes, int] = {}
        self._keys: dict[str, bytes | None] = {}
        self._items: dict[bytes, StudyItem | Item] = {}
        self._readings: dict[bytes, Reading] = {}
        self._key_paths = _key_paths(reader.log, reviewed) if pictures and level == "study" else set()
        self._pictures: dict[tuple[str, str, float | None], Item] = {}
        self._found = ReaderStudy(level)

    def result(self, event: Event) -> None:
        """Take a result in; one that makes no sense is reported and does not hide the others."""
        try:
            if event["event"] == Kind.RESULT and event["path"] in self._key_paths:
                picture = item_of(self._reader, event)
                self._pictures[_place(picture)] = picture
            # A verdict on the other level, or in another inbox, is no verdict without a result.
            if event["event"] != self._kind or not self._wanted(event):
                if event["hash"] in self._reviewed:
                    self._keys[event["hash"]] = None
                return
            item = study_item_of(self._reader, event) if event["event"] == Kind.STUDY else item_of(self._reader, event)
        except AuditLogError as error:
            self._reader.problem = error
            return
        key = _key(item, event)
        self._cases[key] = self._number((Stratum.of(item.finding), item.finding.urgency))
        if item.result in self._reviewed:
            self._keys[item.result] = key
        if item.result in self._reviewed or key in self._items:
            self._items[key] = item

    def _wanted(self, event: Event) -> bool:
        return self._inbox is None or self._reader.inbox(event) == self._inbox

    def review(self, event: Event) -> None:
        """Take a verdict in."""
        result = event["result"]
        if not isinstance(result, str) or result not in self._keys:
            self._found.verdicts += 1
            self._found.unattached += 1
            return
        key = self._keys[result]
        if key is None:
            return
        self._found.verdicts += 1
        reading = self._readings.get(key)
        if reading is None:
            drawn, sampling = _drawn(event)
            reading = self._readings[key] = Reading(self._items[key], drawn, sampling)
        opinion = _opinion(event)
        reading.opinions[opinion.doctor] = opinion

    def reader_study(self) -> ReaderStudy:
        """Return what was gathered."""
        places = Counter(self._cases.values())
        self._found.urgencies = Counter({self._places[number]: count for number, count in places.items()})
        for (stratum, _), count in self._found.urgencies.items():
            self._found.population[stratum] += count
        for key, reading in self._readings.items():
            reading.item = self._items[key]
            reading.picture = self._picture_of(reading.item)
        self._found.readings = list(self._readings.values())
        return self._found

    def _picture_of(self, item: StudyItem | Item) -> Item | None:
        if not isinstance(item, StudyItem):
            return item
        for key in item.finding.key_slices:
            for position in (None, key.position):
                if (found := self._pictures.get((item.inbox, key.path, position))) is not None:
                    return found
        return None

    def _number(self, place: tuple[Stratum, Urgency]) -> int:
        number = self._numbers.setdefault(place, len(self._places))
        if number == len(self._places):
            self._places.append(place)
        return number


def _key_paths(log: Path, reviewed: set[str]) -> set[str]:
    """Return the paths of the strongest key slices of the studies that somebody judged, as any STUDY names them."""
    studies = {str(event["study_id"]) for event in marked(log, Kind.STUDY) if event["hash"] in reviewed}
    paths: set[str] = set()
    for event in marked(log, Kind.STUDY) if studies else ():
        keys = event["key_slices"]
        if event["study_id"] in studies and keys and isinstance(keys[0], dict):
            paths.add(str(keys[0].get("path")))
    return paths


def _place(item: Item) -> tuple[str, str, float | None]:
    """Name a slice as a key slice names it; frames of one file differ by their position."""
    finding = item.finding
    return item.inbox, finding.path, None if finding.frame is None else finding.position


def _key(item: StudyItem | Item, event: Event) -> bytes:
    """Name a case as one model, preprocessing and threshold judged it, in 16 bytes."""
    finding = item.finding
    slice_ = () if isinstance(finding, StudyFinding) else (finding.sha256, finding.frame)
    names = (item.inbox, finding.path, *slice_, finding.model_sha256, finding.threshold, event["preprocessing"])
    return hashlib.blake2b(repr(names).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _opinion(event: Event) -> Opinion:
    said = str(event["final_diagnosis"])
    known = said in set(Diagnosis)
    return Opinion(
        doctor=str(event["doctor_id"]),
        diagnosis=Diagnosis(said) if known else Diagnosis.UNSURE,
        other=not known,
        said=_short(said),
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
    text = words if isinstance(words, str) else ""
    return text if len(text) <= NOTE else f"{text[: NOTE - 1]}…"
