"""Try what eight-bit arithmetic would bring on this machine, and cost: ``make bench``.

Static quantisation in the QDQ format, weights per channel, ranges calibrated on slices of other sources than those that
are judged. What comes out is not a model to screen with: it stays below ``build/``.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import shutil
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import inboxes
from bench.watch import ROOT, SCAN, run
from screener.domain.slice import Slice
from screener.inbox import Entry, read
from screener.model.session import AT_ONCE, Model
from screener.model.store import locate
from screener.preprocess import Preprocessing, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

_WORTH = 1.5
"""End to end; below, a second set of scores, thresholds and certificates is not worth its price."""
_CALIBRATION = 64
_QUANTISED = ["Conv", "Clip", "Add", "MatMul", "Gemm", "GlobalAveragePool"]
_VARIANTS = {
    "eight bits": False,
    # Without VNNI or dot-product instructions, sums of two products overflow 16 bits; a bit less avoids that.
    "weights of seven bits": True,
}
_FEATURES = ("avx2", "avx512_vnni", "avx_vnni", "asimddp")


def main() -> None:
    """Write ``docs/results/int8.json`` and ``int8.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help=f"labelled slices; {inboxes.SOURCE}/ is judged, others calibrate")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/int8")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        files = inboxes.gather(arguments.data, Path(name) / "slices")
        figures = measure(files, _calibration(arguments.data, files), Path(name), arguments.rounds)
    figures["slices_of"] = inboxes.SOURCE if arguments.data else "drawn phantoms"
    arguments.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(report(figures))
    print(report(figures))


