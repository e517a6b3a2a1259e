"""Words in other languages: complete, compiled, and read only when they are asked for."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from screener.catalogue import DECLARED, LANGUAGES, Catalogue, Sentence, Sentences, translator
from screener.domain.finding import Urgency
from screener.messages import NOTICE, RECOMMENDATION

pytest.importorskip("babel", reason="needs the extra [dev]")

from babel.messages.pofile import read_po

from tools.messages import LOCALE, renewed

if TYPE_CHECKING:
    from babel.messages.catalog import Catalog


def catalogue(lang: str) -> Catalog:
    with (LOCALE / lang / "LC_MESSAGES/screener.po").open("rb") as file:
        return read_po(file, locale=lang)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_catalogues_are_what_make_messages_would_write(lang: str) -> None:
    for path, content in renewed(lang).items():
        assert path.read_bytes() == content, f"{path.name} of {lang}: make messages"


def test_every_text_has_a_french_translation() -> None:
    french = catalogue("fr")
    renewed("fr")  # imports everything that declares texts
    for context, text in DECLARED:
        message = french.get(text, context)
        assert message is not None, (context, text)
        assert message.string, (context, text)
        assert not message.fuzzy, (context, text)
        assert translator("fr")(context, text) == message.string


def test_translations_fill_in_the_same_values() -> None:
    for message in catalogue("fr"):
        names = [sorted(re.findall(r"\{\w*\}", str(text))) for text in (message.id, message.string)]
        assert message.id == "" or names[0] == names[1], message.id


def test_words_of_the_contract_are_as_written_there() -> None:
    assert NOTICE["fr"] == "Aide à la décision. Ce n'est ni un diagnostic ni un dispositif médical (ni CE ni FDA)."
    assert RECOMMENDATION["fr"][Urgency.REVIEW] == "NON ÉVALUABLE – à relire par un radiologue"


def test_a_text_without_a_translation_stays_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screener.catalogue.DECLARED", [])
    assert Catalogue("test", {"a": "never translated"})["fr"] == {"a": "never translated"}
    assert Sentence("test", "never translated")["fr"] == "never translated"
    assert Sentences("test", ("never", "translated"))["fr"] == ("never", "translated")
    with pytest.raises(KeyError):
        Sentence("test", "x")["de"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("imported", "absent"),
    [("screener.messages", "gettext"), ("screener.cli.scan, screener.report.console", "jinja2")],
)
def test_start_up_loads_neither_catalogues_nor_templates(imported: str, absent: str) -> None:
    code = f"import sys, {imported}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
