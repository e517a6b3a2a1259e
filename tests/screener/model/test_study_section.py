"""The card's section ``study``: written by the release, believed like any certificate, read by scan and info."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from export.release.study_section import patients_certificate, patients_rate, study_section
from screener.cli.info import lines
from screener.domain.estimate import Estimate
from screener.domain.finding import Decision
from screener.domain.slice import Identity, Prediction, Reason
from screener.errors import ModelError
from screener.model.card import Card, StudyAggregation
from screener.pipeline.study import Aggregation, StudySlices, study_finding
from screener.report.console import study_lines
from screener.triage import TriagePolicy
from tests.conftest import parsed_card, tiny_card

if TYPE_CHECKING:
    from screener.domain.study import StudyFinding
    from screener.model.card import StudySection

THRESHOLD = 0.2
"""Of studies; the tiny model's ``auto`` of slices is 0.4."""


def section(missed: int = 1, **changes: Any) -> StudySection:  # noqa: ANN401 - any field of the section
    certificate = patients_certificate(
        THRESHOLD,
        missed,
        91,
        rule="cross-fitted over sites",
        certifies="recipe",
        holds_for="adults",
        sequences=["FLAIR"],
    )
    points = {
        "auto": (THRESHOLD, patients_rate(91 - missed, 91), patients_rate(13, 14)),
        "confirmation": (0.5, patients_rate(80, 91), patients_rate(14, 14)),
    }
    options: dict[str, Any] = {
        "certificate": certificate,
        "measured_on": "91 patients of three hospitals",
        "planes": ["axial"],
        "sequences": ["FLAIR", "T1ce"],
        "estimates": [Estimate("adjusted AUC, FLAIR", 0.97, 0.95, 0.98, 79, "patients", "DU and HT")],
    }
    return study_section(
        StudyAggregation(window=3, reach=1, least_slices=3, least_share=0.2), points, **(options | changes)
    )


def card(**changes: Any) -> Card:  # noqa: ANN401 - any field of the section
    """Return a card with the section, written and read again."""
    written = msgspec.structs.replace(parsed_card(), study=section(**changes)).to_plain()
    return Card.parse(json.dumps(written))


def policy(name: str = "auto") -> TriagePolicy:
    return TriagePolicy(parsed_card().operating_points[name], 0.7, "tiny 1.0.0", "0" * 64)


def answer(
    probabilities: list[float],
    *,
    of: Card,
    sequence: str | None = "FLAIR",
    plane: str | None = "axial",
    point: str = "auto",
) -> StudyFinding:
    slices = StudySlices("p", "p")
    for number, probability in enumerate(probabilities):
        identity = Identity(f"p/{number}.png", "", "p", study_id="p", series_id="s", sequence=sequence, plane=plane)
        slices.add(policy().finding(identity, Prediction(probability)))
    return study_finding(slices, policy(point), Aggregation.of(of))


def test_what_was_written_is_read() -> None:
    read = card().study
    assert read == section()
    assert read is not None
    auto = read.believed_points()["auto"]
    assert auto.certified
    assert auto.certificate is not None
    assert (auto.certificate.target, auto.certificate.bound, auto.certificate.unit) == (0.93, 0.9489, "patient")
    assert auto.sensitivity is not None
    assert (auto.sensitivity.hits, auto.sensitivity.count) == (90, 91)


@pytest.mark.parametrize(("missed", "bound", "target"), [(0, 0.9676, 0.95), (1, 0.949, 0.93), (2, 0.932, 0.93)])
def test_the_bound_is_that_of_the_exact_binomial(missed: int, bound: float, target: float) -> None:
    shown = section(missed).operating_points["auto"].certificate
    assert shown is not None
    assert shown.bound == pytest.approx(bound, abs=6e-4)
    assert shown.target == target


def test_a_certificate_of_another_threshold_or_with_a_wish_for_a_figure_certifies_nothing() -> None:
    for changes in ({"threshold": 0.3}, {"bound": 0.99}, {"target": 0.97}):
        certificate = section().operating_points["auto"].certificate
        assert certificate is not None
        study = section(certificate=msgspec.structs.replace(certificate, **changes))
        assert not study.believed_points()["auto"].certified


