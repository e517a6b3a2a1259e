"""The agreement report as a page: figures first, then every disagreement with its picture, misses before all else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from screener.agreement.figures import agreement
from screener.agreement.messages import DECISION, DIAGNOSIS, FIGURE, METHOD, REPORT, SELECTION, UNKNOWN
from screener.agreement.opinions import collect
from screener.audit.reader import EventReader, last_inbox, recorded
from screener.domain.finding import Decision, Urgency
from screener.domain.verdict import Diagnosis
from screener.messages import URGENCY_WORD
from screener.report import document
from screener.report.console import against_threshold, number
from screener.report.from_log import heatmaps_of, slice_of
from screener.report.messages import EVIDENCE, PAGE, REASON
from screener.report.output import refuse_inside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from screener.agreement.figures import Agreement, Figures, Group, Pair
    from screener.agreement.opinions import Level, Opinion, Reading
    from screener.domain.estimate import WeightedEstimate
    from screener.domain.slice import Slice
    from screener.errors import AuditLogError
    from screener.finding_store import Item
    from screener.inbox.isolation import SafeDecoder
    from screener.messages import Language
    from screener.model.session import Model

SHOWN = 200
"""Disagreements with a picture: about 25 KB each."""
_PAIRS = 50
_BATCH = 16
"""Slices decoded and explained at once."""
_HASH = 12
"""Letters of a hash that a person is shown."""
_MINUTES = len("2026-11-24T16:41")


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a report is to be about.

    Attributes
    ----------
    log : Path
    inbox : Path or None
        One inbox only; by default all of the log.
    images : Path or None
        Where that inbox, or the last one of the log, lies now.
    lang : {"en", "fr"}
    level : {"study", "slice"}
        See `screener.agreement.opinions.collect`.
    """

    log: Path
    inbox: Path | None = None
    images: Path | None = None
    lang: Language = "en"
    level: Level = "study"


@dataclass(frozen=True, slots=True)
class Report:
    """What was written.

    Attributes
    ----------
    figures : dict
        As JSON holds them.
    problem : AuditLogError or None
        What made the log untrustworthy at some point; everything rests on what came before.
    """

    figures: dict[str, Any]
    problem: AuditLogError | None


def write_agreement(out: Path, options: ReportOptions, model: Model | None = None) -> Report:
    """Write the agreement report of a log.

    Parameters
    ----------
    out : Path
        The page, see `screener.report.document.save`.
    options : ReportOptions
    model : Model, optional
        Draws its evidence over what this very model judged.

    Raises
    ------
    AuditLogError
        There is no such log.
    UsageError
        The page may not be written, or no run screened that inbox.
    """
    document.refuse(out)
    reader = EventReader(options.log)
    inbox = None if options.inbox is None else recorded(options.inbox)
    found = agreement(collect(reader, inbox, options.level))
    for screened in {reader.inbox(run) for run in reader.runs.values()} - {""}:
        refuse_inside(out, Path(screened))
    about = {
        "log": str(options.log),
        "head": reader.head,
        "inbox": inbox,
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "problem": None if reader.problem is None else str(reader.problem),
    }
    pictures = _Pictures(options, model)
    markup = document.document(REPORT[options.lang]["title"], _parts(found, about, pictures), options.lang)
    document.save(out, markup)
    return Report(about | found.to_json(), reader.problem)


def _parts(found: Agreement, about: dict[str, str | None], pictures: _Pictures) -> Iterator[str]:
    lang = pictures.options.lang
    words = REPORT[lang]
    yield from _opening(found, about, lang)
    if not found.overall.figures.read:
        yield document.paragraph(words["nothing"], "warning")
    else:
        yield from _overall(found, lang)
    yield document.heading(words["reviewed"])
    yield from _reviewed([found.overall], lang)
    if found.overall.figures.read:
        yield from _by_model(found.models, lang)
        yield document.heading(words["weeks"])
        yield _compared([(week.name or words["no_week"], week) for week in found.weeks], words["week"], lang)
        yield from _readers(found.pairs, lang)
        yield from _disagreements(found, pictures)
    yield document.heading(words["method"])
    yield document.listing(METHOD[lang])


def _opening(found: Agreement, about: dict[str, str | None], lang: Language) -> Iterator[str]:
    words, figures = REPORT[lang], found.overall.figures
    if about["problem"] is not None:
        yield document.paragraph(words["problem"].format(problem=about["problem"]), "warning")
    counts = {"read": figures.read, "verdicts": found.verdicts, "blind": figures.blind}
    screened = sum(model.screened or 0 for model in found.models)
    yield document.paragraph(words["about"].format(screened=screened, **counts))
    yield document.paragraph(words[found.level], "remark")
    where = words["inboxes"] if about["inbox"] is None else words["inbox"].format(inbox=about["inbox"])
    head = str(about["head"])[:_HASH]
    written = words["written"].format(written=about["written"], log=about["log"], head=head, inbox=where)
    yield document.paragraph(written, "remark")
    if found.unattached:
        yield document.paragraph(words["unattached"].format(count=found.unattached), "warning")
    if figures.verdicts["other"]:
        yield document.paragraph(words["other"].format(count=figures.verdicts["other"]), "warning")
    if found.thin is not None:
        yield document.paragraph(words["thin"].format(share=number(found.thin, lang)), "warning")


