"""Answers reach the PACS once, whatever fails between the log, the outbox and the network."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("highdicom", reason="needs the extra [pacs]")
pytest.importorskip("pynetdicom", reason="needs the extra [pacs]")
pytest.importorskip("dicomweb_client", reason="needs the extra [pacs]")

from screener.audit import AuditLog, Kind, read, verify
from screener.cli.answers import Answers, default_outbox
from screener.cli.send import SendCommand, run
from screener.errors import AuditLogError, ExitCode, NothingFoundError, NotSentError, UsageError
from screener.pacs.destination import Destination, checked_title, read_destinations
from screener.pacs.outbox import Outbox
from screener.pacs.sending import AnswerSender, SendOptions
from screener.pipeline.config import ScanConfig
from screener.report.dicom_answer import DicomAnswer, dicom_answers, judging_model
from tests.dicom_site import FLAGGED, screen, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from screener.domain.study import StudyFinding
    from screener.model.session import Model

IDENTITY = ("Doe", "P7", "ACC-7", "19700101", "Roe")


@pytest.fixture(scope="module")
def screened(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """Screen one flagged study and return the folder that holds inbox and log."""
    folder = tmp_path_factory.mktemp("screened")
    for place in range(2):
        write(folder / f"in/a/{place}.dcm", FLAGGED, place, bright=True)
    screen(folder / "in", tiny_model, folder / "log.jsonl")
    return folder


@pytest.fixture(scope="module")
def made(screened: Path, tiny_model: Path) -> DicomAnswer:
    (found,) = dicom_answers(screened / "log.jsonl", judging_model(str(tiny_model)), "en")
    assert isinstance(found, DicomAnswer)
    return found


@pytest.fixture
def log(screened: Path, tmp_path: Path) -> Path:
    """Return a copy of the log: each test sends anew."""
    shutil.copy(screened / "log.jsonl", tmp_path)
    return tmp_path / "log.jsonl"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Pacs:
    """A DICOM node that stores, and answers as it is told to."""

    def __init__(self) -> None:
        self.port = free_port()
        self.stored: dict[str, list[bytes]] = {}
        self.statuses: list[int] = []

    @property
    def name(self) -> str:
        return f"PACS@127.0.0.1:{self.port}"

    def _store(self, event: Any) -> int:  # noqa: ANN401 - pynetdicom ships no types
        status = self.statuses.pop(0) if self.statuses else 0
        if status == 0:
            self.stored.setdefault(str(event.request.AffectedSOPInstanceUID), []).append(event.encoded_dataset())
        return status

    @contextmanager
    def up(self) -> Iterator[None]:
        from pynetdicom import AE, evt
        from pynetdicom.sop_class import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

        entity = AE(ae_title="PACS")
        for kind in (Comprehensive3DSRStorage, SecondaryCaptureImageStorage):
            entity.add_supported_context(kind)
        server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        try:
            yield
        finally:
            server.shutdown()


@pytest.fixture
def pacs() -> Pacs:
    return Pacs()


def sender(log: Path, model: Path, *destinations: str, folder: Path | None = None) -> AnswerSender:
    options = SendOptions(read_destinations(destinations), folder, default_outbox(log))
    return AnswerSender(log, judging_model(str(model)), options)


def queued(log: Path, made: DicomAnswer, destination: str) -> AnswerSender:
    """Put the answer into the outbox as `AnswerSender.make` would."""
    Outbox(default_outbox(log)).add(made, Destination.read(destination))
    return AnswerSender(log, no_model, SendOptions(read_destinations([destination]), None, default_outbox(log)))


def no_model() -> Model:
    pytest.fail("what waits needs no model")


def sent(log: Path) -> list[dict[str, Any]]:
    return [event for event in read(log) if event["event"] == Kind.SENT]


def test_sent_twice_is_stored_once(log: Path, tiny_model: Path, pacs: Pacs) -> None:
    with pacs.up():
        one = sender(log, tiny_model, pacs.name)
        assert one.make().answers == 1
        delivery = one.deliver()
        assert (len(delivery.sent), delivery.waiting, delivery.problems) == (1, 0, {})
        again = sender(log, tiny_model, pacs.name)
        assert (again.make().settled, again.deliver().sent) == (1, [])
    assert {len(copies) for copies in pacs.stored.values()} == {1}
    (event,) = sent(log)
    assert event["destination"] == pacs.name
    assert {item["sop_instance_uid"] for item in event["objects"]} == set(pacs.stored)
    assert verify(log).ok
    studies = {event["hash"] for event in read(log) if event["event"] == Kind.STUDY}
    assert again.is_sent(studies)
    assert not sender(log, tiny_model, pacs.name, "OTHER@127.0.0.1:1").is_sent(studies)
    text = log.read_text()
    assert not any(word in json.dumps(event) for word in IDENTITY)
    assert "Doe" not in text


def test_a_pacs_that_is_down_gets_it_later(log: Path, made: DicomAnswer, pacs: Pacs) -> None:
    one = queued(log, made, pacs.name)
    first = one.deliver()
    assert (first.waiting, first.problems) == (1, {pacs.name: f"{pacs.name} does not answer"})
    assert sent(log) == []
    entry = next(default_outbox(log).glob("*/entry.json")).read_text()
    assert not any(word in entry for word in IDENTITY)
    assert all(path.stat().st_mode & 0o077 == 0 for path in default_outbox(log).rglob("*"))
    with pacs.up():
        # As after a restart.
        assert len(AnswerSender(log, no_model, SendOptions(outbox=default_outbox(log))).deliver().sent) == 1
    assert list(default_outbox(log).glob("[!.]*")) == []


@pytest.mark.parametrize(
    ("statuses", "waiting"), [([0xA700], 1), ([0xC000], 1), ([0, 0xA900], 1), ([0x0111], 0), ([0xB000, 0xB007], 0)]
)
def test_what_a_node_answers_counts(
    statuses: list[int], waiting: int, log: Path, made: DicomAnswer, pacs: Pacs
) -> None:
    pacs.statuses = statuses.copy()
    with pacs.up():
        one = queued(log, made, pacs.name)
        first = one.deliver()
        assert first.waiting == waiting
        assert len(sent(log)) == 1 - waiting
        if waiting:
            assert f"status 0x{statuses[-1]:04X}" in first.problems[pacs.name]
            assert one.deliver().waiting == 0
            assert len(sent(log)) == 1


def test_a_crash_between_storing_and_recording_stores_the_same_again(
    log: Path, made: DicomAnswer, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise AuditLogError("the disk is full", "make room")

    one = queued(log, made, pacs.name)
    with pacs.up():
        with monkeypatch.context() as patch:
            patch.setattr(AuditLog, "sent", full)
            with pytest.raises(AuditLogError):
                one.deliver()
        assert len(AnswerSender(log, no_model, SendOptions(outbox=default_outbox(log))).deliver().sent) == 1
    assert {len(copies) for copies in pacs.stored.values()} == {2}
    assert all(len(set(copies)) == 1 for copies in pacs.stored.values())
    assert len(sent(log)) == 1


def test_a_crash_between_recording_and_clearing_sends_nothing_again(
    log: Path, made: DicomAnswer, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = queued(log, made, pacs.name)
    with pacs.up(), monkeypatch.context() as patch:
        patch.setattr(Outbox, "remove", lambda *_: None)
        one.deliver()
    assert len(list(default_outbox(log).glob("[!.]*"))) == 1
    # The PACS is down, and nobody asks for it.
    delivery = AnswerSender(log, no_model, SendOptions(outbox=default_outbox(log))).deliver()
    assert (delivery.waiting, delivery.problems, len(sent(log))) == (0, {}, 1)


@pytest.mark.long
def test_the_outbox_is_made_again_from_the_log(log: Path, tiny_model: Path, pacs: Pacs) -> None:
    one = sender(log, tiny_model, pacs.name)
    one.make()
    before = {path.name: path.read_bytes() for path in default_outbox(log).glob("*/*.dcm")}
    shutil.rmtree(default_outbox(log))
    again = sender(log, tiny_model, pacs.name)
    assert again.make().answers == 1
    assert {path.name: path.read_bytes() for path in default_outbox(log).glob("*/*.dcm")} == before
    # What waits is not made a second time.
    assert (again.make().answers, again.make().settled) == (0, 1)


@pytest.mark.long
def test_a_damaged_entry_is_taken_out_and_told_of(log: Path, tiny_model: Path, pacs: Pacs) -> None:
    one = sender(log, tiny_model, pacs.name)
    one.make()
    next(default_outbox(log).glob("*/1.dcm")).write_bytes(b"x")
    with pacs.up():
        delivery = one.deliver()
        assert "damaged" in delivery.problems[pacs.name]
        assert one.make().answers == 1
        assert len(one.deliver().sent) == 1
    assert (default_outbox(log) / ".created").exists()


@pytest.mark.long
def test_a_service_makes_recovers_and_sends(
    screened: Path, log: Path, tiny_model: Path, tmp_path: Path, pacs: Pacs
) -> None:
    shutil.copytree(screened / "in", tmp_path / "in")
    inbox = tmp_path / "in"
    one = sender(log, tiny_model, pacs.name, folder=tmp_path / "out")
    one.recover()
    assert not one.outbox.occupied  # type: ignore[union-attr]
    write(inbox / "a/5.dcm", FLAGGED, 5, bright=True)
    (study,) = screen(inbox, tiny_model, log)
    with pacs.up():
        one.note(study)
        one.work()
        assert len(sent(log)) == 1
        one.work()
    # Answered, and a crash before it was noted.
    write(inbox / "a/6.dcm", FLAGGED, 6, bright=True)
    screen(inbox, tiny_model, log)
    later = sender(log, tiny_model, pacs.name)
    later.recover()
    assert later.outbox is not None
    assert later.outbox.occupied
    later.work()  # fails: the PACS is down
    assert later.waiting == 1
    with pacs.up():
        later.work()  # waits for its turn
        assert len(sent(log)) == 1
        later._next = 0.0
        later.work()
    assert (later.waiting, len(sent(log))) == (0, 2)
    assert len(list((tmp_path / "out" / FLAGGED).glob("*.json"))) == 1
    assert verify(log).ok


def test_an_answer_to_no_study_of_the_log_is_not_recorded(log: Path) -> None:
    about = {"study": "0" * 64, "destination": "x", "language": "en", "objects": []}
    with AuditLog(log, exclusive=False) as writer, pytest.raises(AuditLogError, match="answers that were sent"):
        writer.sent(about)


@pytest.mark.parametrize(
    ("text", "title", "host", "port"),
    [
        ("PACS@10.0.0.5:4242", "PACS", "10.0.0.5", 4242),
        ("MY PACS@pacs.local:104", "MY PACS", "pacs.local", 104),
        ("A@[::1]:11112", "A", "::1", 11112),
        ("https://pacs/dicom-web/", "", "", 0),
    ],
)
def test_destinations_are_read(text: str, title: str, host: str, port: int) -> None:
    found = Destination.read(text)
    assert (found.title, found.host, found.port, found.is_web) == (title, host, port, not title)


@pytest.mark.parametrize(
    "text",
    [
        *("", "PACS", "PACS@host", "PACS@host:0", "PACS@host:99999", "@host:1", "PACS@:1", "A" * 17 + "@h:1"),
        *("https://", "https://me:secret@pacs/dicom-web", "https://pacs/?key=1", "ftp://pacs"),
    ],
)
def test_what_is_no_destination_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as error:
        Destination.read(text)
    assert "secret" not in str(error.value)


def test_ae_titles_are_checked() -> None:
    assert checked_title(" SCREENER ") == "SCREENER"
    for title in ("", " ", "A" * 17, "é", "a\\b"):
        with pytest.raises(UsageError):
            checked_title(title)


class Web:
    """A DICOMweb service that answers with a status and a body."""

    def __init__(self, status: int = 200, body: dict[str, Any] | None = None) -> None:
        self.status, self.body, self.received = status, body, []  # type: ignore[var-annotated]

    @contextmanager
    def up(self) -> Iterator[str]:
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = b""
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while (size := int(self.rfile.readline(), 16)) > 0:
                        data += self.rfile.read(size)
                        self.rfile.readline()
                else:
                    data = self.rfile.read(int(self.headers["Content-Length"]))
                web.received.append((self.path, self.headers.get("Authorization"), data))
                answer = b"" if web.body is None else json.dumps(web.body).encode()
                self.send_response(web.status)
                self.send_header("Content-Type", "application/dicom+json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/dicom-web"
        finally:
            server.shutdown()
            server.server_close()


def failed(reason: int) -> dict[str, Any]:
    return {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (200, {}, None),
        (202, failed(0x0111), None),
        (202, failed(0xA700), "0xA700"),
        (202, {}, "status 202"),
        (409, failed(0xC000), "status 409"),
        (503, None, "status 503"),
        (200, failed(0xA900), "0xA900"),
    ],
)
def test_dicomweb_answers_count(  # noqa: PLR0917 - parameters and fixtures
    status: int,
    body: dict[str, Any] | None,
    problem: str | None,
    log: Path,
    made: DicomAnswer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCREENER_DICOMWEB_TOKEN", "t0ken")
    web = Web(status, body)
    with web.up() as address:
        one = queued(log, made, address)
        delivery = one.deliver()
    ((path, authorization, data),) = web.received
    assert (path, authorization) == ("/dicom-web/studies", "Bearer t0ken")
    assert data.count(b"DICM") == 3
    assert "t0ken" not in log.read_text()
    if problem is None:
        assert (delivery.waiting, len(sent(log))) == (0, 1)
    else:
        assert (delivery.waiting, sent(log)) == (1, [])
        assert problem in delivery.problems[address]
        assert "does not answer" in one.deliver().problems[address]


def command(log: Path, model: Path, *studies: str, **changes: object) -> SendCommand:
    about: dict[str, Any] = {
        "studies": studies,
        "everything": False,
        "destinations": (),
        "folder": None,
        "ae_title": "SCREENER",
        "outbox": None,
        "tries": 1,
        "log": log,
        "log_group": None,
        "images": None,
        "model": str(model),
        "lang": "en",
    }
    return SendCommand(**(about | changes))


def test_the_command_sends_what_is_named_and_what_waits(
    log: Path, tiny_model: Path, pacs: Pacs, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(NotSentError, match="1 answers wait in the outbox") as error:
        run(command(log, tiny_model, FLAGGED, destinations=(pacs.name,)))
    assert error.value.code is ExitCode.NOT_SENT
    assert capsys.readouterr().out == ""
    with pacs.up():
        assert run(command(log, tiny_model)) is ExitCode.OK
        assert f"3 objects sent to {pacs.name}" in capsys.readouterr().out
        assert run(command(log, tiny_model, everything=True, destinations=(pacs.name,))) is ExitCode.OK
    assert len(sent(log)) == 1
    assert run(command(log, tiny_model, FLAGGED, folder=tmp_path / "out")) is ExitCode.OK
    assert len(list(tmp_path.glob("out/*/*.dcm"))) == 3
    for wrong in (
        command(log, tiny_model, FLAGGED),
        command(log, tiny_model, destinations=(pacs.name,)),
        command(log, tiny_model, FLAGGED, everything=True, destinations=(pacs.name,)),
    ):
        with pytest.raises(UsageError):
            run(wrong)
    with pytest.raises(NothingFoundError):
        run(command(log, tiny_model, "1.2.3", destinations=(pacs.name,)))
    with pytest.raises(AuditLogError):
        run(command(tmp_path / "none.jsonl", tiny_model))
    assert not default_outbox(tmp_path / "none.jsonl").exists()


@pytest.mark.long
def test_a_scan_that_cannot_send_says_what_waits(
    screened: Path, log: Path, tiny_model: Path, pacs: Pacs, capsys: pytest.CaptureFixture[str]
) -> None:
    from screener.model.session import Model

    answers = Answers(None, (pacs.name,))
    answers.refuse(screened / "in", ScanConfig.of())
    found: list[StudyFinding] = screen(screened / "in", tiny_model, log)
    answers.note(found[0])
    answers.make(log, Model.load(str(tiny_model)), "en")
    told = capsys.readouterr().err
    assert f"{pacs.name} does not answer" in told
    assert "1 answers wait in the outbox: run screener send" in told
    assert not any(word in told for word in IDENTITY)
