"""The model card as data: what a model is, how it wants its slices, what it may promise.

It lies as JSON under the key ``screener.card`` in the metadata of ``model.onnx`` and, the same, in ``card.json`` beside
it. The structs of this module are its schema, version 2: fields, ranges and what each is for. A field that is missing
or wrong refuses the card. Unknown keys are ignored, except within ``preprocessing``: there they would change pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from screener.domain.estimate import Count, Estimate, Rate, Share
from screener.errors import ModelError
from screener.model.certificate import Certificate, flaw_of
from screener.preprocess import PREPROCESSING_VERSION, Preprocessing

SCHEMA = 2
CARD_KEY = "screener.card"
REQUIRED_POINTS = ("default", "screening", "confirmation", "auto")
_HINT = "use a model exported by `python -m export convert`"
_T = TypeVar("_T")
_OTHER_VERSION = "use a model exported by this version of screener, or update screener"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold and what is known of it.

    Attributes
    ----------
    name : str
        ``default``, ``screening``, ``confirmation``, ``auto``, or ``custom`` for a number given by the user.
    threshold : float, in [0, 1]
    sensitivity, specificity : Rate or None
        As measured on `measured_on`; None where nothing was measured.
    recall_target : float or None
        The sensitivity that ``auto`` was chosen for.
    certified : bool
        Whether a bound was shown on patients that chose nothing, and the certificate holds.
    certificate : Certificate or None
        What was shown; None unless `certified`.
    flaw : str
        Why it is not certified; empty when it is.
    """

    name: str
    threshold: float
    sensitivity: Rate | None = None
    specificity: Rate | None = None
    measured_on: str = ""
    recall_target: float | None = None
    certified: bool = False
    certificate: Certificate | None = None
    flaw: str = "nothing was measured for it"


class ThresholdChoice(msgspec.Struct, frozen=True):
    """What a threshold was chosen by, on the tune set."""

    threshold: Annotated[Share, Meta(description="The threshold.")]
    margin: Annotated[Share | None, Meta(description="Sensitivity that the tune set's own bound supports there.")]
    bound: Annotated[Share, Meta(description="That bound: exact, one-sided, 95 %, over all units.")]
    by_source: Annotated[dict[str, Share], Meta(description="Share of each source's units that are detected.")]
    specificity: Annotated[Share | None, Meta(description="Mean over sources; null where none is tumour-free.")]
    units: Annotated[Count, Meta(description="Units with a tumour.")]
    floor: Annotated[Share, Meta(description="Least specificity that margin may cost.")] = 0.0


class CardPoint(msgspec.Struct, frozen=True):
    """An operating point as the card has it: of slices, or of studies."""

    threshold: Annotated[Share, Meta(description="Flagged from this probability on.")]
    sensitivity: Annotated[Rate | None, Meta(description="A refused positive counts as missed.")] = None
    specificity: Annotated[Rate | None, Meta(description="A refused negative counts as a false alarm.")] = None
    measured_on: Annotated[str, Meta(description="What both were measured on.")] = ""
    recall_target: Annotated[Share | None, Meta(description="Sensitivity that it was chosen for.")] = None
    certified: Annotated[bool, Meta(description="Whether the certificate is meant to certify; it must hold, too.")] = (
        False
    )
    certificate: Annotated[Certificate | None, Meta(description="Null where nothing was shown.")] = None
    chosen_by: Annotated[ThresholdChoice | None, Meta(description="How `auto` was chosen.")] = None

    def believed(self, name: str) -> OperatingPoint:
        """Return the operating point with its certificate only if that holds."""
        flaw = flaw_of(self.certificate, self.threshold)
        if not self.certified:
            flaw = flaw or "its card does not call it certified"
        return OperatingPoint(
            name=name,
            threshold=self.threshold,
            sensitivity=_measured(self.sensitivity),
            specificity=_measured(self.specificity),
            measured_on=self.measured_on,
            recall_target=self.recall_target,
            certified=not flaw,
            certificate=None if flaw else self.certificate,
            flaw=flaw,
        )


def _measured(rate: Rate | None) -> Rate | None:
    return None if rate is None or rate.value is None else rate


class Outputs(msgspec.Struct, frozen=True):
    """Names of the graph's outputs."""

    probability: Annotated[str, Meta(min_length=1, description="Probability of a tumour, shape (N,).")]
    heatmap: Annotated[str | None, Meta(description="Where the evidence lies, shape (N, h, w); null: none.")] = None
    embedding: Annotated[str | None, Meta(description="Features, shape (N, d); null: none.")] = None


