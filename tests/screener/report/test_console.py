"""The table on the screen: nothing cut, nothing misleading, nothing that a file name could do to it."""

from __future__ import annotations

import io
import re
import unicodedata
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.domain.estimate import Rate
from screener.domain.finding import Finding, Urgency
from screener.domain.slice import Identity, Prediction, Reason, Refused
from screener.messages import LANGUAGES, URGENCY_WORD
from screener.model.card import OperatingPoint
from screener.model.certificate import Certificate
from screener.report import console
from screener.report.console import Summary, TopFindings, comma, lines, point_lines, rate, safe
from screener.triage import TriagePolicy

if TYPE_CHECKING:
    from screener.messages import Language

POINT = OperatingPoint("auto", 0.1547)


def finding(probability: float | None, threshold: float = 0.1547, path: str = "p/a.png") -> Finding:
    triage_policy = TriagePolicy(replace(POINT, threshold=threshold), 0.7, "tiny 1", "1" * 64)
    identity = Identity(path, "0" * 64, path.split("/", maxsplit=1)[0])
    if probability is None:
        return triage_policy.refusal(Refused(identity, Reason.BLANK))
    return triage_policy.finding(identity, Prediction(probability))


def drawn(*findings: Finding, lang: Language = "en", top: int = 0, **summary: object) -> str:
    found, counts = TopFindings(top), Counter[str]()
    for one in findings:
        found.add(one)
        counts.update((one.decision.value, one.urgency.value))
    out = io.StringIO()
    screen = console.console(out)
    if found.count:
        screen.print(console._table(found.ordered(), lang))
    message = Summary(counts, POINT, "tiny 1", "/log", **summary)  # type: ignore[arg-type]
    return out.getvalue() + "\n".join(lines(found, message, lang))


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_comparison_holds_as_printed(probability: float, threshold: float) -> None:
    shown = console.against_threshold(finding(probability, threshold))
    left, sign, right = shown.split()
    assert float(right) == threshold
    assert (float(left) >= float(right)) == (sign == "≥") == (probability >= threshold)


def test_a_probability_just_below_the_threshold_does_not_look_above_it() -> None:
    assert console.against_threshold(finding(0.15466)) == "0.15466 < 0.1547"
    assert console.against_threshold(finding(0.99)) == "0.990 ≥ 0.1547"
    assert console.against_threshold(finding(None)) == "–"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_finding_has_its_row(lang: Language) -> None:
    made = [finding(0.9, path="p/h.png"), finding(0.3, path="p/m.png"), finding(None, path="p/r.png"), finding(0.0)]
    shown = drawn(*made, lang=lang)
    for one in made:
        (row,) = [line for line in shown.splitlines() if one.path in line]
        assert URGENCY_WORD[lang][one.urgency] in row
    assert "(blank)" in shown


def test_every_number_is_written_as_the_language_does() -> None:
    rate = Rate(0.966, 0.942, 0.986, 7, 9, 5)
    certificate = Certificate(
        threshold=0.1547, target=0.95, level=0.975, bound=0.951, units=75, missed=0, unit="patient"
    )
    point = replace(POINT, sensitivity=rate, specificity=rate, certified=True, certificate=certificate)
    message = TopFindings(5)
    message.add(finding(0.987))
    for lang, expected in (("en", "0.987 ≥ 0.1547"), ("fr", "0,987 ≥ 0,1547")):
        assert expected in drawn(finding(0.987), lang=lang)
    french = "\n".join(lines(message, Summary(Counter(), point, "tiny 1", ""), "fr"))
    for expected in ("0,1547", "0,966 (0,942–0,986", "≥ 0,95 au niveau de confiance 97,5 %"):
        assert expected in french
    assert not re.search(r"\d\.\d", french)


def test_what_is_hidden_is_counted() -> None:
    shown = drawn(*[finding(number / 100, path=f"p/{number}.png") for number in range(100)], top=7)
    assert shown.count(".png") == 7
    assert "93 more not shown here" in shown
    assert "100 slices" in shown


def test_seen_stopped_and_deferred_are_reported() -> None:
    again = replace(finding(0.9), seen_before=True)
    assert "seen before" in drawn(again)
    assert "Stopped before the end" in drawn(again, stopped=True)
    counts = Counter({"LOW": 3, "seen_before": 2, "deferred": 4, "skipped": 1})
    message = "\n".join(lines(TopFindings(5), Summary(counts, POINT, "tiny 1", ""), "fr"))
    assert "dont 2 déjà vues" in message
    assert "4 fichiers en cours d'écriture" in message
    assert "1 liens ou fichiers spéciaux laissés de côté" in message
    assert "Journal" not in message


HOSTILE = [
    "[red]x[/]",
    ":smile:",
    "\x1b[2Jx",
    "a\nb",
    "a\u2028b",
    "a\u202eb",
    "[link=http://x]y[/link]",
    "\x9b31m",
    "\r",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_shown_and_does_nothing(name: str) -> None:
    shown = drawn(finding(0.9, path=f"{name}/{name}.png"))
    assert safe(name) in shown
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", shown)
    assert len([line for line in shown.splitlines() if ".png" in line]) == 1


@given(st.text(max_size=30))
def test_safe_text_is_one_harmless_line(text: str) -> None:
    message = safe(text)
    assert len(message.splitlines()) <= 1
    assert {unicodedata.category(letter) for letter in message if not letter.isprintable()} <= {"Zs"}, "spaces at most"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_threshold_comes_with_figures_interval_and_counts(lang: Language) -> None:
    share = Rate(0.9506, 0.9189, 0.9855, 1098, 1155, 143)
    point = replace(POINT, sensitivity=share, specificity=share, measured_on="tune set", certified=True)
    message = " ".join(point_lines(point, lang))
    for expected in (comma("0.951", lang), comma("0.919–0.986", lang), "1098/1155", "143", "tune set"):
        assert expected in message
    assert ("certified" if lang == "en" else "certifié") in message
    assert "?" in rate(replace(share, low=None), lang)


def test_urgency_words_are_those_of_the_contract() -> None:
    assert [word.value for word in Urgency] == list(URGENCY_WORD["en"].values())


@pytest.mark.parametrize(
    ("study_id", "number", "date", "shown"),
    [
        ("patient-05", None, None, "patient-05"),
        ("1.2.840.113619.2.5.1762583153.215519", "A-77", "20260105", "A-77 · 2026-01-05"),
        ("1.2.840.113619.2.5.1762583153.215519", "", "20260105", "…83153.215519 · 2026-01-05"),
        ("1.2.840.113619.2.5.1762583153.215519", None, None, "…83153.215519"),
        ("2026.01.05", None, None, "2026.01.05"),
    ],
)
def test_a_dicom_study_is_named_for_a_person(study_id: str, number: str | None, date: str | None, shown: str) -> None:
    known = SimpleNamespace(study_id=study_id, accession_number=number, study_date=date)
    assert console.study_title(known) == shown  # type: ignore[arg-type]  # three fields of a StudyFinding
