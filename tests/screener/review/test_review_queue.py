"""The reading queue: whom it asks about, in which order, and what reaches the log."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from review_night import HIGH, LOW, finding

from screener.audit import verify
from screener.audit.events import seal
from screener.audit.reader import EventReader
from screener.domain.finding import Decision
from screener.domain.verdict import Diagnosis, Opinion, SelectionReason
from screener.errors import AuditLogError, UsageError
from screener.finding_store import FindingStore
from screener.review.queue import ReviewQueue, hidden
from screener.review.verdicts import Doctors, agreement, chance, selection_reason, verdict
from screener.worklist import waiting

if TYPE_CHECKING:
    from pathlib import Path

    from review_night import Night

TUMOUR = Opinion(Diagnosis.TUMOUR, "dr.a", "left frontal", 3.21)


def paths(queue: ReviewQueue) -> list[str]:
    return [queue.case(result).item.finding.path for result in queue.results()]


def test_flagged_and_not_assessable_come_first_then_the_sample(night: Night) -> None:
    with ReviewQueue(night.log, sample=1.0) as queue:
        assert paths(queue) == ["p1/b.png", "p2/a.png", "p2/b.png", "p1/a.png", "p3/a.png", "p3/b.png"]
        why = [queue.case(result).selection for result in queue.results()]
        assert why == [
            SelectionReason.FLAGGED,
            SelectionReason.FLAGGED,
            SelectionReason.NOT_ASSESSABLE,
            *[SelectionReason.SAMPLE] * 3,
        ]
    with ReviewQueue(night.log, sample=0.0) as queue:
        assert paths(queue) == ["p1/b.png", "p2/a.png", "p2/b.png"]
        assert (queue.progress().total, queue.progress().unasked) == (3, 3)


def test_every_session_draws_the_same_sample_of_about_the_share_asked_for(night: Night) -> None:
    night.more(*(finding(f"many/{number}.png", f"{number:064x}", LOW) for number in range(2000)))
    with (
        ReviewQueue(night.log, sample=0.1) as first,
        ReviewQueue(night.log, sample=0.1) as second,
        ReviewQueue(night.log, sample=0.3) as more,
    ):
        assert first.results() == second.results()
        assert set(first.results()) < set(more.results())
        assert 140 < len(first.results()) < 265


def test_a_verdict_is_one_event_that_says_everything(night: Night) -> None:
    with ReviewQueue(night.log, sample=0.5) as queue:
        result = night.results["p1/b.png"]
        digest = queue.record(result, TUMOUR)
        assert queue.next_unread(result) is not None
        assert queue.recorded == 1
    (event,) = night.reviews()
    assert event["hash"] == digest
    assert event["result"] == result
    message = {name: event[name] for name in ("doctor_id", "final_diagnosis", "agreement", "seconds", "note", "drawn")}
    assert message == {
        "doctor_id": "dr.a",
        "final_diagnosis": "tumour",
        "agreement": True,
        "seconds": "3.2",
        "note": "left frontal",
        "drawn": "flagged",
    }
    assert "sampling" not in event
    assert verify(night.log).ok


def test_a_sampled_slice_tells_how_likely_it_was_to_be_drawn(night: Night) -> None:
    with ReviewQueue(night.log, sample=1.0) as queue:
        queue.record(night.results["p3/a.png"], Opinion(Diagnosis.TUMOUR, "dr.a"))
    (event,) = night.reviews()
    assert (event["drawn"], event["sampling"], event["agreement"]) == ("sample", "1.0", False)


def test_correcting_appends_and_the_former_verdict_stays(night: Night) -> None:
    result = night.results["p2/a.png"]
    with ReviewQueue(night.log, sample=0.0) as queue:
        queue.record(result, TUMOUR)
        queue.record(result, Opinion(Diagnosis.NO_TUMOUR, "dr.a"))
        given = queue.case(result).item.verdict
        assert given is not None
        assert given.final_diagnosis == "no_tumour"
    assert [event["final_diagnosis"] for event in night.reviews()] == ["tumour", "no_tumour"]


def test_an_answer_sent_twice_counts_once_even_after_a_restart(night: Night) -> None:
    opinion = Opinion(Diagnosis.TUMOUR, "dr.a", request="r-1")
    result = night.results["p2/a.png"]
    with ReviewQueue(night.log, sample=0.0) as queue:
        first = queue.record(result, opinion)
        assert queue.record(result, opinion) == first
    with ReviewQueue(night.log, sample=0.0) as queue:
        assert queue.record(result, opinion) == first
    assert len(night.reviews()) == 1


def test_what_was_read_is_not_asked_again_and_skipped_slices_are(night: Night) -> None:
    with ReviewQueue(night.log, sample=0.0) as queue:
        queue.record(night.results["p1/b.png"], TUMOUR)
    with ReviewQueue(night.log, sample=0.0) as queue:
        assert paths(queue) == ["p2/a.png", "p2/b.png"]
        skipped = queue.next_unread(queue.results()[0])
        assert skipped is not None
        assert skipped.item.finding.path == "p2/b.png"
        again = queue.next_unread(queue.results()[1])
        assert again is not None
        assert again.item.finding.path == "p2/a.png"


def test_neighbours_can_be_seen_again_and_the_ends_are_ends(night: Night) -> None:
    with ReviewQueue(night.log, sample=0.0) as queue:
        first, second, third = queue.results()
        queue.record(first, TUMOUR)
        back = queue.neighbour(second, -1)
        assert back is not None
        assert back.item.verdict is not None
        assert queue.neighbour(first, -1) is None
        assert queue.neighbour(third, 1) is None


def test_a_later_result_that_is_not_flagged_takes_nothing_off_the_list(night: Night) -> None:
    sha256 = hashlib.sha256((night.inbox / "p1/b.png").read_bytes()).hexdigest()
    night.more(finding("p1/b.png", sha256, LOW, model_sha256="c" * 64))
    with ReviewQueue(night.log, sample=0.0) as queue:
        assert "p1/b.png" in paths(queue)


def test_looking_again_finds_what_came_in_and_keeps_what_was_read(night: Night) -> None:
    with ReviewQueue(night.log, sample=0.0) as queue:
        first = queue.results()[0]
        queue.record(first, TUMOUR)
        (new,) = night.more(finding("p9/a.png", "9" * 64, HIGH))
        assert new not in queue.results()
        queue.refresh()
        assert new in queue.results()
        assert first in queue.results()
        assert (queue.progress().total, queue.progress().done) == (4, 1)


def test_blind_asks_in_an_order_that_tells_nothing(night: Night) -> None:
    night.more(*(finding(f"many/{number}.png", f"{number:064x}", number / 200) for number in range(200)))
    with ReviewQueue(night.log, sample=1.0, blind=True) as queue:
        scores = [queue.case(result).item.finding.probability or 0.0 for result in queue.results()]
        falling = sum(before >= after for before, after in pairwise(scores)) / (len(scores) - 1)
        assert 0.35 < falling < 0.65
        case = queue.case(queue.results()[0])
        assert hidden(case, blind=True)
        queue.record(case.item.result, Opinion(Diagnosis.UNSURE, "dr.a"))
        assert not hidden(queue.case(case.item.result), blind=True)
        queue.record(case.item.result, Opinion(Diagnosis.TUMOUR, "dr.a"))
    assert [event["blind"] for event in night.reviews()] == [True, False], "a second thought had seen the answer"


def test_a_damaged_log_is_read_up_to_the_damage(night: Night) -> None:
    lines = night.log.read_bytes().splitlines(keepends=True)
    night.log.write_bytes(b"".join([*lines[:4], b"garbage\n", *lines[4:]]))
    with ReviewQueue(night.log, sample=1.0) as queue:
        assert len(queue.results()) == 3
        assert queue.problem is not None


def test_a_verdict_about_nothing_takes_nothing_off_any_list(night: Night) -> None:
    with ReviewQueue(night.log, sample=0.0) as queue:
        queue.record(night.results["p1/b.png"], Opinion(Diagnosis.TUMOUR, "dr.a"))
        before = queue.results()
    last = night.reviews()[-1]
    forged = {name: value for name, value in last.items() if name not in ("hash", "prev")} | {"result": ["x"]}
    with night.log.open("ab") as file:
        file.write(seal(forged, last["hash"])[0])
    with ReviewQueue(night.log, sample=0.0) as queue, FindingStore() as store:
        assert set(queue.results()) == set(before) - {night.results["p1/b.png"]}
        waiting(EventReader(night.log), store)
        assert {item.result for item in store.first(None)} == set(queue.results())


def test_no_log_no_result_no_share(tmp_path: Path, night: Night) -> None:
    with pytest.raises(AuditLogError), ReviewQueue(tmp_path / "missing.jsonl", sample=0.1):
        pass
    with ReviewQueue(night.log, sample=0.1) as queue, pytest.raises(UsageError, match="no study or slice of this log"):
        queue.record("f" * 64, TUMOUR)
    with pytest.raises(UsageError, match="outside 0 to 1"):
        ReviewQueue(night.log, sample=1.5)


@pytest.mark.parametrize(
    ("decision", "diagnosis", "expected"),
    [
        (Decision.FLAGGED, Diagnosis.TUMOUR, True),
        (Decision.FLAGGED, Diagnosis.NO_TUMOUR, False),
        (Decision.NOT_FLAGGED, Diagnosis.TUMOUR, False),
        (Decision.NOT_FLAGGED, Diagnosis.NO_TUMOUR, True),
        (Decision.NOT_ASSESSABLE, Diagnosis.TUMOUR, None),
        (Decision.FLAGGED, Diagnosis.UNSURE, None),
        (Decision.NOT_FLAGGED, Diagnosis.BAD_IMAGE, None),
    ],
)
def test_agreement_is_whether_the_tool_was_right(
    decision: Decision, diagnosis: Diagnosis, expected: bool | None
) -> None:
    assert agreement(decision, diagnosis) is expected


@given(st.integers(0, 16**64 - 1), st.floats(0, 1))
def test_the_draw_belongs_to_the_result(number: int, sample: float) -> None:
    result = f"{number:064x}"
    assert 0 <= chance(result) < 1
    why = selection_reason(finding("a.png", "a" * 64, 0.1), result, sample)
    assert why is (SelectionReason.SAMPLE if chance(result) < sample else SelectionReason.ASKED)
    assert selection_reason(finding("a.png", "a" * 64, 0.9), result, sample) is SelectionReason.FLAGGED
    message = verdict(finding("a.png", "a" * 64, 0.1), result, TUMOUR, sample)
    assert ("sampling" in message.details) == (why is SelectionReason.SAMPLE)


def test_only_known_doctors_may_give_verdicts(tmp_path: Path) -> None:
    known = tmp_path / "doctors.txt"
    known.write_text("# our readers\ndr.a\n\ndr.b  # since May\n")
    doctors = Doctors.read(known)
    assert doctors.check(" dr.b ") == "dr.b"
    assert Doctors.read(None).check("anyone") == "anyone"
    for wrong, message in (("dr.c", "not among"), (None, "nobody is named"), ("  ", "nobody"), ("a\nb", "no id")):
        with pytest.raises(UsageError, match=message):
            doctors.check(wrong)
    known.write_text("# nobody\n")
    with pytest.raises(UsageError, match="names no doctor"):
        Doctors.read(known)
    with pytest.raises(UsageError, match="cannot be read"):
        Doctors.read(tmp_path / "missing.txt")