class EmbeddingReference(msgspec.Struct, frozen=True):
    """How far from known slices an embedding may lie: quality control after the model."""

    cutoff: Annotated[float, Meta(description="Largest accepted distance to the nearest centre.")]
    centres: Annotated[
        tuple[tuple[float, ...], ...], Meta(min_length=1, description="Centres of the fit set, shape (K, d).")
    ]
    kept_share: Annotated[Share | None, Meta(description="Share of an unknown source that the cut-off keeps.")] = None
    distance_by_source: Annotated[
        dict[str, float], Meta(description="Distance that keeps this share of each source, as if it were unknown.")
    ] = {}
    measured_on: Annotated[str, Meta(description="What the cut-off was measured on.")] = ""

    def __post_init__(self) -> None:
        """Refuse centres between which no distance is defined."""
        if len({len(centre) for centre in self.centres}) != 1:
            raise ValueError("centres are of different lengths")


class CardCalibration(msgspec.Struct, frozen=True):
    """How probabilities were calibrated: new logit = scale · logit + offset, folded into the last layer."""

    kind: Annotated[Literal["temperature", "Platt"], Meta(description="Which of the two was fitted.")]
    scale: Annotated[float, Meta(gt=0, description="One over the temperature.")]
    offset: Annotated[float, Meta(description="0 for a temperature.")]
    temperature: Annotated[float, Meta(gt=0, description="One over the scale.")]
    balanced_errors: Annotated[
        Mapping[str, float | None], Meta(description="Expected calibration error on tune: before, and with each kind.")
    ] = {}


class SetCounts(msgspec.Struct, frozen=True):
    """How large one of the sets fit, tune, certify and test is."""

    slices: Annotated[Count, Meta(description="Slices.")] = 0
    positives: Annotated[Count, Meta(description="Slices with a tumour.")] = 0
    groups: Annotated[Count, Meta(description="Near-duplicate groups.")] = 0
    units: Annotated[Count, Meta(description="Patients, or groups where patients are unknown.")] = 0


class TrainingSource(msgspec.Struct, frozen=True):
    """A source of labelled slices."""

    name: Annotated[str, Meta(description="Its folder's name.")] = ""
    licence: Annotated[str, Meta(description="Licence of its slices, as stated there.")] = "not stated"
    citation: Annotated[str, Meta(description="Whom to cite.")] = ""
    commercial: Annotated[bool | None, Meta(description="Whether commercial use is allowed; null: not stated.")] = None
    slices: Annotated[dict[str, Count], Meta(description="Slices in each set.")] = {}
    positives: Annotated[dict[str, Count], Meta(description="Slices with a tumour in each set.")] = {}


class TrainingData(msgspec.Struct, frozen=True):
    """What the model was trained, tuned, certified and tested on."""

    fingerprint: Annotated[str, Meta(description="`sha256:…` over every path, label and file size.")] = ""
    sources: Annotated[tuple[TrainingSource, ...], Meta(description="Where the slices come from.")] = ()
    sets: Annotated[dict[str, SetCounts], Meta(description="How large each set is.")] = {}
    test_sources: Annotated[tuple[str, ...], Meta(description="Sources that chose nothing.")] = ()
    seed: Annotated[int | None, Meta(description="Seed of the split.")] = None


class StudyAggregation(msgspec.Struct, frozen=True):
    """How the slices of a study make its probability."""

    kind: Annotated[
        Literal["window_mean"],
        Meta(description="`window_mean`: highest mean of neighbouring assessable slices, highest over series."),
    ] = "window_mean"
    window: Annotated[int, Meta(ge=1, le=99, description="Neighbouring slices that are averaged.")] = 5
    reach: Annotated[int, Meta(ge=0, le=49, description="Neighbours on each side that give a slice its context.")] = 2
    least_slices: Annotated[
        int, Meta(ge=1, description="Assessable slices below which a larger study is not assessable.")
    ] = 5
    least_share: Annotated[Share, Meta(description="Share of assessable slices below which it is not either.")] = 0.0


class StudySection(msgspec.Struct, frozen=True):
    """How studies are judged, and what that was shown to be worth by patient."""

    aggregation: Annotated[StudyAggregation, Meta(description="How slices make a study.")]
    operating_points: Annotated[
        dict[str, CardPoint], Meta(description="Thresholds of studies, figures by patient; `auto` among them.")
    ]
    planes: Annotated[
        tuple[str, ...] | None, Meta(description="Planes that the model was shown to work on; null: any.")
    ] = None
    sequences: Annotated[
        tuple[str, ...] | None, Meta(description="Sequences that the model was shown to work on; null: any.")
    ] = None
    estimates: Annotated[tuple[Estimate, ...], Meta(description="Further figures, such as adjusted AUCs.")] = ()

    def __post_init__(self) -> None:
        """Refuse a section that could not judge a study."""
        if "auto" not in self.operating_points:
            raise ValueError("the study's operating_points lack auto")

    def believed_points(self) -> dict[str, OperatingPoint]:
        """Return the operating points of studies by name, certified only where the certificate holds."""
        return {name: point.believed(name) for name, point in self.operating_points.items()}


