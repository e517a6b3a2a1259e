"""The comparison of federated, pooled and single-site training, with Flower's part replaced by its definition."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from export.errors import DataError
from export.federated import comparison
from export.federated.hospital import FederatedTerms, Hospital, start_model, train
from tests.export.federated.hospitals import write_hospitals

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.long
HOSPITALS = ("north:A", "south:B")
TERMS = FederatedTerms(rounds=2, steps=3, recipe="tests.export.small:SMALL", batch_size=4)


def averaged(data: Path, folder: Path, hospitals: Sequence[str], terms: FederatedTerms, strategy: str) -> None:
    """Train over hospitals as FedAvg is defined: the mean of the weights, by how many slices each learnt from."""
    weights = start_model(terms).get_weights()
    for number in range(terms.rounds):
        found, sizes = [], []
        for name in hospitals:
            hospital = Hospital.read(data, [name], terms.configured(), folder.parent / name)
            proximal = terms.proximal if strategy == "fedprox" else 0.0
            found.append(train(hospital, terms, weights, range(number, number + 1), proximal=proximal)[0])
            sizes.append(len(hospital.fit))
        weights = [np.average(arrays, axis=0, weights=sizes) for arrays in zip(*found, strict=True)]
    folder.mkdir(parents=True)
    named: dict[str, Any] = {f"w{index}": array for index, array in enumerate(weights)}
    np.savez(folder / "weights.npz", losses=np.zeros(terms.rounds), **named)


@pytest.mark.usefixtures("few_resamples")
def test_every_training_is_measured_on_the_same_patients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_hospitals(tmp_path / "data", HOSPITALS)
    monkeypatch.setattr(comparison, "train_federated", averaged)
    found = comparison.compare(data, tmp_path / "run", TERMS, HOSPITALS)
    assert set(found["trainings"]) == {"fedavg", "fedprox", "pooled", *HOSPITALS}
    assert set(found["against_pooled"]) == {"fedavg", "fedprox", *HOSPITALS}
    assert found["hospitals"]["north:A"] == {
        "fit_slices": 12,
        "fit_patients": 6,
        "held_out_slices": 4,
        "held_out_patients": 2,
    }
    for row in found["trainings"].values():
        assert 0 <= row["mean_auc"] <= 1
        assert row["mean_auc"] == pytest.approx(np.mean([one["value"] for one in row["hospitals"].values()]))
    for name, row in found["against_pooled"].items():
        gap = found["trainings"][name]["mean_auc"] - found["trainings"]["pooled"]["mean_auc"]
        assert row["mean_difference"] == pytest.approx(gap)
        assert row["within_target"] is (gap >= -comparison.TARGET)
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(found, allow_nan=False))

    # The same call measures what was trained; other terms need another folder.
    monkeypatch.setattr(comparison, "train", None)
    monkeypatch.setattr(comparison, "train_federated", None)
    assert comparison.compare(data, tmp_path / "run", TERMS, HOSPITALS) == found
    with pytest.raises(DataError, match="on other terms"):
        comparison.compare(data, tmp_path / "run", TERMS._replace(steps=4), HOSPITALS)
