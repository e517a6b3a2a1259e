"""Verdicts in bulk, and on the terminal."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from review_night import HIGH, finding

from screener.audit import read, verify
from screener.errors import UsageError
from screener.review.queue import ReviewQueue
from screener.review.table import COLUMNS, read_rows, record, template
from screener.review.terminal import TerminalReview
from screener.review.verdicts import Doctors

if TYPE_CHECKING:
    from pathlib import Path

    from review_night import Night

ANYONE = Doctors()


def filled(path: Path, *rows: tuple[str, ...], head: tuple[str, ...] = ("result", "final_diagnosis", "note")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def test_a_template_filled_in_comes_back_as_verdicts(night: Night, tmp_path: Path) -> None:
    with ReviewQueue(night.log, sample=0.0) as queue:
        lines = list(csv.DictReader(io.StringIO("".join(template(queue)))))
    assert [line["path"] for line in lines] == ["p1/b.png", "p2/a.png", "p2/b.png"]
    assert not {"probability", "decision", "urgency"} & set(lines[0])
    lines[0] |= {"final_diagnosis": "Tumour", "note": "sure"}
    lines[2] |= {"final_diagnosis": "bad image", "doctor_id": "dr.b"}
    table = tmp_path / "verdicts.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    rows = read_rows(table, "dr.a", ANYONE)
    assert record(night.log, rows, sample=0.1, source=table).count == 2
    assert [(event["final_diagnosis"], event["doctor_id"], event["source"]) for event in night.reviews()] == [
        ("tumour", "dr.a", "import"),
        ("bad_image", "dr.b", "import"),
    ]
    assert record(night.log, rows, sample=0.1, source=table).count == 0, "the same file again adds nothing"
    assert verify(night.log).ok


def test_one_unknown_result_and_nothing_is_recorded(night: Night, tmp_path: Path) -> None:
    good = night.results["p1/b.png"]
    table = filled(tmp_path / "v.csv", (good, "tumour", ""), ("f" * 64, "tumour", ""), ("", "no_tumour", ""))
    with pytest.raises(UsageError) as caught:
        record(night.log, read_rows(table, "dr.a", ANYONE), sample=0.1, source=table)
    assert "v.csv:3:" in str(caught.value)
    assert "v.csv:4:" in str(caught.value)
    assert "v.csv:2:" not in str(caught.value)
    assert "nothing was recorded" in caught.value.hint
    assert night.reviews() == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a", "glioma", "", "dr.a", ""), "none of tumour"),
        (("a", "tumour", "x" * 2001, "dr.a", ""), "more than 2000"),
        (("a", "tumour", "", "", ""), "nobody is named"),
        (("a", "tumour", "", "dr.c", ""), "not among"),
        (("a", "tumour", "", "dr.a", "soon"), "no number"),
        (("a", "tumour", "", "dr.a", "nan"), "no number"),
    ],
)
def test_every_bad_line_is_named(tmp_path: Path, row: tuple[str, ...], message: str) -> None:
    head = ("result", "final_diagnosis", "note", "doctor_id", "seconds")
    table = filled(tmp_path / "v.csv", row, head=head)
    with pytest.raises(UsageError, match=message) as caught:
        read_rows(table, None, Doctors(frozenset({"dr.a"})))
    assert "v.csv:2:" in str(caught.value)


def test_a_table_that_is_none_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column final_diagnosis"):
        read_rows(filled(tmp_path / "a.csv", head=("result",)), "dr.a", ANYONE)
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        read_rows(tmp_path / "b.csv", "dr.a", ANYONE)
    with pytest.raises(UsageError, match="cannot be read"):
        read_rows(tmp_path / "missing.csv", "dr.a", ANYONE)


def test_a_french_spreadsheet_writes_semicolons(night: Night, tmp_path: Path) -> None:
    table = tmp_path / "v.csv"
    table.write_text(f"result;final_diagnosis;note\r\n{night.results['p1/b.png']};tumour;a, b\r\n", "utf-8-sig")
    (row,) = read_rows(table, "dr.a", ANYONE)
    assert (row.result, row.opinion.diagnosis.value, row.opinion.note) == (night.results["p1/b.png"], "tumour", "a, b")


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    table = tmp_path / "v.csv"
    table.write_text('result,final_diagnosis,note\n\na,tumour,"one\ntwo"\nb,glioma,\n')
    with pytest.raises(UsageError, match=r"v\.csv:5: final_diagnosis"):
        read_rows(table, "dr.a", ANYONE)


def test_a_cell_cannot_steer_the_terminal(night: Night, tmp_path: Path) -> None:
    table = filled(tmp_path / "v.csv", ("\x1b[31m", "tumour", ""))
    with pytest.raises(UsageError, match=r"\\x1b\[31m is no result") as caught:
        record(night.log, read_rows(table, "dr.a", ANYONE), sample=0.1, source=table)
    assert "\x1b" not in str(caught.value)


def test_an_import_into_a_damaged_log_says_so_and_trusts_nothing_behind_the_damage(
    night: Night, tmp_path: Path
) -> None:
    before, behind = (night.results[path] for path in ("p1/b.png", "p2/b.png"))
    lines = night.log.read_bytes().splitlines(keepends=True)
    places = {result: next(i for i, line in enumerate(lines) if result.encode() in line) for result in (before, behind)}
    assert places[before] < places[behind] - 1
    night.log.write_bytes(b"".join(lines[: places[behind] - 1] + lines[places[behind] :]))
    table = filled(tmp_path / "v.csv", (before, "tumour", ""))
    done = record(night.log, read_rows(table, "dr.a", ANYONE), sample=0.1, source=table)
    assert done.count == 1
    assert "the chain breaks" in str(done.problem)
    table = filled(tmp_path / "w.csv", (behind, "tumour", ""))
    with pytest.raises(UsageError, match="no result of the sound part of the log"):
        record(night.log, read_rows(table, "dr.a", ANYONE), sample=0.1, source=table)


def test_a_spreadsheet_runs_nothing_from_a_template(night: Night) -> None:
    night.more(finding('=HYPERLINK("http://evil")/a.png', "9" * 64, HIGH))
    with ReviewQueue(night.log, sample=0.0) as queue:
        cells = [cell for line in csv.reader(io.StringIO("".join(template(queue)))) for cell in line]
    assert any("HYPERLINK" in cell for cell in cells)
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(data=st.binary(max_size=400))
def test_any_bytes_give_rows_or_a_sentence(tmp_path: Path, data: bytes) -> None:
    table = tmp_path / "any.csv"
    table.write_bytes(b"result,final_diagnosis,note,doctor_id,seconds\n" + data)
    rows, message = [], str(table)
    try:
        rows = read_rows(table, "dr.a", ANYONE)
    except UsageError as error:
        message = str(error)
    assert str(table) in message
    assert all(row.line >= 2 for row in rows)


def talked(night: Night, answers: str, *, blind: bool = False, sample: float = 0.0) -> str:
    out = io.StringIO()
    with ReviewQueue(night.log, sample=sample, blind=blind) as queue:
        TerminalReview(queue, "dr.a", "en", io.StringIO(answers), out).run()
    return out.getvalue()


def test_a_talk_records_skips_and_ends(night: Night) -> None:
    message = talked(night, "x\nt\nleft\ns\nb\n\n")
    assert "Type one of these letters." in message
    assert "2 verdicts recorded." in message
    assert [(event["final_diagnosis"], event["note"]) for event in read(night.log) if event["event"] == "REVIEW"] == [
        ("tumour", "left"),
        ("bad_image", ""),
    ]
    assert talked(night, "q\n").count("p2/a.png") == 1, "what was skipped is asked about next time"


def test_a_talk_that_breaks_off_keeps_what_was_given(night: Night) -> None:
    assert "1 verdicts recorded." in talked(night, "n\n\nt\n")
    assert len(night.reviews()) == 1


def test_a_blind_talk_tells_the_opinion_afterwards(night: Night) -> None:
    message = talked(night, "u\n\nq\n", blind=True, sample=0.0)
    before, _, after = message.partition("Recorded")
    assert not any(word in before for word in ("≥", "TUMOUR –", "NOT ASSESSABLE"))
    assert any(word in after for word in ("TUMOUR –", "NOT ASSESSABLE"))


def test_nothing_waiting_is_said(night: Night) -> None:
    talked(night, "t\n\n" * 3)
    assert "Nothing is waiting" in talked(night, "")