class Card(msgspec.Struct, frozen=True, rename={"points": "operating_points"}, kw_only=True):
    """A validated card."""

    schema: Annotated[int, Meta(ge=1, description="Version of this format.")] = SCHEMA
    name: Annotated[str, Meta(min_length=1, description="Name of the model; printable.")]
    version: Annotated[str, Meta(min_length=1, description="Version of the model; printable.")]
    preprocessing: Annotated[Preprocessing, Meta(description="From a slice to the graph's input.")]
    outputs: Annotated[Outputs, Meta(description="Names of the graph's outputs.")]
    points: Annotated[dict[str, CardPoint], Meta(description="Thresholds for single slices, by name.")]
    study: Annotated[StudySection | None, Meta(description="How studies are judged; null: without figures.")] = None
    embedding_reference: Annotated[
        EmbeddingReference | None, Meta(description="Null where only pixels are controlled.")
    ] = None
    calibration: Annotated[CardCalibration | None, Meta(description="Null where nothing was fitted.")] = None
    architecture: Annotated[str, Meta(description="The network, in a sentence.")] = ""
    created: Annotated[str, Meta(description="When the model was made, UTC.")] = ""
    tool_version: Annotated[str, Meta(description="Version of the tool that made it.")] = ""
    intended_use: Annotated[str, Meta(description="What it is for.")] = ""
    limitations: Annotated[tuple[str, ...], Meta(description="What it is not for.")] = ()
    licence: Annotated[str, Meta(description="Licence of the weights.")] = ""
    training_data: Annotated[TrainingData, Meta(description="What it was trained and measured on.")] = TrainingData()
    metrics: Annotated[
        dict[str, Any], Meta(description="Figures of every set, free in form; printed, never read.")
    ] = {}

    def __post_init__(self) -> None:
        """Refuse what the types alone cannot."""
        if not self.name.isprintable() or not self.version.isprintable():
            raise ValueError("name or version is not printable: both reach terminals and logs")
        missing = [name for name in REQUIRED_POINTS if name not in self.points]
        if missing:
            raise ValueError(f"the operating point {', '.join(missing)} is missing")
        if self.embedding_reference is not None and self.outputs.embedding is None:
            raise ValueError("there is an embedding reference and no embedding that it could measure")

    @classmethod
    def parse(cls, text: str | bytes) -> Card:
        """Read a card.

        Raises
        ------
        ModelError
            Names the field that is missing or wrong.
        """
        _check_versions(text)
        return _decoded(text, cls)

    @property
    def operating_points(self) -> dict[str, OperatingPoint]:
        """The operating points of slices by name, certified only where the certificate holds."""
        return {name: point.believed(name) for name, point in self.points.items()}

    @property
    def title(self) -> str:
        """Return name and version, as printed and logged."""
        return f"{self.name} {self.version}"

    def to_plain(self) -> dict[str, Any]:
        """Return the card as JSON has it; numbers that are not finite become null."""
        plain: dict[str, Any] = json.loads(msgspec.json.encode(self, enc_hook=_plain_number))
        return plain


def _plain_number(value: Any) -> object:  # noqa: ANN401 - numpy scalars, which release figures are made of
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a card cannot hold a {type(value).__name__}")


class _PreprocessingVersion(msgspec.Struct):
    version: int = PREPROCESSING_VERSION


class _Versions(msgspec.Struct):
    """What must be known before the rest of a card can be read."""

    schema: int
    preprocessing: _PreprocessingVersion


def _check_versions(text: str | bytes) -> None:
    found = _decoded(text, _Versions)
    if found.schema != SCHEMA:
        raise ModelError(f"the model card has schema {found.schema}; this tool reads {SCHEMA}", _OTHER_VERSION)
    requested = found.preprocessing.version
    if requested != PREPROCESSING_VERSION:
        raise ModelError(
            f"the model wants preprocessing version {requested}, this tool has {PREPROCESSING_VERSION}", _OTHER_VERSION
        )


def _decoded(text: str | bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise ModelError(f"the model card is wrong: {error}", _HINT) from None
    except RecursionError:
        raise ModelError("the model card is nested too deeply", _HINT) from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ModelError(f"the model card is not JSON: {error}", _HINT) from None


def same_content(text: str | bytes, other: str | bytes) -> bool:
    """Say whether two cards hold the same, keys that this tool does not know included.

    Raises
    ------
    ModelError
        One of them is not JSON.
    """
    return bool(_decoded(text, object) == _decoded(other, object))
