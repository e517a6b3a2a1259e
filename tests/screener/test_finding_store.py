from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import finding

from screener.domain.finding import Finding, Urgency
from screener.domain.verdict import Verdict
from screener.finding_store import FindingStore, Item
from screener.triage import reading_order

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
        rows = list(store.rows())
    assert sorted(row.number for row in rows) == list(range(1, len(found) + 1))
    groups = [row.group for row in rows]
    assert groups == sorted(groups), "patients in the order of their first slice"
    patients = [row.item.finding.patient_id for row in rows]
    changes = sum(one != other for one, other in pairwise(patients))
    assert changes == max(0, len(set(patients)) - 1), "the slices of a patient stand together"


def test_latest_finding_about_the_same_slice_counts_and_takes_its_verdict_along() -> None:
    with FindingStore() as store:
        store.add(Item(finding("a", 0.95), "/in", result="1"))
        store.judge(Verdict("1", "dr", "glioma", True))
        assert next(store.first(None)).verdict == Verdict("1", "dr", "glioma", True)
        store.add(Item(finding("a", 0.5), "/in", result="2"))
        (item,) = store.first(None)
        assert (item.finding.probability, item.verdict) == (0.5, None)
        store.add(Item(finding("a", 0.5, sha256="c" * 64), "/in"))
        store.add(Item(finding("a", 0.5), "/elsewhere"))
        assert store.count() == 3, "other bytes, or another inbox, are another slice"


def test_pictures_are_kept_for_the_first_in_reading_order_only() -> None:
    with FindingStore(urgent=5, low=2) as store:
        for number in range(400):
            store.add(Item(finding(f"f{number}", 0.41 + number / 1000)), f"picture {number}")
            store.add(Item(finding(f"l{number}", number / 1001)), f"low {number}")
        assert sum(row.picture is not None for row in store.rows()) <= 2 * (5 + 2) + 2 * 101, "bounded meanwhile"
        store.trim()
        rows = list(store.rows())
        shown = [row.picture for row in rows if row.picture and row.item.finding.urgency is not Urgency.LOW]
        low = [row.picture for row in rows if row.picture and row.item.finding.urgency is Urgency.LOW]
    assert shown == [f"picture {number}" for number in range(399, 394, -1)]
    assert low == ["low 399", "low 398"]


def test_bare_names_what_may_have_a_picture_and_has_none() -> None:
    with FindingStore(urgent=2, low=1) as store:
        for name, probability in (("a", 0.99), ("b", None), ("c", 0.5), ("d", 0.1), ("e", 0.2)):
            store.add(Item(finding(name, probability)), "there" if name == "a" else None)
        found = list(store.bare())
        assert [item.finding.path for _, item in found] == ["c", "e"]
        store.illustrate(found[0][0], "new")
        store.illustrate(found[1][0], None, "moved")
        assert list(store.bare()) == []


def test_low_rows_are_capped_by_probability() -> None:
    with FindingStore() as store:
        for number in range(30):
            store.add(Item(finding(f"l{number:02d}", number / 100, f"p{number % 3}")))
        store.add(Item(finding("z", None)))
        assert {row.item.finding.path for row in store.rows(low=2)} == {"z", "l29", "l28"}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_the_inbox() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    with FindingStore(urgent=100, low=100) as store:
        picture = "x" * 12_000
        for number in range(2_000):
            store.add(Item(finding(f"p{number % 50}/s{number}.png", 0.95)), picture)
        before = resident()
        for number in range(2_000, 12_000):
            store.add(Item(finding(f"p{number % 50}/s{number}.png", 0.95)), picture)
        assert resident() - before < 40 << 20, f"120 MB went through, on {sys.platform}"
