"""The receiver: what is acknowledged lies on the disk, and no peer brings it down."""

from __future__ import annotations

import os
import struct
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("pynetdicom")
sys.path.append(str(Path(__file__).parent))
from dicom_senders import ECHO, MR, SECONDARY_CAPTURE, association, instance, is_closed, raw, until
from pacs_inbox import Clock, Place
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE

from screener.audit import verify
from screener.errors import UsageError
from screener.pacs.arrivals import Arrivals
from screener.pacs.receive import _PREFERRED, KEPT, Receiver, ReceiverOptions
from screener.pacs.storage import InstanceStore, NotStoredError, safe_name

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def temporary_folder() -> Iterator[None]:
    """Restore what a store sets for the whole process."""
    before = tempfile.tempdir
    yield
    tempfile.tempdir = before


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    found = tmp_path / "inbox"
    found.mkdir()
    return found


@contextmanager
def receiving(inbox: Path, arrivals: Arrivals | None = None, min_free: int = 0, **options: Any) -> Iterator[Receiver]:  # noqa: ANN401
    store = InstanceStore(inbox, min_free=min_free, max_bytes=8 << 20)
    settings = ReceiverOptions(port=0, **{"timeout": 5.0} | options)
    with Receiver(store, Arrivals(60.0, Clock()) if arrivals is None else arrivals, settings) as found:
        yield found


def files(inbox: Path) -> list[str]:
    return sorted(str(path.relative_to(inbox)) for path in inbox.rglob("*") if path.is_file())


def test_what_is_acknowledged_lies_whole_in_its_studys_folder(
    inbox: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    arrivals = Arrivals(60.0, Clock())
    with caplog.at_level("INFO"), receiving(inbox, arrivals) as receiver:
        with association(receiver.port) as sender:
            assert sender.send_c_echo().Status == 0
            assert [sender.send_c_store(instance(number)).Status for number in range(3)] == [0, 0, 0]
            assert synced.count(str(inbox / "1.2.3")) == 3
            assert sum(name.startswith(str(inbox / ".receiving")) for name in synced) == 3
            # The same bytes once more are known.
            assert sender.send_c_store(instance(1)).Status == 0
        until(lambda: not receiver.open)
    assert files(inbox) == [f"1.2.3/1.2.3.{number}.dcm" for number in (1, 2, 3)]
    assert (receiver.counts["stored"], receiver.counts["known"]) == (3, 1)
    arrival = arrivals.take("1.2.3")
    assert arrival is not None
    assert arrival.senders == {"MR1"}
    assert "from MR1@127.0.0.1: 1 known, 3 stored" in caplog.text
    assert "Doe" not in caplog.text


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
        JPEGLSLossless,
    ],
)
def test_a_slice_in_any_syntax_is_stored_as_it_was_sent(inbox: Path, syntax: str) -> None:
    sent = instance(0, syntax=syntax)
    with receiving(inbox) as receiver, association(receiver.port, syntaxes=(syntax,), classes=(MR,)) as sender:
        assert sender.send_c_store(sent).Status == 0
    import pydicom

    (name,) = files(inbox)
    found = pydicom.dcmread(inbox / name)
    assert found.file_meta.TransferSyntaxUID == syntax
    assert found.PixelData == sent.PixelData


@pytest.mark.parametrize("kind", KEPT)
def test_all_classes_of_mr_are_kept(inbox: Path, kind: str) -> None:
    with receiving(inbox) as receiver, association(receiver.port, classes=(kind,)) as sender:
        assert sender.send_c_store(instance(0, SOPClassUID=kind)).Status == 0
    assert files(inbox) == ["1.2.3/1.2.3.1.dcm"]


