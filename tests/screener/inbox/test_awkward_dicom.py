"""Every awkward DICOM file ends in pixels or in a reason, in bounded time and memory; none ends the run."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pydicom = pytest.importorskip("pydicom")
from awkward_dicom import awkward_files  # noqa: E402

from screener.domain.slice import Identity, Reason, Refused, Slice  # noqa: E402
from screener.inbox import FileBytes, Limits, decode_slice, sniff  # noqa: E402
from screener.inbox.dicom import expand  # noqa: E402
from screener.inbox.isolation import SafeDecoder  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Command

LIMITS = Limits()
FILES = awkward_files()
EXPECTED = {
    "cut at 0.5": Reason.CORRUPT,
    "pixels longer than the file": None,
    "pixels shorter than rows and columns": Reason.CORRUPT,
    "65,535 frames": Reason.TOO_LARGE,
    "1,999 frames in a small file": Reason.CORRUPT,
    "60,000 rows and columns": Reason.TOO_LARGE,
    "one row": Reason.TOO_SMALL,
    "a deflate bomb": Reason.TOO_LARGE,
    "deflated": None,
    "deflated nonsense": Reason.CORRUPT,
    "position: words": None,
    "spacing: no number": None,
    "age: words": None,
    "slope 0": None,
    "a tilted gantry": None,
    "a spacing of nothing": None,
    "without StudyInstanceUID": None,
    "without Modality": None,
    "without PixelData": Reason.CORRUPT,
    "three samples a pixel": Reason.BURNT_IN_REPORT,
    "a palette": Reason.BURNT_IN_REPORT,
    "an icon with pixels of its own": None,
    "garbage behind the pixels": None,
    "RLE": None,
    "JPEG-LS": None,
    "JPEG 2000": None,
    "RLE without fragments": Reason.CORRUPT,
    "big-endian": None,
    "implicit without a meta group": None,
    "a patient in Japanese": None,
    "a patient of 60,000 letters": None,
    "a mosaic": Reason.MOSAIC,
    "an unknown age": None,
    "fewer functional groups than frames": None,
    "empty functional groups": None,
}
"""What the plain cases must end in; None is pixels. The others may end in either."""


@pytest.fixture(scope="module")
def decoder() -> Iterator[SafeDecoder]:
    with SafeDecoder() as found:
        yield found


def outcome(data: bytes, decoder: SafeDecoder) -> Reason | None:
    found: FileBytes | Refused = FileBytes(Identity("a.dcm", "00", None), data)
    if sniff.kind(data) == sniff.DICOM:
        assert isinstance(found, FileBytes)
        found = expand(found, LIMITS)[0]
    result = decode_slice(found, LIMITS, decoder) if isinstance(found, FileBytes) else found
    if isinstance(result, Slice):
        assert 0 <= result.pixels.min() <= result.pixels.max() <= 1
        assert all(letter.isprintable() for letter in f"{result.identity.patient_id}{result.identity.study_id}")
        return None
    return result.reason


def test_there_are_many() -> None:
    assert len(FILES) >= 60
    assert EXPECTED.keys() <= FILES.keys()


@pytest.mark.parametrize("name", FILES)
def test_an_awkward_file_ends_in_pixels_or_a_reason(name: str, decoder: SafeDecoder) -> None:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    found = outcome(FILES[name], decoder)
    assert time.process_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "KiB"
    if name in EXPECTED:
        assert found is EXPECTED[name]


def test_files_that_others_found_awkward(decoder: SafeDecoder) -> None:
    folders = [Path(pydicom.__file__).parent / "data/test_files"]
    if "SCREENER_DATA" in os.environ:
        folders += [Path(os.environ["SCREENER_DATA"]) / "dicom" / name for name in ("odd", "not_brain")]
    files = sorted(path for folder in folders for path in folder.rglob("*.dcm"))
    assert len(files) >= 25
    for path in files:
        outcome(path.read_bytes(), decoder)


@pytest.mark.long
def test_a_scan_of_them_all_answers_every_file(screener: Command, tmp_path: Path) -> None:
    inbox = tmp_path / "in/mixed"
    inbox.mkdir(parents=True)
    for number, data in enumerate(FILES.values()):
        (inbox / f"{number:03}.dcm").write_bytes(data)
    done = screener.scan(inbox.parent, "--json")
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    slices = [line for line in map(json.loads, done.stdout.splitlines()) if line["level"] == "slice"]
    assert {line["path"] for line in slices} == {f"mixed/{number:03}.dcm" for number in range(len(FILES))}
    assert screener("verify", screener.log).returncode == 0
