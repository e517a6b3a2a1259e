"""Try two shortcuts that screener does not take, and say what they would bring and cost: ``make bench``.

JPEG files decoded at half their size where the model's view is small enough, and onnxruntime's optimised graph kept
between runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import inboxes
from bench.watch import ROOT, SCAN, run, timed
from screener.domain.slice import Slice
from screener.inbox import Entry, read
from screener.model.session import Model
from screener.model.store import locate
from screener.preprocess import frame, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from screener.preprocess import Preprocessing

_TOLERANCE = 1e-3
"""Of a golden score: what training in Keras and screening in onnxruntime may differ by."""
_WORTH = 0.1
"""Share of the time of one slice that a cache with its own ways to fail should save."""


def main() -> None:
    """Write ``docs/results/shortcuts.json`` and ``shortcuts.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help=f"folder whose {inboxes.SOURCE}/ is looked at")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/shortcuts")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        files = inboxes.gather(arguments.data, Path(name) / "slices")
        figures = {
            "slices_of": inboxes.SOURCE if arguments.data else "drawn phantoms",
            "half_size": half_size(files, arguments.rounds),
            "optimised_graph": optimised_graph(files, Path(name), arguments.rounds),
        }
    arguments.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(report(figures))
    print(report(figures))


def half_size(files: Sequence[Path], rounds: int) -> dict[str, Any]:
    """Compare scores and time where the head is at least twice as large as the model's view."""
    model = Model.load()
    how = model.card.preprocessing
    eligible = [file for file in files if _is_eligible(file, how)]
    full, half = partial(_full, how=how), partial(_half, how=how)
    seconds: dict[Callable[[Path], Any], list[float]] = {full: [], half: []}
    for _ in range(rounds):
        for way, taken in seconds.items():
            taken.append(timed(partial(list, map(way, eligible))))
    differences = np.zeros(0)
    if eligible:
        in_full, at_half = (np.array(_scores(model, [way(file) for file in eligible])) for way in seconds)
        differences = np.abs(in_full - at_half)
    each = [statistics.median(taken) / max(1, len(eligible)) for taken in seconds.values()]
    return {
        "slices": len(files),
        "eligible": len(eligible),
        "milliseconds_full": 1000 * each[0],
        "milliseconds_half": 1000 * each[1],
        "largest_difference": float(differences.max(initial=0)),
        "beyond_tolerance": int((differences > _TOLERANCE).sum()),
    }


def _scores(model: Model, tensors: list[NDArray[np.float32]]) -> list[float]:
    return [answer.probability for answer in model.predict(np.stack(tensors))]


def _is_eligible(file: Path, how: Preprocessing) -> bool:
    """Tell whether a file is a JPEG whose half size still has more pixels than the model's view."""
    found = read(Entry(file, file.name, None))
    if file.suffix not in {".jpg", ".jpeg"} or not isinstance(found, Slice):
        return False
    top, bottom, left, right = frame(found.pixels, how).box
    return max(bottom - top, right - left) >= 2 * how.size


def _full(file: Path, how: Preprocessing) -> NDArray[np.float32]:
    found = read(Entry(file, file.name, None))
    assert isinstance(found, Slice)  # noqa: S101 - the eligible ones could be read
    return prepare(found.pixels, how)


def _half(file: Path, how: Preprocessing) -> NDArray[np.float32]:
    import cv2

    data = np.frombuffer(file.read_bytes(), np.uint8)
    image: Any = cv2.imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_2)
    return prepare(image.astype(np.float32) / np.float32(255), how)


def optimised_graph(files: Sequence[Path], scratch: Path, rounds: int) -> dict[str, float]:
    """Compare the start of a session from the shipped graph and from the graph that onnxruntime makes of it."""
    import onnxruntime as ort

    everything, nothing = ort.GraphOptimizationLevel.ORT_ENABLE_ALL, ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    shipped, kept = locate().onnx, scratch / "optimised.onnx"
    _session(shipped, everything, kept)
    alone = inboxes.some(files[len(files) // 2 :], 1, scratch / "alone")[0].parent
    seconds: dict[str, list[float]] = {"shipped": [], "kept": [], "one_slice": []}
    for number in range(rounds + 1):
        seconds["shipped"].append(timed(partial(_session, shipped, everything)))
        seconds["kept"].append(timed(partial(_session, kept, nothing)))
        log = str(scratch / f"log-{number}.jsonl")
        command = [*SCAN, str(alone), "--quiet", "--log", log]
        seconds["one_slice"].append(timed(partial(run, command)))
    found = {name: statistics.median(taken[1:]) for name, taken in seconds.items()}
    return found | {"saved_share": (found["shipped"] - found["kept"]) / found["one_slice"]}


def _session(path: Path, level: Any, keep: Path | None = None) -> None:  # noqa: ANN401 - onnxruntime ships no types
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = level
    options.log_severity_level = 4
    if keep is not None:
        options.optimized_model_filepath = str(keep)
    ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def report(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown, with the verdicts that follow from them."""
    half, graph = figures["half_size"], figures["optimised_graph"]
    same = "the same within it" if half["beyond_tolerance"] == 0 else "not the same, so every file is decoded in full"
    worth = "worth a cache" if graph["saved_share"] >= _WORTH else "not worth a cache that could be poisoned or stale"
    return (
        f"# Shortcuts on trial\n\nWritten by `make bench` ({figures['slices_of']}).\n\n"
        f"**JPEG at half size.** {half['eligible']} of {half['slices']} slices are JPEG files whose head is at least "
        f"twice as large as the model's view. From bytes to tensor they take {half['milliseconds_full']:.2f} ms in "
        f"full and {half['milliseconds_half']:.2f} ms at half size; the probability differs by up to "
        f"{half['largest_difference']:.4f}, by more than the golden tolerance of {_TOLERANCE} for "
        f"{half['beyond_tolerance']} of them: {same}.\n\n"
        f"**The optimised graph, kept.** A session starts in {1000 * graph['shipped']:.0f} ms from the shipped graph "
        f"and in {1000 * graph['kept']:.0f} ms from what onnxruntime makes of it: {graph['saved_share']:.1%} of "
        f"the {graph['one_slice']:.2f} s that one slice takes from process start to exit, {worth}.\n"
    )


if __name__ == "__main__":
    main()
