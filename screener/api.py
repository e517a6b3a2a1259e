"""Screening from Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from screener.domain.slice import Identity, Refused, Slice
from screener.errors import UsageError
from screener.model.session import Model
from screener.triage import TriagePolicy, screening_point

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from screener.domain.finding import Finding
    from screener.domain.study import StudyFinding


class Screener:
    """A loaded model with an operating point.

    Parameters
    ----------
    model : str or Path, optional
        Model folder, ONNX file or name; without it the model that came along.
    threshold : str or float
        Name of an operating point, or a number in [0, 1].
    threads : int, optional
        By default, and at most, the cores that this process may use.
    accept_uncertified : bool
        Screen at ``auto`` although the model is not certified for it.

    Raises
    ------
    ModelError
        The model cannot be used, or `threshold` is ``auto`` and that is not certified.
    UsageError
        The threshold is unknown or outside [0, 1].

    Examples
    --------
    >>> from screener import Screener
    >>> finding = Screener().predict("slice.png")
    >>> finding.decision, finding.probability
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        threshold: str | float = "auto",
        threads: int | None = None,
        accept_uncertified: bool = False,
    ) -> None:
        self.model = Model.load(model, threads=threads)
        self._threads = threads
        points = self.model.card.operating_points
        self.judge = TriagePolicy(
            point=screening_point(str(threshold), points, accept_uncertified=accept_uncertified),
            confirmation=points["confirmation"].threshold,
            model=self.model.card.title,
            model_sha256=self.model.sha256,
        )

    def predict(self, source: str | Path | NDArray[Any]) -> Finding:
        """Judge one slice.

        Parameters
        ----------
        source : path or ndarray
            A JPEG or PNG file; or an image of shape (H, W) or (H, W, 3): unsigned integers use the range that
            screening gives files of the same depth, floats must lie in [0, 1].

        Returns
        -------
        Finding
            ``not_assessable`` with a reason where nothing trustworthy can be said.

        Raises
        ------
        UsageError
            The array is no image.
        """
        from screener.preprocess import prepare
        from screener.quality import refuse

        found = self._read(Path(source)) if isinstance(source, str | Path) else _from_array(source)
        refused = found if isinstance(found, Refused) else refuse(found)
        if refused is not None:
            return self.judge.refusal(refused)
        assert isinstance(found, Slice)  # noqa: S101 - what is left when nothing was refused
        tensor = prepare(found.pixels, self.model.card.preprocessing)
        prediction = self.model.predict(tensor[None])[0]
        return self.judge.finding(found.identity, prediction, self.model.refuse(prediction))

    def scan(self, inbox: str | Path) -> Iterator[Finding]:
        """Judge every file below a folder, in the order of the walk, without writing a log.

        Raises
        ------
        NothingFoundError
            There is nothing to screen.
        """
        from screener.domain.finding import Finding

        return (result for result in self._results(Path(inbox)) if isinstance(result, Finding))

    def studies(self, inbox: str | Path) -> Iterator[StudyFinding]:
        """Judge every study below a folder, in the order of the walk, without writing a log.

        Raises
        ------
        NothingFoundError
            There is nothing to screen.
        """
        from screener.domain.study import StudyFinding

        return (result for result in self._results(Path(inbox)) if isinstance(result, StudyFinding))

    def _results(self, inbox: Path) -> Iterator[Finding | StudyFinding]:
        from screener.inbox import check
        from screener.pipeline.scan import Scan, ScanOptions

        check(inbox)
        yield from Scan(inbox, self.model, self.judge, options=ScanOptions(jobs=self._threads)).results()

    def _read(self, path: Path) -> Slice | Refused:
        from screener.inbox import Entry, read

        return read(Entry(path.resolve(), path.name, None))


def _from_array(image: NDArray[Any]) -> Slice:
    """Take an array for a slice; its digest is that of its bytes."""
    import hashlib

    import numpy as np

    image = np.asarray(image)
    pixels, saturation = _pixels(image)
    return Slice(
        Identity("", hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest(), None), pixels, saturation
    )


def _pixels(image: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
    """Return (H, W), float32, in [0, 1], and the saturation, by the rules of `screener.inbox.decode`."""
    import numpy as np

    hint = "pass (H, W) or (H, W, 3) of uint8, uint16, or floats in [0, 1]"
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or 0 in image.shape:  # noqa: PLR2004
        raise UsageError(f"an array of shape {image.shape} is no slice", hint)
    full = {"uint8": 255, "uint16": 65535, "float16": 1, "float32": 1, "float64": 1}.get(image.dtype.name)
    if full is None:
        raise UsageError(f"an array of {image.dtype} is no slice", hint)
    if full == 1 and not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
        raise UsageError("float pixels outside [0, 1] or not finite", hint)
    # In the machine's own byte order, and in a depth that OpenCV knows.
    image = np.ascontiguousarray(image, dtype=np.float32 if full == 1 else image.dtype.newbyteorder("="))
    saturation = 0.0
    if image.ndim == 3:  # noqa: PLR2004 - (H, W, channels)
        import cv2

        saturation = float((image.max(axis=2) - image.min(axis=2)).mean(dtype=np.float64)) / full
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    pixels = image.astype(np.float32)
    if full == 65535:  # noqa: PLR2004 - 12 bits in 16, as files have them
        low, high = float(pixels.min()), float(pixels.max())
        return np.asarray((pixels - low) / max(high - low, 1), dtype=np.float32), saturation
    return np.asarray(pixels / full, dtype=np.float32), saturation
