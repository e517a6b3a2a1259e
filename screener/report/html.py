"""Write the worklist page: one file, complete or not at all, readable by its owner only.

How much it holds is bounded. All studies that are flagged or not assessable are listed, and the first `LOW_ROWS` that
are not flagged. The first `URGENT_PICTURES` key slices of the former and the first `LOW_PICTURES` of the latter are
shown large. The slices of a study stand as a strip of small pictures under their curve until the page has
`STRIP_PICTURES` of these, in reading order; after that as a curve alone, until it has `STRIP_SLICES` slices in curves;
after that the card has its key slices and counts.
"""

from __future__ import annotations

import heapq
import os
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from screener.domain.finding import Urgency
from screener.finding_store import FindingStore, Item
from screener.inbox import locate
from screener.pipeline.study import Aggregation
from screener.report import output, page, study_card
from screener.report.console import number
from screener.report.messages import PAGE
from screener.report.picture_store import PictureStore
from screener.report.pictures import Drawing, Picture, drawing, encode, thumbnail, uri
from screener.report.study_card import DECODED, Panels, SliceCard, StudyCard, series_of, shown_slices
from screener.study_store import StudyItem
from screener.triage import reading_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from screener.domain.finding import Finding
    from screener.domain.study import StudyFinding
    from screener.messages import Language
    from screener.model.session import Model
    from screener.preprocess import Frame
    from screener.report.page import About

URGENT_PICTURES = 2_000
"""Large pictures of slices that are flagged or not assessable, or of such studies; about 12 KB each."""
LOW_PICTURES = 200
"""Large pictures of what is not flagged: those nearest to the threshold."""
LOW_ROWS = 5_000
"""Studies that are not flagged and still listed; beyond that a browser gets slow and nobody reads on."""
STRIP_PICTURES = 6_000
"""Small pictures of slices; about 3 KB each."""
STRIP_SLICES = 20_000
"""Slices that stand in curves; about 200 bytes each."""
_MOST_SLICES = 2_000
"""Slices of one study beyond which it is not drawn slice by slice: no examination of a head has as many."""
_PICTURES = (".jpg", ".jpeg", ".png")


