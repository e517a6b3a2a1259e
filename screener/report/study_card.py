"""What the card of a study shows: numbers, key slices, and each series as a curve over a strip of its slices.

The card itself is ``templates/study.html``: its macro ``study_card(card, lang, words)`` draws a `StudyCard` on any page
that takes in ``assets/report.css`` and ``assets/report.js``, and ``slice_card`` in ``templates/slice.html`` a slice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from screener.domain.finding import Decision
from screener.domain.slice import Reason
from screener.inbox.studies import natural_key
from screener.messages import RECOMMENDATION, TEXT, URGENCY_WORD
from screener.report.console import compared, number, point_lines, study_date, study_point_lines, study_title
from screener.report.messages import PAGE, REASON
from screener.triage import SITE_PREFIX, UNCERTIFIED_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from screener.domain.finding import Finding
    from screener.domain.study import SeriesFinding, StudyFinding
    from screener.domain.verdict import Verdict
    from screener.finding_store import Item
    from screener.messages import Language
    from screener.model.session import Model
    from screener.pipeline.study import Aggregation
    from screener.report.pictures import Drawing
    from screener.study_store import StudyItem

KEY_SLICES = 3
REFUSED_SHOWN = 200
"""Slices not assessable that a card names; the log names all."""
DECODED = (None, Reason.BLANK, Reason.NOT_A_BRAIN_MRI, Reason.TOO_SMALL, Reason.NON_FINITE_SCORE)
"""Reasons of slices that were decoded: whatever was refused before, such as burnt-in text, is never shown."""
_COLOURS = 100
"""Height of a curve in the units of its drawing; a slice is one unit wide."""


@dataclass(frozen=True, slots=True)
class Score:
    """A probability against its threshold: as text, and in percent for the bar beside it."""

    probability: str
    sign: str
    threshold: str
    value: str
    tick: str


@dataclass(frozen=True, slots=True)
class SliceCard:
    """One slice: a card of its own where no answer about its study rests on it, else a picture on the study's card.

    Attributes
    ----------
    identifier : str
        Unique on the page.
    finding : Finding
    urgency : str
        Word for it.
    score : Score or None
    recommendation, reason : str
    drawing : Drawing or None
    missing : str
        Why there is no picture.
    caption : str
        Which slice of its series it is, and its probability in context.
    link : str or None
        URL of the original file, relative to the page.
    judged : str
    verdict : str
    """

    identifier: str
    finding: Finding
    urgency: str
    score: Score | None
    recommendation: str
    reason: str = ""
    drawing: Drawing | None = None
    missing: str = ""
    caption: str = ""
    link: str | None = None
    judged: str = ""
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class StripSlice:
    """One slice in the strip of its series.

    Attributes
    ----------
    place : int
        From 1, in anatomical order.
    label : str
        Place, position, probability or reason: what is told of it when it is looked at.
    path : str
    key : str
        Identifier of the key slice that it is; empty where it is none.
    assessable : bool
    picture : str
        Data URI; empty where there is none.
    """

    place: int
    label: str
    path: str
    key: str
    assessable: bool
    picture: str


@dataclass(frozen=True, slots=True)
class Curve:
    """The probability of each slice in context, as SVG in a box one unit wide a slice and 100 high.

    Attributes
    ----------
    line : str
        Path data, broken where slices are not assessable.
    threshold : str
        Height of the threshold.
    gaps : tuple of (int, int)
        Where slices are not assessable: first slice, from 0, and how many.
    keys : tuple of int
        Key slices, from 0.
    label : str
        The curve in words.
    """

    line: str
    threshold: str
    gaps: tuple[tuple[int, int], ...]
    keys: tuple[int, ...]
    label: str


@dataclass(frozen=True, slots=True)
class SeriesPanel:
    """A series as a tab of the card.

    Attributes
    ----------
    identifier, name, probability : str
    slices : tuple of StripSlice
        In anatomical order.
    curve : Curve
    first : int
        Slice shown first, from 1: the strongest.
    pictured : bool
        Whether any slice has a picture.
    """

    identifier: str
    name: str
    probability: str
    slices: tuple[StripSlice, ...]
    curve: Curve
    first: int
    pictured: bool


@dataclass(frozen=True, slots=True)
class StudyCard:
    """One study.

    Attributes
    ----------
    identifier : str
        Unique on the page.
    place : int
        In reading order, from 1.
    finding : StudyFinding
    title, date : str
        Name of the study beside its patient, where it says more than accession number and date; date of the study.
    urgency, recommendation, reason, verdict, earlier, judged, counts : str
    score : Score or None
    point : tuple of str
        Whether the operating point is certified by patient; then what was measured for it.
    keys : tuple of SliceCard
    panels : tuple of SeriesPanel
    unused : tuple of str
        Series that do not count, each with the reason.
    refused : tuple of (str, str)
        Path and reason of slices not assessable.
    refused_more : int
        Further ones.
    """

    identifier: str
    place: int
    finding: StudyFinding
    title: str
    date: str
    urgency: str
    score: Score | None
    recommendation: str
    reason: str
    counts: str
    point: tuple[str, ...]
    judged: str = ""
    verdict: str = ""
    earlier: str = ""
    keys: tuple[SliceCard, ...] = ()
    panels: tuple[SeriesPanel, ...] = ()
    unused: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    refused_more: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """The slices of one series, each once, in anatomical order, with their probability in context."""

    finding: SeriesFinding
    slices: tuple[Finding, ...]
    curve: tuple[float | None, ...]
    used: bool


def series_of(study: StudyFinding, slices: Iterable[Finding], aggregation: Aggregation) -> list[Series]:
    """Bring the slices of a study in order.

    The log does not hold the curve of a series: it follows from the slices.
    """
    found = {one.series_id: one for one in study.series}
    members: dict[str | None, list[Finding]] = {name: [] for name in found}
    for finding in _distinct(study, slices):
        members.setdefault(finding.series_id, []).append(finding)
    made = []
    for name, findings in members.items():
        ordered = tuple(sorted(findings, key=_anatomical))
        if not ordered or name not in found:
            continue
        curve = aggregation.in_context([finding.probability for finding in ordered])
        made.append(Series(found[name], ordered, curve, found[name].probability is not None))
    return made


def _distinct(study: StudyFinding, slices: Iterable[Finding]) -> list[Finding]:
    """Leave copies of the same slice out where the study counts them once."""
    found = list(slices)
    if len(found) <= study.slices.total:
        return found
    return list({(finding.sha256, finding.frame): finding for finding in reversed(found)}.values())


def _anatomical(finding: Finding) -> tuple[object, ...]:
    return (0.0 if finding.position is None else finding.position), natural_key(finding.path), finding.frame or 0


def shown_slices(study: StudyFinding, slices: Iterable[Finding]) -> list[Finding]:
    """Return the slices of which a card shows a large picture: the key slices, strongest first.

    A study that is not assessable has none: then what could be decoded, from the middle of the study outwards.
    """
    if study.key_slices:
        ranked = [(rank, finding) for finding in slices if (rank := _rank(study, finding)) is not None]
        return [finding for _, finding in sorted(ranked, key=lambda pair: pair[0])]
    decoded = sorted((finding for finding in slices if finding.reason in DECODED), key=_anatomical)
    middle = len(decoded) // 2
    return decoded[max(0, middle - 1) :][:KEY_SLICES]


def _rank(study: StudyFinding, finding: Finding) -> int | None:
    """Return the rank of a key slice; frames of one file are told apart by their position."""
    for rank, key in enumerate(study.key_slices):
        if key.path == finding.path and (finding.frame is None or key.position == finding.position):
            return rank
    return None


def score(finding: Finding | StudyFinding, lang: Language) -> Score | None:
    """Return the probability against the threshold; None where there is none."""
    if finding.probability is None:
        return None
    value, tick = f"{100 * finding.probability:.1f}", f"{100 * finding.threshold:.1f}"
    return Score(*compared(finding.probability, finding.threshold, lang), value, tick)


def verdict_words(verdict: Verdict | None, lang: Language) -> str:
    """Say what verdict was given, by whom, and whether it agrees; empty where none was."""
    if verdict is None:
        return ""
    words = PAGE[lang]
    parts = words["verdict"].format(diagnosis=verdict.final_diagnosis, doctor=verdict.doctor_id)
    if verdict.agreement is None:
        return parts
    return f"{parts} · {words['agrees' if verdict.agreement else 'disagrees']}"


def point_words(study: StudyFinding, model: Model | None, aggregation: Aggregation, lang: Language) -> tuple[str, ...]:
    """Say what the operating point of a study is worth, as far as the model that judged is at hand.

    Whether it is certified by patient stands first.
    """
    name = study.operating_point
    if name.startswith(SITE_PREFIX):
        shown = "site_uncertified" if name.endswith(UNCERTIFIED_SUFFIX) else "site_certified"
        return (PAGE[lang][shown].format(name=name),)
    if model is None or model.sha256 != study.model_sha256:
        return (PAGE[lang]["unknown_point"].format(name=name),)
    by_patient = aggregation.points.get(name)
    if by_patient is not None and by_patient.threshold == study.threshold:
        return _statement_first(study_point_lines(by_patient, lang))
    by_slice = model.card.operating_points.get(name)
    if by_slice is None or by_slice.threshold != study.threshold:
        return (TEXT[lang]["study_uncertified"].format(name=name),)
    return (TEXT[lang]["study_uncertified"].format(name=name), *_statement_first(point_lines(by_slice, lang)))


def _statement_first(lines: list[str]) -> tuple[str, ...]:
    """Put what was measured behind what is certified."""
    measured, *statement = lines
    return (*statement, measured) if statement else (measured,)


def slice_card(item: Item, identifier: str, lang: Language, **shown: object) -> SliceCard:
    """Return the card of one slice; `shown` are further fields of `SliceCard`."""
    finding = item.finding
    return SliceCard(
        identifier,
        finding,
        URGENCY_WORD[lang][finding.urgency],
        score(finding, lang),
        RECOMMENDATION[lang][finding.urgency],
        "" if finding.reason is None else REASON[lang][finding.reason],
        judged=item.judged,
        verdict=verdict_words(item.verdict, lang),
        **shown,  # type: ignore[arg-type]
    )


def study_card(item: StudyItem, place: int, point: tuple[str, ...], lang: Language) -> StudyCard:
    """Return the card of a study without its slices; see `with_slices`."""
    finding = item.finding
    counts = PAGE[lang]["counts"].format(
        total=finding.slices.total,
        assessed=finding.slices.assessed,
        flagged=finding.slices.flagged,
        refused=finding.slices.not_assessable,
    )
    return StudyCard(
        f"st{place}",
        place,
        finding,
        _title(finding),
        study_date(finding),
        URGENCY_WORD[lang][finding.urgency],
        score(finding, lang),
        RECOMMENDATION[lang][finding.urgency],
        "" if finding.reason is None else REASON[lang][finding.reason],
        counts,
        point,
        item.judged,
        verdict_words(item.verdict, lang),
        "" if item.verdict is not None else verdict_words(item.earlier_verdict, lang),
    )


def _title(finding: StudyFinding) -> str:
    """Name a study beside its patient; empty where patient, accession number and date name it."""
    title, known = study_title(finding), finding.accession_number or finding.study_date
    return "" if title == finding.patient_id or (known and title != finding.study_id) else title


@dataclass(frozen=True, slots=True)
class Panels:
    """Makes the panels of a study's series.

    Attributes
    ----------
    study : StudyFinding
    lang : {"en", "fr"}
    identifier : str
        Of the card.
    keys : sequence of SliceCard
        Key slices of the card.
    picture : callable
        Returns the data URI of the small picture of a slice; empty without one.
    """

    study: StudyFinding
    lang: Language
    identifier: str
    keys: Sequence[SliceCard] = field(default_factory=tuple)
    picture: Callable[[Finding], str] = lambda _: ""

    def panels(self, series: Iterable[Series]) -> tuple[SeriesPanel, ...]:
        """Return a panel for each series that counts; where none does, for all."""
        found = list(series)
        chosen = [one for one in found if one.used] or found
        chosen.sort(key=lambda one: -(one.finding.probability or 0.0))
        return tuple(self._panel(index, one) for index, one in enumerate(chosen))

    def _panel(self, index: int, series: Series) -> SeriesPanel:
        strip = tuple(self._strip(series))
        keys = tuple(one.place - 1 for one in strip if one.key)
        known = [(value, place) for place, value in enumerate(series.curve, 1) if value is not None]
        first = max(known, key=lambda pair: (pair[0], -pair[1]))[1] if known else (len(strip) + 1) // 2
        probability = series.finding.probability
        return SeriesPanel(
            f"{self.identifier}-{index + 1}",
            series_name(series.finding, index, self.lang),
            "" if probability is None else number(probability, self.lang),
            strip,
            self._curve(series.curve, keys),
            first,
            any(one.picture for one in strip),
        )

    def _strip(self, series: Series) -> Iterator[StripSlice]:
        keys = {(card.finding.path, card.finding.frame): card.identifier for card in self.keys}
        for place, (finding, context) in enumerate(zip(series.slices, series.curve, strict=True), 1):
            yield StripSlice(
                place,
                self._label(finding, place, len(series.slices), context),
                finding.path,
                keys.get((finding.path, finding.frame), ""),
                finding.probability is not None,
                self.picture(finding),
            )

    def _label(self, finding: Finding, place: int, total: int, context: float | None) -> str:
        words = PAGE[self.lang]
        parts = [words["place"].format(number=place, total=total)]
        if finding.position is not None:
            parts.append(words["at"].format(position=f"{finding.position:.1f}"))
        if context is not None and finding.probability is not None:
            alone = number(finding.probability, self.lang)
            parts.append(words["in_context"].format(context=number(context, self.lang), alone=alone))
        if finding.reason is not None:
            parts.append(REASON[self.lang][finding.reason])
        return " · ".join(parts)

    def _curve(self, curve: Sequence[float | None], keys: tuple[int, ...]) -> Curve:
        words = PAGE[self.lang]
        known = [(value, place) for place, value in enumerate(curve, 1) if value is not None]
        threshold = number(self.study.threshold, self.lang)
        if known:
            value, place = max(known, key=lambda pair: (pair[0], -pair[1]))
            highest = number(value, self.lang)
            label = words["curve"].format(threshold=threshold, highest=highest, place=place, total=len(curve))
        else:
            label = words["no_curve"]
        height = f"{_COLOURS * (1 - self.study.threshold):.1f}"
        return Curve(_line(curve), height, tuple(_gaps(curve)), keys, label)


def _line(curve: Sequence[float | None]) -> str:
    """Return SVG path data; a slice between two that are not assessable becomes a short stroke."""
    parts: list[str] = []
    for index, value in enumerate(curve):
        if value is None:
            continue
        height = f"{_COLOURS * (1 - value):.1f}"
        before = curve[index - 1] if index else None
        after = curve[index + 1] if index + 1 < len(curve) else None
        if before is None and after is None:
            parts.append(f"M{index} {height}H{index + 1}")
        else:
            parts.append(f"{'M' if before is None else 'L'}{index + 0.5} {height}")
    return "".join(parts)


def _gaps(curve: Sequence[float | None]) -> Iterator[tuple[int, int]]:
    start = None
    for index, value in enumerate((*curve, 0.0)):
        if value is None and start is None:
            start = index
        elif value is not None and start is not None:
            yield start, index - start
            start = None


def series_name(series: SeriesFinding, index: int, lang: Language) -> str:
    """Name a series by what a reader knows it by: sequence and plane, else its folder, else its number."""
    known = " ".join(filter(None, (series.sequence, series.plane)))
    if known:
        return known
    folder = (series.series_id or "").rpartition("/")[2]
    return folder or PAGE[lang]["series"].format(number=index + 1)


def unused_series(series: Iterable[SeriesFinding], lang: Language) -> tuple[str, ...]:
    """Say of each series that does not count why."""
    words, parts = PAGE[lang], []
    for index, one in enumerate(series):
        if one.probability is not None:
            continue
        why = words["nothing_assessable"] if one.reason is None else REASON[lang][one.reason]
        parts.append(words["unused"].format(name=series_name(one, index, lang), count=one.slices, reason=why))
    return tuple(parts)


def refused_slices(slices: Iterable[Finding], lang: Language) -> tuple[tuple[str, str], ...]:
    """Return path and reason of each slice that is not assessable, in anatomical order."""
    refused = [one for one in slices if one.decision is Decision.NOT_ASSESSABLE]
    refused.sort(key=lambda one: (natural_key(one.series_id or ""), *_anatomical(one)))
    return tuple((one.path, "" if one.reason is None else REASON[lang][one.reason]) for one in refused)