def _overall(found: Agreement, lang: Language) -> Iterator[str]:
    words = REPORT[lang]
    yield document.heading(words["overall"])
    if any(not model.figures.read for model in found.models):
        yield document.paragraph(words["left_out"], "remark")
    yield _rates(found.overall, lang)
    yield _read(found.overall.figures, lang)
    by_diagnosis = ", ".join(f"{DIAGNOSIS[lang][d]} {found.overall.figures.verdicts[d]}" for d in Diagnosis)
    yield document.paragraph(words["verdicts"].format(verdicts=by_diagnosis), "remark")


def _rates(group: Group, lang: Language) -> str:
    words, figures = REPORT[lang], group.figures
    rows: list[tuple[str, str, str]] = [
        (FIGURE[lang][name], _estimate(figures.headline[name], lang), _estimate(figures.assessable[name], lang))
        for name in FIGURE[lang]
    ]
    if group.screened and group.refused is not None:
        share = number(group.refused / group.screened, lang)
        refused = words["refused_value"].format(share=share, count=group.refused, screened=group.screened)
        rows.append((words["refused"], refused, "–"))
    return document.table([words["figure"], words["headline"], words["assessable"]], rows)


def _estimate(figure: WeightedEstimate, lang: Language) -> str:
    words = REPORT[lang]
    if figure.value is None:
        return UNKNOWN[lang][figure.unknown or "none"]
    counts = {"hits": figure.hits, "count": figure.count, "units": figure.units}
    if figure.low is None or figure.high is None:
        return words["no_interval"].format(value=number(figure.value, lang), **counts)
    shown = {name: number(value, lang) for name, value in (("low", figure.low), ("high", figure.high))}
    return words["interval"].format(value=number(figure.value, lang), **shown, **counts)


def _read(figures: Figures, lang: Language) -> str:
    """Return the table of decision by verdict."""
    words, diagnosis = REPORT[lang], DIAGNOSIS[lang]
    head = [words["decision"], diagnosis[Diagnosis.TUMOUR], diagnosis[Diagnosis.NO_TUMOUR], words["neither"]]
    rows = [
        (DECISION[lang][Decision(name)], int(row["tumour"]), int(row["no_tumour"]), int(row["neither"]),
         round(row["weight"]))
        for name, row in figures.table.items()
    ]  # fmt: skip
    return document.table([*head, words["stands"]], rows, words["table"])


def _reviewed(groups: Sequence[Group], lang: Language) -> Iterator[str]:
    """Return the share read of each urgency."""
    words = REPORT[lang]
    for group in groups:
        rows = []
        for urgency in Urgency:
            share = group.reviewed[urgency]
            shown = number(share.reviewed / share.screened, lang) if share.screened else "–"
            rows.append((URGENCY_WORD[lang][urgency], share.screened, share.reviewed, shown))
        yield document.table([words["urgency"], words["screened"], words["read"], words["share"]], rows)


def _by_model(models: Sequence[Group], lang: Language) -> Iterator[str]:
    words = REPORT[lang]
    yield document.heading(words["models"])
    yield _compared([(_model_name(model), model) for model in models], words["model"], lang)
    # A single model is what stands above.
    for model in models if len(models) > 1 else ():
        yield document.heading(_model_name(model), 3)
        if model.figures.read:
            yield _rates(model, lang)
            yield _read(model.figures, lang)
        yield from _reviewed([model], lang)


def _model_name(model: Group) -> str:
    return f"{model.name} · {model.model_sha256[:_HASH]}"


def _compared(groups: Iterable[tuple[str, Group]], what: str, lang: Language) -> str:
    """Return headline figures side by side."""
    words = REPORT[lang]
    head = [what, words["read"], DIAGNOSIS[lang][Diagnosis.TUMOUR], *FIGURE[lang].values()]
    rows = [
        (
            *(name, group.figures.read, group.figures.verdicts[Diagnosis.TUMOUR]),
            *(_estimate(group.figures.headline[figure], lang) for figure in FIGURE[lang]),
        )
        for name, group in groups
    ]
    return document.table(head, rows)


