"""What went into which set, from where, under which licence: the card's ``training_data``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from export.data.sources import all_known, source
from export.data.splits import SETS, WITHHELD
from screener.model.card import SetCounts, TrainingData, TrainingSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from export.data.dataset import Dataset
    from export.data.splits import Split

_INTENDED_USE = (
    "Orders a radiologist's reading of {whose} brain MRI slices: which patients to look at first. A decision aid under "
    "research; every slice is still read. Not a diagnosis, not a medical device: no CE or FDA clearance."
)
_PUBLIC_LIMITS = (
    (
        "Trained on adults with primary brain tumours before treatment. Not for children, for patients after surgery "
        "or radiotherapy, for metastases or other lesions, for other parts of the body, nor for CT."
    ),
    "Tumours are often hardly visible on T1 without contrast, and are missed there more often.",
    (
        "The tumour-free slices of known patients come from a few hospitals; what another scanner does to specificity "
        "is not known until it is measured there."
    ),
)
_OWN_LIMITS = (
    (
        "Knows what its training slices show. Not for other ages, diseases, treatments or sequences, nor other "
        "scanners: what those do to sensitivity and specificity is not known until it is measured there."
    ),
)
_WEIGHTS_LICENCE = "CC BY-NC-SA 4.0"
"""What the public sources allow for weights that learnt from them."""


class Statements(NamedTuple):
    """Fields of the card that are prose, by their names."""

    intended_use: str
    limitations: tuple[str, ...]
    licence: str


def statements(sources: Iterable[str]) -> Statements:
    """Return what the card says in prose: what is known of public slices, or little.

    Weights that learnt from slices under a share-alike licence stay under it, whatever else they learnt from.
    """
    names = sorted(set(sources))
    public = all_known(names)
    bound = public or any(source(name).commercial is False for name in names)
    return Statements(
        intended_use=_INTENDED_USE.format(whose="adult" if public else "its owner's"),
        limitations=(
            "Judges slices one by one and a study by its slices; one slice that is not flagged reassures nobody.",
            *(_PUBLIC_LIMITS if public else _OWN_LIMITS),
            "A heatmap shows where the evidence lies, not where the tumour ends.",
        ),
        licence=_WEIGHTS_LICENCE if bound else "as the owners of the training slices allow",
    )


def training_data(dataset: Dataset, split: Split, test_sources: Sequence[str], seed: int) -> TrainingData:
    """Return the card's ``training_data``."""
    placed = list(zip(dataset.records, split.sets.tolist(), strict=True))
    counts = Counter((record.source, name) for record, name in placed)
    tumours = Counter((record.source, name) for record, name in placed if record.label)
    return TrainingData(
        fingerprint=dataset.fingerprint(),
        sources=tuple(
            TrainingSource(
                name=name,
                licence=source(name).licence,
                citation=source(name).citation,
                commercial=source(name).commercial,
                slices={place: counts[name, place] for place in (*SETS, WITHHELD) if counts[name, place]},
                positives={place: tumours[name, place] for place in (*SETS, WITHHELD) if counts[name, place]},
            )
            for name in sorted({record.source for record in dataset.records})
        ),
        sets={name: _set_counts(dataset, split, name) for name in SETS},
        test_sources=tuple(test_sources),
        seed=seed,
    )


def _set_counts(dataset: Dataset, split: Split, name: str) -> SetCounts:
    chosen = split.where(name)
    return SetCounts(
        slices=len(chosen),
        positives=sum(dataset.records[index].label for index in chosen.tolist()),
        groups=len(np.unique(split.groups[chosen])),
        units=len(np.unique(split.units[chosen])),
    )