class ReportWriter:
    """Collects findings and writes the page when the block ends well; an exception leaves the former page alone.

    Parameters
    ----------
    out : Path
        The page. An earlier page is replaced, any other file is not.
    about : About
        What the list is about; may be replaced until the block ends.
    lang : {"en", "fr"}
    images : Path, optional
        Where the inbox lies now, when it has moved.

    Attributes
    ----------
    store : FindingStore
        Slices and studies.
    pictures : PictureStore
    model : Model or None
        The model at hand: tells how slices make a study, and what its operating points are worth.

    Raises
    ------
    UsageError
        On entry, when `out` cannot be written, is something else than an earlier page, or lies inside the inbox.
    """

    def __init__(self, out: Path, about: About, lang: Language = "en", *, images: Path | None = None) -> None:
        self.out, self.about, self.lang = out, about, lang
        self.images = images or Path(about.inbox)
        self.model: Model | None = None
        self.store = FindingStore()
        self.pictures = PictureStore(URGENT_PICTURES, LOW_PICTURES, STRIP_PICTURES)
        self._full: sqlite3.Error | None = None

    def __enter__(self) -> Self:
        output.refuse(self.out, page.MARK, "worklist")
        output.refuse_inside(self.out, self.images)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._write()
        except sqlite3.Error as error:
            raise output.unwritable(self.out, OSError(str(error))) from None
        finally:
            self.store.__exit__()
            self.pictures.close()

    def add(self, finding: Finding, small: Picture | None = None, heatmap: NDArray[np.float32] | None = None) -> None:
        """Take a slice in.

        Parameters
        ----------
        finding : Finding
        small : Picture, optional
            Without it the slice is shown without a picture, unless `screener.report.from_log.illustrate` finds one.
        heatmap : ndarray of shape (h, w), float32, in [0, 1], optional
        """
        self.store.add(Item(finding, self.about.inbox))
        self.pictures.put(finding, small, heatmap)

    def add_study(self, finding: StudyFinding) -> None:
        """Take in the answer about a study whose slices are known."""
        self.store.studies.add(StudyItem(finding, self.about.inbox))
        self.pictures.answer(finding, self.shown(finding))

    def thumbnail(self, pixels: NDArray[np.float32], where: Frame) -> Picture:
        """Keep pictures of a slice that is being screened, see `screener.pipeline.scan.ScanObserver`."""
        return encode(thumbnail(pixels, where))

    def see(self, finding: Finding, thumbnail: object, heatmap: NDArray[np.float32] | None) -> None:
        """Take in a slice of a scan; that there is no room for its picture must not end the scan."""
        if self._full is not None:
            return
        try:
            small = thumbnail if isinstance(thumbnail, Picture) else None
            self.add(finding, small, None if finding.probability is None else heatmap)
        except sqlite3.Error as error:
            self._full = error

    def see_study(self, finding: StudyFinding) -> None:
        """Take in a study of a scan; see `see`."""
        if self._full is not None:
            return
        try:
            self.add_study(finding)
        except sqlite3.Error as error:
            self._full = error

    @property
    def aggregation(self) -> Aggregation:
        """How slices make a study: by the model at hand, else by default."""
        return Aggregation() if self.model is None else Aggregation.of(self.model.card)

    def slices_of(self, study: StudyFinding) -> list[Item]:
        """Return the slices of a study; none of one that holds too many for an examination."""
        if study.slices.total > _MOST_SLICES:
            return []
        return list(self.store.of_study(self.about.inbox, study.study_id))

    def shown(self, study: StudyFinding) -> list[Finding]:
        """Return the slices of a study that are shown large."""
        return shown_slices(study, (item.finding for item in self.slices_of(study)))

    def requested(self) -> Iterator[tuple[Item, bool]]:
        """Yield the slices that the page shows and has no picture of yet; True where the large one is wanted too."""
        large = {False: URGENT_PICTURES, True: LOW_PICTURES}
        strip = STRIP_PICTURES
        for item in self._entries():
            low = item.finding.urgency is Urgency.LOW
            if low and large[True] <= 0:
                return
            if isinstance(item, Item):
                if large[low] > 0 and item.finding.reason in DECODED:
                    large[low] -= 1
                    yield from self._lacking(item, large=True)
                continue
            items = self.slices_of(item.finding)
            keys = {id(finding) for finding in shown_slices(item.finding, (one.finding for one in items))}
            for one in items:
                is_key = id(one.finding) in keys and large[low] > 0
                in_strip = not low and strip > 0 and len(items) > 1 and one.finding.reason in DECODED
                large[low] -= is_key
                strip -= in_strip
                if is_key or in_strip:
                    yield from self._lacking(one, large=is_key)

    def _lacking(self, item: Item, *, large: bool) -> Iterator[tuple[Item, bool]]:
        kept = self.pictures.get(item.finding)
        if kept is None or (kept.missing is None and not self._has(kept.picture, large=large)):
            yield item, large

    @staticmethod
    def _has(picture: Picture | None, *, large: bool) -> bool:
        return picture is not None and bool(picture.large if large else picture.small)

    def _entries(self) -> Iterator[StudyItem | Item]:
        """Yield studies, and slices that no answer about a study rests on, in reading order."""
        studies: Iterator[StudyItem | Item] = self.store.studies.items()
        return heapq.merge(
            studies, self.store.first(None, unanswered=True), key=lambda item: reading_order(item.finding)
        )

    def _write(self) -> None:
        """Write beside the page, then put it in its place."""
        if self._full is not None:
            raise self._full
        written = self.about.written or datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        self.about = replace(self.about, written=written)
        with output.whole(self.out) as file:
            for part in page.page(self.about, self._totals(), _Cards(self).cards(self._entries()), self.lang):
                file.write(part)

    def _totals(self) -> page.Totals:
        studies, slices = self.store.studies.by_urgency(), self.store.by_urgency(unanswered=True)
        counts = {urgency: studies[urgency] + slices[urgency] for urgency in Urgency}
        low = counts[Urgency.LOW]
        return page.Totals(
            by_urgency=counts,
            hidden_low=max(0, low - LOW_ROWS),
            urgent_pictures=URGENT_PICTURES,
            low_pictures=LOW_PICTURES,
            capped=sum(counts.values()) - low > URGENT_PICTURES or low > LOW_PICTURES,
            older=self.store.others(self.about.model_sha256, self.about.threshold),
        )

    def link(self, item: Item) -> str | None:
        """Return the way from the page to the original, so that both may be moved together.

        Only to what was decoded and what a browser takes for a picture by its name: a page that somebody dropped into
        the inbox must not be one click away.
        """
        finding = item.finding
        if finding.reason not in DECODED or not finding.path.lower().endswith(_PICTURES):
            return None
        file = locate(self.images, item.finding.path)
        if file is None:
            return None
        way = os.path.relpath(os.fsencode(file), os.fsencode(self.out.parent.resolve()))
        # With a folder in front, no name can be read as a scheme such as "javascript:".
        return "./" + quote(way)


