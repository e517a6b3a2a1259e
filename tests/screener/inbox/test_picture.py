from __future__ import annotations

import base64
import hashlib
import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inbox_pictures import chunk, encoded, exif, jpeg, odd_names, png, png_of, scene, with_exif, write

from screener.domain.slice import Reason, Refused, Slice
from screener.inbox import Entry, Limits, RefusedError, decode, find, picture, read
from screener.inbox.opencv import Complaints

if TYPE_CHECKING:
    from pathlib import Path


def pixels(data: bytes) -> np.ndarray:
    found, saturation = decode(data)
    assert found.dtype == np.float32
    assert found.ndim == 2
    assert 0 <= found.min() <= found.max() <= 1
    assert 0 <= saturation <= 1
    return found


def reason(data: bytes) -> Reason:
    with pytest.raises(RefusedError) as caught:
        decode(data)
    return caught.value.reason


def close(data: bytes, expected: np.ndarray, tolerance: float = 1e-6) -> bool:
    return bool(np.abs(pixels(data) - expected).max() <= tolerance)


UNIT = scene().astype(np.float32) / 255


def test_grey_png_is_divided_by_255() -> None:
    assert close(png(), UNIT)


def test_jpeg_of_every_kind() -> None:
    assert close(jpeg(), UNIT, 0.05)
    assert close(jpeg(scene(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1), UNIT, 0.05)
    assert close(jpeg(cv2.cvtColor(scene(), cv2.COLOR_GRAY2BGR)), UNIT, 0.05)
    assert close(jpeg(scene(), cv2.IMWRITE_JPEG_RST_INTERVAL, 2), UNIT, 0.05)


def test_colour_becomes_luma_and_its_saturation_is_reported() -> None:
    red = np.zeros((40, 40, 3), np.uint8)
    red[:, :, 2] = 255
    found, saturation = decode(png(red))
    assert found == pytest.approx(0.299, abs=0.003)
    assert saturation == 1
    assert decode(png(cv2.cvtColor(scene(), cv2.COLOR_GRAY2BGR)))[1] == 0
    assert decode(png())[1] == 0


def test_sixteen_bits_are_scaled_by_the_real_range() -> None:
    twelve = scene().astype(np.uint16) * 16 + 5
    low, high = int(twelve.min()), int(twelve.max())
    expected = (twelve.astype(np.float32) - low) / (high - low)
    assert close(png(twelve), expected)
    assert close(png(np.full((40, 40), 700, np.uint16)), np.zeros((40, 40)))
    colour = cv2.cvtColor(twelve, cv2.COLOR_GRAY2BGR)
    assert close(png(colour), expected, 1e-3)


def test_transparent_pixels_are_composited_on_black() -> None:
    white = np.full((40, 60, 4), 255, np.uint8)
    white[:, :30, 3] = 0
    white[:, 30:, 3] = 128
    expected = np.zeros((40, 60), np.float32)
    expected[:, 30:] = 128 / 255
    assert close(png(white), expected)
    deep = white.astype(np.uint16) * 257
    assert close(png(deep), expected / expected.max(), 1e-4)
    grey_alpha = np.dstack([scene(), np.full_like(scene(), 255)]).reshape(64, 160)
    assert close(png_of(grey_alpha, 4, 8), UNIT)


def test_palettes_and_few_bits() -> None:
    ramp = (np.arange(64)[:, None] * 0 + np.arange(80)[None] * 3).astype(np.uint8)
    palette = chunk(b"PLTE", bytes(np.repeat(np.arange(256, dtype=np.uint8), 3)))
    assert close(png_of(ramp, 3, 8, before=palette), ramp / 255)
    see_through = palette + chunk(b"tRNS", bytes([0] * 120 + [255] * 136))
    assert close(png_of(ramp, 3, 8, before=see_through), np.where(ramp < 120, 0, ramp) / 255)
    bits = (np.indices((40, 40)).sum(0) // 8 % 2).astype(np.uint8)
    assert close(png_of(np.packbits(bits, axis=1), 0, 1), bits)


CMYK = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAUDg8SDw0UEhASFxUUGB4yIR4cHB49LC4kMklATEtHQEZFUFpzYlBVbVZFRmSIZW13e4GCgU5gjZeMfZZz"
    "foF8/8AAFAgAIAAgBEMRAE0RAFkRAEsRAP/EABYAAQEBAAAAAAAAAAAAAAAAAAAHBv/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAOBEMATQBZAEsA"
    "AD8A1rWta2YAj6Po+ACwLAsAAI+j6PgAsCwLAACPo+j4ALAsCwAAj6Po+AD/2Q=="
)
"""32 x 32 pixels, the left half light grey and the right half black, in four inks as Adobe writes them: inverted."""


def test_cmyk_jpeg() -> None:
    found, saturation = decode(CMYK)
    expected = np.zeros((32, 32), np.float32)
    expected[:, :16] = 240 / 255
    assert np.abs(found - expected).max() < 0.05
    assert saturation < 0.02


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: a.T[:, ::-1],
    7: lambda a: a.T[::-1, ::-1],
    8: lambda a: a.T[::-1],
}


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation_is_applied_to_every_format(orientation: int) -> None:
    expected = TURNS[orientation](UNIT)
    assert close(with_exif(jpeg(), orientation), expected, 0.05)
    block = chunk(b"eXIf", exif(orientation))
    assert close(png_of(scene(), 0, 8, before=block), expected)
    alpha = np.dstack([scene(), np.full_like(scene(), 255)]).reshape(64, 160)
    assert close(png_of(alpha, 4, 8, before=block), expected)
    deep = scene().astype(">u2")
    assert pixels(png_of(deep, 0, 16, before=block)).shape == expected.shape


