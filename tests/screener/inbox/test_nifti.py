"""NIfTI: where a slice lies and how it is shown, what is no volume of a head, and hostile bytes."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

nib = pytest.importorskip("nibabel")

from screener.domain.slice import Identity, Reason, Refused, Slice  # noqa: E402
from screener.inbox import FileBytes, Grouping, Limits, RefusedError, decode, decode_slice, isolation, sniff  # noqa: E402
from screener.inbox.isolation import SafeDecoder  # noqa: E402
from screener.inbox.nifti import expand_nifti, read_nifti_header, sequence_of_name  # noqa: E402
from tests.conftest import Command, phantom  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = Limits()
SHAPE = (40, 48, 32)
"""From right to left, back to front, bottom to top; 4 mm voxels make a head of it."""


def ramp(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Return values that grow to the right, to the front and to the top, at different paces."""
    grid = np.indices(shape[:3]).astype(np.int16)
    return (grid[0] + 50 * grid[1] + 1000 * grid[2] % 7).astype(np.int16)


def packed(array: np.ndarray, affine: np.ndarray | None = None, *, zipped: bool = True, two: bool = False) -> bytes:
    affine = np.diag([4.0, 4, 4, 1]) if affine is None else affine
    image = (nib.Nifti2Image if two else nib.Nifti1Image)(array, affine)
    return gzip.compress(image.to_bytes(), 1) if zipped else image.to_bytes()


def expand(data: bytes, path: str = "p/T1w.nii.gz") -> list[FileBytes | Refused]:
    return expand_nifti(FileBytes(Identity(path, "00", "p"), data), LIMITS)


def reason(data: bytes) -> Reason | None:
    """Return why a file is refused, when it is expanded or when a slice is decoded."""
    first = expand(data)[0]
    if isinstance(first, Refused):
        return first.reason
    found = decode_slice(first, LIMITS)
    return found.reason if isinstance(found, Refused) else None


def test_slices_go_from_bottom_to_top_front_up_and_the_left_on_the_right() -> None:
    affine = np.diag([4.0, 4, 5, 1])
    affine[:3, 3] = (-80, -96, -60)
    items = expand(packed(ramp(), affine))
    assert len(items) == 32
    assert [item.identity.position for item in items[:2]] == [-60.0, -55.0]
    assert (items[0].identity.frame, items[0].identity.plane, items[0].identity.sequence) == (1, "axial", "T1")
    pixels, _ = decode(packed(ramp(), affine), LIMITS, 3)
    assert pixels.shape == (48, 40)
    assert pixels[0].mean() > pixels[-1].mean(), "the front is up"
    assert pixels[20, 0] > pixels[20, -1], "what grows to the right of the patient is on the left of the picture"


@settings(deadline=None, max_examples=40)
@given(st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3), st.booleans(), st.booleans())
def test_the_order_of_axes_and_the_packing_do_not_matter(
    axes: list[int], flipped: tuple[bool, ...], zipped: bool, two: bool
) -> None:
    array, affine = ramp(), np.diag([4.0, 4, 4, 1])
    stored = np.transpose(array, axes)
    turned = np.zeros((4, 4))
    turned[3, 3] = 1
    for new, old in enumerate(axes):
        turned[old, new] = affine[old, old]
        if flipped[new]:
            stored = np.flip(stored, new)
            turned[:3, 3] += turned[:3, new] * (stored.shape[new] - 1)
            turned[:3, new] *= -1
    data = packed(np.ascontiguousarray(stored), turned, zipped=zipped, two=two)
    assert sniff.kind(data) == sniff.NIFTI
    assert np.array_equal(decode(data, LIMITS, 5)[0], decode(packed(array), LIMITS, 5)[0])
    assert read_nifti_header(data, LIMITS) == read_nifti_header(packed(array), LIMITS)


def test_pixels_become_square_and_rescaling_does_not_matter() -> None:
    assert decode(packed(ramp(), np.diag([4.0, 2, 5, 1])), LIMITS, 1)[0].shape == (48, 80)
    image = nib.Nifti1Image(ramp(), np.diag([4.0, 4, 4, 1]))
    image.header.set_slope_inter(2.0, -7.0)
    assert np.allclose(decode(image.to_bytes(), LIMITS, 5)[0], decode(packed(ramp()), LIMITS, 5)[0])
    floats = ramp().astype(np.float32)
    floats[:3] = np.nan
    pixels = decode(packed(floats), LIMITS, 5)[0]
    assert np.isfinite(pixels).all()


def test_what_is_no_volume_of_a_head_has_a_reason() -> None:
    small = np.diag([1.0, 1, 1, 1])
    assert reason(packed(np.zeros((*SHAPE, 5), np.int16))) is Reason.NOT_A_VOLUME
    assert reason(packed(np.zeros((40, 48), np.int16))) is Reason.NOT_A_VOLUME
    assert reason(packed(ramp(), small)) is Reason.NOT_A_VOLUME
    assert reason(packed(ramp(), small * 20)) is Reason.NOT_A_VOLUME
    assert reason(packed(ramp().astype(np.complex64))) is Reason.NOT_A_VOLUME
    assert reason(packed(np.zeros((*SHAPE, 1), np.int16))) is None
    assert expand(packed(ramp()), "p/brain_mask.nii.gz")[0].reason is Reason.DERIVED_MAP  # type: ignore[union-attr]


def test_thick_slices_name_the_plane() -> None:
    planes = [
        read_nifti_header(packed(ramp(), np.diag([*steps, 1.0])), LIMITS).plane
        for steps in ((4, 4, 4), (4, 4, 8), (8, 3, 4), (3, 8, 4))
    ]
    assert planes == ["axial", "axial", "sagittal", "coronal"]


