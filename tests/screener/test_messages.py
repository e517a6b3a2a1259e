"""The words are those of the contract, and both languages say everything."""

from __future__ import annotations

import re
import string

import pytest

from screener.domain.finding import Urgency
from screener.messages import LANGUAGES, NOTICE, RECOMMENDATION, TEXT, URGENCY_WORD, language


def test_both_languages_have_every_word_and_placeholder() -> None:
    fields = [{name: set(_fields(text)) for name, text in TEXT[lang].items()} for lang in LANGUAGES]
    assert fields[0] == fields[1]
    for table in (NOTICE, RECOMMENDATION, URGENCY_WORD):
        assert set(table) == set(LANGUAGES)
    assert all(set(RECOMMENDATION[lang]) == set(Urgency) for lang in LANGUAGES)


def _fields(text: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(text) if name]


def test_no_recommendation_says_normal_clear_or_healthy() -> None:
    everything = " ".join([*NOTICE.values(), *(text for lang in LANGUAGES for text in RECOMMENDATION[lang].values())])
    assert not re.search(r"\b(normal|clear|healthy)\b", everything, re.IGNORECASE)
    assert "does not exclude a tumour" in RECOMMENDATION["en"][Urgency.LOW]
    assert "n'exclut pas une tumeur" in RECOMMENDATION["fr"][Urgency.LOW]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({"LC_ALL": "fr_FR.UTF-8"}, "fr"), ({"LANG": "fr"}, "fr"), ({"LC_ALL": "C", "LANG": "fr"}, "en"), ({}, "en")],
)
def test_the_locale_decides(variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert language() == expected
