from __future__ import annotations

import os
import stat
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from screener.errors import UsageError
from screener.report.document import (
    document,
    figure,
    gallery,
    heading,
    listing,
    paragraph,
    picture,
    save,
    table,
)

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


class Tags(HTMLParser):
    """Collects tags and their attributes."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def everything(words: str) -> str:
    parts = [
        *(heading(words), paragraph(words), paragraph(words, "warning"), listing([words])),
        table([words, "n"], [[words, 3]], words),
        gallery([figure(picture(b"\x89PNG", words), words, "bad")]),
    ]
    return document(words, parts)


def test_whatever_comes_from_outside_stays_text() -> None:
    plain, hostile = Tags(everything("words")).found, Tags(everything(HOSTILE)).found
    assert [tag for tag, _ in hostile] == [tag for tag, _ in plain]
    assert not any(name.startswith("on") for _, attributes in hostile for name in attributes)


def test_nothing_is_asked_of_another_machine_and_no_script_runs() -> None:
    tags = Tags(everything("words")).found
    sources = [attributes[name] for _, attributes in tags for name in ("src", "href") if name in attributes]
    assert sources
    assert all(source is not None and source.startswith("data:") for source in sources)
    policy = next(attributes["content"] for _, attributes in tags if "http-equiv" in attributes)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy


def test_numbers_stand_on_the_right_and_first_cells_are_headers() -> None:
    found = table(["source", "slices"], [["a", 3]])
    assert '<th scope="row">a</th><td class="number">3</td>' in found


def test_a_saved_document_is_its_owners_and_may_be_replaced(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    save(out, everything("one"))
    save(out, everything("two"))
    assert "two" in out.read_text()
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [out]


def test_another_file_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "thesis.html"
    out.write_text("years of work")
    with pytest.raises(UsageError, match="no document of screener"):
        save(out, everything("words"))
    assert out.read_text() == "years of work"


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        save(tmp_path / "missing" / "report.html", everything("words"))


def test_a_name_that_no_file_can_have_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name too long"):
        save(tmp_path / ("a" * 256), everything("words"))


def test_a_pipe_in_the_place_of_a_document_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="no document of screener"):
        save(tmp_path / "pipe", everything("words"))