@pytest.mark.parametrize(
    "block", [b"", b"II", b"MM\x00*\xff\xff\xff\xff", b"II*\x00\x08\x00\x00\x00\xff\xff", exif(99)]
)
def test_nonsense_in_exif_means_upright(block: bytes) -> None:
    assert picture._orientation(block) == 1


SOURCES = {
    "jpeg": jpeg(),
    "progressive": jpeg(scene(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "colour": jpeg(cv2.applyColorMap(scene(), cv2.COLORMAP_JET)),
    "restart": jpeg(scene(), cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "exif": with_exif(jpeg(), 6),
    "png": png(),
    "rgba": png(np.dstack([scene()] * 4)),
    "png16": png(scene().astype(np.uint16) * 257),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_prefix_is_refused(name: str) -> None:
    data = SOURCES[name]
    lengths = range(len(data)) if len(data) < 2500 else range(0, len(data), 7)
    for length in lengths:
        expected = {Reason.EMPTY_FILE} if length == 0 else {Reason.CORRUPT, Reason.UNSUPPORTED_TYPE}
        assert reason(data[:length]) in expected, length


@pytest.mark.parametrize("name", ["jpeg", "progressive", "colour", "restart"])
def test_a_truncated_jpeg_with_its_end_marker_put_back_is_refused(name: str) -> None:
    data = SOURCES[name]
    scan = data.index(b"\xff\xda") + 14
    for length in range(scan, len(data) - 16, max(1, (len(data) - scan) // 40)):
        if data[length - 1] != 0xFF:
            assert reason(data[:length] + b"\xff\xd9") is Reason.CORRUPT, length


@pytest.mark.parametrize("name", SOURCES)
def test_garbage_behind_the_end_changes_nothing(name: str) -> None:
    assert np.array_equal(pixels(SOURCES[name] + b"\x00garbage\xff" * 50), pixels(SOURCES[name]))


def test_nothing_reaches_stderr_and_other_words_do(capfd: pytest.CaptureFixture[str]) -> None:
    data = SOURCES["jpeg"]
    for length in (50, len(data) // 2, len(data) - 3):
        reason(data[:length] + b"\xff\xd9")
    broken = bytearray(SOURCES["png"])
    broken[60] ^= 1
    reason(bytes(broken))
    assert capfd.readouterr() == ("", "")
    with picture.opencv.listening() as heard:
        os.write(2, b"libpng warning: iCCP: known incorrect sRGB profile\nsomebody else's line\n")
    assert capfd.readouterr().err == "somebody else's line\n"
    assert heard.damage() == ""


def test_only_lost_image_data_is_damage() -> None:
    assert Complaints(b"Corrupt JPEG data: bad ICC marker\n").damage() == ""
    assert Complaints(b"Corrupt JPEG data: premature end of data segment\n").damage()
    beside_a_bar = Complaints(b"12/100 Corrupt JPEG data: premature end of data segment\nhello\n")
    assert beside_a_bar.damage().startswith("Corrupt JPEG data")
    assert beside_a_bar.foreign() == b"12/100 hello\n"


def entry(path: Path) -> Entry:
    return Entry(path, path.name, None)


def test_read_hashes_what_it_decodes(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(png())
    found = read(Entry(path, "P/a.jpg", "P"))
    assert isinstance(found, Slice)
    assert found.identity.sha256 == hashlib.sha256(png()).hexdigest()
    assert (found.identity.path, found.identity.patient_id) == ("P/a.jpg", "P")


def test_oddly_named_files_are_decoded_like_any_other(tmp_path: Path) -> None:
    for name in odd_names():
        write(tmp_path, name, png())
    found = [read(item) for item in find(tmp_path) if isinstance(item, Entry)]
    assert len(found) == len(odd_names())
    assert all(isinstance(item, Slice) for item in found)


def refused(path: Path, **limits: int) -> Refused:
    found = read(entry(path), Limits(**limits))
    assert isinstance(found, Refused)
    return found


def test_refusals_of_files(tmp_path: Path) -> None:
    empty = tmp_path / "empty.png"
    empty.touch()
    assert refused(empty).reason is Reason.EMPTY_FILE
    assert refused(empty).identity.sha256 == hashlib.sha256(b"").hexdigest()
    large = tmp_path / "large.png"
    large.write_bytes(png())
    assert refused(large, file_bytes=100).reason is Reason.TOO_LARGE
    assert refused(tmp_path / "gone.png").reason is Reason.UNREADABLE
    assert refused(tmp_path).reason is Reason.UNREADABLE
    link = tmp_path / "link.png"
    link.symlink_to(large)
    assert refused(link).reason is Reason.UNREADABLE
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    assert refused(pipe).reason is Reason.UNREADABLE


def test_permission_denied_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    assert refused(tmp_path / "a.png").detail == "Permission denied"


def test_a_file_that_changes_while_it_is_read_is_still_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())
    real, looks = os.fstat, iter(range(10))

    def fstat(handle: int) -> object:
        status = real(handle)
        shift = next(looks)
        return SimpleNamespace(st_mode=status.st_mode, st_size=status.st_size, st_mtime_ns=status.st_mtime_ns + shift)

    monkeypatch.setattr(picture.os, "fstat", fstat)
    monkeypatch.setattr(picture.os, "fdopen", lambda handle, _: open(handle, "rb", buffering=0))  # noqa: PTH123, SIM115
    found = read(entry(path))
    assert isinstance(found, Refused)
    assert found.reason is Reason.STILL_BEING_WRITTEN


def test_lack_of_memory_is_a_result(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())

    def greedy(*_: object) -> tuple[np.ndarray, float]:
        raise MemoryError

    found = read(entry(path), decoder=greedy)
    assert isinstance(found, Refused)
    assert found.reason is Reason.TOO_LARGE


def outcome(data: bytes) -> None:
    """Check that bytes become a slice or a refusal, and soon."""
    start = time.perf_counter()
    try:
        found, saturation = decode(data)
    except RefusedError as refusal:
        reason, detail = refusal.reason, refusal.detail
        assert reason in Reason
        assert detail
    else:
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        assert 0 <= found.min() <= found.max() <= 1
        assert 0 <= saturation <= 1
    assert time.perf_counter() - start < 5


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", png()[:33], jpeg()[:20]]))
def test_arbitrary_bytes_never_raise(data: bytes, start: bytes) -> None:
    outcome(start + data)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(SOURCES)),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 1 << 16),
    st.binary(max_size=20),
)
def test_mutated_files_never_raise(name: str, changes: list[tuple[int, int]], at: int, inserted: bytes) -> None:
    data = bytearray(SOURCES[name])
    for position, value in changes:
        data[position % len(data)] = value
    at %= len(data)
    data[at:at] = inserted
    outcome(bytes(data))


@settings(max_examples=60, deadline=None)
@given(st.integers(32, 70), st.integers(32, 70), st.sampled_from([1, 3, 4]), st.sampled_from([np.uint8, np.uint16]))
def test_any_shape_and_depth_decodes(height: int, width: int, channels: int, depth: type) -> None:
    image = np.random.default_rng(height).integers(0, np.iinfo(depth).max, (height, width, channels)).astype(depth)
    assert pixels(encoded(image)).shape == (height, width)
