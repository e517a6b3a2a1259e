"""What a hospital holds and how it trains; the same code runs at a hospital of a federation and alone."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from export.data import cache
from export.errors import DataError
from export.federated.hospital import FederatedTerms, Hospital, held_out_patients, scores, start_model, train
from screener.inbox import decode
from tests.export.federated.hospitals import write_hospitals

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long
HOSPITALS = ("north:A", "south:B")
TERMS = FederatedTerms(rounds=2, steps=3, recipe="tests.export.small:SMALL", batch_size=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hospitals(tmp_path_factory.mktemp("hospitals") / "data", HOSPITALS)


def test_a_hospital_reads_its_own_slices_only(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(cache, "decode", lambda found: read.append(hashlib.sha256(found).hexdigest()) or decode(found))
    hospital = Hospital.read(data, ["north:A"], TERMS.configured(), tmp_path)
    others = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (data / "south").iterdir()}
    assert read
    assert not others & set(read)
    assert {record.source for record in hospital.dataset.records} == {"north"}
    assert len(hospital.views.images) == 16


def test_patients_are_learnt_from_or_held_out_and_every_hospital_chooses_alone(data: Path, tmp_path: Path) -> None:
    both = Hospital.read(data, HOSPITALS, TERMS.configured(), tmp_path)
    records = both.dataset.records
    parts = [{(records[i].source, records[i].patient) for i in part.tolist()} for part in (both.fit, both.held_out)]
    assert not parts[0] & parts[1]
    assert (len(parts[0]), len(parts[1])) == (12, 4)
    alone = Hospital.read(data, ["south:B"], TERMS.configured(), tmp_path)
    assert held_out_patients(alone.dataset.records) <= held_out_patients(records)


def test_a_hospital_that_cannot_take_part_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere:X has too few patients"):
        Hospital.read(data, ["nowhere:X"], TERMS.configured(), tmp_path)


def test_training_goes_on_from_the_weights_that_it_is_given(data: Path, tmp_path: Path) -> None:
    hospital = Hospital.read(data, ["north:A"], TERMS.configured(), tmp_path)
    start = start_model(TERMS).get_weights()
    first, loss = train(hospital, TERMS, start, range(1))
    again, _ = train(hospital, TERMS, start, range(1))
    assert np.isfinite(loss)
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert any(not np.array_equal(one, other) for one, other in zip(first, start, strict=True))
    answers = scores(TERMS, first, hospital)
    assert answers.shape == hospital.held_out.shape
    assert ((answers >= 0) & (answers <= 1)).all()


def test_the_proximal_term_holds_the_weights_near_those_at_the_start(data: Path, tmp_path: Path) -> None:
    hospital = Hospital.read(data, ["north:A"], TERMS.configured(), tmp_path)
    start = start_model(TERMS).get_weights()

    def distance(proximal: float) -> float:
        weights, _ = train(hospital, TERMS._replace(steps=30), start, range(1, 2), proximal=proximal)
        return float(sum(np.square(one - other).sum() for one, other in zip(weights, start, strict=True)))

    free, held = distance(0.0), distance(100.0)
    assert 0 < held < free / 4
