"""What a clinician says about a study or a slice."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Diagnosis(StrEnum):
    """What a clinician says about one study or slice; stands in the log as ``final_diagnosis``."""

    TUMOUR = "tumour"
    NO_TUMOUR = "no_tumour"
    UNSURE = "unsure"
    BAD_IMAGE = "bad_image"


class SelectionReason(StrEnum):
    """Why a study or slice was put before a reader; stands in the log as ``drawn``."""

    FLAGGED = "flagged"
    NOT_ASSESSABLE = "not_assessable"
    SAMPLE = "sample"
    ASKED = "asked"


@dataclass(frozen=True, slots=True)
class Opinion:
    """A clinician's answer about one study or slice, as it was given.

    Attributes
    ----------
    diagnosis : Diagnosis
    doctor_id : str
    note : str
    seconds : float or None
        From the moment the study or slice was shown.
    blind : bool
        Whether the tool's opinion was hidden until the answer was given.
    source : str
        ``web``, ``terminal`` or ``import``.
    request : str
        Chosen by the page; the same one twice is the same answer sent again.
    """

    diagnosis: Diagnosis
    doctor_id: str
    note: str = ""
    seconds: float | None = None
    blind: bool = False
    source: str = "web"
    request: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a REVIEW event records.

    Attributes
    ----------
    result : str
        Hash of the STUDY or RESULT event that it is about.
    doctor_id : str
    final_diagnosis : str
    agreement : bool or None
        Whether the tool's decision was right; None when that cannot be said.
    details : mapping
        Whatever else belongs to it, such as seconds spent.
    """

    result: str
    doctor_id: str
    final_diagnosis: str
    agreement: bool | None
    details: Mapping[str, object] = field(default_factory=dict)
