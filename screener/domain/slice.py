"""What was seen: a slice, its identity, the reason why one is refused, and the raw answer of the model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


class Reason(StrEnum):
    """Why a slice or a study could not be judged; ``docs/reference/reasons.md`` says what to do about each."""

    EMPTY_FILE = "empty_file"
    UNREADABLE = "unreadable"
    UNSUPPORTED_TYPE = "unsupported_type"
    CORRUPT = "corrupt"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    BLANK = "blank"
    NOT_A_BRAIN_MRI = "not_a_brain_mri"
    NON_FINITE_SCORE = "non_finite_score"
    STILL_BEING_WRITTEN = "still_being_written"
    DECODER_CRASHED = "decoder_crashed"
    DECODER_TIMEOUT = "decoder_timeout"
    NOT_ONE_STUDY = "not_one_study"
    NO_ASSESSABLE_SLICE = "no_assessable_slice"
    TOO_FEW_SLICES = "too_few_slices"
    NO_USABLE_SERIES = "no_usable_series"
    NOT_MR = "not_mr"
    LOCALIZER = "localizer"
    DERIVED_MAP = "derived_map"
    MOSAIC = "mosaic"
    BURNT_IN_REPORT = "burnt_in_report"
    OTHER_BODY_PART = "other_body_part"
    OUTSIDE_INTENDED_USE = "outside_intended_use"
    PLANE_NOT_SUPPORTED = "plane_not_supported"
    SEQUENCE_NOT_SUPPORTED = "sequence_not_supported"
    DUPLICATE_INSTANCE = "duplicate_instance"
    SEVERAL_PATIENTS = "several_patients"
    NOT_A_VOLUME = "not_a_volume"
    OWN_ANSWER = "own_answer"


@dataclass(frozen=True, slots=True)
class Identity:
    """What names a slice: the same bytes under another path are another slice."""

    path: str
    """Relative to the inbox, ``/``-separated; bytes that are not UTF-8 shown as ``\\xNN``."""
    sha256: str
    """Lower-case hex digest of the file's bytes; empty when they could not be read."""
    patient_id: str | None
    frame: int | None = None
    """Number of the frame in a multi-frame file, from 1."""
    study_id: str | None = None
    series_id: str | None = None
    position: float | None = None
    """mm along the normal of the series; InstanceNumber where the series has no positions; None without either."""
    sequence: str | None = None
    plane: str | None = None
    accession_number: str | None = None
    study_date: str | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """One decoded image, never mutated.

    Attributes
    ----------
    identity : Identity
    pixels : ndarray of shape (H, W), float32, in [0, 1]
    saturation : float, in [0, 1]
        Mean colour saturation of the stored image: a grey-scale picture has 0.
    """

    identity: Identity
    pixels: NDArray[np.float32]
    saturation: float = 0.0


@dataclass(frozen=True, slots=True)
class SliceMeasurements:
    """What the log keeps of a slice to see change over time.

    Attributes
    ----------
    statistics : mapping of str to str
        See `screener.measurements.image_statistics`.
    embedding : str or None
        See `screener.measurements.compress`; None where the model was not asked or has none.
    """

    statistics: Mapping[str, str]
    embedding: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A file about which nothing trustworthy can be said: a result with a reason, not an exception."""

    identity: Identity
    reason: Reason
    detail: str = ""
    measurements: SliceMeasurements | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """The raw answer of the model about one slice.

    Attributes
    ----------
    probability : float, in [0, 1] or not finite
    heatmap : ndarray of shape (h, w), float32, in [0, 1], or None
        Evidence for a tumour on the model's own grid; None when the model has no such output.
    embedding : ndarray of shape (d,), float32, or None
    """

    probability: float
    heatmap: NDArray[np.float32] | None = None
    embedding: NDArray[np.float32] | None = None
