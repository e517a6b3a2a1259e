"""One slice from bytes to finding: decode, quality control, preprocessing, prediction, triage.

Scan, Python interface, evaluation and explanation all come here, so that none of them can judge a slice differently.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

from screener.domain.slice import Identity, Prediction, Reason, Refused, Slice, SliceMeasurements
from screener.errors import ModelError
from screener.inbox import FileBytes, Limits, decode_slice, fetch, sniff
from screener.inbox.isolation import SafeDecoder
from screener.inbox.picture import DEFAULT_LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from screener.domain.finding import Finding
    from screener.inbox import Entry
    from screener.inbox.dicom import DicomHeader
    from screener.model.session import Model
    from screener.preprocess import Frame, Preprocessing
    from screener.privacy import Pseudonyms
    from screener.triage import TriagePolicy

    Keep = Callable[[NDArray[np.float32], Frame], object]


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """Everything from which a pipeline can be built on another machine; picklable.

    Attributes
    ----------
    model : str
        Model folder, ONNX file or name.
    model_sha256 : str
        Of the ONNX file that must be found there.
    limits : Limits
    isolation : {"risky", "always", "never"}
        Which files are decoded in a process of their own.
    own_study, own_patient : bool
        A DICOM header names the study, and the patient; otherwise the path does.
    pseudonyms : Pseudonyms or None
        Hide what headers name.
    heatmaps : bool
        Also ask the model where the evidence lies.
    measure : bool
        Also measure what the log keeps to see change over time.
    keep : callable or None
        Is given the pixels (H, W) of each slice that passes quality control, and the part of them that the model sees;
        what it returns travels with the slice. Picklable where the work is done elsewhere.
    """

    model: str
    model_sha256: str
    limits: Limits = DEFAULT_LIMITS
    isolation: Literal["risky", "always", "never"] = "risky"
    own_study: bool = True
    own_patient: bool = True
    pseudonyms: Pseudonyms | None = None
    heatmaps: bool = False
    measure: bool = False
    keep: Keep | None = None

    @classmethod
    def of(cls, model: Model, *, heatmaps: bool = False, keep: Keep | None = None) -> PipelineSettings:
        """Return the usual settings for a model that is loaded."""
        return cls(str(model.location.onnx), model.sha256, heatmaps=heatmaps, keep=keep)


@dataclass(frozen=True, slots=True)
class FileSlices:
    """What one file holds.

    Attributes
    ----------
    items : list of FileBytes or Refused
        One a slice.
    folder : str or None
        The study that its folder names.
    warning : Reason or None
        What a reader of the study should know.
    """

    items: list[FileBytes | Refused]
    folder: str | None
    warning: Reason | None = None


@dataclass(frozen=True, slots=True)
class PreparedSlice:
    """A slice that passed quality control, ready for the model.

    Attributes
    ----------
    identity : Identity
    tensor : ndarray of shape (size, size, 1), float32, in [0, 1]
    kept : object
        What `PipelineSettings.keep` made of its pixels.
    measurements : SliceMeasurements or None
        Of the stored pixels.
    """

    identity: Identity
    tensor: NDArray[np.float32]
    kept: object = None
    measurements: SliceMeasurements | None = None


@dataclass(frozen=True, slots=True)
class ScoredSlice:
    """A slice with the model's raw answer.

    Attributes
    ----------
    identity : Identity
    prediction : Prediction
    refused : Reason or None
        Why the answer must not be believed.
    kept : object
        What `PipelineSettings.keep` made of its pixels.
    reused : bool
        The score is that of the same bytes under another path or threshold.
    measurements : SliceMeasurements or None
        Of the stored pixels, and the model's embedding.
    """

    identity: Identity
    prediction: Prediction
    refused: Reason | None = None
    kept: object = None
    reused: bool = False
    measurements: SliceMeasurements | None = None


@dataclass(frozen=True, slots=True)
class SeenSlice:
    """A slice that the log knows: its file was read and hashed, and it was not scored."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class AnsweredFile:
    """What became of the slices of one file where reading and scoring are one step; as `FileSlices` else."""

    items: list[ScoredSlice | SeenSlice | Refused]
    folder: str | None
    warning: Reason | None = None


