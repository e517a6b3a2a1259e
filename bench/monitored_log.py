"""Time ``screener monitor`` on a long log that is written for it; part of ``make bench-monitor``."""

from __future__ import annotations

import base64
import hashlib
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from screener.audit.events import GENESIS, seal

if TYPE_CHECKING:
    from pathlib import Path

_SLICES = 20
_WEEKS = 104
_START = datetime(2024, 1, 1, tzinfo=UTC)
_STATISTICS = {
    "brightness": "0.1234", "contrast": "0.2345", "sharpness": "0.3456", "height": "256", "width": "256",
    "manufacturer": "Maker", "manufacturer_model": "Scanner",
}  # fmt: skip
_MODEL = {
    "model": "bench 1", "model_sha256": "1" * 64, "tool_version": "0", "operating_point": "auto", "threshold": "0.4",
    "notice": "Decision aid.", "preprocessing": "v1", "seen_before": False, "recommendation": "read", "reason": None,
}  # fmt: skip
_NO_VERDICT: dict[str, Any] = {"doctor_id": None, "final_diagnosis": None, "agreement": None}


def time_monitor(folder: Path, events: int) -> dict[str, float]:
    """Write a log of so many results and time the command on it.

    Returns
    -------
    dict
        ``events``, ``seconds``, and ``peak_memory_mb`` of the command.
    """
    log = folder / "audit.jsonl"
    written = write_log(log, events)
    before = time.perf_counter()
    command = [sys.executable, "-m", "screener", "monitor", str(log), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - before
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000
    return {"events": written, "seconds": seconds, "peak_memory_mb": peak}


def write_log(log: Path, events: int) -> int:
    """Write studies of 20 slices over two years, with verdicts on a tenth; return how many events there are."""
    studies = max(1, events // (_SLICES + 1))
    head, count = GENESIS, 0
    with log.open("wb") as file:

        def put(kind: str, number: int, **content: Any) -> str:  # noqa: ANN401 - of any event
            nonlocal head, count
            when = _START + timedelta(days=7 * _WEEKS * number / studies)
            stamp = when.isoformat(timespec="microseconds").replace("+00:00", "Z")
            line, head = seal({"schema": 2, "event": kind, "timestamp": stamp, "run_id": "0" * 16, **content}, head)
            file.write(line)
            count += 1
            return head

        put("START", 0, host="bench", inbox="/in", threshold="0.4", model="bench 1", model_sha256="1" * 64)
        for number in range(studies):
            _put_study(put, number)
        put("END", studies - 1, counts={}, reason="complete")
    return count


def _put_study(put: Any, number: int) -> None:  # noqa: ANN401 - the writer of events
    data = hashlib.shake_256(str(number).encode()).digest(49)
    probability = data[0] / 255
    flagged = probability >= 0.4
    about = _MODEL | {
        "patient_id": f"p{number}", "study_id": f"s{number}", "probability": repr(probability), "confidence": "0.5",
        "decision": "flagged" if flagged else "not_flagged", "urgency": "HIGH" if flagged else "LOW",
    }  # fmt: skip
    embedding = base64.b64encode(b"\x01\x00\x20" + data).decode()
    hashes = [
        put(
            "RESULT", number, **about, **_NO_VERDICT, path=f"p{number}/s{number}/{slice_}.dcm", sha256=f"{slice_:064x}",
            frame=None, series_id="1", position=f"{slice_}.0", sequence="T1", plane="axial", embedding=embedding,
            statistics=_STATISTICS | {"brightness": f"0.{data[1]}"},
        )
        for slice_ in range(_SLICES)
    ]  # fmt: skip
    result = put(
        "STUDY", number, **about, accession_number=None, study_date=None, series=[], key_slices=[],
        slices={"total": _SLICES, "assessed": _SLICES, "flagged": 0, "not_assessable": 0},
        results_sha256=hashlib.sha256("".join(hashes).encode()).hexdigest(), earlier_results=[],
    )  # fmt: skip
    if number % 10 == 0:
        drawn = {"drawn": "flagged"} if flagged else {"drawn": "sample", "sampling": "0.1"}
        verdict = {"doctor_id": "dr", "final_diagnosis": "tumour" if flagged else "no_tumour", "agreement": None}
        put("REVIEW", number, result=result, **verdict, **drawn)
