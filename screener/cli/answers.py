"""What ``--dicom-out`` and ``--send`` ask for: the answers of studies as DICOM, once they are in the log."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from screener.errors import UsageError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from screener.domain.study import StudyFinding
    from screener.messages import Language
    from screener.model.session import Model
    from screener.pacs.sending import AnswerSender
    from screener.pipeline.config import ScanConfig
    from screener.report.dicom_answer import Missing


@dataclass(slots=True)
class Answers:
    """The studies of a scan, and where their answers go.

    Attributes
    ----------
    folder : Path or None
        Where the answers are written.
    destinations : tuple of str
        Where they are sent.
    ae_title : str
        Own AE title.
    outbox : Path or None
        Where they wait; None means beside the log.
    studies : dict of str to None
        Identifiers, in the order of the scan.
    """

    folder: Path | None
    destinations: tuple[str, ...] = ()
    ae_title: str = "SCREENER"
    outbox: Path | None = None
    studies: dict[str, None] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Mapping[str, object]) -> Answers:
        """Take them from the options of a command, by their names; what it has no option for is not asked for."""
        found: dict[str, object] = {name: given[name] for name in ("ae_title", "outbox") if name in given}
        destinations = given.get("send") or ()
        return cls(given.get("dicom_out"), tuple(destinations), **found)  # type: ignore[arg-type]

    @property
    def wanted(self) -> bool:
        """Whether anything is asked for."""
        return self.folder is not None or bool(self.destinations)

    def refuse(self, inbox: Path, config: ScanConfig) -> None:
        """Look at all that can be wrong before anything is screened.

        Raises
        ------
        UsageError
            The extra is missing, a folder lies inside the inbox, a destination is none, or pseudonyms are wanted.
        """
        if not self.wanted:
            return
        from screener.pacs.destination import checked_title, read_destinations
        from screener.pacs.storage_scu import refuse_without_network
        from screener.report.dicom_answer import refuse_without_highdicom

        if config.pseudonymise is not None:
            raise UsageError(
                "answers in DICOM carry the identity that --pseudonymise hides",
                "leave one of them out: identity goes back to the PACS that it came from, or nowhere",
            )
        refuse_without_highdicom()
        if self.destinations:
            refuse_without_network()
            read_destinations(self.destinations)
            checked_title(self.ae_title)
        for folder in (self.folder, self.outbox):
            if folder is not None:
                _refuse_inside(folder, inbox)

    def sender(self, log: Path, model: Callable[[], Model], lang: Language, group: str | None) -> AnswerSender:
        """Return what makes and sends the answers.

        Raises
        ------
        UsageError
            The outbox cannot be used.
        """
        from screener.pacs.destination import checked_title, read_destinations
        from screener.pacs.sending import AnswerSender, SendOptions

        options = SendOptions(
            destinations=read_destinations(self.destinations),
            folder=self.folder,
            outbox=(self.outbox or default_outbox(log)) if self.destinations else None,
            lang=lang,
            calling=checked_title(self.ae_title),
            group=group,
        )
        return AnswerSender(log, model, options)

    def note(self, finding: StudyFinding) -> None:
        """Remember a study that was answered."""
        if self.wanted:
            self.studies[finding.study_id] = None

    def make(self, log: Path, model: Model, lang: Language, group: str | None = None) -> None:
        """Make and send the answers of all studies that were noted; say on stderr what could not be.

        Raises
        ------
        ScreenerError
            They cannot be written; the log has all results.
        """
        if not self.studies:
            return
        sender = self.sender(log, lambda: model, lang, group)
        tell_missing(sender.make(self.studies).missing)
        delivery = sender.deliver()
        for why in delivery.problems.values():
            sys.stderr.write(f"warning: {why}\n")
        if delivery.waiting:
            sys.stderr.write(f"warning: {delivery.waiting} answers wait in the outbox: run screener send\n")


def default_outbox(log: Path) -> Path:
    """Return where answers wait unless told otherwise."""
    return log.with_name(f"{log.name}.outbox")


def tell_missing(missing: Counter[Missing]) -> None:
    """Say on stderr how many studies have no answer in DICOM, and why."""
    from screener.report.dicom_answer import WHY

    for why, count in missing.items():
        sys.stderr.write(f"warning: no answer in DICOM about {count} of the studies: {WHY[why]}\n")


def _refuse_inside(folder: Path, inbox: Path) -> None:
    place = folder.resolve()
    if inbox.is_dir() and any(above.exists() and above.samefile(inbox) for above in (place, *place.parents)):
        raise UsageError(f"{folder} lies inside the inbox {inbox}", "name a folder elsewhere")
