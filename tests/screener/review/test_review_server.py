"""The review page's server, asked as a browser would and as a browser must not."""

from __future__ import annotations

import hashlib
import socket
from typing import TYPE_CHECKING, Any, Self

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the extra [review]")

from review_night import HIGH, finding
from starlette.testclient import TestClient

from screener.errors import AuditLogError, UsageError
from screener.model.session import Model
from screener.review import queue as review_queue
from screener.review.queue import ReviewQueue
from screener.review.server import HOST, Server, listen, new_token
from screener.review.viewer import Viewer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from review_night import Night

TOKEN = "secret"  # noqa: S105 - of a test


class Reader:
    """A page's view of the server."""

    def __init__(self, night: Night, model: Path | None = None, *, blind: bool = False, sample: float = 1.0) -> None:
        self.night = night
        self.queue = ReviewQueue(night.log, sample=sample, blind=blind)
        self.viewer = Viewer(None if model is None else Model.load(str(model), threads=1))
        server = Server(self.queue, self.viewer, doctor="dr.a", lang="en", token=TOKEN)
        self.client = TestClient(server.app(), base_url=f"http://{HOST}:8000", headers={"X-Screener-Token": TOKEN})

    def __enter__(self) -> Self:
        self.queue.__enter__()
        self.viewer.__enter__()
        return self

    def __exit__(self, *given: object) -> None:
        self.viewer.__exit__(*given)
        self.queue.__exit__(*given)

    def get(self, path: str, code: int = 200, **options: Any) -> Any:  # noqa: ANN401 - JSON
        answer = self.client.get(path, **options)
        assert answer.status_code == code, answer.text
        return answer.json()

    def give(self, code: int = 200, **changes: Any) -> Any:  # noqa: ANN401 - JSON
        result = self.night.results["p1/b.png"]
        body = {"result": result, "diagnosis": "tumour", "note": "n", "seconds": 2.5, "request": "r"} | changes
        answer = self.client.post("/api/verdict", json=body)
        assert answer.status_code == code, answer.text
        return answer.json()


@pytest.fixture
def reader(night: Night) -> Iterator[Reader]:
    with Reader(night) as found:
        yield found


def test_the_page_itself_tells_nothing_of_any_patient(reader: Reader) -> None:
    for path, kind in (("/", "text/html"), ("/review.js", "text/javascript"), ("/review.css", "text/css")):
        answer = reader.client.get(path, headers={"X-Screener-Token": ""})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        assert "p1" not in answer.text or path != "/"
        assert "dr.a" not in answer.text
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["progress", "next", "case/{}", "picture/{}", "heat/{}", "neighbour/{}", "refresh"])
@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1]])
def test_without_the_secret_nothing_is_reported(reader: Reader, path: str, token: str) -> None:
    address = f"/api/{path.format(reader.night.results['p1/b.png'])}"
    message = reader.get(address, 403, headers={"X-Screener-Token": token})
    assert set(message) == {"error"}


def test_without_the_secret_nothing_is_recorded(reader: Reader) -> None:
    body = {"result": reader.night.results["p1/b.png"], "diagnosis": "tumour", "seconds": 1}
    answer = reader.client.post("/api/verdict", json=body, headers={"X-Screener-Token": "wrong"})
    assert answer.status_code == 403
    assert reader.night.reviews() == []


def test_a_name_that_was_made_to_point_here_is_refused(reader: Reader) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "192.168.0.1:8000"):
        assert reader.client.get("/", headers={"Host": host}).status_code == 400
    assert reader.client.get("/", headers={"Host": "localhost:8000"}).status_code == 200


def test_a_form_of_another_site_cannot_give_a_verdict(reader: Reader) -> None:
    plain = reader.client.post("/api/verdict", content="{}", headers={"Content-Type": "text/plain"})
    assert plain.status_code == 400
    assert reader.client.get("/api/verdict").status_code == 405
    assert reader.night.reviews() == []


def test_every_answer_forbids_what_the_page_does_not_need(reader: Reader) -> None:
    for path in ("/", "/api/progress", "/api/case/unknown"):
        headers = reader.client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


def test_the_first_case_is_the_most_urgent_and_its_verdict_is_recorded(reader: Reader) -> None:
    case = reader.get("/api/next")["case"]
    assert case["path"] == "p1/b.png"
    assert case["opinion"]["urgency"] == "HIGH"
    message = reader.give()
    assert message["case"]["verdict"] == "tumour"
    assert message["progress"]["done"] == 1
    (event,) = reader.night.reviews()
    assert event["hash"] == message["recorded"]
    assert (event["source"], event["note"], event["seconds"], event["blind"]) == ("web", "n", "2.5", False)
    assert reader.get(f"/api/next?after={case['result']}")["case"]["path"] == "p2/a.png"