def test_bombs_and_damage_end_in_a_reason() -> None:
    data = packed(ramp(), zipped=False)
    huge = bytearray(data[:352])
    huge[40:56] = np.array([3, 2000, 2000, 900, 1, 1, 1, 1], "<i2").tobytes()
    huge[76:92] = np.array([1, 0.1, 0.1, 0.2], "<f4").tobytes()
    huge[252:256] = b"\0\0\0\0"
    bomb = gzip.compress(bytes(huge) + bytes(64 << 20), 1)
    assert reason(bomb) is Reason.TOO_LARGE
    assert reason(data[:400]) is Reason.CORRUPT
    assert reason(gzip.compress(data)[:900]) is Reason.CORRUPT
    assert reason(gzip.compress(data[:300])) in {Reason.UNSUPPORTED_TYPE, Reason.CORRUPT}


def test_mutated_bytes_end_in_pixels_or_a_reason() -> None:
    chance = random.Random(5)  # noqa: S311 - no secret
    seed = packed(ramp((24, 24, 12)), np.diag([8.0, 8, 8, 1]), zipped=False)
    for _ in range(300):
        data = bytearray(seed)
        for _ in range(chance.choice((1, 3, 20))):
            data[chance.randrange(352)] = chance.randrange(256)
        whole = bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
        try:
            pixels, _ = decode(whole, LIMITS, 1)
        except RefusedError:
            continue
        assert 0 <= pixels.min() <= pixels.max() <= 1


def test_the_worker_decodes_and_holds_the_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    items = expand(packed(ramp()))
    exchange, held = isolation._exchange, []

    def noting(process: object, request: object, same: bool) -> object:
        held.append(same)
        return exchange(process, request, same)  # type: ignore[arg-type]

    monkeypatch.setattr(isolation, "_exchange", noting)
    with SafeDecoder() as decoder:
        for item in items[:3]:
            assert isinstance(item, FileBytes)
            found = decode_slice(item, LIMITS, decoder)
            assert isinstance(found, Slice)
            assert np.array_equal(found.pixels, decode(item.data, LIMITS, item.identity.frame)[0])
    assert held == [False, True, True], "the volume is sent once"


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("sub-01_T1w.nii.gz", "T1"),
        ("sub-01_ce-gadolinium_T1w.nii", "T1ce"),
        ("sub-01_FLAIR.nii.gz", "FLAIR"),
        ("sub-01_T2w.nii.gz", "T2"),
        ("BraTS20_001_t1ce.nii.gz", "T1ce"),
        ("sub-01_task-rest_bold.nii.gz", "other"),
        ("anything.nii.gz", None),
    ],
)
def test_the_name_tells_the_sequence(name: str, sequence: str | None) -> None:
    assert sequence_of_name(f"folder/{name}") == sequence


@pytest.mark.parametrize(
    ("path", "study", "series"),
    [
        ("sub-01/anat/sub-01_T1w.nii.gz", "sub-01", "anat/sub-01_T1w"),
        ("ds/sub-01/ses-2/anat/sub-01_ses-2_FLAIR.nii.gz", "ds/sub-01/ses-2", "anat/sub-01_ses-2_FLAIR"),
        ("flat/sub-02_T1w.nii", "flat/sub-02", "T1w"),
        ("sub-02_ses-1_T1w.nii", "sub-02/ses-1", "T1w"),
        ("patient/T1.nii.gz", "patient", "T1"),
        ("patient/2020-01-02/T1.nii.gz", "patient/2020-01-02", "T1"),
        ("patient/a/T1.nii.gz", "patient", "a/T1"),
        ("T1.nii.gz", "T1.nii.gz", None),
        ("sub-01/anat/1.png", "sub-01", "anat"),
    ],
)
def test_a_volume_is_a_series_of_its_folder_or_subject(path: str, study: str, series: str | None) -> None:
    assert Grouping().membership(path) == (study, series)


def test_without_the_extra_the_install_line_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    (refused,) = expand(packed(ramp()))
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.UNSUPPORTED_TYPE
    assert "python -m pip install 'screener[nifti]'" in refused.detail


def test_nibabel_is_not_imported_without_a_volume() -> None:
    code = "import sys, screener.pipeline.scan, screener.inbox.nifti; assert 'nibabel' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.long
def test_scan_of_a_bids_folder(screener: Command, tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    head = np.stack([phantom(number, 96) for number in range(12)], axis=-1).astype(np.int16)
    for subject in ("sub-01", "sub-02"):
        (inbox / subject / "anat").mkdir(parents=True)
        for name in ("T1w", "FLAIR"):
            data = packed(head, np.diag([2.0, 2, 6, 1]))
            (inbox / subject / "anat" / f"{subject}_{name}.nii.gz").write_bytes(data)
    (inbox / "sub-02/anat/sub-02_bold.nii.gz").write_bytes(packed(np.zeros((*SHAPE, 3), np.int16)))
    for again in (False, True):
        done = screener.scan(inbox, "--json", "--level", "both")
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        studies = [line for line in lines if line["level"] == "study"]
        assert [(one["study_id"], one["patient_id"]) for one in studies] == [("sub-01", "sub-01"), ("sub-02", "sub-02")]
        message = [(one["series_id"], one["sequence"], one["slices"]) for one in studies[1]["series"]]
        assert ("anat/sub-02_FLAIR", "FLAIR", 12) in message
        assert ("anat/sub-02_T1w", "T1", 12) in message
        assert [line["reason"] for line in lines if "bold" in str(line.get("path"))] == ["not_a_volume"]
        assert {line["seen_before"] for line in lines} == {again}
