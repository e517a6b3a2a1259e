"""``MODEL_CARD.md`` says what the card says, whatever the card lacks or promises."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from export.release.model_card import render, verdict
from export.release.study_section import patients_certificate, patients_rate, study_section
from screener.domain.estimate import Estimate
from screener.model.card import CardCalibration, StudyAggregation
from screener.model.session import Model

if TYPE_CHECKING:
    from screener.model.card import Card

MODEL = Path(__file__).resolve().parents[3] / "models/lite"
pytestmark = pytest.mark.skipif(not (MODEL / "model.onnx").exists(), reason="no shipped model in this checkout")


@pytest.fixture(scope="module")
def card() -> Card:
    return Model.load(MODEL).card


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def with_auto(card: Card, **changes: Any) -> Card:  # noqa: ANN401 - fields of several types
    return structs.replace(card, points=card.points | {"auto": structs.replace(card.points["auto"], **changes)})


def shuffled(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the same mapping with its keys in another order, all the way down."""
    if not isinstance(value, dict):
        return value
    keys = list(value)
    random.Random(1).shuffle(keys)  # noqa: S311 - no secret
    return {key: shuffled(value[key]) for key in keys}


def test_the_order_of_keys_does_not_matter(card: Card) -> None:
    points = dict(reversed(card.points.items()))
    other = structs.replace(card, metrics=shuffled(card.metrics), points=points)
    assert render(other) == render(card)


def test_an_uncertified_model_says_so_and_that_auto_is_refused(card: Card) -> None:
    nothing = render(with_auto(card, certificate=None, certified=False))
    promise = section(nothing, "What it promises")
    assert "not certified: no patient with a tumour is known in the certification set" in promise
    assert "`--accept-uncertified`" in promise
    assert "Unit:" not in promise
    failed = section(render(with_auto(card, certified=False)), "What it promises")
    assert "is **not certified: " in failed
    assert "Unit:" in failed
    assert "`--accept-uncertified`" in failed
    assert "`--accept-uncertified`" not in section(render(card), "What it promises")


def test_the_verdict_is_one_line_with_specificity_and_certificate(card: Card) -> None:
    assert verdict(card).startswith(f"auto {card.points['auto'].threshold:g}, specificity 0.")
    assert "certified for sensitivity ≥ " in verdict(card)
    assert "\n" not in verdict(card)


def test_earlier_attempts_lower_the_bound(card: Card) -> None:
    certificate = card.points["auto"].certificate
    assert certificate is not None
    promise = section(render(card), "What it promises")
    if certificate.earlier_attempts:
        assert f"all {len(certificate.earlier_attempts) + 1} attempts" in promise.replace("\n", " ")
    alone = with_auto(card, certificate=structs.replace(certificate, earlier_attempts=()))
    assert "attempts" not in section(render(alone), "What it promises")


def test_the_study_section_shows_thresholds_certificate_and_estimates_by_patient(card: Card) -> None:
    study = study_section(
        StudyAggregation(),
        {"auto": (0.42, patients_rate(90, 91), patients_rate(0, 0))},
        certificate=patients_certificate(
            0.42, 1, 91, rule="Written before.", certifies="recipe", holds_for="It holds here.", sequences=("FLAIR",)
        ),
        planes=("axial",),
        estimates=(Estimate("adjusted AUC, FLAIR", 0.97, 0.95, 0.98, 79, "patients", "three hospitals"),),
    )
    text = section(render(structs.replace(card, study=study)), "Studies")
    assert "Sequences: any; planes: axial;" in text
    assert "| `auto` | 0.42 | 0.989 (0.940–1.000; 90/91 patients) | not measured | yes |" in text
    certified = re.search(
        r"Certified for studies: \*\*sensitivity ≥ 0.93\*\* \(1 of 91 missed, .* (0\.\d{4}) at 95 %", text
    )
    assert certified
    assert 0.93 < float(certified[1]) < 0.95
    assert "no patient of the same site" in text
    assert "\nWritten before.\nIt holds here.\n" in text
    assert "| adjusted AUC, FLAIR | 0.970 (0.950–0.980) | 79 patients | three hospitals |" in text
    bare = study_section(StudyAggregation(), {"auto": (0.42, patients_rate(90, 91), patients_rate(13, 14))})
    assert "Nothing is certified by patient." in section(render(structs.replace(card, study=bare)), "Studies")
    without = section(render(structs.replace(card, study=None)), "Studies")
    assert "nothing is certified" in without
    assert "|" not in without


def test_each_kind_of_calibration_is_explained(card: Card) -> None:
    errors = {"before": 0.1, "temperature": 0.06, "Platt": 0.02}
    platt = CardCalibration("Platt", 1.2, -0.3, 0.83, errors)
    text = section(render(structs.replace(card, calibration=platt)), "Calibration")
    assert "By Platt (temperature 0.830, offset -0.300)" in text
    assert "A temperature alone left an error of 0.060" in text
    temperature = structs.replace(platt, kind="temperature", offset=0.0)
    text = section(render(structs.replace(card, calibration=temperature)), "Calibration")
    assert "offset" not in text
    assert "A temperature leaves 0.5 where it was" in text
    assert "Not calibrated" in section(render(structs.replace(card, calibration=None)), "Calibration")


def test_a_model_of_ones_own_slices_makes_no_statement_about_public_ones(card: Card) -> None:
    own = structs.replace(card.training_data.sources[0], name="my-hospital", commercial=None)
    text = render(structs.replace(card, training_data=structs.replace(card.training_data, sources=(own,))))
    assert "children and adolescents" not in text
    assert "`LICENSE-WEIGHTS`" not in text
    assert "`make model" not in text
    assert "Plainly free for commercial use are none. Not, or not stated to be: my-hospital." in text


def test_a_model_without_heatmap_and_embedding_says_so(card: Card) -> None:
    metrics = card.metrics | {"certify": card.metrics["certify"] | {"pointing": {}}}
    text = render(structs.replace(card, metrics=metrics, embedding_reference=None))
    assert "It has no heatmap" in section(text, "Where it looks")
    assert "only the quality control on pixels works" in section(text, "Quality control by embedding")


def test_every_table_has_as_many_cells_a_row_as_its_head(card: Card) -> None:
    width = 0
    for line in render(card).splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        cells = line.count("|")
        assert cells == (width or cells), line
        width = cells
