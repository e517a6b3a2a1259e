"""The studies of a run whose slices are still coming in: when one is complete, it is answered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from screener.audit.events import now
from screener.domain.finding import Decision, Urgency
from screener.domain.slice import Reason
from screener.inbox.header_index import HeaderIndex
from screener.inbox.studies import FolderNames
from screener.pipeline.study import Aggregation, Member, StudySlices, study_finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from screener.audit import AuditLog
    from screener.domain.finding import Finding
    from screener.domain.slice import Identity, Refused
    from screener.domain.study import StudyFinding
    from screener.inbox import Entry, FileBytes
    from screener.pipeline.scan import Scan
    from screener.pipeline.slice import AnsweredFile, FileSlices, ScoredSlice, SeenSlice
    from screener.pipeline.study import Logged


@dataclass(slots=True)
class _Facts:
    """What headers say about a study, and how many of its files were read but not yet judged."""

    accession_number: str | None = None
    study_date: str | None = None
    warning: Reason | None = None
    ahead: int = 0


class _Answered(msgspec.Struct, array_like=True):
    """What is kept of a study that was answered, should the walk meet more of it."""

    patient_id: str | None
    accession_number: str | None
    study_date: str | None
    warning: Reason | None
    members: list[Member]
    digests: list[str]
    decision: Decision
    urgency: Urgency
    seen_before: bool


class OpenStudies:
    """Collects findings by study and answers each study once its last slice is known.

    Parameters
    ----------
    scan : Scan
    """

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._grouping = scan.walk.grouping
        self._aggregation = Aggregation.of(scan.model.card)
        self._index = HeaderIndex(scan.limits) if self._grouping.by == "folder" else None
        self._open: dict[str, StudySlices] = {}
        self._digests: dict[str, set[str]] = {}
        self._names: dict[str, FolderNames] = {}
        self._facts: dict[str, _Facts] = {}
        self._deferred: set[str] = set()
        self._arriving: set[str] = set()
        self._group: tuple[str, str] | None = None

    def ordered(self, found: Iterator[Entry | Refused]) -> Iterator[Entry | Refused]:
        """Bring the files of DICOM studies together; an expression or ``file`` groups by paths alone."""
        return found if self._index is None else self._index.ordered(found)

    def arrive(self, entry: Entry) -> None:
        """Note a file that may still be written: its study waits."""
        if entry.study_id is not None:
            self._arriving.add(entry.study_id)
        if self._index is not None:
            self._index.arrive(entry)

    def note(self, entry: Entry, renamed: Entry) -> None:
        """Look at a picture's name, which pseudonyms may hide later; the walk does so ahead of the findings."""
        if entry.known is None and renamed.study_id is not None and self._index is not None and "/" in entry.path:
            self._names.setdefault(renamed.study_id, FolderNames(entry.study_id)).add(entry.path)

    def relate(self, file: FileSlices | AnsweredFile) -> Sequence[FileBytes | ScoredSlice | SeenSlice | Refused]:
        """Remember what headers say about studies; return what the file holds."""
        for item in file.items:
            who = item.identity
            if who.study_id is None or who.study_id == file.folder:
                continue
            facts = self._facts.setdefault(who.study_id, _Facts())
            facts.ahead += 1
            facts.accession_number = facts.accession_number or who.accession_number
            facts.study_date = facts.study_date or who.study_date
            facts.warning = facts.warning or file.warning
        return file.items

    def defer(self, identity: Identity) -> None:
        """Leave a study to the next run: one of its files is still being written."""
        if identity.study_id is not None:
            self._deferred.add(identity.study_id)

    def take(self, finding: Finding, logged: Logged) -> None:
        """Add a slice to its study."""
        if finding.study_id is None:
            return
        study = self._open.get(finding.study_id)
        if study is None:
            study = self._opened(finding)
        facts = self._facts.get(finding.study_id)
        repeated = False
        if facts is not None:
            facts.ahead -= 1
            digest = f"{finding.sha256}/{finding.frame}"
            repeated = bool(finding.sha256) and digest in self._digests[finding.study_id]
            self._digests[finding.study_id].add(digest)
        study.add(finding, logged, repeated=repeated)

    def comes_back(self, study_id: str | None, before: Iterable[str | None]) -> bool:
        """Say whether a study goes on after another one.

        Parameters
        ----------
        study_id : str or None
            Of the next result.
        before : iterable of (str or None)
            Of the results that are not answered yet, in order.
        """
        if self._index is None or study_id is None:
            return False
        *others, last = before
        return study_id != last and (study_id in others or study_id in self._open)

    def close_before(self, finding: Finding) -> Iterator[StudyFinding]:
        """Answer the studies that the walk has left; an expression may join any folders."""
        group = self._group_of(finding)
        if group == self._group:
            return
        self._group = group
        for study_id in [one for one in self._open if not self._young(one)]:
            yield from self._close(study_id)

    def close_all(self) -> Iterator[StudyFinding]:
        """Answer what is left at the end of the walk, and count the studies of which every file was deferred."""
        for study_id in list(self._open):
            yield from self._close(study_id)
        if self._index is not None:
            for uid in self._index.no_longer_alone():
                yield from self._warned(uid if self._scan.pseudonyms is None else self._scan.pseudonyms.name(uid))
        self._scan.counts["studies_deferred"] = len(self._deferred)

    def _warned(self, study_id: str) -> Iterator[StudyFinding]:
        """Answer a study again that was answered before another patient's files were found under its UID."""
        kept = None if self._index is None else self._index.kept(study_id)
        if kept is None:
            return
        earlier = msgspec.msgpack.decode(kept, type=_Answered)
        study = StudySlices(study_id, None, warning=Reason.SEVERAL_PATIENTS)
        self._open[study_id] = study
        self._reopen(study, earlier)
        yield from self._close(study_id)

    def _group_of(self, finding: Finding) -> tuple[str, str]:
        """Return what a study's slices have in common: the study that headers name, or the first folder."""
        if self._grouping.pattern is not None:
            return "pattern", ""
        if finding.study_id is not None and finding.study_id in self._facts:
            return "study", finding.study_id
        return "folder", finding.path.partition("/")[0]

    def _opened(self, finding: Finding) -> StudySlices:
        """Open a study; one that was answered in this run goes on from where it was."""
        assert finding.study_id is not None  # noqa: S101 - asked before
        facts = self._facts.get(finding.study_id, _Facts())
        study = StudySlices(
            finding.study_id, finding.patient_id, facts.accession_number, facts.study_date, facts.warning
        )
        self._open[finding.study_id] = study
        self._digests[finding.study_id] = set()
        kept = None if self._index is None else self._index.kept(finding.study_id)
        if kept is not None:
            self._reopen(study, msgspec.msgpack.decode(kept, type=_Answered))
        return study

    def _reopen(self, study: StudySlices, earlier: _Answered) -> None:
        moment, run_id = now(), "" if self._scan.log is None else self._scan.log.run_id
        # The log holds the results of the first answer before those to come.
        study.members = [
            member if member.timestamp else replace(member, timestamp=moment, run_id=run_id)
            for member in earlier.members
        ]
        study.patient_id = earlier.patient_id
        study.accession_number = earlier.accession_number or study.accession_number
        study.study_date = earlier.study_date or study.study_date
        study.warning = earlier.warning or study.warning
        self._digests[study.study_id] = set(earlier.digests)
        self._scan.counts.subtract(_counted(earlier.decision, earlier.urgency))
        self._scan.counts["studies_seen_before"] -= earlier.seen_before

    def _young(self, study_id: str) -> bool:
        """Say whether a picture of a study is still young; the index holds back DICOM itself."""
        names = self._names.get(study_id)
        return (study_id if names is None else names.study_id) in self._arriving

    def _close(self, study_id: str) -> Iterator[StudyFinding]:
        slices, names = self._open.pop(study_id), self._names.pop(study_id, None)
        digests, facts = self._digests.pop(study_id), self._facts.get(study_id)
        if facts is not None and facts.ahead <= 0:
            del self._facts[study_id]
        if study_id in self._deferred:
            return
        scan = self._scan
        collection = names is not None and names.collection
        found = study_finding(slices, scan.policy, self._aggregation, collection=collection)
        if scan.log is not None:
            found = self._logged(scan.log, slices, found)
        scan.counts.update(_counted(found.decision, found.urgency))
        scan.counts["studies_seen_before"] += found.seen_before
        if facts is not None and self._index is not None:
            self._index.keep(study_id, msgspec.msgpack.encode(_answered(slices, sorted(digests), found)))
        if scan.observer is not None:
            scan.observer.see_study(found)
        yield found

    def _logged(self, log: AuditLog, slices: StudySlices, found: StudyFinding) -> StudyFinding:
        """Write the STUDY event, unless an earlier run answered from the same results."""
        rests_on = slices.results_sha256()
        # A warning that comes late is logged once, although the results are the same.
        warned = found.reason if slices.warning else None
        if log.study_seen(found.study_id, rests_on, found.threshold, warned):
            return replace(found, seen_before=True)
        log.study(
            found,
            preprocessing=self._scan.model.card.preprocessing.fingerprint(),
            results_sha256=rests_on,
            earlier_results=slices.earlier_results(),
        )
        return found


def _counted(decision: Decision, urgency: Urgency) -> Counter[str]:
    """Return what a study adds to the counts of a scan."""
    return Counter(("studies", f"studies_{decision.value}", f"studies_{urgency.value}"))


def _answered(slices: StudySlices, digests: list[str], found: StudyFinding) -> _Answered:
    return _Answered(
        slices.patient_id,
        slices.accession_number,
        slices.study_date,
        slices.warning,
        slices.members,
        digests,
        found.decision,
        found.urgency,
        found.seen_before,
    )
