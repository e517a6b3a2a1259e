"""Findings, and a page as a parser sees it."""

from __future__ import annotations

import html.parser
from dataclasses import replace

from screener.domain.finding import Finding
from screener.triage import decide, urgency_of


def finding(path: str, probability: float | None, patient: str | None = None, **changes: object) -> Finding:
    urgency = urgency_of(probability, 0.4, 0.9)
    made = Finding(
        path=path, sha256="a" * 64, patient_id=patient, decision=decide(probability, 0.4),
        probability=probability, confidence=None,
        urgency=urgency, recommendation="", threshold=0.4, operating_point="auto", reason=None, model="m",
        model_sha256="b" * 64, tool_version="0", seen_before=False, notice="",
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


class Parsed(html.parser.HTMLParser):
    """What a parser sees: elements with their attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def slices(self) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.elements if tag == "article"]
