"""In and out of a real PACS: answers are found by REST, once each, whatever goes down in between."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from orthanc import until

from screener.audit import verify
from screener.errors import ExitCode
from tests.dicom_site import FLAGGED, NAMES, write

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Listener
    from orthanc import Orthanc

    from tests.conftest import Command

pytestmark = pytest.mark.pacs
SLICES = 5


def write_study(folder: Path, uid: str, *, bright: bool = True) -> None:
    """Write a study of some slices, flagged where they are bright."""
    for place in range(SLICES):
        about = {"PatientName": NAMES["\\ISO 2022 IR 87"], "SpecificCharacterSet": ["", "ISO 2022 IR 87"]}
        write(folder / f"{uid}/{place}.dcm", uid, place, bright=bright, **about)


def latest(screener: Command, uid: str) -> dict[str, Any] | None:
    """Return the latest STUDY event about a study."""
    found = [event for event in screener.events("STUDY") if event["study_id"] == uid]
    return found[-1] if found else None


def item(report: dict[str, Any], code: str) -> dict[str, Any]:
    """Return the content item of a report, as Orthanc shows it, whose concept has this code."""
    waiting = list(report["ContentSequence"])
    while waiting:
        one: dict[str, Any] = waiting.pop(0)
        if one["ConceptNameCodeSequence"][0].get("CodeValue") == code:
            return one
        waiting += one.get("ContentSequence", [])
    raise KeyError(code)


def test_answers_are_found_by_rest_and_stored_once(screener: Command, orthanc: Orthanc, tmp_path: Path) -> None:
    write_study(tmp_path / "in", FLAGGED)
    orthanc.send(tmp_path / "in")
    done = screener.scan(tmp_path / "in", "--send", orthanc.name)
    assert (done.returncode, "warning" in done.stderr) == (0, False), done.stderr
    (report,) = orthanc.instances(FLAGGED, "SR")
    captures = orthanc.instances(FLAGGED, "OT")
    event = latest(screener, FLAGGED)
    assert event is not None
    assert len(captures) == len(event["key_slices"]) == 3
    tags = orthanc.get(f"/instances/{report}/simplified-tags")
    assert (tags["StudyInstanceUID"], tags["PatientID"], tags["AccessionNumber"]) == (FLAGGED, "P7", "ACC-7")
    assert tags["PatientName"] == NAMES["\\ISO 2022 IR 87"]
    assert item(tags, "decision")["ConceptCodeSequence"][0]["CodeValue"] == "flagged"
    value = item(tags, "probability")["MeasuredValueSequence"][0]["NumericValue"]
    assert float(value) == pytest.approx(float(event["probability"]), abs=1e-6)
    until(lambda: orthanc.metadata(FLAGGED, "screener-urgency") == event["urgency"], "the study is marked")
    assert orthanc.metadata(FLAGGED, "screener-priority") == {"HIGH": "1", "MEDIUM": "2"}[event["urgency"]]
    for capture in captures:
        shown = cv2.imdecode(np.frombuffer(orthanc.read(f"/instances/{capture}/preview"), np.uint8), cv2.IMREAD_COLOR)
        assert shown is not None
        assert shown.std() > 10
        assert max(shown.shape) > 384
    before = orthanc.get("/statistics")["CountInstances"]
    assert screener("send", "--all", "--send", orthanc.name, "--model", screener.model).returncode == 0
    # The same objects again, from a log that does not know that they were sent.
    answers = tmp_path / "again"
    sent = screener("send", FLAGGED, "--dicom-out", answers, "--model", screener.model)
    assert sent.returncode == 0, sent.stderr
    orthanc.send(answers)
    assert orthanc.get("/statistics")["CountInstances"] == before


def test_a_pacs_that_was_down_gets_what_waits(screener: Command, orthanc: Orthanc, tmp_path: Path) -> None:
    write_study(tmp_path / "in", FLAGGED)
    orthanc.stop()
    done = screener.scan(tmp_path / "in", "--send", orthanc.name)
    assert done.returncode == 0
    assert "1 answers wait in the outbox" in done.stderr
    waiting = screener("send", "--tries", 1)
    assert (waiting.returncode, waiting.stdout) == (ExitCode.NOT_SENT, "")
    orthanc.start()
    done = screener("send")
    assert done.returncode == 0, done.stderr
    assert len(orthanc.instances(FLAGGED, "SR")) == 1
    assert len(screener.events("SENT")) == 1
    assert verify(screener.log).ok


def test_studies_go_from_the_scanner_to_the_answer_by_themselves(
    screener: Command, orthanc: Orthanc, listener: Listener, tmp_path: Path
) -> None:
    for number in range(2):
        write_study(tmp_path / f"{number}", f"{FLAGGED}.{number}", bright=number == 0)
    began = time.monotonic()
    for number in range(2):
        orthanc.send(tmp_path / f"{number}")
    for number, urgencies in ((0, {"HIGH", "MEDIUM"}), (1, {"LOW"})):
        uid = f"{FLAGGED}.{number}"
        until(lambda uid=uid: orthanc.metadata(uid, "screener-urgency"), f"{uid} is marked: {listener.log()}")
        assert orthanc.metadata(uid, "screener-urgency") in urgencies
    print(f"two studies marked {time.monotonic() - began:.1f} s after the scanner began")  # noqa: T201 - for the reader
    # Answers are objects of the study too: they must not make another round.
    time.sleep(3)
    assert sorted(event["study_id"] for event in screener.events("STUDY")) == [f"{FLAGGED}.0", f"{FLAGGED}.1"]
    assert len(screener.events("SENT")) == 2
    assert all(len(orthanc.instances(f"{FLAGGED}.{number}", "SR")) == 1 for number in range(2))
    text = listener.log() + (screener.log.read_text())
    assert not any(word in text for word in ("Yamada", "山田", "19700101", "Roe"))


def test_killed_at_any_moment_nothing_is_lost_or_doubled(
    screener: Command, orthanc: Orthanc, listener: Listener, tmp_path: Path
) -> None:
    kills, seed = int(os.environ.get("KILLS") or 2), random.randrange(1 << 32)  # noqa: S311 - moments, no secrets
    chance = random.Random(seed)  # noqa: S311
    print(f"seed {seed}")  # noqa: T201 - to repeat what failed
    studies = [f"{FLAGGED}.{number}" for number in range(kills)]
    for uid in studies:
        write_study(tmp_path / uid, uid)
        orthanc.send(tmp_path / uid)
        time.sleep(chance.uniform(0, 6))
        listener.kill()
        listener.start()
        orthanc.resubmit()

    def settled(uid: str) -> bool:
        event = latest(screener, uid)
        if event is None or event["slices"]["total"] != SLICES:
            orthanc.resubmit()
            return False
        return event["hash"] in {one["study"] for one in screener.events("SENT")}

    for uid in studies:
        until(lambda uid=uid: settled(uid), f"{uid}, seed {seed}: {listener.log()[-4000:]}", 180)
    assert verify(screener.log).ok
    for uid in studies:
        answers = [event for event in screener.events("STUDY") if event["study_id"] == uid]
        results = [event["path"] for event in screener.events("RESULT") if event["study_id"] == uid]
        assert len(results) == len(set(results)) == SLICES
        stored = orthanc.instances(uid, "SR")
        # A study that was cut in two by a kill is answered again as a whole; each answer is stored once at most.
        assert 1 <= len(stored) <= len(answers)
        assert len(orthanc.instances(uid, "MR")) == SLICES
        until(lambda uid=uid: orthanc.metadata(uid, "screener-urgency"), f"{uid} is marked")
