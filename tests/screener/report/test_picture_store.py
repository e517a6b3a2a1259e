"""Pictures of a page, kept on disk while it is made."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_samples import finding

from screener.report.picture_store import PictureStore
from screener.report.pictures import Picture
from tests.study_findings import study

PICTURE = Picture(b"large", b"small", 8, 6, (1.0, 2.0, 3.0, 4.0))


def kept(store: PictureStore, number: int, name: str) -> bytes:
    found = store.get(finding(f"{name}{number}", 0.5))
    return b"" if found is None or found.picture is None else found.picture.large


def test_what_was_put_comes_back_and_frames_are_told_apart() -> None:
    store = PictureStore(5, 5, 5)
    heat = np.arange(6, dtype=np.float32).reshape(2, 3) / 6
    store.put(finding("a", 0.9), PICTURE, heat)
    store.put(finding("a", 0.9, frame=2), replace(PICTURE, large=b"second"))
    store.note_missing(finding("b", 0.9), "moved")
    found = store.get(finding("a", 0.9))
    assert found is not None
    assert found.picture == PICTURE
    assert found.heatmap is not None
    assert found.heatmap.tolist() == heat.tolist()
    second = store.get(finding("a", 0.9, frame=2))
    assert second is not None
    assert second.picture is not None
    assert (second.picture.large, second.heatmap) == (b"second", None)
    missing = store.get(finding("b", 0.9))
    assert missing is not None
    assert (missing.picture, missing.missing) == (None, "moved")
    assert store.get(finding("c", 0.9)) is None


def test_of_an_answered_study_the_key_slices_stay_large() -> None:
    store = PictureStore(50, 50, 50)
    for probability, small in ((0.95, b"small"), (0.1, b"")):
        answer, findings = study(f"s{probability}", {None: [probability] * 6})
        for one in findings:
            store.put(one, PICTURE)
        store.answer(answer, findings[:2])
        pictures = [found.picture for one in findings if (found := store.get(one)) is not None]
        assert [one.large for one in pictures if one is not None] == [b"large"] * 2 + [b""] * 4
        assert {one.small for one in pictures if one is not None} == {small}


def test_pictures_are_kept_for_the_first_in_reading_order() -> None:
    store = PictureStore(5, 2, 10)
    for number in range(400):
        store.put(finding(f"f{number}", 0.41 + number / 1000), PICTURE)
        store.put(finding(f"l{number}", number / 1001), PICTURE)
    high = [number for number in range(400) if kept(store, number, "f")]
    low = [number for number in range(400) if kept(store, number, "l")]
    assert set(range(395, 400)) <= set(high)
    assert {398, 399} <= set(low)
    assert len(high) <= 2 * 5 + 101
    assert len(low) <= 2 * 2 + 101


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.long
def test_memory_does_not_grow_with_the_inbox() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    store = PictureStore(100, 100, 100)
    picture = replace(PICTURE, large=b"x" * 12_000)
    for number in range(2_000):
        store.put(finding(f"s{number}.png", 0.95), picture)
    before = resident()
    for number in range(2_000, 12_000):
        store.put(finding(f"s{number}.png", 0.95), picture)
    assert resident() - before < 30 << 20, f"120 MB went through, on {sys.platform}"
    store.close()