def test_studies_have_their_own_threshold_and_slices_theirs() -> None:
    found = answer([0.0, 0.3, 0.3, 0.3, 0.0], of=card())
    assert (found.decision, found.threshold, found.operating_point) == (Decision.FLAGGED, THRESHOLD, "auto")
    assert found.probability == pytest.approx(0.3)
    without = answer([0.0, 0.3, 0.3, 0.3, 0.0], of=parsed_card())
    assert (without.decision, without.threshold) == (Decision.NOT_FLAGGED, 0.4)


def test_the_study_has_its_own_confirmation() -> None:
    assert answer([0.6] * 4, of=card()).urgency == "HIGH"
    assert answer([0.6] * 5, of=parsed_card()).urgency == "MEDIUM"


def test_too_few_slices_for_the_window_are_judged_by_the_point_of_a_slice() -> None:
    found = answer([0.3, 0.3], of=card())
    assert (found.decision, found.threshold) == (Decision.NOT_FLAGGED, 0.4)


def test_a_point_that_studies_lack_is_that_of_a_slice() -> None:
    assert answer([0.35] * 4, of=card(), point="screening").threshold == 0.3


@pytest.mark.parametrize(("sequence", "plane"), [("T1", "axial"), ("FLAIR", "sagittal"), ("other", None)])
def test_a_series_that_the_model_was_not_shown_to_work_on_is_not_used(sequence: str, plane: str | None) -> None:
    found = answer([0.9] * 5, of=card(), sequence=sequence, plane=plane)
    assert (found.decision, found.reason) == (Decision.NOT_ASSESSABLE, Reason.NO_USABLE_SERIES)
    assert [one.probability for one in found.series] == [None]
    assert found.series[0].reason in {Reason.PLANE_NOT_SUPPORTED, Reason.SEQUENCE_NOT_SUPPORTED}
    assert found.key_slices == ()


def test_a_series_that_names_neither_is_used() -> None:
    assert answer([0.9] * 5, of=card(), sequence=None, plane=None).decision is Decision.FLAGGED


def test_an_unused_series_flags_nothing_beside_a_used_one() -> None:
    slices = StudySlices("p", "p")
    for sequence, probability in (("T1", 0.9), ("FLAIR", 0.1)):
        for number in range(4):
            path = f"p/{sequence}{number}.png"
            identity = Identity(path, "", "p", study_id="p", series_id=sequence, sequence=sequence, plane="axial")
            slices.add(policy().finding(identity, Prediction(probability)))
    found = study_finding(slices, policy(), Aggregation.of(card()))
    assert (found.decision, found.probability) == (Decision.NOT_FLAGGED, pytest.approx(0.1))
    assert {one.series_id: one.probability for one in found.series} == {"T1": None, "FLAIR": pytest.approx(0.1)}
    assert {key.series_id for key in found.key_slices} == {"FLAIR"}


def test_info_and_the_table_tell_what_was_shown() -> None:
    message = "\n".join(lines(card(), "en"))
    for words in (
        "sequences: FLAIR, T1ce · planes: axial", "fewer than 3 assessable ones or 20% of its slices",
        "auto: threshold 0.2", "90/91 patients", "1 of 91 patients missed",
        "certifies the recipe", "cross-fitted over sites", "adjusted AUC, FLAIR: 0.970 (0.950–0.980); 79 patients",
    ):  # fmt: skip
        assert words in message
    aggregation, point = Aggregation.of(card()), parsed_card().operating_points["auto"]
    table = "\n".join(study_lines(aggregation, point, "fr"))
    assert "seuil 0,2 (auto)" in table
    assert "1 patients manqués sur 91" in table
    assert "not certified by patient" in "\n".join(study_lines(Aggregation(), point, "en"))
    assert "studies, auto: not certified by patient" in "\n".join(lines(card(certificate=None), "en"))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("aggregation", "kind"), "learned"),
        (("aggregation", "window"), 0),
        (("aggregation", "least_share"), 1.5),
        (("operating_points",), {}),
        (("operating_points", "auto", "threshold"), -0.1),
        (("estimates",), [{"value": 0.5}]),
        (("sequences",), "FLAIR"),
    ],
)
def test_a_section_that_cannot_judge_refuses_the_card(where: tuple[str, ...], value: object) -> None:
    plain = msgspec.to_builtins(section())
    holder = plain
    for key in where[:-1]:
        holder = holder[key]
    holder[where[-1]] = value
    with pytest.raises(ModelError, match="model card is wrong"):
        Card.parse(json.dumps(tiny_card(study=plain)))