def test_the_same_request_counts_once(reader: Reader) -> None:
    assert reader.give()["recorded"] == reader.give()["recorded"]
    reader.give(request="another", diagnosis="no_tumour")
    assert [event["final_diagnosis"] for event in reader.night.reviews()] == ["tumour", "no_tumour"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"diagnosis": "glioma"}, 400),
        ({"note": 3}, 400),
        ({"note": "x" * 2001}, 400),
        ({"seconds": -1}, 400),
        ({"seconds": "2"}, 400),
        ({"seconds": True}, 400),
        ({"result": "f" * 64}, 404),
        ({"result": "../../etc/passwd"}, 404),
        ({"request": "x" * 65}, 400),
    ],
)
def test_a_verdict_that_is_none_is_refused(reader: Reader, change: dict[str, Any], code: int) -> None:
    assert reader.give(code, **change)["error"]
    assert reader.night.reviews() == []


@pytest.mark.parametrize("content", ["", "[]", "null", "{", "[" * 30_000, "x" * 70_000, '{"seconds": NaN}'])
def test_a_body_that_is_no_verdict_is_refused(reader: Reader, content: str) -> None:
    answer = reader.client.post("/api/verdict", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert reader.night.reviews() == []


def test_blind_hides_every_opinion_until_the_verdict(night: Night, tiny_model: Path) -> None:
    with Reader(night, tiny_model, blind=True) as reader:
        result = night.results["p1/b.png"]
        before = reader.client.get(f"/api/case/{result}").text
        assert '"opinion":null' in before
        assert not any(word in before for word in ("0.95", "HIGH", "SUSPECTED", "flagged", "0.4"))
        assert reader.get(f"/api/heat/{result}", 403)["error"]
        assert reader.give()["case"]["opinion"]["urgency"] == "HIGH"
        assert night.reviews()[0]["blind"] is True


def test_pictures_are_the_slice_itself_or_a_sentence(reader: Reader) -> None:
    night = reader.night
    answer = reader.client.get(f"/api/picture/{night.results['p1/b.png']}")
    assert answer.headers["content-type"] == "image/png"
    shown = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    kept = cv2.imdecode(np.frombuffer((night.inbox / "p1/b.png").read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(shown, kept)
    (night.inbox / "p1/b.png").write_bytes((night.inbox / "p2/a.png").read_bytes())
    assert "moved or changed" in reader.get(f"/api/picture/{night.results['p1/b.png']}", 404)["error"]
    assert "heatmap" in reader.get(f"/api/heat/{night.results['p2/a.png']}", 404)["error"]


def test_evidence_lies_over_the_slice(night: Night, tiny_model: Path) -> None:
    model = Model.load(str(tiny_model), threads=1)
    sha256 = hashlib.sha256((night.inbox / "p2/a.png").read_bytes()).hexdigest()
    (result,) = night.more(finding("p2/a.png", sha256, 0.7, model_sha256=model.sha256))
    with Reader(night, tiny_model) as reader:
        answer = reader.client.get(f"/api/heat/{result}")
        heat = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert heat.shape == (96, 96, 4)
        assert set(np.unique(heat[..., 3])) <= {102, 255}


def test_a_damaged_log_is_reported(night: Night) -> None:
    lines = night.log.read_bytes().splitlines(keepends=True)
    night.log.write_bytes(b"".join([*lines[:4], b"garbage\n", *lines[4:]]))
    with Reader(night) as reader:
        assert "screener verify" in reader.get("/api/progress")["problem"]
        assert reader.get("/api/next")["case"] is not None


def test_a_log_that_cannot_be_written_loses_nothing_and_says_so(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise AuditLogError("the disk is full", "Make room.")

    with monkeypatch.context() as patch:
        patch.setattr(review_queue, "AuditLog", full)
        assert "disk is full" in reader.give(500)["error"]
    assert reader.give()["recorded"]


def test_looking_again_finds_new_slices(reader: Reader) -> None:
    before = reader.get("/api/progress")["total"]
    reader.night.more(finding("p9/a.png", "9" * 64, HIGH))
    assert reader.get("/api/refresh")["total"] == before + 1


def test_a_log_that_is_away_for_a_while_takes_no_slice_off_the_page(reader: Reader, night: Night) -> None:
    result = reader.get("/api/next")["case"]["result"]
    away = night.log.rename(night.log.with_name("away"))
    assert "no audit log" in reader.get("/api/refresh", 500)["error"]
    assert reader.get(f"/api/case/{result}")["case"]["result"] == result
    assert "nothing was recorded" in reader.give(500)["error"]
    away.rename(night.log)
    assert reader.give()["recorded"]


def test_a_taken_port_is_reported_and_the_secret_is_long() -> None:
    with listen(0) as first:
        with pytest.raises(UsageError, match="cannot be used"):
            listen(first.getsockname()[1])
        assert first.getsockname()[0] == HOST
        assert first.family == socket.AF_INET
    assert len(new_token()) >= 43
    assert new_token() != new_token()