def _readers(pairs: Sequence[Pair], lang: Language) -> Iterator[str]:
    words = REPORT[lang]
    yield document.heading(words["readers"])
    if not pairs:
        yield document.paragraph(words["one_reader"])
        return
    head = [words["reader"], words["shared"], words["decided"], words["alike"], FIGURE[lang]["kappa"]]
    rows = [
        (" · ".join(pair.readers), pair.shared, pair.decided, pair.kappa.hits, _estimate(pair.kappa, lang))
        for pair in pairs[:_PAIRS]
    ]
    yield document.table(head, rows)
    if len(pairs) > _PAIRS:
        yield document.paragraph(words["more_pairs"].format(shown=_PAIRS, total=len(pairs)), "remark")


def _disagreements(found: Agreement, pictures: _Pictures) -> Iterator[str]:
    lang = pictures.options.lang
    words = REPORT[lang]
    groups = {name: getattr(found, name) for name in ("misses", "false_alarms", "contested")}
    yield document.heading(words["disagreements"])
    total, left = sum(map(len, groups.values())), SHOWN
    if total > SHOWN:
        yield document.paragraph(words["capped"].format(shown=SHOWN, total=total), "warning")
    yield document.paragraph(EVIDENCE[lang], "remark")
    for name, readings in groups.items():
        yield document.heading(words[name].format(count=len(readings)), 3)
        if not readings:
            yield document.paragraph(words["none"])
        yield from pictures.figures(readings[:left])
        left -= len(readings[:left])


class _Pictures:
    """Shows slices, or the key slices of studies, with what was said of them.

    Parameters
    ----------
    options : ReportOptions
    model : Model or None
        Draws its evidence over what this very model judged.
    """

    def __init__(self, options: ReportOptions, model: Model | None) -> None:
        self.options, self._model = options, model
        moved = str(options.images) if options.images is not None else ""
        of = "" if not moved else recorded(options.inbox) if options.inbox is not None else last_inbox(options.log)
        self._places = {of: moved} if moved else {}

    def figures(self, readings: Iterable[Reading]) -> Iterator[str]:
        """Yield a figure for each case."""
        from screener.inbox.isolation import SafeDecoder

        with SafeDecoder() as decoder:
            rest = iter(readings)
            while batch := list(islice(rest, _BATCH)):
                yield from self._batch(batch, decoder)

    def _batch(self, readings: Sequence[Reading], decoder: SafeDecoder) -> Iterator[str]:
        shown = [self._slice(reading.picture, decoder) for reading in readings]
        found = [slice_ for slice_ in shown if not isinstance(slice_, str)]
        heatmaps = heatmaps_of(self._model, found)
        for reading, slice_ in zip(readings, shown, strict=True):
            picture = slice_ if isinstance(slice_, str) else self._picture(*slice_, next(heatmaps))
            yield self._shown(reading, picture)

    def _slice(self, item: Item | None, decoder: SafeDecoder) -> tuple[Item, Slice] | str:
        """Return a slice, or markup that says why there is none."""
        lang = self.options.lang
        if item is None:
            return document.paragraph(REPORT[lang]["no_key"], "remark")
        place = self._places.get(item.inbox, item.inbox)
        found = slice_of(Path(place), item, decoder) if place else "moved"
        return document.paragraph(PAGE[lang][found], "remark") if isinstance(found, str) else (item, found)

    def _picture(self, item: Item, slice_: Slice, heatmap: NDArray[np.float32] | None) -> str:
        from screener.report.pictures import jpeg

        label = REPORT[self.options.lang]["picture"].format(path=item.finding.path)
        return document.picture(jpeg(slice_.pixels, heatmap, self._model, both=True), label, "jpeg")

    def _shown(self, reading: Reading, picture: str) -> str:
        lang, finding = self.options.lang, reading.item.finding
        caption = [
            finding.path,
            DECISION[lang][finding.decision],
            self._score(reading),
            f"{finding.model} · {finding.model_sha256[:_HASH]}",
            SELECTION[lang][reading.drawn],
        ]
        if finding.reason is not None:
            caption.append(REASON[lang][finding.reason])
        opinions = document.listing(self._opinion(opinion) for opinion in reading.opinions.values())
        return document.figure(picture, " · ".join(caption)) + opinions

    def _score(self, reading: Reading) -> str:
        lang, finding = self.options.lang, reading.item.finding
        if finding.probability is None:
            return REPORT[lang]["no_score"]
        return REPORT[lang]["score"].format(score=against_threshold(finding, lang))

    def _opinion(self, opinion: Opinion) -> str:
        words = REPORT[self.options.lang]
        said = opinion.said if opinion.other else DIAGNOSIS[self.options.lang][opinion.diagnosis]
        when = opinion.timestamp[:_MINUTES].replace("T", " ")
        parts = [words["opinion"].format(doctor=opinion.doctor, diagnosis=said, when=f"{when} UTC")]
        parts += [words["blind"]] if opinion.blind else []
        parts += [words["note"].format(note=opinion.note)] if opinion.note else []
        return " · ".join(parts)
