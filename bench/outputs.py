"""What the outputs beside the probability cost: ``model.onnx`` against the same graph without them, taken in turns.

onnxruntime runs the whole graph whatever is fetched, so a second output is only free if it is cheap.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = 1.05
"""Most that a probability-only pass may cost, over a model without the other outputs."""
_BATCH = 4


def main() -> None:
    """Measure and write ``docs/results/outputs.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models/lite/model.onnx")
    parser.add_argument("--seconds", type=float, default=16.0, help="how long to measure")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/outputs.json")
    arguments = parser.parse_args()
    found = outputs_cost(arguments.model, arguments.seconds)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{found['ratio']:.3f} times a model without {', '.join(found['without'])} (at most {ALLOWED} is allowed)")


def outputs_cost(model: Path, seconds: float) -> dict[str, Any]:
    """Time both graphs in turns on one thread, so that whatever else the machine does hits both alike.

    Parameters
    ----------
    model : Path
    seconds : float

    Returns
    -------
    dict
        ``whole`` and ``pruned``: median milliseconds a slice; ``ratio``: median of the ratios of neighbouring turns;
        ``turns``; ``without``: the outputs that were cut off.
    """
    import numpy as np
    import onnx

    graph = onnx.load(str(model))
    card = next(json.loads(prop.value) for prop in graph.metadata_props if prop.key == "screener.card")
    size = card["preprocessing"]["size"]
    wanted = card["outputs"]["probability"]
    whole, cut = _session(graph), _session(pruned(graph, wanted))
    images = np.random.default_rng(0).random((_BATCH, size, size, 1), dtype=np.float32)
    for session in (whole, cut):
        _turn(session, wanted, images)
    times: list[tuple[float, float]] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or not times:
        # Whoever goes first finds a colder cache: take turns at that too.
        order = (whole, cut) if len(times) % 2 else (cut, whole)
        spent = {id(session): _turn(session, wanted, images) for session in order}
        times.append((spent[id(whole)], spent[id(cut)]))
    return {
        "model": f"{card['name']} {card['version']}",
        "without": [value.name for value in graph.graph.output if value.name != wanted],
        "whole": round(statistics.median(first for first, _ in times), 4),
        "pruned": round(statistics.median(second for _, second in times), 4),
        "ratio": round(statistics.median(first / second for first, second in times), 4),
        "allowed": ALLOWED,
        "turns": len(times),
        "batch": _BATCH,
        "unit": "milliseconds a slice, one thread",
    }


def pruned(graph: Any, output: str) -> Any:  # noqa: ANN401 - onnx ships no types
    """Return the graph with everything cut off that one output does not need."""
    import onnx

    made = {name: node for node in graph.graph.node for name in node.output}
    needed: set[str] = set()
    waiting = [output]
    while waiting:
        node = made.get(waiting.pop())
        if node is not None and node.output[0] not in needed:
            needed.add(node.output[0])
            waiting += node.input
    small = onnx.ModelProto.FromString(graph.SerializeToString())
    kept = [node for node in small.graph.node if node.output[0] in needed]
    used = {name for node in kept for name in node.input}
    stored = [tensor for tensor in small.graph.initializer if tensor.name in used]
    shown = [value for value in small.graph.output if value.name == output]
    for field, values in (("node", kept), ("initializer", stored), ("output", shown)):
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        del getattr(small.graph, field)[:]
        getattr(small.graph, field).extend(copies)
    onnx.checker.check_model(small)
    return small


def _session(graph: Any) -> Any:  # noqa: ANN401 - onnx and onnxruntime ship no types
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _turn(session: Any, output: str, images: Any) -> float:  # noqa: ANN401 - onnxruntime ships no types
    """Return milliseconds a slice of one batch, of which the probability alone is fetched."""
    start = time.perf_counter()
    session.run([output], {"image": images})
    return (time.perf_counter() - start) * 1e3 / len(images)


if __name__ == "__main__":
    main()
