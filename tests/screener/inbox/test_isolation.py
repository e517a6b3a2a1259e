from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from inbox_pictures import chunk, jpeg, png, png_of, scene

from screener.domain.slice import Reason, Refused, Slice
from screener.inbox import Entry, Limits, RefusedError, decode, isolation, read
from screener.inbox.isolation import SafeDecoder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMITS = Limits(seconds=1.0)
RISKY = png_of(scene(), 0, 8, before=chunk(b"abCd", b"odd"))


@pytest.fixture(scope="module")
def always() -> Iterator[SafeDecoder]:
    with SafeDecoder("always") as decoder:
        yield decoder


def fake(body: str) -> tuple[str, ...]:
    """Return a worker that says it is ready and then runs `body` for the first request."""
    start = "import os, sys, time; sys.stdout.buffer.write(b'K'); sys.stdout.flush(); sys.stdin.buffer.read(9); "
    return (sys.executable, "-c", start + body)


def refusal(decoder: SafeDecoder, data: bytes = RISKY, limits: Limits = LIMITS) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        decoder(data, limits)
    return caught.value


def worker_of(decoder: SafeDecoder) -> int:
    assert decoder._process is not None
    return decoder._process.pid


def test_the_worker_decodes_like_this_process(always: SafeDecoder) -> None:
    limits = Limits()
    for data in (png(), jpeg(), png(scene().astype(np.uint16) * 257), png(np.dstack([scene(), scene() // 2, scene()]))):
        pixels, saturation = always(data, limits)
        expected, expected_saturation = decode(data)
        assert np.array_equal(pixels, expected)
        assert saturation == expected_saturation


def test_refusals_come_back_from_the_worker(always: SafeDecoder) -> None:
    data = jpeg()
    error = refusal(always, data[: len(data) // 2] + b"\xff\xd9", Limits())
    assert error.reason is Reason.CORRUPT
    assert "premature end" in error.detail


def test_a_worker_that_was_killed_while_idle_is_replaced_and_no_file_blamed(always: SafeDecoder) -> None:
    always(png(), Limits())
    before = worker_of(always)
    os.kill(before, signal.SIGKILL)
    always(png(), Limits())
    assert worker_of(always) != before


def test_a_worker_started_for_other_limits_is_replaced(always: SafeDecoder) -> None:
    always(png(), Limits())
    before = worker_of(always)
    always(png(), Limits(seconds=9))
    assert worker_of(always) != before


def test_an_interrupted_exchange_leaves_nothing_for_the_next_file(
    always: SafeDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(isolation, "_exchange", interrupted)
        with pytest.raises(KeyboardInterrupt):
            always(png(), Limits())
    assert always._process is None
    assert always(png(scene(40, 50)), Limits())[0].shape == (40, 50)


def test_interrupts_of_the_whole_group_do_not_end_the_worker(always: SafeDecoder) -> None:
    always(png(), Limits())
    before = worker_of(always)
    os.kill(before, signal.SIGINT)
    os.kill(before, signal.SIGTERM)
    always(png(), Limits())
    assert worker_of(always) == before


def test_a_crash_is_a_result_and_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(RISKY)
    with SafeDecoder(command=fake("os.abort()")) as decoder:
        found = read(Entry(path, "a.png", None), LIMITS, decoder)
        assert isinstance(found, Refused)
        assert found.reason is Reason.DECODER_CRASHED
        assert found.identity.sha256
        path.write_bytes(png())
        assert isinstance(read(Entry(path, "a.png", None), LIMITS, decoder), Slice)
        assert refusal(decoder).reason is Reason.DECODER_CRASHED


def test_a_hang_is_cut_off() -> None:
    with SafeDecoder(command=fake("time.sleep(60)")) as decoder:
        start = time.perf_counter()
        assert refusal(decoder).reason is Reason.DECODER_TIMEOUT
        assert time.perf_counter() - start < 10
        assert decoder._process is None


def test_a_worker_that_reads_nothing_is_cut_off() -> None:
    ready = "import sys, time; sys.stdout.buffer.write(b'K'); sys.stdout.flush(); time.sleep(60)"
    large = png_of(scene(), 0, 8, before=chunk(b"abCd", bytes(1 << 20)))
    with SafeDecoder(command=(sys.executable, "-c", ready)) as decoder:
        assert refusal(decoder, large).reason is Reason.DECODER_TIMEOUT


@pytest.mark.parametrize(
    "answer",
    ["b'?'", "b'P'", "b'P' + (1 << 40).to_bytes(8, 'big') * 3", "b'R' + (3).to_bytes(8, 'big') + b'abc'", "b'R'"],
)
def test_a_worker_that_talks_nonsense_counts_as_crashed(answer: str) -> None:
    with SafeDecoder(command=fake(f"sys.stdout.buffer.write({answer})")) as decoder:
        assert refusal(decoder).reason is Reason.DECODER_CRASHED


@pytest.mark.parametrize("command", [("/nowhere/at/all",), (sys.executable, "-c", "raise SystemExit(3)")])
def test_a_worker_that_cannot_start_is_a_result(command: tuple[str, ...]) -> None:
    with SafeDecoder(command=command) as decoder:
        assert refusal(decoder).reason is Reason.DECODER_CRASHED


def test_ordinary_files_start_no_process() -> None:
    with SafeDecoder(command=("/nowhere/at/all",)) as decoder:
        decoder(png(), LIMITS)
        decoder(jpeg() + b"garbage", LIMITS)
        assert refusal(decoder, b"text").reason is Reason.UNSUPPORTED_TYPE
        assert refusal(decoder, png_of(scene(), 0, 8, width=50_000, height=50_000)).reason is Reason.TOO_LARGE
    with SafeDecoder("never", ("/nowhere/at/all",)) as decoder:
        decoder(RISKY, LIMITS)


def test_memory_of_the_worker_is_bounded() -> None:
    side = 6000
    data = png(np.zeros((side, side, 3), np.uint8))
    with SafeDecoder() as decoder:
        error = refusal(decoder, data, Limits(worker_bytes=32 << 20))
    assert error.reason in {Reason.TOO_LARGE, Reason.CORRUPT, Reason.DECODER_CRASHED}


def test_modules_in_the_current_folder_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    with SafeDecoder("always") as decoder:
        assert decoder(png(), Limits())[0].shape == (64, 80)
