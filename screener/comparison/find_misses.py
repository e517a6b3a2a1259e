"""Find the tumours that a model missed, in a labelled set or through the verdicts in a log."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from screener.comparison.misses import digest_of_file, miss_of
from screener.domain.finding import Decision

if TYPE_CHECKING:
    from pathlib import Path

    from screener.comparison.misses import Miss
    from screener.errors import AuditLogError
    from screener.model.session import Model
    from screener.triage import TriagePolicy


def misses_in_set(source: Path, model: Model, policy: TriagePolicy) -> list[Miss]:
    """Return the studies of a labelled set that show a tumour and are not flagged.

    Raises
    ------
    ScreenerError
        The set cannot be used.
    """
    from screener.evaluate.labelled import read_labelled
    from screener.evaluate.score import score_files
    from screener.evaluate.studies import StudyScorer

    labelled = read_labelled(source)
    answers = score_files([labelled.root / row.path for row in labelled.rows], model)
    scorer = StudyScorer.of(labelled, answers, model.card, model.sha256, policy.point)
    found = []
    for study in scorer.studies():
        if study.positive and study.finding.decision is not Decision.FLAGGED:
            slices = [
                replace(scorer.slice_finding(place), sha256=digest_of_file(labelled.root / labelled.rows[place].path))
                for place in study.members
            ]
            found.append(miss_of(study.finding, slices, f"labelled set {labelled.fingerprint()}"))
    return found


def misses_in_log(log: Path) -> tuple[list[Miss], AuditLogError | None]:
    """Return the studies that a clinician found a tumour in and that were not flagged, by the last verdict of each.

    Returns
    -------
    tuple of (list of Miss, AuditLogError or None)
        What was missed, and what stopped the reading of the log before its end.

    Raises
    ------
    AuditLogError
        There is no such log.
    """
    from screener.audit import Kind
    from screener.audit.reader import EventReader, verdict_of
    from screener.domain.verdict import Diagnosis
    from screener.finding_store import FindingStore, item_of
    from screener.study_store import study_item_of

    reader = EventReader(log)
    with FindingStore() as store:
        for event in reader.events():
            if event["event"] == Kind.RESULT:
                store.add(item_of(reader, event))
            elif event["event"] == Kind.STUDY:
                store.studies.add(study_item_of(reader, event))
            elif event["event"] == Kind.REVIEW:
                store.add_verdict(verdict_of(event))
        found = []
        for item in store.studies.items():
            verdict = item.verdict
            tumour = verdict is not None and verdict.final_diagnosis == Diagnosis.TUMOUR
            slices = [one.finding for one in store.of_study(item.inbox, item.finding.study_id)] if tumour else []
            if item.finding.decision is not Decision.FLAGGED and any(one.sha256 for one in slices):
                found.append(miss_of(item.finding, slices, "verdict in the log"))
    return found, reader.problem
