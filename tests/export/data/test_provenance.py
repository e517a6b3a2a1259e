"""What a card says of its training data: known sources, others, licences, counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from export.data.dataset import Dataset
from export.data.provenance import statements, training_data
from export.data.sources import KNOWN, all_known, source
from export.data.splits import Split
from screener.evaluate.labelled import Record

if TYPE_CHECKING:
    from pathlib import Path


def test_a_source_of_ones_own_has_no_known_licence() -> None:
    assert source("figshare").commercial is True
    assert source("my-hospital").commercial is None
    assert source("my-hospital").licence == "as its owner states"
    assert all_known(["figshare", "oasis"])
    assert not all_known(["figshare", "my-hospital"])
    assert all(known.licence and known.citation for known in KNOWN.values())


def test_a_model_of_public_sources_names_their_limits() -> None:
    public = statements(["figshare", "tcga_lgg"])
    assert "adult brain MRI" in public.intended_use
    assert any("Not for children" in limit for limit in public.limitations)
    assert public.licence == "CC BY-NC-SA 4.0"


@pytest.mark.parametrize(
    ("sources", "licence"),
    [
        (["mine"], "as the owners of the training slices allow"),
        (["mine", "figshare"], "as the owners of the training slices allow"),
        (["mine", "tcga_lgg"], "CC BY-NC-SA 4.0"),
    ],
)
def test_weights_stay_under_a_share_alike_licence_whatever_else_they_learnt_from(
    sources: list[str], licence: str
) -> None:
    own = statements(sources)
    assert own.licence == licence
    assert "its owner's brain MRI" in own.intended_use
    assert not any("children" in limit for limit in own.limitations)


def test_training_data_counts_slices_tumours_groups_and_units_by_set(tmp_path: Path) -> None:
    records = tuple(
        Record(f"{number}.png", number % 2, "figshare" if number < 6 else "mine", patient=f"p{number // 2}")
        for number in range(10)
    )
    sets = np.array(["fit"] * 4 + ["tune"] * 2 + ["test"] * 3 + ["withheld"], dtype="<U10")
    split = Split(np.array([0, 0, *range(2, 10)]), np.arange(10) // 2, sets)
    for record in records:
        (tmp_path / record.path).write_bytes(b"x")
    dataset = Dataset(tmp_path, records)
    data = training_data(dataset, split, ["mine"], 7)
    assert (data.seed, data.test_sources) == (7, ("mine",))
    fit = data.sets["fit"]
    assert (fit.slices, fit.positives, fit.groups, fit.units) == (4, 2, 3, 2)
    assert data.sets["certify"].slices == 0
    first, own = data.sources
    assert (first.name, first.slices, first.positives) == ("figshare", {"fit": 4, "tune": 2}, {"fit": 2, "tune": 1})
    assert own.slices == {"test": 3, "withheld": 1}
    assert own.licence == "as its owner states"