def measure(files: Sequence[Path], calibration: Sequence[Path], scratch: Path, rounds: int) -> dict[str, Any]:
    """Return speed and scores of the shipped graph and of its variants, taken in turn, in seconds of processor time."""
    shipped = Model.load()
    how, threshold = shipped.card.preprocessing, shipped.card.operating_points["auto"].threshold
    ranges, tensors = _tensors(calibration, how), _tensors(files, how)
    folders = {name: _quantised(ranges, ROOT / "build/int8" / name, reduced) for name, reduced in _VARIANTS.items()}
    models = {"fp32": shipped} | {name: Model.load(folder, threads=1) for name, folder in folders.items()}
    scores = {
        name: np.array([answer.probability for answer in model.predict(tensors)]) for name, model in models.items()
    }
    alone = inboxes.some(files[len(files) // 2 :], 1, scratch / "alone")[0].parent
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name, model in models.items():
            pairs = [tensors[start : start + AT_ONCE] for start in range(0, 64, AT_ONCE)]
            taken = _processor_seconds(partial(list, map(model.predict, pairs)))
            seconds.setdefault((name, "inference"), []).append(taken / 64)
            whole, one = (_scan(inbox, folders.get(name), scratch) for inbox in (files[0].parent, alone))
            seconds.setdefault((name, "end to end"), []).append((whole - one) / len(files))
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    return {
        "slices": len(files),
        "calibration_slices": len(calibration),
        "cpu_features": _features(),
        "rounds": rounds,
        "variants": {
            name: {
                "inference_times": medians["fp32", "inference"] / medians[name, "inference"],
                "end_to_end_times": medians["fp32", "end to end"] / medians[name, "end to end"],
                "largest_difference": float(np.abs(scores[name] - scores["fp32"]).max()),
                "mean_difference": float(np.abs(scores[name] - scores["fp32"]).mean()),
                "decisions_changed": int(((scores[name] >= threshold) != (scores["fp32"] >= threshold)).sum()),
            }
            for name in folders
        },
    }


def _processor_seconds(work: Callable[[], object]) -> float:
    """Return what some work costs this process and its children; others on the machine hardly change it."""

    def spent() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    before = spent()
    work()
    return spent() - before


def _scan(inbox: Path, model: Path | None, scratch: Path) -> float:
    """Return the processor time of a scan with a log of its own."""
    log = scratch / "log.jsonl"
    for former in scratch.glob(f"{log.name}*"):
        former.unlink()
    command = [*SCAN, str(inbox), "--quiet", "--log", str(log)]
    return _processor_seconds(partial(run, [*command, *(["--model", str(model)] if model else [])]))


def _quantised(ranges: NDArray[np.float32], folder: Path, reduced: bool) -> Path:
    """Quantise the shipped graph into a model folder that screener can load, and return it."""
    import onnx
    import onnxruntime as ort
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source, plain = locate(), folder / "plain.onnx"
    options = ort.SessionOptions()
    # Normalisation goes into the convolutions first, or it would be quantised beside them.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(plain)
    options.log_severity_level = 4
    ort.InferenceSession(source.onnx, options, providers=["CPUExecutionProvider"])
    quantize_static(
        plain,
        folder / "model.onnx",
        _reader(ranges),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=reduced,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=_QUANTISED,
    )
    made = onnx.load(folder / "model.onnx")
    onnx.helper.set_model_props(made, {item.key: item.value for item in onnx.load(source.onnx).metadata_props})
    onnx.save(made, folder / "model.onnx")
    return folder


def _reader(ranges: NDArray[np.float32]) -> Any:  # noqa: ANN401 - onnxruntime ships no types
    """Return what hands out calibration slices one by one."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._slices = iter(ranges)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            tensor = next(self._slices, None)
            return None if tensor is None else {"image": tensor[None]}

    return Reader()


def _calibration(data: Path | None, drawn: Sequence[Path]) -> list[Path]:
    """Return slices, evenly spread over all sources but the one that is judged; phantoms calibrate on themselves."""
    if data is None:
        return list(drawn[:_CALIBRATION])
    if not (data / "manifest.csv").is_file():
        raise SystemExit(
            f"{data} has no manifest.csv to name slices for calibration: "
            "add it (docs/how-to/training.md), or leave DATA out"
        )
    with (data / "manifest.csv").open() as table:
        paths = [data / row["path"] for row in csv.DictReader(table) if row["source"] != inboxes.SOURCE]
    return paths[:: max(1, len(paths) // _CALIBRATION)][:_CALIBRATION]


def _tensors(files: Iterable[Path], how: Preprocessing) -> NDArray[np.float32]:
    found = (read(Entry(file, file.name, None)) for file in files)
    return np.stack([prepare(item.pixels, how) for item in found if isinstance(item, Slice)])


def _features() -> list[str]:
    """Return which of the instructions that matter this processor has, where the system tells it."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return []
    return [name for name in _FEATURES if name in words]


def report(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown, with the verdict that follows from them."""
    rows = "\n".join(
        f"| {name} | {found['inference_times']:.2f} × | {found['end_to_end_times']:.2f} × | "
        f"{found['largest_difference']:.3f} | {found['mean_difference']:.3f} | {found['decisions_changed']} |"
        for name, found in figures["variants"].items()
    )
    best = max(found["end_to_end_times"] for found in figures["variants"].values())
    verdict = "worth a variant of its own" if best >= _WORTH else "not shipped: screener computes in fp32"
    return (
        f"# Eight-bit arithmetic\n\nWritten by `make bench`: the shipped graph, quantised statically (QDQ, by channel, "
        f"{figures['calibration_slices']} slices of calibration), against fp32 on {figures['slices']} slices "
        f"({figures['slices_of']}), processor time, medians of {figures['rounds']} rounds. Instructions of this "
        f"processor: {', '.join(figures['cpu_features']) or 'unknown'}.\n\n"
        "| variant | inference faster by | end to end faster by | largest difference of probability | mean | decisions "
        f"changed |\n|---|---|---|---|---|---|\n{rows}\n\nAt least {_WORTH} × end to end is asked for: {verdict}.\n"
    )


if __name__ == "__main__":
    main()
