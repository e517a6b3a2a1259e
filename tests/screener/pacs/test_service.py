"""The loop that listening and watching share: what arrived is answered once, whatever happens in between."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "inbox"))
from pacs_inbox import Clock, Place

from screener.audit import AuditLog, verify
from screener.errors import AuditLogError
from screener.pacs.retention import Retention
from screener.pipeline.scan import Scan
from tests.conftest import write_slice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from screener.pacs.service import Service


@pytest.fixture
def place(tmp_path: Path, tiny_model: Path) -> Place:
    return Place(tmp_path, tiny_model)


def fill(place: Place, folder: str, count: int = 2, *, bright: bool = False, first: int = 0) -> None:
    for number in range(first, first + count):
        write_slice(place.inbox / folder / f"{number:03}.png", number, bright=bright)


def begun(place: Place, **options: object) -> Service:
    service = place.service(**options)  # type: ignore[arg-type]
    service.list_all()
    return service


def test_a_study_is_answered_once_it_is_quiet_and_never_again(place: Place) -> None:
    fill(place, "p1", bright=True)
    service = begun(place)
    assert place.answer_all(service, 59) == []
    # The files are younger than the quiet period by the clock of the disk: they are looked at twice.
    assert place.answer_all(service, 1) == [False]
    assert place.answer_all(service) == [True]
    assert [event["decision"] for event in place.events("STUDY")] == ["flagged"]
    (received,) = place.events("RECEIVED")
    assert (received["folder"], received["files"], received["senders"]) == ("p1", 2, [])
    service.list_all()
    assert len(service.arrivals) == 0
    again = begun(place)
    assert len(again.arrivals) == 0
    assert verify(place.log).ok


def test_what_was_screened_by_hand_is_received_and_makes_nothing_double(place: Place) -> None:
    fill(place, "p1")
    run = place.run()
    with run.audit_log() as log:
        log.start(run.details())
        list(Scan(run.inbox, run.model, run.policy, log, run.config).results())
        log.end({}, "complete")
    service = begun(place, trusted=True)
    assert place.answer_all(service) == [True]
    assert (len(place.events("RESULT")), len(place.events("STUDY")), len(place.events("RECEIVED"))) == (2, 1, 1)


def test_more_slices_of_a_study_make_a_new_answer_on_all(place: Place) -> None:
    fill(place, "p1")
    service = begun(place, trusted=True)
    assert place.answer_all(service) == [True]
    fill(place, "p1", first=2, bright=True)
    service.arrivals.note("p1")
    assert place.answer_all(service) == [True]
    assert [(event["slices"]["total"], event["decision"]) for event in place.events("STUDY")] == [
        (2, "not_flagged"),
        (4, "flagged"),
    ]
    assert verify(place.log).ok


def test_a_killed_run_is_taken_up_where_it_ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(place, "p1", 40)
    service = begun(place, trusted=True)
    results = Scan.results

    def dies(scan: Scan) -> Iterator[object]:
        for number, result in enumerate(results(scan)):
            if number == 20:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr(Scan, "results", dies)
    with pytest.raises(KeyboardInterrupt):
        place.answer_all(service)
    monkeypatch.undo()
    service = begun(place, trusted=True)
    assert place.answer_all(service) == [True]
    assert len({event["path"] for event in place.events("RESULT")}) == len(place.events("RESULT")) == 40
    assert len(place.events("STUDY")) == 1
    assert verify(place.log).ok


@pytest.mark.parametrize("appends", range(6))
def test_wherever_it_is_killed_nothing_is_lost_or_doubled(
    place: Place, appends: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(place, "p1", 3)
    service = begun(place, trusted=True)
    append, done = AuditLog._append, []

    def dies(log: AuditLog, events: list[dict[str, object]]) -> object:
        if len(done) == appends:
            raise KeyboardInterrupt
        done.append(events)
        return append(log, events)

    monkeypatch.setattr(AuditLog, "_append", dies)
    # START, RECEIVED, RESULT, STUDY and END are five.
    if appends < 5:
        with pytest.raises(KeyboardInterrupt):
            place.answer_all(service)
    else:
        assert place.answer_all(service) == [True]
    monkeypatch.undo()
    service = begun(place, trusted=True)
    place.answer_all(service)
    assert len({event["path"] for event in place.events("RESULT")}) == len(place.events("RESULT")) == 3
    assert len(place.events("STUDY")) == 1
    assert len(begun(place).arrivals) == 0
    assert verify(place.log).ok


def test_while_a_scan_uses_the_log_studies_wait(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    fill(place, "p1")
    service = begun(place, trusted=True)
    with AuditLog(place.log):
        assert place.answer_all(service) == [False]
    assert "another scan is using" in service.activity.problem
    assert place.answer_all(service, 4) == []
    assert place.answer_all(service, 1) == [True]
    assert service.activity.problem == ""
    assert "p1 is not answered yet" in caplog.text


def test_a_folder_that_still_changes_waits_for_two_equal_looks(place: Place) -> None:
    fill(place, "p1")
    service = begun(place)
    assert place.answer_all(service) == [False]
    # Nobody told of this file, as on a share without notifications.
    fill(place, "p1", 1, first=2)
    assert place.answer_all(service) == [False]
    assert place.answer_all(service) == [True]
    assert [event["slices"]["total"] for event in place.events("STUDY")] == [3]


def test_a_study_in_two_folders_is_answered_as_a_whole(place: Place) -> None:
    pytest.importorskip("pydicom")
    from dicom_files import dataset, encode, values

    def slice_at(folder: str, position: float) -> None:
        path = place.inbox / folder / f"{position:g}.dcm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(dataset(values(), ImagePositionPatient=[0, 0, position])))

    place.options = {"pseudonymise": _key(place), "redact_paths": True}
    slice_at("a", 1.0)
    service = begun(place)
    place.answer_all(service)
    assert place.answer_all(service) == [True]
    slice_at("b", 2.0)
    service.list_all()
    place.answer_all(service)
    assert place.answer_all(service) == [True]
    assert [event["slices"]["total"] for event in place.events("STUDY")] == [1, 2]
    assert not {"a", "b"} & {event["folder"] for event in place.events("RECEIVED")}
    assert verify(place.log).ok


def _key(place: Place) -> Path:
    key = place.root / "key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o600)
    return key


def test_a_picture_directly_in_the_inbox_is_a_study(place: Place) -> None:
    place.options = {"pseudonymise": _key(place)}
    write_slice(place.inbox / "dupont.png", bright=True)
    service = begun(place, trusted=True)
    assert place.answer_all(service) == [True]
    assert len(begun(place).arrivals) == 0
    (received,) = place.events("RECEIVED")
    assert (received["folder"], received["files"]) == ("dupont.png", 1)
    place.options["redact_paths"] = True
    service = begun(place, trusted=True)
    assert place.answer_all(service) == [True]
    assert "dupont" not in place.events("RECEIVED")[1]["folder"]
    assert len(begun(place).arrivals) == 0


def test_a_folder_without_an_answer_raises_an_alarm(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    fill(place, "p1")
    service = begun(place, unanswered_after=900.0)
    service._raise_alarms()
    assert not service.activity.alarms
    place.clock.now += 901
    service._raise_alarms()
    service._raise_alarms()
    assert service.activity.alarms == {"p1"}
    assert caplog.text.count("ALARM: p1 was received more than 15 minutes ago") == 1


def test_what_is_no_study_is_forgotten(place: Place) -> None:
    (place.inbox / "empty").mkdir()
    (place.inbox / "junk").mkdir()
    (place.inbox / "junk/.hidden").write_text("x")
    (place.inbox / ".receiving").mkdir()
    service = begun(place)
    assert len(service.arrivals) == 0
    service.arrivals.note("gone")
    assert place.answer_all(service) == [True]
    assert not place.log.exists()


@pytest.mark.parametrize("crash", [False, True])
def test_files_are_deleted_after_their_days_and_not_before(place: Place, *, crash: bool) -> None:
    fill(place, "p1")
    service = begun(place, trusted=True)
    assert place.answer_all(service) == [True]
    fill(place, "p2")
    day, clock = 86_400.0, Clock(time.time())
    begin = clock.now

    def retention(sent: bool) -> Retention:
        return Retention(service.run, 2.0, is_sent=lambda _: sent, clock=clock, monotonic=clock)

    clock.now = begin + 1.9 * day
    assert retention(True).apply(service.answers) == 0
    clock.now = begin + 2.1 * day
    assert retention(False).apply(service.answers) == 0
    if crash:
        # Killed between the event and the removal.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("screener.pacs.retention._remove", _fail)
            killed = retention(True)
            with pytest.raises(AuditLogError):
                killed.apply(service.answers)
        service = place.service(trusted=True)
        service.answers.refresh()
    assert retention(True).apply(service.answers) == 1
    assert [path.name for path in place.inbox.iterdir()] == ["p2"]
    assert [event["folder"] for event in place.events("DELETED")] == ["p1"]
    assert service.answers.study_events("p1") == service.answers.folders_of(["p1"]) == set()
    assert verify(place.log).ok
    # Sent once more, it is received once more, and its results are known.
    fill(place, "p1")
    os.utime(place.inbox / "p1/000.png", (begin + 5, begin + 5))
    service.list_all()
    assert place.answer_all(service) == [True, True]
    assert len(place.events("STUDY")) == 2


def _fail(*_: object) -> None:
    raise AuditLogError("killed", "")


def test_a_clock_that_was_set_deletes_nothing(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    fill(place, "p1")
    service = begun(place, trusted=True)
    assert place.answer_all(service) == [True]
    wall, steady = Clock(1e9), Clock(0.0)
    retention = Retention(service.run, 1.0, clock=wall, monotonic=steady)
    wall.now += 400 * 86_400 * 10
    assert retention.apply(service.answers) == 0
    assert "the clock was set" in caplog.text
    assert (place.inbox / "p1").exists()