class SlicePipeline:
    """The way of a slice; use it as a context manager. `read` and `score` may be called from several threads.

    Parameters
    ----------
    settings : PipelineSettings
    model : Model, optional
        The loaded model; without it, it is loaded from where the settings say.

    Raises
    ------
    ModelError
        There is no usable model, or it is another one than the settings name.
    """

    def __init__(self, settings: PipelineSettings, model: Model | None = None) -> None:
        self.settings = settings
        self.model = _loaded(settings) if model is None else model
        self._decoder = SafeDecoder(settings.isolation)
        self._usable = _usable_series(self.model)

    @classmethod
    def of(cls, model: Model, *, heatmaps: bool = False, keep: Keep | None = None) -> SlicePipeline:
        """Return a pipeline with the usual settings around a loaded model."""
        return cls(PipelineSettings.of(model, heatmaps=heatmaps, keep=keep), model)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the decoder's process, if there is one."""
        self._decoder.close()

    def read(self, entry: Entry) -> FileSlices:
        """Read a file once and hash it; a DICOM header names patient, study and series, and each frame is a slice."""
        found = fetch(entry, self.settings.limits)
        kind = None if isinstance(found, Refused) else sniff.kind(found.data)
        if isinstance(found, Refused) or kind not in {sniff.DICOM, sniff.NIFTI}:
            return FileSlices([found], entry.study_id)
        items = [self._usable_or_refused(item) for item in self._slices(found, kind)]
        if self.settings.pseudonyms is not None:
            items = [self.settings.pseudonyms.rename_header(item, found.identity) for item in items]
        return FileSlices(items, entry.study_id, None if found.header is None else found.header.warning)

    def _slices(self, found: FileBytes, kind: str | None) -> list[FileBytes | Refused]:
        """Return what a DICOM or NIfTI file holds, one item a slice."""
        settings = self.settings
        if kind == sniff.NIFTI:
            from screener.inbox.nifti import expand_nifti

            return expand_nifti(found, settings.limits)
        from screener.inbox.dicom import expand

        return expand(found, settings.limits, own_study=settings.own_study, own_patient=settings.own_patient)

    def prepare(self, found: FileBytes | Slice) -> PreparedSlice | Refused:
        """Decode a slice, hold it to quality control and turn it into the model's input."""
        try:
            slice_ = found if isinstance(found, Slice) else decode_slice(found, self.settings.limits, self._decoder)
            header = found.header if isinstance(found, FileBytes) else None
            return slice_ if isinstance(slice_, Refused) else self._checked(slice_, header)
        except MemoryError:
            return Refused(found.identity, Reason.TOO_LARGE, "not enough memory to look at it")

    def predict(self, prepared: Sequence[PreparedSlice]) -> list[ScoredSlice]:
        """Let the model answer.

        Raises
        ------
        ModelError
            It failed.
        """
        if not prepared:
            return []
        import numpy as np

        from screener.measurements import with_embedding

        answers = self.model.predict(np.stack([one.tensor for one in prepared]), heatmaps=self.settings.heatmaps)
        return [
            ScoredSlice(
                one.identity,
                answer,
                self.model.refuse(answer),
                one.kept,
                measurements=with_embedding(one.measurements, answer.embedding),
            )
            for one, answer in zip(prepared, answers, strict=True)
        ]

    def score(self, items: Sequence[FileBytes | Slice]) -> list[ScoredSlice | Refused]:
        """Prepare slices and let the model answer about all that pass quality control, in one call.

        Raises
        ------
        ModelError
            The model failed.
        """
        found = [self.prepare(item) for item in items]
        answers = iter(self.predict([item for item in found if isinstance(item, PreparedSlice)]))
        return [next(answers) if isinstance(item, PreparedSlice) else item for item in found]

    def _checked(self, slice_: Slice, header: DicomHeader | None) -> PreparedSlice | Refused:
        prepared = prepare_slice(slice_, self.model.card.preprocessing, self.settings.keep)
        return replace(prepared, measurements=self._measured(slice_, header))

    def _measured(self, slice_: Slice, header: DicomHeader | None) -> SliceMeasurements | None:
        if not self.settings.measure:
            return None
        from screener.measurements import image_statistics

        return SliceMeasurements(image_statistics(slice_.pixels, header))

    def _usable_or_refused(self, item: FileBytes | Refused) -> FileBytes | Refused:
        """Refuse a slice of a plane or sequence on which the model was not shown to work."""
        if isinstance(item, Refused):
            return item
        from screener.inbox.dicom_rules import DETAIL
        from screener.quality import refuse_series

        reason = refuse_series(item.identity.plane, item.identity.sequence, *self._usable)
        return item if reason is None else Refused(item.identity, reason, DETAIL[reason])


def prepare_slice(slice_: Slice, how: Preprocessing, keep: Keep | None = None) -> PreparedSlice | Refused:
    """Hold a slice to quality control and turn it into the input of a model, which need not be there yet.

    Parameters
    ----------
    slice_ : Slice
    how : Preprocessing
    keep : callable, optional
        See `PipelineSettings.keep`.
    """
    from screener.preprocess import frame, prepare
    from screener.quality import refuse

    refused = refuse(slice_)
    if refused is not None:
        return refused
    where = frame(slice_.pixels, how)
    kept = None if keep is None else keep(slice_.pixels, where)
    return PreparedSlice(slice_.identity, prepare(slice_.pixels, how, where), kept)


def build_finding(outcome: ScoredSlice | Refused, policy: TriagePolicy) -> Finding:
    """Apply the triage policy to what became of a slice."""
    if isinstance(outcome, Refused):
        return policy.refusal(outcome)
    return policy.finding(outcome.identity, outcome.prediction, outcome.refused)


def heatmaps(model: Model, slices: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32] | None]:
    """Say where the evidence lies on slices that this model judged before.

    Quality control let them pass then; a picture of an earlier finding must not depend on the rules of today.

    Parameters
    ----------
    model : Model
    slices : sequence of ndarray of shape (H, W), float32, in [0, 1]

    Returns
    -------
    list of (ndarray of shape (h, w), float32, in [0, 1], or None)
        None for all of them where the model has no heatmap.
    """
    if not slices:
        return []
    import numpy as np

    from screener.preprocess import prepare

    tensors = [prepare(pixels, model.card.preprocessing) for pixels in slices]
    return [answer.heatmap for answer in model.predict(np.stack(tensors), heatmaps=True)]


def _loaded(settings: PipelineSettings) -> Model:
    from screener.model.session import Model

    # Workers share out the slices: none of them needs threads of its own.
    model = Model.load(settings.model, threads=1)
    if model.sha256 != settings.model_sha256:
        raise ModelError(
            f"{model.location.onnx} is not the model that this scan began with",
            "install the same model on every machine that takes part",
        )
    return model


def _usable_series(model: Model) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Return the planes and the sequences on which a model was shown to work, for `refuse_series`."""
    study = model.card.study
    return (("axial",), None) if study is None else (study.planes, study.sequences)
