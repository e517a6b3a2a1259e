"""The threshold of studies, chosen by patient on the tune set, and its figures on patients that chose nothing.

A patient with a tumour is detected when the answer of the study reaches the threshold. Tumour-free are heads without a
tumour and, because those come from other scanners, the tumour-free parts of the heads with one (see
`screener.evaluate.within_head`): both are held to the floor, so that the threshold is chosen within heads too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from export.errors import DataError
from export.evaluation.head_scores import score_volumes
from export.release.study_section import TARGETS, patients_certificate, patients_rate, study_section
from export.release.threshold_selection import FIXED_POINTS
from screener.domain.estimate import Estimate
from screener.evaluate.heads import adjusted, part_answers, patient_answers, series_answer, series_of
from screener.evaluate.levels import UNORDERED
from screener.evaluate.metrics import lower_bound
from screener.model.card import StudyAggregation, ThresholdChoice
from screener.pipeline.study import Aggregation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from export.data.dataset import Dataset
    from export.data.splits import Split
    from screener.domain.estimate import Rate
    from screener.evaluate.heads import Row
    from screener.model.card import StudySection
    from screener.model.certificate import Certificate
    from screener.model.session import Model

TARGET = TARGETS[0]
"""Sensitivity by patient that ``auto`` aims at."""
FLOOR = 0.90
"""Least specificity on the tune set that margin may cost."""
SEQUENCES = ("FLAIR", "T1ce")
"""Sequences on which slices of known patients were shown to be told apart; on plain T1 many tumours cannot be seen."""
PLANES = ("axial",)
"""The only plane of the whole heads that the model is measured on."""
RULE = (
    "Cross-fit over hospitals: each patient is judged by a model trained by the same recipe without any patient of "
    "that hospital, at the threshold that was chosen on the other hospitals' tune patients. Folds, threshold and "
    "counting were written down before any answer was looked at. The shipped model is the recipe on all hospitals."
)
RULE_OF_MODEL = (
    "Patients of the certification set, which chose nothing and were looked at once, at the threshold that was chosen "
    "by patient on the tune set."
)
HOLDS_FOR = (
    "It holds for patients like these: adults with a glioma before treatment, whole heads with FLAIR or "
    "contrast-enhanced T1. It says nothing of another hospital until that hospital measures it."
)
_STEP = 1e4


@dataclass(frozen=True)
class StudyScores:
    """What a model says of studies; keys are ``source/patient``, values probabilities in [0, 1].

    Attributes
    ----------
    with_tumour : dict of str to float
    without : dict of str to float
        Tumour-free heads.
    parts : dict of str to float
        Tumour-free parts of the heads with a tumour.
    sites : dict of str to str
        Of every patient, as in ``volumes.csv``.
    """

    with_tumour: Mapping[str, float]
    without: Mapping[str, float]
    parts: Mapping[str, float]
    sites: Mapping[str, str]

    @property
    def positives(self) -> NDArray[np.float64]:
        """The answers for patients with a tumour: (P,)."""
        return np.array(list(self.with_tumour.values()))

    @property
    def negatives(self) -> NDArray[np.float64]:
        """The answers for tumour-free heads and parts: (N,)."""
        return np.array([*self.without.values(), *self.parts.values()])


def patients_of(dataset: Dataset, split: Split, name: str) -> frozenset[str]:
    """Return ``source/patient`` of whole heads in one set."""
    records = [dataset.records[index] for index in split.where(name).tolist()]
    return frozenset(f"{one.source}/{one.patient}" for one in records if one.series and one.source not in UNORDERED)


def study_scores(rows: Sequence[Row]) -> StudyScores:
    """Gather the studies of scored slices, from the series that the model may be used on."""
    series = series_of(row for row in rows if row.sequence in {*SEQUENCES, ""})
    how = series_answer(Aggregation())
    answers, positive = patient_answers(series, how)
    sources = {patient: source for source, patient in answers}
    parts = part_answers(series, how)
    return StudyScores(
        with_tumour={"/".join(key): value for key, value in sorted(answers.items()) if key in positive},
        without={"/".join(key): value for key, value in sorted(answers.items()) if key not in positive},
        parts={f"{sources[patient]}/{patient}": without for patient, (_, without) in sorted(parts.items())},
        sites={f"{row.source}/{row.patient}": row.site for row in rows},
    )


def choose(scores: StudyScores) -> ThresholdChoice:
    """Choose ``auto``: the sensitivity first, then as much margin as the floor of specificity allows.

    The highest threshold that detects `TARGET` of the patients is lowered as long as the specificity on tumour-free
    heads and parts stays at least `FLOOR`; where it is below the floor already, nothing is spent.

    Raises
    ------
    DataError
        There is no patient with a tumour, or none is tumour-free.
    """
    positives, negatives = scores.positives, scores.negatives
    if not len(positives) or not len(negatives):
        raise DataError(
            "the tune set holds no whole head with a tumour, or none without",
            "add volumes of both to volumes.csv, or leave volumes.csv out",
        )
    allowed = len(positives) - int(np.ceil(TARGET * len(positives)))
    highest = float(np.floor(np.sort(positives)[allowed] * _STEP) / _STEP)
    # The lowest threshold that still keeps the floor lies above the answers of all but the allowed false alarms.
    false_alarms = int(np.floor((1 - FLOOR) * len(negatives) + 1e-9))
    lowest = float(np.floor(np.sort(negatives)[::-1][false_alarms] * _STEP + 1) / _STEP)
    threshold = min(highest, lowest)
    detected = int((positives >= threshold).sum())
    return ThresholdChoice(
        threshold=threshold,
        margin=None,
        bound=lower_bound(detected, len(positives)),
        by_source=_by_source(scores, threshold),
        specificity=float((negatives < threshold).mean()),
        units=len(positives),
        floor=FLOOR,
    )


def _by_source(scores: StudyScores, threshold: float) -> dict[str, float]:
    """Return the share of the patients of each source that are detected."""
    sources: dict[str, list[bool]] = {}
    for name, value in scores.with_tumour.items():
        sources.setdefault(name.split("/")[0], []).append(value >= threshold)
    return {name: float(np.mean(hits)) for name, hits in sorted(sources.items())}


def measured(scores: StudyScores, threshold: float) -> tuple[Rate, Rate]:
    """Return sensitivity and specificity by patient; specificity on tumour-free heads with skull."""
    without = np.array(list(scores.without.values()))
    return (
        patients_rate(int((scores.positives >= threshold).sum()), len(scores.positives)),
        patients_rate(int((without < threshold).sum()), len(without)),
    )


def released_section(dataset: Dataset, split: Split, model: Model, cross_fit: Path | None) -> StudySection | None:
    """Return the card's ``study`` section: chosen on tune, measured on the certification set, by patient.

    None where the data hold no volumes. The certificate is that of `cross_fit`, where each patient was judged by a
    model that saw no patient of that hospital: it certifies the recipe, on all patients. Without one it is what the
    few patients of the certification set show of this model.

    Parameters
    ----------
    dataset, split : Dataset, Split
        The data, with a ``volumes.csv``, and the sets of the run.
    model : Model
        As released, but for this section.
    cross_fit : Path or None
        The JSON file that `python -m export cross-fit` wrote.
    """
    tune = patients_of(dataset, split, "tune")
    if not tune:
        return None
    choice = choose(study_scores(score_volumes(dataset.root, model, tune)))
    rows = score_volumes(dataset.root, model, patients_of(dataset, split, "certify"))
    proof = study_scores(rows)
    standard = Aggregation()
    section = study_section(
        StudyAggregation(window=standard.window, reach=standard.reach, least_slices=standard.least),
        {
            name: (threshold, *measured(proof, threshold))
            for name, threshold in (FIXED_POINTS | {"auto": choice.threshold}).items()
        },
        certificate=_of_recipe(cross_fit, choice.threshold) or _of_model(proof, choice.threshold),
        measured_on="patients of the certification set",
        planes=PLANES,
        sequences=SEQUENCES,
        estimates=tuple(_adjusted_estimates(rows)),
    )
    auto = structs.replace(section.operating_points["auto"], chosen_by=choice, recall_target=TARGET)
    return structs.replace(section, operating_points=section.operating_points | {"auto": auto})


def _adjusted_estimates(rows: Sequence[Row]) -> Iterator[Estimate]:
    """Yield the covariate-adjusted AUC of slices in context, by source and sequence."""
    for name, area in adjusted(series_of(rows)).items():
        yield Estimate(
            f"covariate-adjusted AUC of slices in context, {name}",
            area["in_context"],
            count=area["patients"],
            unit="patients",
            measured_on="certification set",
        )


def _of_model(proof: StudyScores, threshold: float) -> Certificate | None:
    """Return what the certification set shows of the model itself; None where it holds no patient with a tumour."""
    if not proof.with_tumour:
        return None
    sensitivity, specificity = measured(proof, threshold)
    return patients_certificate(
        threshold,
        sensitivity.count - sensitivity.hits,
        sensitivity.count,
        rule=RULE_OF_MODEL,
        certifies="model",
        holds_for=HOLDS_FOR,
        sequences=SEQUENCES,
        specificity=specificity,
    )


def _of_recipe(path: Path | None, threshold: float) -> Certificate | None:
    """Return what a cross-fit over sites certifies; None where there is none, or a fold is missing."""
    if path is None or not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["missing"]:
        return None
    counts, quiet = found["certificate"], found["specificity"]
    epochs = "; ".join(sorted({f"{fold['epochs']}" for fold in found["folds"].values()}))
    return patients_certificate(
        threshold,
        counts["missed"],
        counts["patients"],
        rule=f"{RULE} Each fold is trained for {epochs} epochs.",
        certifies="recipe",
        holds_for=HOLDS_FOR,
        sequences=SEQUENCES,
        specificity=patients_rate(quiet["hits"], quiet["count"]),
    )