class _Cards:
    """Makes the cards of a page, and counts what it has room for."""

    def __init__(self, report: ReportWriter) -> None:
        self._report, self._lang = report, report.lang
        self._large = {False: URGENT_PICTURES, True: LOW_PICTURES}
        self._strip, self._slices = STRIP_PICTURES, STRIP_SLICES
        self._aggregation = report.aggregation

    def cards(self, items: Iterator[StudyItem | Item]) -> Iterator[StudyCard | SliceCard]:
        """Yield a card for each item, as far as the page goes."""
        rows = LOW_ROWS
        for place, item in zip(count(1), items, strict=False):
            if item.finding.urgency is Urgency.LOW:
                if rows <= 0:
                    return
                rows -= 1
            yield self._study(item, place) if isinstance(item, StudyItem) else self._slice(item, f"s{place}")

    def _slice(self, item: Item, identifier: str, caption: str = "", *, low: bool | None = None) -> SliceCard:
        low = item.finding.urgency is Urgency.LOW if low is None else low
        drawn, missing = self._drawing(item, low=low)
        return study_card.slice_card(
            item,
            identifier,
            self._lang,
            drawing=drawn,
            missing=missing,
            caption=caption,
            link=self._report.link(item),
        )

    def _drawing(self, item: Item, *, low: bool) -> tuple[Drawing | None, str]:
        """Return the picture of a slice, or why there is none."""
        words, finding = PAGE[self._lang], item.finding
        if self._large[low] <= 0:
            return None, words["beyond"].format(count=LOW_PICTURES if low else URGENT_PICTURES)
        if finding.reason not in DECODED:
            return None, words["not_shown"]
        self._large[low] -= 1
        kept = self._report.pictures.get(finding)
        if kept is None or kept.picture is None or not kept.picture.large:
            return None, words["unreadable" if kept is None or kept.missing is None else kept.missing]
        return drawing(kept.picture, kept.heatmap, words["picture"].format(path=finding.path)), ""

    def _study(self, item: StudyItem, place: int) -> StudyCard:
        finding, lang = item.finding, self._lang
        point = study_card.point_words(finding, self._report.model, self._aggregation, lang)
        card = study_card.study_card(item, place, point, lang)
        low = finding.urgency is Urgency.LOW
        if low and self._large[True] <= 0:
            return card
        items = self._report.slices_of(finding)
        findings = [one.finding for one in items]
        keys = self._keys(finding, items, card.identifier, low=low)
        refused = study_card.refused_slices(findings, lang)
        card = replace(
            card,
            keys=keys,
            unused=study_card.unused_series(finding.series, lang),
            refused=refused[: study_card.REFUSED_SHOWN],
            refused_more=max(0, len(refused) - study_card.REFUSED_SHOWN),
        )
        if len(items) < 2 or self._slices < len(items):  # noqa: PLR2004 - one slice makes no curve
            return card
        self._slices -= len(items)
        small = self._nothing if low or self._strip < len(items) else self._small
        panels = Panels(finding, lang, card.identifier, keys, small)
        return replace(card, panels=panels.panels(series_of(finding, findings, self._aggregation)))

    def _keys(self, study: StudyFinding, items: list[Item], identifier: str, *, low: bool) -> tuple[SliceCard, ...]:
        by_finding = {id(one.finding): one for one in items}
        shown = shown_slices(study, (one.finding for one in items))
        captions = [number(key.probability, self._lang) for key in study.key_slices] or [""] * len(shown)
        return tuple(
            self._slice(by_finding[id(one)], f"{identifier}-k{rank}", caption, low=low)
            for rank, (one, caption) in enumerate(zip(shown, captions, strict=False), 1)
        )

    def _small(self, finding: Finding) -> str:
        kept = self._report.pictures.get(finding)
        if kept is None or kept.picture is None or not kept.picture.small:
            return ""
        self._strip -= 1
        return uri("jpeg", kept.picture.small)

    @staticmethod
    def _nothing(_: Finding) -> str:
        return ""
