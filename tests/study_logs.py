"""Logs with studies, for the tests of lists, reviews and agreement."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from screener.audit import AuditLog
from screener.domain.slice import Identity, Prediction, Reason, Refused
from screener.domain.verdict import Verdict
from screener.model.card import OperatingPoint
from screener.pipeline.study import Aggregation, Logged, StudySlices, study_finding
from screener.triage import TriagePolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

THRESHOLD, CONFIRMATION = 0.4, 0.9
SHA256 = "b" * 64


@dataclass
class StudyLog:
    """A log to which whole studies are written.

    Attributes
    ----------
    log : Path
    results : dict of str to str
        Hash of the latest RESULT by path.
    studies : dict of str to str
        Hash of the latest STUDY by study.
    """

    log: Path
    inbox: str = "/inbox"
    results: dict[str, str] = field(default_factory=dict)
    studies: dict[str, str] = field(default_factory=dict)

    def run(
        self,
        studies: Mapping[str, Sequence[float | None]],
        *,
        threshold: float = THRESHOLD,
        model_sha256: str = SHA256,
        hashes: Mapping[str, str] | None = None,
        answered: bool = True,
    ) -> None:
        """Screen studies of so many slices with these probabilities; None where a slice is not assessable.

        Parameters
        ----------
        studies : mapping of str to sequence of (float or None)
        threshold, model_sha256
        hashes : mapping of str to str, optional
            SHA-256 of files by path; by default one that belongs to the path.
        answered : bool
            Without it the run ends before the studies are answered.
        """
        policy = TriagePolicy(
            OperatingPoint("auto" if threshold == THRESHOLD else "custom", threshold),
            CONFIRMATION,
            "tiny 1.0.0",
            model_sha256,
        )
        # A test log need not outlive a power cut.
        with AuditLog(self.log, fsync_every=60.0) as log:
            log.start({"inbox": self.inbox, "model": "tiny 1.0.0", "threshold": repr(threshold)})
            for study_id, probabilities in studies.items():
                slices = StudySlices(study_id, study_id.partition("/")[0])
                found = []
                for number, probability in enumerate(probabilities):
                    path = f"{study_id}/{number}.png"
                    digest = (hashes or {}).get(path) or hashlib.sha256(path.encode()).hexdigest()
                    identity = Identity(path, digest, slices.patient_id, study_id=study_id)
                    refused = Refused(identity, Reason.BLANK)
                    found.append(
                        policy.refusal(refused)
                        if probability is None
                        else policy.finding(identity, Prediction(probability))
                    )
                written = log.results(found, doctor_id=None, preprocessing="p")
                for finding, result in zip(found, written, strict=True):
                    slices.add(finding, Logged(result))
                    self.results[finding.path] = result
                if answered:
                    answer = study_finding(slices, policy, Aggregation())
                    self.studies[study_id] = log.study(
                        answer, preprocessing="p", results_sha256=slices.results_sha256()
                    )
            log.end({}, "complete")

    def review(self, result: str, diagnosis: str = "tumour", doctor: str = "dr.a", **details: object) -> None:
        """Give a verdict on the STUDY or RESULT with that hash."""
        with AuditLog(self.log, exclusive=False) as log:
            log.reviews([Verdict(result, doctor, diagnosis, None, details)])
