"""The model card as data: what a model is, how it wants its slices, what it may promise.

It lies as JSON under the key ``screener.card`` in the metadata of ``model.onnx`` and, the same, in ``card.json`` beside
it. Schema 1:

``schema`` 1; ``name``, ``version``, ``architecture``, ``created`` (UTC), ``intended_use``, ``licence``: text;
``limitations``: list of text; ``preprocessing``: see `screener.preprocess.Preprocessing`;
``outputs``: names of the graph's outputs for ``probability``, ``heatmap``, ``embedding`` (the last two may be null);
``operating_points``: by name ``threshold``, ``sensitivity`` and ``specificity`` (each ``value, low, high, hits, count,
units``), ``measured_on``, ``recall_target`` (null but for ``auto``), ``certified``, ``certificate`` (null, or an object
with the fields of `screener.model.certificate.Certificate` and the ``threshold`` that it was shown for; one that does
not hold is not believed, whatever ``certified`` says);
``training_data``: ``fingerprint``, ``sources``, ``sets``; ``metrics``: free;
``gate``: null, or ``cutoff`` and ``centres`` in the embedding's space, and how they were found.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from screener.errors import ModelError
from screener.model.certificate import Certificate, read_certificate
from screener.preprocess import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1
CARD_KEY = "screener.card"
REQUIRED_POINTS = ("default", "screening", "confirmation", "auto")
_HINT = "use a model exported by `python -m export convert`"


@dataclass(frozen=True, slots=True)
class CardRate:
    """A measured share: all None or 0 where nothing was measured. Values in [0, 1], counts in slices."""

    value: float | None
    low: float | None
    high: float | None
    hits: int
    count: int
    units: int


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold and what is known of it.

    Attributes
    ----------
    name : str
        ``default``, ``screening``, ``confirmation``, ``auto``, or ``custom`` for a number given by the user.
    threshold : float, in [0, 1]
    sensitivity, specificity : CardRate or None
        As measured on `measured_on`; None for ``custom``.
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
    sensitivity: CardRate | None = None
    specificity: CardRate | None = None
    measured_on: str = ""
    recall_target: float | None = None
    certified: bool = False
    certificate: Certificate | None = None
    flaw: str = "nothing was measured for it"


@dataclass(frozen=True, slots=True)
class Gate:
    """How strange a slice may be.

    Attributes
    ----------
    cutoff : float
        Largest accepted distance to the nearest centre.
    centres : tuple of tuples of float, (K, d)
    """

    cutoff: float
    centres: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Card:
    """A validated card. `data` is the whole JSON object, for those who print it."""

    name: str
    version: str
    preprocessing: Preprocessing
    outputs: Mapping[str, str | None]
    operating_points: Mapping[str, OperatingPoint]
    gate: Gate | None
    data: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str | bytes) -> Card:
        """Read a card.

        Raises
        ------
        ModelError
            Names the first field that is missing or wrong.
        """
        data = _object(text)
        _check_prose(data)
        outputs, gate = _outputs(_mapping(data, "outputs")), _gate(data.get("gate"))
        if gate is not None and outputs["embedding"] is None:
            raise ModelError("the model card has a gate and no embedding that it could measure", _HINT)
        return cls(
            name=_text(data, "name"),
            version=_text(data, "version"),
            preprocessing=Preprocessing.from_card(_mapping(data, "preprocessing")),
            outputs=outputs,
            operating_points=_points(_mapping(data, "operating_points")),
            gate=gate,
            data=data,
        )

    @property
    def title(self) -> str:
        """Return name and version, as printed and logged."""
        return f"{self.name} {self.version}"


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except RecursionError:
        raise ModelError("the model card is nested too deeply", _HINT) from None
    except ValueError as error:
        raise ModelError(f"the model card is not JSON: {error}", _HINT) from None
    if not isinstance(data, dict):
        raise ModelError("the model card is not a JSON object", _HINT)
    if data.get("schema") != SCHEMA:
        raise ModelError(
            f"the model card has schema {data.get('schema')!r}; this tool reads {SCHEMA}",
            "use a model exported by this version of screener, or update screener",
        )
    return data


def _text(data: Mapping[str, Any], field: str) -> str:
    """Return a name: it is printed and logged, so it must not steer a terminal."""
    value = data.get(field)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ModelError(f"the model card's {field!r} is missing or no text", _HINT)
    return value


def _check_prose(data: Mapping[str, Any]) -> None:
    """Make sure that what is only printed has the shape that printing expects."""
    texts = [data.get(field, "") for field in ("architecture", "created", "intended_use", "licence")]
    training, limitations = data.get("training_data", {}), data.get("limitations", [])
    sound = isinstance(training, dict) and isinstance(limitations, list)
    if sound:
        sets, sources = training.get("sets", {}), training.get("sources", [])
        texts += [*limitations, training.get("fingerprint", "")]
        sound = isinstance(sets, dict) and all(isinstance(counts, dict) for counts in sets.values())
        sound = sound and isinstance(sources, list) and all(isinstance(source, dict) for source in sources)
    if not sound or not all(isinstance(text, str) for text in texts):
        raise ModelError("the model card's texts, limitations or training_data are not as its schema says", _HINT)


def _mapping(data: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = data.get(field)
    if not isinstance(value, dict):
        raise ModelError(f"the model card's {field!r} is missing or no object", _HINT)
    return value


def _number(data: Mapping[str, Any], field: str, where: str) -> float:
    value = data.get(field)
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:
        number = math.nan
    # JSON as Python reads it knows NaN and Infinity; neither is a measurement.
    if not math.isfinite(number):
        raise ModelError(f"the model card's {where}.{field} is no number", _HINT)
    return number


def _outputs(data: Mapping[str, Any]) -> dict[str, str | None]:
    outputs = {kind: data.get(kind) for kind in ("probability", "heatmap", "embedding")}
    if not isinstance(outputs["probability"], str):
        raise ModelError("the model card's outputs.probability is missing", _HINT)
    if any(not isinstance(name, str | None) for name in outputs.values()):
        raise ModelError("the model card's outputs must be names or null", _HINT)
    return outputs


def _points(data: Mapping[str, Any]) -> dict[str, OperatingPoint]:
    missing = [name for name in REQUIRED_POINTS if name not in data]
    if missing:
        raise ModelError(f"the model card lacks the operating point {', '.join(missing)}", _HINT)
    return {name: _point(name, _mapping(data, name)) for name in data}


def _point(name: str, data: Mapping[str, Any]) -> OperatingPoint:
    where = f"operating_points.{name}"
    threshold = _number(data, "threshold", where)
    if not 0 <= threshold <= 1:
        raise ModelError(f"the model card's {where}.threshold is outside [0, 1]", _HINT)
    target = data.get("recall_target")
    certificate, flaw = read_certificate(data.get("certificate"), threshold)
    if data.get("certified") is not True:
        certificate, flaw = None, flaw or "its card does not call it certified"
    return OperatingPoint(
        name=name,
        threshold=threshold,
        sensitivity=_rate(data.get("sensitivity"), f"{where}.sensitivity"),
        specificity=_rate(data.get("specificity"), f"{where}.specificity"),
        measured_on=str(data.get("measured_on") or ""),
        recall_target=None if target is None else _number(data, "recall_target", where),
        certified=certificate is not None,
        certificate=certificate,
        flaw=flaw,
    )


def _rate(data: object, where: str) -> CardRate | None:
    if not isinstance(data, dict) or data.get("value") is None:
        return None
    low, high = (None if data.get(end) is None else _number(data, end, where) for end in ("low", "high"))
    hits, count, units = (int(_number(data, field, where)) for field in ("hits", "count", "units"))
    return CardRate(_number(data, "value", where), low, high, hits, count, units)


def _gate(data: object) -> Gate | None:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise ModelError("the model card's 'gate' is no object", _HINT)
    try:
        centres = tuple(tuple(float(number) for number in centre) for centre in data["centres"])
    except (KeyError, OverflowError, TypeError, ValueError):
        raise ModelError("the model card's gate.centres is not a list of vectors", _HINT) from None
    if not centres or len({len(centre) for centre in centres}) != 1:
        raise ModelError("the model card's gate.centres are empty or of different lengths", _HINT)
    if not all(math.isfinite(number) for centre in centres for number in centre):
        raise ModelError("the model card's gate.centres hold something else than numbers", _HINT)
    return Gate(_number(data, "cutoff", "gate"), centres)