def test_a_long_instance_is_cut_off_before_it_fills_the_disk(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screener.pacs.bounded_server._LOOK_EVERY", 4096)
    with receiving(inbox, min_free=1 << 60) as receiver, association(receiver.port) as sender:
        answer = sender.send_c_store(instance(0))
        assert getattr(answer, "Status", None) is None
        until(lambda: not receiver.open)
        assert files(inbox) == []


def test_of_several_syntaxes_one_that_loses_nothing_is_taken(inbox: Path) -> None:
    offered = ("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.50", ExplicitVRLittleEndian)
    with receiving(inbox) as receiver, association(receiver.port, syntaxes=offered, classes=(MR,)) as sender:
        assert [context.transfer_syntax for context in sender.accepted_contexts] == [[ExplicitVRLittleEndian]]


def test_every_syntax_that_is_preferred_has_a_decoder() -> None:
    from pydicom.pixels import get_decoder

    assert all(get_decoder(syntax).is_available for syntax in _PREFERRED)


def test_other_classes_are_accepted_and_dropped(inbox: Path, caplog: pytest.LogCaptureFixture) -> None:
    private = "1.2.840.113619.4.27"
    with receiving(inbox) as receiver:
        with association(receiver.port, classes=(MR, SECONDARY_CAPTURE, private)) as sender:
            for kind in (SECONDARY_CAPTURE, SECONDARY_CAPTURE, private):
                assert sender.send_c_store(instance(0, SOPClassUID=kind)).Status == 0
            assert sender.send_c_store(instance(1)).Status == 0
        until(lambda: not receiver.open)
    assert files(inbox) == ["1.2.3/1.2.3.2.dcm"]
    assert receiver.counts["dropped"] == 3
    assert caplog.text.count("Secondary Capture Image Storage is not screened") == 1


def test_no_storage_commitment_is_offered(inbox: Path) -> None:
    with receiving(inbox) as receiver, association(receiver.port, classes=("1.2.840.10008.1.20.1", ECHO)) as sender:
        assert [context.abstract_syntax for context in sender.accepted_contexts] == [ECHO]


def test_the_same_instance_with_other_bytes_is_kept_behind_the_first(inbox: Path) -> None:
    with receiving(inbox) as receiver, association(receiver.port) as sender:
        for description in ("a", "b", "b", "a"):
            assert sender.send_c_store(instance(0, SeriesDescription=description)).Status == 0
    first, second = files(inbox)
    assert first == "1.2.3/1.2.3.1.dcm"
    assert second.startswith("1.2.3/1.2.3.1.other-")


def test_two_patients_under_one_uid_are_answered_apart(tmp_path: Path, tiny_model: Path) -> None:
    place = Place(tmp_path, tiny_model)
    service = place.service(trusted=True)
    with receiving(place.inbox, service.arrivals) as receiver, association(receiver.port) as sender:
        for number, patient in enumerate(("P1", "P2")):
            assert sender.send_c_store(instance(number, PatientID=patient)).Status == 0
        assert sender.send_c_store(instance(0, PatientID="P1", SeriesDescription="again")).Status == 0
    assert place.answer_all(service) == [True]
    assert {event["study_id"]: event["slices"]["total"] for event in place.events("STUDY")} == {
        "1.2.3": 2,
        "1.2.3 (P2)": 1,
    }
    assert [event["reason"] for event in place.events("RESULT")].count("duplicate_instance") == 1
    assert place.events("RECEIVED")[0]["senders"] == ["MR1"]
    assert verify(place.log).ok


@pytest.mark.parametrize(("study", "status"), [("", 0xC000), ("1.2.3", 0xA700)])
def test_what_cannot_be_kept_is_refused_with_a_reason(
    inbox: Path, study: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    room = 1 << 60 if status == 0xA700 else 0
    with receiving(inbox, min_free=room) as receiver, association(receiver.port) as sender:
        assert sender.send_c_store(instance(0, StudyInstanceUID=study)).Status == status
    assert files(inbox) == []
    assert receiver.counts["refused"] == 1
    assert "from MR1@127.0.0.1: refused: " in caplog.text


def test_a_data_set_that_is_not_what_its_command_says_is_refused(inbox: Path) -> None:
    store = InstanceStore(inbox, min_free=0)
    store.prepare()
    file = store.receiving / "a.dcm"
    instance(0).save_as(file)
    with pytest.raises(NotStoredError) as refused:
        store.keep(file, "1.2.9")
    assert refused.value.status == 0xA900
    assert store.keep(file, "1.2.3.1").folder == "1.2.3"


def test_only_known_peers_may_send(inbox: Path, caplog: pytest.LogCaptureFixture) -> None:
    with receiving(inbox, calling=frozenset({"MR1"})) as receiver:
        with association(receiver.port) as sender:
            assert sender.is_established
        with association(receiver.port, calling="OTHER") as sender:
            assert sender.is_rejected
        with association(receiver.port, called="NOBODY") as sender:
            assert sender.is_rejected
    assert receiver.counts["rejected"] == 2
    with receiving(inbox, addresses=frozenset({"10.0.0.1"})) as receiver, raw(receiver.port) as connection:
        assert is_closed(connection)
    assert "OTHER@127.0.0.1" in caplog.text
    assert "127.0.0.1 is closed: not among the addresses" in caplog.text


def test_an_association_that_is_aborted_leaves_what_was_acknowledged(inbox: Path) -> None:
    arrivals = Arrivals(60.0, Clock())
    with receiving(inbox, arrivals, on_release=True) as receiver:
        with association(receiver.port) as sender:
            assert sender.send_c_store(instance(0)).Status == 0
            sender.abort()
        until(lambda: not receiver.open)
        assert arrivals.due() == []
        with association(receiver.port) as sender:
            assert sender.send_c_store(instance(1)).Status == 0
        until(lambda: arrivals.due() == ["1.2.3"])
    assert len(files(inbox)) == 2


def partial_store(port: int) -> Any:  # noqa: ANN401
    """Begin an instance and send only half of it; return the association."""
    import io

    from pynetdicom.dimse_messages import C_STORE_RQ
    from pynetdicom.dimse_primitives import C_STORE

    entity = AE("MR1")
    entity.add_requested_context(MR, ExplicitVRLittleEndian)
    sender = entity.associate("127.0.0.1", port, ae_title="SCREENER")
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = MR, "1.2.3.1"
    request.DataSet = io.BytesIO(bytes(1000))
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    context = next(one.context_id for one in sender.accepted_contexts if one.abstract_syntax == MR)
    parts = list(message.encode_msg(context, 500))
    for part in parts[:-1]:
        sender.dul.send_pdu(part)
    return sender


def test_half_an_instance_leaves_nothing(inbox: Path) -> None:
    with receiving(inbox) as receiver:
        sender = partial_store(receiver.port)
        until(lambda: files(inbox))
        sender.abort()
        until(lambda: not receiver.open)
        assert files(inbox) == []
    # Killed instead: the next start clears up.
    (inbox / ".receiving/tmp1.dcm").write_bytes(b"half")
    with receiving(inbox):
        assert files(inbox) == []


GARBAGE = {
    "noise": bytes(range(256)) * 40,
    "a web browser": b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
    "four gigabytes of data": struct.pack(">BBL", 4, 0, 0xFFFFFFF0) + b"x" * 100,
    "an association of four gigabytes": struct.pack(">BBL", 1, 0, 0xFFFFFFF0) + b"x" * 100,
    "a release before anything": struct.pack(">BBL", 5, 0, 4) + bytes(4),
    "an association of nonsense": struct.pack(">BBL", 1, 0, 100) + b"\xff" * 100,
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_closes_its_own_connection_only(inbox: Path, name: str) -> None:
    with receiving(inbox) as receiver, raw(receiver.port) as connection:
        connection.sendall(GARBAGE[name])
        assert is_closed(connection)
        with association(receiver.port) as sender:
            assert sender.send_c_store(instance(0)).Status == 0


def test_peers_that_say_nothing_are_closed_and_do_not_keep_others_out(inbox: Path) -> None:
    with receiving(inbox, associations=4, timeout=0.5) as receiver, ExitStack() as stack:
        with association(receiver.port) as sender:
            assert sender.is_established
            # Never releases.
            until(lambda: not receiver.open)
        silent = [stack.enter_context(raw(receiver.port)) for _ in range(5)]
        assert all(is_closed(one) for one in silent)


def test_connections_beyond_twice_the_associations_are_closed_at_once(inbox: Path) -> None:
    with receiving(inbox, associations=2, timeout=60.0) as receiver, ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(raw(receiver.port))
        # A connection counts a moment after it is accepted.
        until(lambda: receiver.counts["rejected"] >= 10)


@pytest.mark.long
def test_a_flood_of_associations_is_bounded_and_loses_nothing(inbox: Path) -> None:
    outcomes: list[str] = []

    def send(number: int) -> None:
        with association(receiver.port, calling=f"MR{number}") as sender:
            if sender.is_established:
                outcomes.append(f"{sender.send_c_store(instance(number)).Status}")
            else:
                outcomes.append("rejected")

    with receiving(inbox, associations=8, timeout=20.0) as receiver:
        threads = [threading.Thread(target=send, args=(number,)) for number in range(64)]
        for thread in threads:
            thread.start()
        most = 0
        while any(thread.is_alive() for thread in threads):
            most = max(most, receiver.open)
            threads[0].join(0.01)
    assert len(outcomes) == 64
    assert most <= 8
    assert outcomes.count("0") == len(files(inbox)) > 0


def test_tls_demands_a_certificate_of_the_peer(inbox: Path, tmp_path: Path) -> None:
    import ssl

    from screener.pacs.receive import tls_context

    certificate, key = self_signed(tmp_path)
    with pytest.raises(UsageError):
        tls_context(certificate, tmp_path / "missing", certificate)
    client = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(certificate))
    client.check_hostname = False
    with receiving(inbox, tls=tls_context(certificate, key, certificate)) as receiver:
        with association(receiver.port, tls=client) as sender:
            assert not sender.is_established
        with association(receiver.port) as sender:
            assert not sender.is_established
        client.load_cert_chain(certificate, key)
        with association(receiver.port, tls=client) as sender:
            assert sender.send_c_store(instance(0)).Status == 0


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Make a certificate with its key, or skip."""
    import shutil
    import subprocess

    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def test_what_cannot_be_listened_on_is_a_usage_error(inbox: Path) -> None:
    with receiving(inbox) as receiver:
        on_its_way = inbox / ".receiving/tmp1.dcm"
        on_its_way.write_bytes(b"half")
        taken = Receiver(InstanceStore(inbox), Arrivals(1.0), ReceiverOptions(port=receiver.port))
        with pytest.raises(UsageError, match="cannot listen"):
            taken.__enter__()
        assert on_its_way.exists()
    nameless = Receiver(InstanceStore(inbox), Arrivals(1.0), ReceiverOptions("A" * 17, port=0))
    with pytest.raises(UsageError, match="AE title"):
        nameless.__enter__()


@pytest.mark.parametrize("uid", ["..", ".1", "1/2", "", "A", "1" * 65, "1.2\n"])
def test_a_uid_that_is_none_names_no_other_place(uid: str) -> None:
    assert safe_name(uid).startswith("uid-")
    assert safe_name("1.2.3") == "1.2.3"
