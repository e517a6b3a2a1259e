"""No near-duplicate group and no patient crosses sets, flipped and turned copies included."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from export.data.cache import load_views
from export.data.dataset import Dataset, read_dataset
from export.data.duplicates import GROUPING, Pairs, find_pairs, thumbnails
from export.data.phantoms import phantom
from export.data.splits import WITHHELD, Split, divide, number, split, write_patients
from export.errors import DataError
from screener.evaluate.labelled import Record

TURNS = [lambda image, k=k, m=m: np.rot90(image[:, ::-1] if m else image, k) for m in (False, True) for k in range(4)]


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


def _head(seed: int, *, tumour: bool) -> np.ndarray:
    """Draw a head that differs from all others: our phantoms share one anatomy, so mark each with blobs of its own."""
    image = phantom(seed, 160, tumour=tumour)
    rng = np.random.default_rng(seed)
    for _ in range(12):
        at = tuple(int(value) for value in rng.integers(45, 115, 2))
        cv2.circle(image, at, int(rng.integers(6, 14)), int(rng.integers(20, 250)), cv2.FILLED)
    return image


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, np.ndarray, dict[str, int]]:
    """Draw a hundred heads for source A; B holds a copy of each, flipped or turned another way."""
    root = tmp_path_factory.mktemp("planted")
    original, records = {}, []
    for seed in range(100):
        label = seed % 2
        image = _head(seed, tumour=bool(label))
        folder = "yes" if label else "no"
        for source, picture in (("a", image), ("b", TURNS[seed % 8](image))):
            path = f"{source}/{folder}/{seed}.{'png' if source == 'a' else 'jpg'}"
            _write(root / path, np.ascontiguousarray(picture))
            records.append(Record(path, label, source=source))
            original[path] = seed
    dataset = Dataset(root, tuple(records))
    views = load_views(dataset, GROUPING, GROUPING.size, root / "cache").images
    return dataset, views, original


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_copies_stay_on_one_side(planted: tuple[Dataset, np.ndarray, dict[str, int]], seed: int) -> None:
    dataset, views, original = planted
    found = split(dataset, views, seed=seed)
    sets = defaultdict(set)
    for record, place in zip(dataset.records, found.sets.tolist(), strict=True):
        sets[original[record.path]].add(place)
    assert all(len(places) == 1 for places in sets.values())
    assert {place for places in sets.values() for place in places} == {"fit", "tune", "certify", "test"}


def test_a_test_source_takes_its_copies_out_of_everything(planted: tuple[Dataset, np.ndarray, dict[str, int]]) -> None:
    dataset, views, _ = planted
    with pytest.raises(DataError, match="too few"):  # every head of B has its twin in A: nothing is left to fit
        split(dataset, views, test_sources=["a"])


def test_what_looks_at_upright_pictures_only_misses_the_copies(
    planted: tuple[Dataset, np.ndarray, dict[str, int]],
) -> None:
    dataset, views, original = planted
    pairs = find_pairs(thumbnails(views), turned=2.0)
    names = [original[record.path] for record in dataset.records]
    plain = {names[a] for a, b in zip(pairs.first, pairs.second, strict=True) if names[a] == names[b]}
    assert plain <= {seed for seed in range(100) if seed % 8 == 0}


def test_patients_and_folds_are_not_divided(planted: tuple[Dataset, np.ndarray, dict[str, int]]) -> None:
    dataset, views, _ = planted
    mine = [index for index, record in enumerate(dataset.records) if record.source == "a"]
    records = tuple(
        Record(dataset.records[index].path, dataset.records[index].label, source="a", patient=f"p{order // 4}")
        for order, index in enumerate(mine)
    )
    found = split(Dataset(dataset.root, records), views[mine])
    places = defaultdict(set)
    for record, place in zip(records, found.sets.tolist(), strict=True):
        places[record.patient].add(place)
    assert all(len(place) == 1 for place in places.values())


def test_unseen_pictures_take_their_lookalikes_away(planted: tuple[Dataset, np.ndarray, dict[str, int]]) -> None:
    dataset, views, original = planted
    found = split(dataset, views, unseen=np.ascontiguousarray(views[:1, ::-1]))
    away = {
        original[r.path] for r, place in zip(dataset.records, found.sets.tolist(), strict=True) if place == WITHHELD
    }
    assert away == {original[dataset.records[0].path]}


@pytest.mark.skipif(not os.environ.get("SCREENER_DATA"), reason="SCREENER_DATA names no labelled slices")
@pytest.mark.long
def test_flipped_twins_of_kaggle253_in_br35h_are_found(tmp_path: Path) -> None:
    whole = read_dataset(Path(os.environ["SCREENER_DATA"]))
    dataset = Dataset(whole.root, tuple(record for record in whole.records if record.source in ("kaggle253", "br35h")))
    views = load_views(dataset, GROUPING, GROUPING.size, tmp_path).images
    pairs = find_pairs(thumbnails(views))
    sources = np.array([record.source for record in dataset.records])
    twins = {
        int(a if sources[a] == "kaggle253" else b)
        for a, b, turned in zip(pairs.first, pairs.second, pairs.turned, strict=True)
        if turned and sources[a] != sources[b]
    }
    assert len(twins) >= 199  # 201 are known; more are welcome
    groups, _ = number(dataset.records, pairs)
    labels = np.array([record.label for record in dataset.records])
    assert all(len(set(labels[groups == group])) == 1 for group in np.unique(groups))


def test_slices_of_volumes_of_two_patients_are_no_copies_however_alike() -> None:
    def record(path: str, label: int, patient: str, series: str) -> Record:
        return Record(path, label, source="s", patient=patient, series=series)

    records = [record("a", 1, "p1", "p1/T1"), record("b", 0, "p1", "p1/T1"), record("c", 0, "p2", "p2/T1")]
    pairs = Pairs(np.array([1]), np.array([2]), np.array([False]))
    _, units = number(records, pairs)
    assert units[0] == units[1] != units[2]
    # A slice of which no series is known may be a copy.
    _, units = number([*records[:2], record("c", 0, "p2", "")], pairs)
    assert units[0] == units[1] == units[2]


def test_the_patients_of_whole_heads_are_listed_with_their_set(tmp_path: Path) -> None:
    records = (
        Record("a", 1, source="s", patient="p1", site="A", series="p1/T1"),
        Record("b", 0, source="s", patient="p1", site="A", series="p1/T1"),
        Record("c", 0, source="s", patient="p0", site="B", series="p0/T1"),
        Record("d", 0, source="s", patient="of slices only"),
    )
    empty = np.zeros(4, np.int64)
    found = Split(empty, empty, np.array(["fit", "fit", "tune", "fit"]))
    write_patients(tmp_path / "patients.csv", Dataset(tmp_path, records), found)
    assert (tmp_path / "patients.csv").read_text() == "source,patient,site,set\ns,p0,B,tune\ns,p1,A,fit\n"


def test_patients_with_both_labels_are_dealt_once() -> None:
    records = [
        Record(f"{patient}-{index}", int(index == 0), source="s", patient=str(patient), series=str(patient))
        for patient in range(100)
        for index in range(5)
    ]
    empty = np.array([], np.int64)
    found = divide(records, Pairs(empty, empty, np.array([], bool)), test_sources=(), seed=1)
    shares = {name: float(np.mean(found.sets == name)) for name in ("fit", "tune", "certify", "test")}
    assert shares == pytest.approx({"fit": 0.575, "tune": 0.15, "certify": 0.15, "test": 0.125}, abs=0.05)
