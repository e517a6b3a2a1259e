"""Health and status tell how an inbox stands, and name nobody."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from pacs_inbox import Place

from screener.errors import UsageError
from screener.pacs.health import Health, HealthServer
from screener.pacs.status import inbox_status
from tests.conftest import Command, write_slice


@pytest.fixture
def place(tmp_path: Path, tiny_model: Path) -> Place:
    return Place(tmp_path, tiny_model)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_tells_of_alarms_and_failures_and_names_nobody(place: Place) -> None:
    write_slice(place.inbox / "dupont/0.png", bright=True)
    service = place.service(trusted=True)
    service.list_all()
    with HealthServer(0, Health(service)) as server:
        assert get(server.port, "/healthz") == (200, '{"status": "ok", "reasons": []}\n')
        assert "screener_waiting_folders 1\n" in get(server.port, "/metrics")[1]
        place.clock.now += 3600
        service._raise_alarms()
        service.activity.problem = "audit log dupont: no room"
        code, text = get(server.port, "/healthz")
        assert (code, len(json.loads(text)["reasons"])) == (503, 2)
        figures = get(server.port, "/metrics")[1]
        assert "screener_alarms 1\n" in figures
        assert "screener_oldest_wait_seconds 360" in figures
        assert place.answer_all(service) == [True]
        service._raise_alarms()
        assert get(server.port, "/healthz")[0] == 200
        assert "screener_answered_folders_total 1\n" in get(server.port, "/metrics")[1]
        assert get(server.port, "/")[0] == 404
        assert "dupont" not in text + figures
        taken = HealthServer(server.port, Health(service))
        with pytest.raises(UsageError):
            taken.__enter__()


def test_health_of_a_receiver_counts_instances(place: Place) -> None:
    pytest.importorskip("pynetdicom")
    from screener.pacs.receive import Receiver, ReceiverOptions
    from screener.pacs.storage import InstanceStore

    service = place.service(trusted=True)
    receiver = Receiver(InstanceStore(place.inbox, min_free=1 << 60), service.arrivals, ReceiverOptions(port=0))
    receiver.counts.update(stored=3, rejected=1)
    health = Health(service, receiver)
    assert health.reasons() == ["The disk of the inbox is nearly full: senders are refused."]
    figures = health.metrics()
    assert 'screener_instances_total{outcome="stored"} 3\n' in figures
    assert 'screener_associations_total{outcome="rejected"} 1\n' in figures


def test_status_compares_folder_and_log(place: Place) -> None:
    write_slice(place.inbox / "p1/0.png")
    service = place.service(trusted=True)
    service.list_all()
    place.answer_all(service)
    write_slice(place.inbox / "p2/0.png")
    found = inbox_status(place.inbox, place.log, service.run.config, 900.0)
    assert (found.answered, [one.folder for one in found.waiting], found.late) == (1, ["p2"], 0)
    assert found.last_study is not None
    assert inbox_status(place.inbox, place.log, service.run.config, -1.0).late == 1


def test_the_command_says_what_waits(screener: Command, inbox: Path) -> None:
    done = screener("status", inbox, "--lang", "en", "--unanswered-after", "60")
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 folders answered, 2 waiting, 0 of these for too long" in done.stdout
    late = screener("status", inbox, "--json", "--unanswered-after", "0")
    assert json.loads(late.stdout)["answered"] == 0
    assert late.returncode in (0, 5)
    assert screener("status", inbox / "missing").returncode == 3
