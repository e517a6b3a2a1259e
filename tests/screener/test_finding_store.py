from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import finding

from screener.domain.verdict import Verdict
from screener.finding_store import FindingStore, Item
from screener.triage import reading_order

if TYPE_CHECKING:
    from screener.domain.finding import Finding

anything = st.builds(
    finding,
    st.text(min_size=1, max_size=8),
    st.none() | st.floats(0, 1),
    st.none() | st.text(max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(anything, max_size=25, unique_by=lambda item: item.path))
def test_order_is_the_contract_whatever_the_names(found: list[Finding]) -> None:
    with FindingStore() as store:
        for item in found:
            store.add(Item(item))
        assert [item.finding for item in store.first(None)] == sorted(found, key=reading_order)


def test_latest_finding_about_the_same_slice_counts_and_takes_its_verdict_along() -> None:
    with FindingStore() as store:
        store.add(Item(finding("a", 0.95), "/in", result="1"))
        store.add_verdict(Verdict("1", "dr", "glioma", True))
        assert next(store.first(None)).verdict == Verdict("1", "dr", "glioma", True)
        store.add(Item(finding("a", 0.5), "/in", result="2"))
        (item,) = store.first(None)
        assert (item.finding.probability, item.verdict) == (0.5, None)
        store.add(Item(finding("a", 0.5, sha256="c" * 64), "/in"))
        store.add(Item(finding("a", 0.5), "/elsewhere"))
        assert store.count() == 3, "other bytes, or another inbox, are another slice"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.long
def test_memory_does_not_grow_with_the_inbox() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    with FindingStore() as store:
        for number in range(2_000):
            store.add(Item(finding(f"p{number % 50}/s{number}.png", 0.95, model="x" * 8_000)))
        before = resident()
        for number in range(2_000, 12_000):
            store.add(Item(finding(f"p{number % 50}/s{number}.png", 0.95, model="x" * 8_000)))
        assert resident() - before < 30 << 20, f"80 MB went through, on {sys.platform}"
