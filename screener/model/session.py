"""The onnxruntime session: verified at load, the same scores whatever the batch."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from screener.cores import workers
from screener.domain.slice import Prediction, Reason
from screener.errors import ModelError
from screener.model.card import CARD_KEY, Card, same_content
from screener.model.store import Location, Mark, locate, mark_of, read_model, sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

AT_ONCE = 2
"""Slices that the graph takes at once. What one of them needs between two layers stays in a core's cache; of sixteen,
it is fetched from memory anew, which takes twice as long. Two share each look at the weights."""
_CARD_BYTES = 4 << 20
_INPUT = "image"
_EXTERNAL = b"\x0a\x08location\x12"
"""How ONNX' protocol buffers say that a tensor lies in another file: `external_data` with the key ``location``."""


class Model:
    """A loaded model.

    Attributes
    ----------
    card : Card
    sha256 : str
        Of the ONNX file.
    location : Location
    """

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - onnxruntime ships no types
        card: Card,
        sha256: str,
        location: Location,
        *,
        mark: Mark | None = None,
        threads: int = 1,
    ) -> None:
        import numpy as np

        self._session = session
        self._mark = mark
        self._threads = threads
        self.card = card
        self.sha256 = sha256
        self.location = location
        reference = card.embedding_reference
        self._centres = np.array(reference.centres, dtype=np.float32) if reference else None

    @classmethod
    def load(cls, model: str | Path | None = None, *, threads: int | None = None) -> Model:
        """Load and verify a model.

        Parameters
        ----------
        model : str or Path, optional
            See `screener.model.store.locate`; without it the model that came with the tool.
        threads : int, optional
            Threads among which `predict` shares a batch; by default, and at most, the cores this process may use.

        Raises
        ------
        ModelError
            The model is missing, corrupt, foreign, or not what was released.
        """
        location = locate(None if model is None else str(model))
        mark = mark_of(location)
        data, digest = read_model(location)
        session = _session(data, location)
        card = _card(session, location)
        _check_graph(session, card)
        return cls(session, card, digest, location, mark=mark, threads=workers(threads))

    def predict(self, batch: NDArray[np.float32], *, heatmaps: bool = False) -> list[Prediction]:
        """Score prepared slices; safe to call from several threads at once.

        Parameters
        ----------
        batch : ndarray of shape (N, size, size, 1), float32, in [0, 1]
        heatmaps : bool
            Also return where the evidence lies.

        Returns
        -------
        list of N Prediction
            A probability that is not a number within [0, 1] is returned as NaN.

        Raises
        ------
        ModelError
            onnxruntime failed.
        """
        outputs = self.card.outputs
        requested = {"probability": outputs.probability}
        if outputs.embedding:
            requested["embedding"] = outputs.embedding
        if outputs.heatmap and heatmaps:
            requested["heatmap"] = outputs.heatmap
        handfuls = [batch[start : start + AT_ONCE] for start in range(0, len(batch), AT_ONCE)]
        if len(handfuls) < 2 or self._threads == 1:  # noqa: PLR2004 - nothing to share
            return [answer for handful in handfuls for answer in self._run(requested, handful)]
        with ThreadPoolExecutor(self._threads) as pool:
            return [
                answer for answers in pool.map(lambda part: self._run(requested, part), handfuls) for answer in answers
            ]

    def _run(self, requested: dict[str, str], batch: NDArray[np.float32]) -> list[Prediction]:
        """Run the graph once, on the core of whoever calls."""
        try:
            answers = self._session.run(list(requested.values()), {_INPUT: batch})
        except Exception as error:  # onnxruntime's own exception classes are not public
            raise ModelError(f"the model failed: {error}", "report this with the model's version") from error
        found = dict(zip(requested, answers, strict=True))
        self._check_answers(found, len(batch))
        return [
            Prediction(
                _probability(found["probability"][index]),
                found["heatmap"][index] if "heatmap" in found else None,
                found["embedding"][index] if "embedding" in found else None,
            )
            for index in range(len(batch))
        ]

    def refuse_replaced(self) -> None:
        """Make sure that the file on disk is still the one that was loaded; costs a look at its times.

        Raises
        ------
        ModelError
            Another model lies there now.
        """
        mark = mark_of(self.location)
        if mark == self._mark:
            return
        if mark is None or sha256_of(self.location) != self.sha256:
            raise ModelError(
                f"{self.location.onnx} was replaced or removed during the run",
                "run the same command again: what was judged before is in the log, under the former model's hash",
            )
        self._mark = mark

    def _check_answers(self, found: dict[str, Any], count: int) -> None:
        """Hold each output to one row a slice: a graph may declare one shape and return another."""
        sizes = {kind: answer.size // count if answer.shape[:1] == (count,) else 0 for kind, answer in found.items()}
        expected = {"probability": 1}
        if self._centres is not None:
            expected["embedding"] = self._centres.shape[1]
        wrong = [kind for kind, size in sizes.items() if size != expected.get(kind, size) or size == 0]
        if wrong:
            raise ModelError(f"the model returned {wrong[0]} of shape {found[wrong[0]].shape}", _hint())

    def refuse(self, prediction: Prediction) -> Reason | None:
        """Say why an answer must not be believed: not a number, or a slice unlike anything the model knows."""
        import numpy as np

        if not math.isfinite(prediction.probability):
            return Reason.NON_FINITE_SCORE
        reference = self.card.embedding_reference
        if self._centres is None or reference is None or prediction.embedding is None:
            return None
        strange = self._centres - prediction.embedding.reshape(-1)
        nearest = float(np.sqrt(np.square(strange).sum(axis=1).min()))
        return None if nearest <= reference.cutoff else Reason.NOT_A_BRAIN_MRI


def _probability(value: Any) -> float:  # noqa: ANN401 - a numpy scalar or an array of one
    """Return a probability; what is not within [0, 1] is NaN, never clipped into an answer."""
    number = float(value.item())
    return number if 0.0 <= number <= 1.0 else math.nan


def _session(data: bytes, location: Location) -> Any:  # noqa: ANN401 - onnxruntime ships no types
    """Create the session from bytes; the graph may pull in no other file and no foreign operator."""
    import onnxruntime

    if _EXTERNAL in data:
        raise ModelError(f"{location.onnx} keeps weights in another file", "a screener model is one file: " + _hint())

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    # Cores are shared out among slices, not within one: no core waits for another at the end of each layer.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # The arena only ever grows; without it memory stays flat and, on few slices at once, speed is the same.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    # Even from bytes, onnxruntime would look for external weights in the current folder; this folder never exists.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/nonexistent/screener")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - onnxruntime's own exception classes are not public
        reason = str(error).splitlines()[0][:200]
        raise ModelError(f"{location.onnx} is no model that onnxruntime can load: {reason}", _hint()) from None


def _hint() -> str:
    return "use a model exported by `python -m export convert`, or leave --model out"


def _card(session: Any, location: Location) -> Card:  # noqa: ANN401 - onnxruntime ships no types
    """Read the card out of the graph's metadata and hold ``card.json`` to it."""
    text = session.get_modelmeta().custom_metadata_map.get(CARD_KEY)
    if text is None:
        raise ModelError(f"{location.onnx} carries no screener card: it is a foreign model", _hint())
    if len(text) > _CARD_BYTES:
        raise ModelError(f"{location.onnx} carries a card of {len(text) >> 20} MiB", _hint())
    card = Card.parse(text)
    beside = location.folder / "card.json"
    if beside.is_file() and not same_content(beside.read_bytes(), text):
        raise ModelError(f"{beside} differs from the card inside the model", "install the model again")
    return card


def _check_graph(session: Any, card: Card) -> None:  # noqa: ANN401 - onnxruntime ships no types
    """Make sure that the graph takes and gives what the card says."""
    size = card.preprocessing.size
    inputs = {value.name: value for value in session.get_inputs()}
    if list(inputs) != [_INPUT] or inputs[_INPUT].type != "tensor(float)":
        raise ModelError(f"the model's inputs are {list(inputs)}, not one float tensor {_INPUT!r}", _hint())
    shape = inputs[_INPUT].shape
    if len(shape) != 4 or shape[1:] != [size, size, 1] or isinstance(shape[0], int):  # noqa: PLR2004 - N, H, W, C
        raise ModelError(f"the model's input has shape {shape}, not [batch, {size}, {size}, 1]", _hint())
    outputs = {value.name for value in session.get_outputs() if value.type == "tensor(float)"}
    missing = [name for name in msgspec.structs.astuple(card.outputs) if name and name not in outputs]
    if missing:
        raise ModelError(f"the model lacks the float output {', '.join(missing)} that its card names", _hint())
