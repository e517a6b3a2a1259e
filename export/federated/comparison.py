"""Federated training beside training on all slices in one place, and at one hospital alone."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from export.errors import DataError
from export.federated.flower import read_weights, train_federated
from export.federated.hospital import HOSPITALS, FederatedTerms, Hospital, scores, train
from export.files import atomically, save_json
from screener.comparison.paired_tests import compare_areas
from screener.evaluate.levels import tenth_of
from screener.evaluate.metrics import Scored, auc, interval
from screener.evaluate.within_head import covariate_adjusted_auc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

FEDERATED = ("fedavg", "fedprox")
TARGET = 0.02
"""How much of the AUC of pooled training a federated one may lose."""


def compare(data: Path, folder: Path, terms: FederatedTerms, hospitals: Sequence[str] = HOSPITALS) -> dict[str, Any]:
    """Train what has not been trained and evaluate everything on the patients that were kept from training.

    Only this comparison reads held-out slices of all hospitals in one place; federated training does not.

    Raises
    ------
    DataError
        The data cannot be used, or a process failed, or `folder` holds trainings on other terms.
    """
    chosen = terms.configured()
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, terms, hospitals)
    cache = folder / "cache"
    seconds = {name: _federated(data, folder / name, hospitals, terms, name) for name in FEDERATED}
    everybody = Hospital.read(data, hospitals, chosen, cache)
    seconds["pooled"] = _alone(everybody, folder / "pooled", terms)
    for name in hospitals:
        seconds[name] = _alone(Hospital.read(data, [name], chosen, cache), folder / name.replace(":", "-"), terms)
    answers = {
        name: scores(terms, read_weights(folder / name.replace(":", "-") / "weights.npz"), everybody)
        for name in seconds
    }
    return {
        "terms": terms._asdict() | {"size": chosen.preprocessing.size},
        "hospitals": _counts(everybody, hospitals),
        "target": TARGET,
        "trainings": {
            name: {"seconds": seconds[name], **_figures(everybody, found, hospitals)} for name, found in answers.items()
        },
        "against_pooled": {
            name: _against(everybody, answers["pooled"], found, hospitals)
            for name, found in answers.items()
            if name != "pooled"
        },
    }


def _claim(folder: Path, terms: FederatedTerms, hospitals: Sequence[str]) -> None:
    """Write the terms down, or make sure that they are those of what was trained before."""
    now = {"terms": terms._asdict(), "hospitals": list(hospitals)}
    file = folder / "terms.json"
    if file.exists() and json.loads(file.read_text()) != now:
        raise DataError(f"{folder} holds trainings on other terms", "delete it, or choose another --run")
    save_json(file, now)


def _federated(data: Path, folder: Path, hospitals: Sequence[str], terms: FederatedTerms, strategy: str) -> float:
    """Train a federation unless it was trained before, and return the seconds that it took."""
    if not (folder / "seconds.json").exists():
        start = time.monotonic()
        train_federated(data, folder, hospitals, terms, strategy)
        save_json(folder / "seconds.json", {"seconds": round(time.monotonic() - start, 1)})
    return float(json.loads((folder / "seconds.json").read_text())["seconds"])


def _alone(hospital: Hospital, folder: Path, terms: FederatedTerms) -> float:
    """Train in one place unless it was done before, and return the seconds that it took."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "seconds.json").exists():
        start = time.monotonic()
        weights, loss = train(hospital, terms, None, range(terms.rounds))
        named: dict[str, Any] = {f"w{index}": array for index, array in enumerate(weights)}
        atomically(folder / "weights.npz", lambda partial: np.savez(partial, losses=np.array([loss]), **named))
        save_json(folder / "seconds.json", {"seconds": round(time.monotonic() - start, 1)})
    return float(json.loads((folder / "seconds.json").read_text())["seconds"])


def _site(everybody: Hospital, name: str) -> NDArray[np.bool_]:
    """Say which of the held-out slices are of a hospital."""
    records = [everybody.dataset.records[index] for index in everybody.held_out.tolist()]
    return np.array([f"{one.source}:{one.site}" == name for one in records], bool)


def _counts(everybody: Hospital, hospitals: Sequence[str]) -> dict[str, dict[str, int]]:
    found = {}
    for name in hospitals:
        parts: dict[str, int] = {}
        for part, chosen in (("fit", everybody.fit), ("held_out", everybody.held_out)):
            records = [everybody.dataset.records[index] for index in chosen.tolist()]
            inside = [one for one in records if f"{one.source}:{one.site}" == name]
            parts |= {f"{part}_slices": len(inside), f"{part}_patients": len({one.patient for one in inside})}
        found[name] = parts
    return found


def _scored(everybody: Hospital, answers: NDArray[np.float64]) -> Scored:
    records = [everybody.dataset.records[index] for index in everybody.held_out.tolist()]
    numbers: dict[tuple[str, str], int] = {}
    units = np.array([numbers.setdefault((one.source, one.patient), len(numbers)) for one in records], np.int64)
    return Scored(np.array([one.label for one in records], np.int64), answers, units)


def _figures(everybody: Hospital, answers: NDArray[np.float64], hospitals: Sequence[str]) -> dict[str, Any]:
    """Return the AUC at each hospital with its interval, their mean, and the covariate-adjusted AUC."""
    scored = _scored(everybody, answers)
    found = {}
    for name in hospitals:
        part = scored.part(_site(everybody, name))
        low, high = interval(_AucOf(part), part.units)
        found[name] = {"value": auc(part.labels, part.scores), "low": _plain(low), "high": _plain(high)}
    return {"hospitals": found, "mean_auc": _mean(found), "adjusted_auc": _adjusted(everybody, answers)}


@dataclass(frozen=True)
class _AucOf:
    """The AUC of some of the slices, by their places."""

    part: Scored

    def __call__(self, drawn: NDArray[np.int64]) -> float:
        return auc(self.part.labels[drawn], self.part.scores[drawn])


def _mean(found: Mapping[str, Mapping[str, Any]]) -> float:
    return float(np.mean([one["value"] for one in found.values()]))


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _adjusted(everybody: Hospital, answers: NDArray[np.float64]) -> float | None:
    """Return the AUC among slices of one site, sequence and tenth of the head, which no hospital can give away."""
    records = [everybody.dataset.records[index] for index in everybody.held_out.tolist()]
    strata = [(one.source, one.site, one.sequence, tenth_of(one.height)) for one in records]
    return covariate_adjusted_auc([one.label for one in records], answers.tolist(), strata).value


def _against(
    everybody: Hospital, pooled: NDArray[np.float64], answers: NDArray[np.float64], hospitals: Sequence[str]
) -> dict[str, Any]:
    """Return by how much the AUC at each hospital differs from that of pooled training, by patient."""
    first, second = _scored(everybody, pooled), _scored(everybody, answers)
    differences: dict[str, dict[str, Any]] = {}
    for name in hospitals:
        chosen = _site(everybody, name)
        found = compare_areas(first.labels[chosen], first.scores[chosen], second.scores[chosen], first.units[chosen])
        # Each hospital has slices with and without a tumour among those held out; see `Hospital.read`.
        assert found is not None  # noqa: S101
        differences[name] = {"value": found.difference, "low": found.low, "high": found.high}
    mean = float(np.mean([one["value"] for one in differences.values()]))
    return {"hospitals": differences, "mean_difference": mean, "within_target": mean >= -TARGET}
