"""A site with DICOM studies that were screened by the tiny model, for the tests of answers in DICOM."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.append(str(Path(__file__).parent / "screener/inbox"))
from dicom_files import dataset, encode

from export.data.phantoms import phantom
from screener.audit import AuditLog
from screener.pipeline.config import ScanConfig
from screener.pipeline.scan import Scan
from screener.triage import TriagePolicy, screening_point

if TYPE_CHECKING:
    from screener.domain.study import StudyFinding

FLAGGED, REFUSED = "1.2.826.77.1", "1.2.826.77.2"
NAMES = {
    "ISO_IR 100": "Müller^Käthe",
    "ISO_IR 192": "Nováková^Žofie",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
}


def write(path: Path, study: str, place: int, *, bright: bool = False, **changes: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = phantom(place * 7, 96).astype(np.float32)
    stored = np.clip(drawn * (1.9 if bright else 0.9), 0, 255).astype(np.int32)
    about: dict[str, Any] = {
        "StudyInstanceUID": study,
        "SeriesInstanceUID": f"{study}.9",
        "SOPInstanceUID": f"{study}.9.{place + 1}",
        "ImagePositionPatient": [0, 0, place],
        "AccessionNumber": "ACC-7",
        "StudyDate": "20260102",
        "StudyTime": "101500",
        "StudyID": "S1",
        "SeriesNumber": 3,
        "InstanceNumber": place + 1,
        "SeriesDescription": "ax T1",
        "PatientWeight": "70.5",
        "PatientSex": "F",
        "WindowCenter": 128,
        "WindowWidth": 256,
        "TimezoneOffsetFromUTC": "+0900",
        "ReferringPhysicianName": "Roe^Richard",
        "Manufacturer": "Scanner Ltd",
    }
    path.write_bytes(encode(dataset(stored, **(about | changes))))


def screen(inbox: Path, model: Path, log: Path, **options: object) -> list[StudyFinding]:
    """Screen an inbox as the command does."""
    from screener.model.session import Model

    loaded, config = Model.load(str(model)), ScanConfig.of(jobs=1, **options)
    points = loaded.card.operating_points
    policy = TriagePolicy(
        screening_point("auto", points), points["confirmation"].threshold, "tiny 1.0.0", loaded.sha256
    )
    with AuditLog(log) as writer:
        scan = Scan(inbox, loaded, policy, writer, config)
        writer.start({"inbox": str(inbox), "options": config.recorded()})
        found = [one for one in scan.results() if hasattr(one, "key_slices")]
        writer.end({"own_answers": scan.counts["own_answers"]}, "complete")
    return found  # type: ignore[return-value]
