"""Logs of a site over weeks, for the tests of monitoring: written with the timestamps that a test wants."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from screener.audit.events import GENESIS, seal

if TYPE_CHECKING:
    from pathlib import Path

MONDAY = datetime(2026, 1, 5, 8, tzinfo=UTC)
MODEL = {
    "model": "m 1", "model_sha256": "1" * 64, "tool_version": "0", "notice": "", "operating_point": "auto",
    "preprocessing": "v1", "threshold": "0.4", "seen_before": False,
}  # fmt: skip


@dataclass
class Site:
    """Writes studies of one slice each."""

    path: Path
    seed: int = 0
    prev: str = GENESIS
    count: int = 0
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.path.write_bytes(b"")
        self.put("START", MONDAY, inbox="/in", threshold="0.4", model="m 1", model_sha256="1" * 64)

    def put(self, kind: str, when: datetime | str, run: str = "run", **content: Any) -> str:  # noqa: ANN401 - of any event
        """Append an event and return its hash."""
        stamp = when if isinstance(when, str) else when.isoformat(timespec="microseconds").replace("+00:00", "Z")
        event = {"schema": 2, "event": kind, "timestamp": stamp, "run_id": run, **content}
        line, self.prev = seal(event, self.prev)
        with self.path.open("ab") as file:
            file.write(line)
        return self.prev

    def study(
        self,
        when: datetime | str,
        *,
        patient: str | None = None,
        tumour: bool | None = None,
        **changes: Any,  # noqa: ANN401 - of any field
    ) -> str:
        """Append a study of one slice; `changes` may name probability, brightness, features and study."""
        self.count += 1
        tumour = self.rng.random() < 0.1 if tumour is None else tumour
        logit = self.rng.normal(2.0 if tumour else -2.0)
        probability = changes.pop("probability", float(1 / (1 + np.exp(-logit))))
        brightness = float(self.rng.normal(changes.pop("brightness", 0.2), 0.03))
        features = self.rng.normal(changes.pop("features", 0.0), 20, 16).clip(-127, 127).astype(np.int8)
        name, patient = changes.pop("study", f"s{self.count}"), patient or f"p{self.count}"
        embedding = base64.b64encode(struct.pack("<Be", 1, 0.05) + features.tobytes()).decode()
        statistics = {
            "brightness": f"{brightness:.4g}", "contrast": "0.2", "sharpness": "0.3", "height": "256", "width": "256",
            "manufacturer": "Maker", "manufacturer_model": "One",
        }  # fmt: skip
        about = {**MODEL, "patient_id": patient, "study_id": name, **changes}
        about |= self._answer(probability)
        slice_ = self.put(
            "RESULT", when, **about, path=f"{patient}/{name}.dcm", sha256="a" * 64, doctor_id=None,
            final_diagnosis=None, agreement=None, frame=None, series_id="1", position="1.0", sequence="T1",
            plane="axial", statistics=statistics, embedding=embedding,
        )  # fmt: skip
        return self.put(
            "STUDY", when, **about, accession_number=None, study_date=None, series=[], key_slices=[],
            earlier_results=[], slices={"total": 1, "assessed": 1, "flagged": 0, "not_assessable": 0},
            results_sha256=hashlib.sha256(slice_.encode()).hexdigest(),
        )  # fmt: skip

    @staticmethod
    def _answer(probability: float | None) -> dict[str, Any]:
        if probability is None:
            about = {"decision": "not_assessable", "probability": None, "urgency": "REVIEW", "reason": "too_few_slices"}
        else:
            flagged = probability >= 0.4
            decision, urgency = ("flagged", "HIGH") if flagged else ("not_flagged", "LOW")
            about = {"decision": decision, "probability": repr(probability), "urgency": urgency, "reason": None}
        return about | {"confidence": about["probability"], "recommendation": "x"}

    def verdict(self, result: str, diagnosis: str, when: datetime, doctor: str = "dr", **details: Any) -> str:  # noqa: ANN401
        """Append a verdict."""
        return self.put(
            "REVIEW", when, result=result, doctor_id=doctor, final_diagnosis=diagnosis, agreement=None,
            **({"drawn": "flagged"} | details),
        )  # fmt: skip

    def weeks(self, count: int, each: int = 25, first: int = 0, **changes: Any) -> None:  # noqa: ANN401
        """Append so many weeks of studies."""
        for week in range(first, first + count):
            for number in range(each):
                self.study(MONDAY + timedelta(days=7 * week, minutes=200 * number), **changes)

    def end(self) -> None:
        """Append the END of the run."""
        self.put("END", MONDAY, counts={}, reason="complete")
