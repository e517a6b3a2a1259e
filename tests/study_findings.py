"""Studies with their slices, for the tests of pages."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from screener.domain.slice import Identity, Prediction, Reason, Refused
from screener.model.card import OperatingPoint
from screener.pipeline.study import Aggregation, Logged, StudySlices, study_finding
from screener.triage import TriagePolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from screener.domain.finding import Finding
    from screener.domain.study import StudyFinding

THRESHOLD, CONFIRMATION = 0.4, 0.9
POLICY = TriagePolicy(OperatingPoint("auto", THRESHOLD), CONFIRMATION, "lite 1.0.0", "b" * 64)


def study(
    study_id: str,
    series: Mapping[str | None, Sequence[float | Reason]],
    aggregation: Aggregation | None = None,
    *,
    patient: str | None = None,
    plane: Mapping[str | None, str] | None = None,
    **known: str,
) -> tuple[StudyFinding, list[Finding]]:
    """Return a study and its slices.

    Parameters
    ----------
    study_id : str
    series : mapping of str to sequence of (float or Reason)
        Probabilities of the slices of each series, or why one is not assessable.
    aggregation : Aggregation, optional
    patient : str, optional
        By default the first folder of the study.
    plane : mapping of str to str, optional
        Of a series.
    known : str
        `accession_number`, `study_date`.
    """
    slices = StudySlices(study_id, patient or study_id.partition("/")[0], **known)
    findings = []
    for series_id, answers in series.items():
        for place, answer in enumerate(answers):
            path = "/".join(filter(None, (study_id, series_id, f"{place:03}.png")))
            identity = Identity(
                path,
                hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest(),
                slices.patient_id,
                study_id=study_id,
                series_id=series_id,
                position=None if series_id is None else 4.5 * place,
                plane=(plane or {}).get(series_id),
            )
            refused = isinstance(answer, Reason)
            findings.append(
                POLICY.refusal(Refused(identity, answer))
                if isinstance(answer, Reason)
                else POLICY.finding(identity, Prediction(answer))
            )
            slices.add(findings[-1], Logged(f"{path} {refused}"))
    return study_finding(slices, POLICY, aggregation or Aggregation()), findings
