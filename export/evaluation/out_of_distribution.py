"""What quality control keeps and what it refuses: every labelled slice, and pictures that are no brain MRI.

Those pictures set no cut-off. They come from other packages' sample data, from DICOM files of other body parts and
modalities, and from a random generator.
"""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from export.data.dataset import read_dataset
from export.data.groups import places
from screener.evaluate.metrics import exact_interval
from screener.evaluate.score import score_files
from screener.model.session import Model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Picture = tuple[str, str, NDArray[Any]]

_DRAWN = ("phantom.png",)
"""A drawn head: it may pass as a brain, so it is reported apart."""
_GENERATED_EACH = 6


def evaluate_quality_control(data: Path, run: Path, model_folder: Path) -> dict[str, Any]:
    """Return what quality control does, by source and by kind of picture.

    Parameters
    ----------
    data : Path
        Labelled slices; ``dicom/not_brain`` below it is used where it exists.
    run : Path
        Its ``groups.csv`` says which slices the embedding's reference was fitted on.
    model_folder : Path
    """
    model = Model.load(model_folder)
    pictures = list(_pictures(data))
    with tempfile.TemporaryDirectory() as folder:
        paths = [_written(Path(folder), index, image) for index, (_, _, image) in enumerate(pictures)]
        answers = score_files(paths, model)
    refused: dict[str, list[bool]] = defaultdict(list)
    passed = []
    for (kind, name, _), reason in zip(pictures, answers.reasons, strict=True):
        refused[kind].append(bool(reason))
        if not reason:
            passed.append(f"{kind}: {name}")
    return {
        "model": model.card.title,
        "model_sha256": model.sha256,
        "kept": _kept(data, run, model),
        "refused": {kind: _share(hits) for kind, hits in sorted(refused.items())},
        "refused_all": _share([hit for kind in refused for hit in refused[kind] if kind != "drawn heads"]),
        "passed": passed,
    }


def _kept(data: Path, run: Path, model: Model) -> dict[str, Any]:
    """Count the brain slices that pass, by source; those that the reference was fitted on apart."""
    dataset, known = read_dataset(data), places(run)
    answers = score_files(dataset.paths(np.arange(len(dataset.records))), model)
    kept: dict[str, list[bool]] = defaultdict(list)
    reasons: Counter[str] = Counter()
    for record, reason in zip(dataset.records, answers.reasons, strict=True):
        fitted = record.path in known and known[record.path].set == "fit"
        kept[record.source].append(not reason)
        kept[f"{record.source}, {'fitted on' if fitted else 'not fitted on'}"].append(not reason)
        if reason:
            reasons[f"{record.source}: {reason}"] += 1
    return {"by_source": {name: _share(hits) for name, hits in sorted(kept.items())}, "reasons": dict(reasons)}


def _share(hits: list[bool]) -> dict[str, Any]:
    """Return a share with its exact interval; every picture is its own unit."""
    low, high = exact_interval(sum(hits), len(hits)) if hits else (None, None)
    value = sum(hits) / len(hits) if hits else None
    return {"value": value, "low": low, "high": high, "hits": sum(hits), "count": len(hits), "units": len(hits)}


def _written(folder: Path, index: int, image: NDArray[Any]) -> Path:
    path = folder / f"{index:04d}.png"
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return path


def _pictures(data: Path) -> Iterator[Picture]:
    """Yield kind, name and image (grey, or BGR) of everything that is no brain MRI."""
    yield from _photographs()
    yield from _dicom_files(data)
    yield from _generated()


def _photographs() -> Iterator[Picture]:
    """Yield the photographs and scans in scikit-image and scikit-learn, as stored and turned grey."""
    import skimage
    import sklearn

    folders = [Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets/images"]
    for path in sorted(path for folder in folders for path in folder.iterdir()):
        if path.suffix not in {".png", ".jpg"}:
            continue
        image = np.asarray(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR), dtype=np.uint8)
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        if path.name in _DRAWN:
            yield "drawn heads", path.name, grey
        elif np.ptp(image.astype(int), axis=2).max() > 8:  # noqa: PLR2004 - more than compression noise: in colour
            yield "photographs in colour", path.name, image
            yield "the same in grey", path.name, grey
        else:
            yield "photographs in grey", path.name, grey


def _dicom_files(data: Path) -> Iterator[Picture]:
    """Yield CT, ultrasound, X-ray and other images of pydicom's samples and of ``dicom/not_brain``."""
    import pydicom
    from pydicom.data import get_testdata_files

    bundled = [Path(path) for path in get_testdata_files("*.dcm")]
    folder = data / "dicom/not_brain"
    for path in [*sorted(bundled), *sorted(folder.iterdir() if folder.is_dir() else [])]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = _pixels(pydicom.dcmread(path, force=True))
        if image is not None:
            yield "other modalities and body parts", path.name, image


def _pixels(file: Any) -> NDArray[np.uint8] | None:  # noqa: ANN401 - pydicom's dataset
    """Return the first frame in grey, stretched to 8 bits; None for MR, for what has no pixels or cannot be decoded."""
    if file.get("Modality", "") in {"MR", ""} or "PixelData" not in file:
        return None
    try:
        array = file.pixel_array
    except (AttributeError, NotImplementedError, RuntimeError, ValueError):
        return None  # without the decoder plug-ins, or broken on purpose
    colour = int(file.get("SamplesPerPixel", 1)) == 3  # noqa: PLR2004 - RGB
    frame = array[0] if array.ndim > (3 if colour else 2) else array
    grey = frame.astype(np.float32).mean(axis=2) if colour else frame.astype(np.float32)
    if min(grey.shape) < 32 or np.ptp(grey) == 0:  # noqa: PLR2004 - refused for its size, which proves nothing
        return None
    return np.asarray((grey - grey.min()) / np.ptp(grey) * 255, dtype=np.uint8)


def _generated() -> Iterator[Picture]:
    """Yield noise, text, gradients and drawn heads from a seeded generator."""
    from export.data.phantoms import phantom

    rng = np.random.default_rng(20)
    for number in range(_GENERATED_EACH):
        side = int(rng.integers(120, 400))
        noise = rng.normal(100, 40, (side, side)).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), 1 + number) - 100
        yield "noise", f"white {number}", np.clip(noise, 0, 255).astype(np.uint8)
        yield "noise", f"smooth {number}", np.clip(smooth * 40 / smooth.std() + 100, 0, 255).astype(np.uint8)
        yield "text", f"page {number}", _page(side, dark=number % 2 == 0, rng=rng)
        yield "drawn heads", f"phantom {number}", phantom(100 + number)


def _page(side: int, *, dark: bool, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Write lines of letters, black on white or white on black."""
    page = np.full((side, side), 0 if dark else 255, np.uint8)
    for line in range(12, side, 16):
        letters = "".join(chr(int(code)) for code in rng.integers(97, 123, side // 9))
        cv2.putText(page, letters, (6, line), cv2.FONT_HERSHEY_SIMPLEX, 0.35, 255 if dark else 0, 1)
    return page
