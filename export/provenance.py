"""What went into which set, from where, under which licence: the card's ``training_data``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from export.sources import source
from export.splits import SETS, WITHHELD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from export.dataset import Dataset
    from export.splits import Split


def training_data(dataset: Dataset, found: Split, test_sources: Sequence[str], seed: int) -> dict[str, Any]:
    """Return the card's ``training_data``."""
    placed = list(zip(dataset.records, found.sets.tolist(), strict=True))
    counts = Counter((record.source, name) for record, name in placed)
    tumours = Counter((record.source, name) for record, name in placed if record.label)
    return {
        "fingerprint": dataset.fingerprint(),
        "sources": [
            {
                "name": name,
                "licence": source(name).licence,
                "citation": source(name).citation,
                "commercial": source(name).commercial,
                "slices": {place: counts[name, place] for place in (*SETS, WITHHELD) if counts[name, place]},
                "positives": {place: tumours[name, place] for place in (*SETS, WITHHELD) if counts[name, place]},
            }
            for name in sorted({record.source for record in dataset.records})
        ],
        "sets": {name: _set_counts(dataset, found, name) for name in SETS},
        "test_sources": list(test_sources),
        "seed": seed,
    }


def _set_counts(dataset: Dataset, found: Split, name: str) -> dict[str, int]:
    chosen = found.where(name)
    return {
        "slices": len(chosen),
        "positives": sum(dataset.records[index].label for index in chosen.tolist()),
        "groups": len(np.unique(found.groups[chosen])),
        "units": len(np.unique(found.units[chosen])),
    }
