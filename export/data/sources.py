"""What is known of the public sources: licence and citation, for the model card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


@dataclass(frozen=True)
class Source:
    """Where slices come from and what may be done with them.

    Attributes
    ----------
    licence, citation : str
    commercial : bool or None
        Whether the licence as stated allows commercial use; None where it is not stated, or not known.
    people : str
        Where its patients are no identities: what stands for one, and how far that is from a person.
    """

    licence: str
    citation: str
    commercial: bool | None = None
    people: str = ""


KNOWN = {
    "kaggle253": Source("not stated", "N. Chakrabarty, Brain MRI Images for Brain Tumor Detection, Kaggle 2019"),
    "br35h": Source("not stated", "A. Hamada, Br35H :: Brain Tumor Detection 2020, Kaggle"),
    "figshare": Source(
        "CC BY 4.0",
        "J. Cheng et al., Enhanced Performance of Brain Tumor Classification via Tumor Region Augmentation and "
        "Partition, PLoS ONE 10(10), 2015; figshare 1512427",
        commercial=True,
        people="a run of neighbouring slices, about two of them a person",
    ),
    "nickparvar": Source(
        "CC0 as stated there (a compilation of figshare, SARTAJ, Br35H and others)",
        "M. Nickparvar, Brain Tumor MRI Dataset, Kaggle 2021",
        commercial=True,
    ),
    "tcga_lgg": Source(
        "CC BY-NC-SA 4.0 (Kaggle version)",
        "M. Buda et al., Association of genomic subtypes of lower-grade gliomas with shape features automatically "
        "extracted by a deep learning algorithm, Comput Biol Med 109, 2019; M. Mazurowski et al., J Neurooncol 2017",
        commercial=False,
    ),
    "oasis": Source(
        "OASIS data-use terms",
        "D. S. Marcus et al., Open Access Series of Imaging Studies (OASIS): Cross-sectional MRI Data, "
        "J Cogn Neurosci 19(9), 2007",
    ),
    "tcga_gbm": Source(
        "CC BY 3.0 at publication",
        "L. Scarpace et al., The Cancer Genome Atlas Glioblastoma Multiforme Collection (TCGA-GBM), The Cancer Imaging "
        "Archive, 2016",
        commercial=True,
    ),
    "nichart": Source(
        "licence of the project's repository",
        "NiChart: Neuro Imaging Chart of AI-based Imaging Biomarkers, demonstration data, University of Pennsylvania",
    ),
    "open_ms": Source(
        "CC BY",
        "Z. Lesjak et al., A Novel Public MR Image Dataset of Multiple Sclerosis Patients With Lesion Segmentations "
        "Based on Multi-rater Consensus, Neuroinformatics 16, 2018",
        commercial=True,
    ),
}


def is_named(names: Collection[str], source: str, site: str) -> bool:
    """Say whether names hold a source, or ``source:site``."""
    return source in names or f"{source}:{site}" in names


def all_known(names: Iterable[str]) -> bool:
    """Say whether nothing but the public sources is among the named ones: only then is it known what they show."""
    return set(names) <= set(KNOWN)


def source(name: str) -> Source:
    """Return what is known of a source; one's own folders are one's own to license."""
    return KNOWN.get(name, Source("as its owner states", "not published"))
