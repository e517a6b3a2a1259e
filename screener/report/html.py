"""Write the worklist page: one file, complete or not at all, readable by its owner only."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from screener.domain.finding import Urgency
from screener.domain.slice import Reason
from screener.finding_store import FindingStore, Item
from screener.inbox import locate
from screener.report import output, page
from screener.report.messages import PAGE
from screener.report.pictures import Thumbnail, draw, thumbnail

if TYPE_CHECKING:
    from typing import IO

    import numpy as np
    from numpy.typing import NDArray

    from screener.domain.finding import Finding
    from screener.finding_store import Row
    from screener.messages import Language
    from screener.preprocess import Frame
    from screener.report.page import About

URGENT_PICTURES = 2_000
"""Pictures of slices that are flagged or not assessable; about 12 KB each."""
LOW_PICTURES = 200
"""Pictures of slices that are not flagged: those nearest to the threshold."""
_DECODED = (None, Reason.BLANK, Reason.NOT_A_BRAIN_MRI, Reason.TOO_SMALL, Reason.NON_FINITE_SCORE)
_PICTURES = (".jpg", ".jpeg", ".png")
LOW_ROWS = 5_000
"""Slices that are not flagged and still listed; beyond that a browser gets slow and nobody reads on."""


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

    Raises
    ------
    UsageError
        On entry, when `out` cannot be written, is something else than an earlier page, or lies inside the inbox.
    """

    def __init__(self, out: Path, about: About, lang: Language = "en", *, images: Path | None = None) -> None:
        self.out, self.about, self.lang = out, about, lang
        self.images = images or Path(about.inbox)
        self.spool = FindingStore(URGENT_PICTURES, LOW_PICTURES)
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
            self.spool.__exit__()

    def add(self, finding: Finding, small: Thumbnail | None = None, heatmap: NDArray[np.float32] | None = None) -> None:
        """Take a finding in.

        Parameters
        ----------
        finding : Finding
        small : Thumbnail, optional
            Without it the slice is shown without a picture, unless `screener.report.from_log.illustrate` finds one.
        heatmap : ndarray of shape (h, w), float32, in [0, 1], optional
        """
        picture = None if small is None else self.markup(finding, small, heatmap)
        self.spool.add(Item(finding, self.about.inbox), picture)

    def thumbnail(self, pixels: NDArray[np.float32], where: Frame) -> Thumbnail:
        """Keep a thumbnail of a slice that is being screened, see `screener.pipeline.scan.ScanObserver`."""
        return thumbnail(pixels, where)

    def see(self, finding: Finding, thumbnail: object, heatmap: NDArray[np.float32] | None) -> None:
        """Take in a finding of a scan; that there is no room for its picture must not end the scan."""
        if self._full is not None:
            return
        try:
            small = thumbnail if isinstance(thumbnail, Thumbnail) else None
            self.add(finding, small, None if finding.probability is None else heatmap)
        except sqlite3.Error as error:
            self._full = error

    def markup(self, finding: Finding, small: Thumbnail, heatmap: NDArray[np.float32] | None) -> str:
        """Return the markup of a picture."""
        label = PAGE[self.lang]["picture"].format(path=finding.path)
        return draw(small, heatmap, page.text(label))

    def _write(self) -> None:
        """Write beside the page, then put it in its place."""
        if self._full is not None:
            raise self._full
        self.spool.trim()
        written = self.about.written or datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        self.about = replace(self.about, written=written)
        with output.whole(self.out) as file:
            self._stream(file)

    def _stream(self, file: IO[str]) -> None:
        for part in page.opening(self.about, self._totals(), self.lang):
            file.write(part)
        group = 0
        for row in self.spool.rows(low=LOW_ROWS):
            if row.group != group:
                file.write(self._next_patient(row, first=group == 0))
                group = row.group
            beyond = LOW_PICTURES if row.item.finding.urgency is Urgency.LOW else URGENT_PICTURES
            file.write(page.card(row, self.lang, self._link(row.item), beyond))
        if group:
            file.write("</div>\n</section>\n")
        file.write(page.closing(self.lang))

    def _next_patient(self, row: Row, *, first: bool) -> str:
        counts = self.spool.of_patient(row.item)
        opened = page.patient(row.item, counts, self.lang, f"p{row.group}")
        return opened if first else f"</div>\n</section>\n{opened}"

    def _totals(self) -> page.Totals:
        counts = self.spool.by_urgency()
        low, urgent = counts[Urgency.LOW], sum(counts.values()) - counts[Urgency.LOW]
        return page.Totals(
            by_urgency=counts,
            hidden_low=max(0, low - LOW_ROWS),
            urgent_pictures=min(urgent, URGENT_PICTURES),
            low_pictures=min(low, LOW_PICTURES),
            capped=urgent > URGENT_PICTURES or low > LOW_PICTURES,
            older=self.spool.others(self.about.model_sha256, self.about.threshold),
        )

    def _link(self, item: Item) -> str | None:
        """Return the way from the page to the original, so that both may be moved together.

        Only to what was decoded and what a browser takes for a picture by its name: a page that somebody dropped into
        the inbox must not be one click away.
        """
        finding = item.finding
        if finding.reason not in _DECODED or not finding.path.lower().endswith(_PICTURES):
            return None
        file = locate(self.images, item.finding.path)
        if file is None:
            return None
        way = os.path.relpath(os.fsencode(file), os.fsencode(self.out.parent.resolve()))
        # With a folder in front, no name can be read as a scheme such as "javascript:".
        return "./" + quote(way)
