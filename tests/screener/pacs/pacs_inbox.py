"""Services over small inboxes, for the tests of receiving."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from screener.pacs.arrivals import Arrivals
from screener.pacs.service import Service, ServiceOptions
from screener.pipeline.config import ScanConfig
from screener.pipeline.run import ScanRun

if TYPE_CHECKING:
    from pathlib import Path

    from screener.domain.study import StudyFinding


@dataclass
class Clock:
    """Time that a test moves on."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Place:
    """An inbox with a log and what a service needs; each `service` is a start of the program."""

    root: Path
    model: Path
    clock: Clock = field(default_factory=Clock)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def inbox(self) -> Path:
        found = self.root / "inbox"
        found.mkdir(exist_ok=True)
        return found

    @property
    def log(self) -> Path:
        return self.root / "audit.jsonl"

    def run(self, **options: object) -> ScanRun:
        config = ScanConfig.of(**{"model": str(self.model), "log": self.log, "jobs": 1} | self.options | options)
        return ScanRun.prepare(self.inbox, config)

    def service(self, *, trusted: bool = False, quiet: float = 60.0, **more: Any) -> Service:  # noqa: ANN401
        options = ServiceOptions("listen" if trusted else "watch", trusted, **more)
        return Service(self.run(), Arrivals(quiet, self.clock), options)

    def answer_all(self, service: Service, seconds: float = 60.0) -> list[bool]:
        """Let time pass, and answer what is due."""
        self.clock.now += seconds
        return [service.answer(name) for name in service.arrivals.due()]

    def events(self, kind: str) -> list[dict[str, Any]]:
        if not self.log.exists():
            return []
        found = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [event for event in found if event["event"] == kind]


def collected(into: list[StudyFinding]) -> dict[str, Any]:
    """Return the option that collects what a service answers."""
    return {"show": into.append}
