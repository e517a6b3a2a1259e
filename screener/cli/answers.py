"""What ``--dicom-out`` of a scan asks for: the answers of its studies as DICOM, once they are in the log."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from screener.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from screener.domain.study import StudyFinding
    from screener.messages import Language
    from screener.model.session import Model
    from screener.pipeline.config import ScanConfig
    from screener.report.dicom_answer import Missing


@dataclass(slots=True)
class Answers:
    """The studies of a scan, and where their answers go.

    Attributes
    ----------
    folder : Path or None
        Where the answers are written.
    studies : dict of str to None
        Identifiers, in the order of the scan.
    """

    folder: Path | None
    studies: dict[str, None] = field(default_factory=dict)

    @property
    def wanted(self) -> bool:
        """Whether anything is asked for."""
        return self.folder is not None

    def refuse(self, inbox: Path, config: ScanConfig) -> None:
        """Look at all that can be wrong before anything is screened.

        Raises
        ------
        UsageError
            The extra is missing, the folder lies inside the inbox, or pseudonyms are wanted.
        """
        if not self.wanted:
            return
        from screener.report.dicom_answer import refuse_without_highdicom

        if config.pseudonymise is not None:
            raise UsageError(
                "answers in DICOM carry the identity that --pseudonymise hides",
                "leave one of them out: identity goes back to the PACS that it came from, or nowhere",
            )
        refuse_without_highdicom()
        if self.folder is not None and inbox.is_dir():
            place = self.folder.resolve()
            if any(above.exists() and above.samefile(inbox) for above in (place, *place.parents)):
                raise UsageError(f"{self.folder} lies inside the inbox {inbox}", "name a folder elsewhere")

    def note(self, finding: StudyFinding) -> None:
        """Remember a study that was answered."""
        if self.wanted:
            self.studies[finding.study_id] = None

    def make(self, log: Path, model: Model, lang: Language) -> None:
        """Make the answers of all studies that were noted, and say on stderr which could not be made.

        Raises
        ------
        ScreenerError
            They cannot be written; the log has all results.
        """
        if not self.studies or self.folder is None:
            return
        from screener.report.dicom_answer import NoAnswer, dicom_answers, write_answer

        missing: Counter[Missing] = Counter()
        for made in dicom_answers(log, lambda: model, lang, wanted=self.studies):
            if isinstance(made, NoAnswer):
                missing[made.why] += 1
            else:
                write_answer(self.folder, made)
        tell_missing(missing)


def tell_missing(missing: Counter[Missing]) -> None:
    """Say on stderr how many studies have no answer in DICOM, and why."""
    from screener.report.dicom_answer import WHY

    for why, count in missing.items():
        sys.stderr.write(f"warning: no answer in DICOM about {count} of the studies: {WHY[why]}\n")
