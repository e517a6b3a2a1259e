"""What must be shown before a model may be released; each line passes, fails, or was not shown.

Lines about figures pass when the lower end of the interval lies above the bar, and fail when the figure itself does
not; in between nothing was shown. Lines about people pass only with a file that names who and when.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from screener.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BARS = {"accuracy": 0.90, "sensitivity": 0.95, "specificity": 0.85}
LEAST_SITES = 2
HUMAN = {
    "expert_review": "independent expert review",
    "limitations": "limitations documented",
    "surveillance": "surveillance plan",
}
LINES = (*BARS, "sites", *HUMAN)


class Status(StrEnum):
    """How a line stands."""

    PASS = "pass"  # noqa: S105 - a word, no secret
    FAIL = "fail"
    NOT_SHOWN = "not shown"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what is asked, how it stands, and why."""

    name: str
    asked: str
    status: Status
    why: str


def checklist(measured: Mapping[str, Any], evidence: Mapping[str, Any]) -> list[Line]:
    """Return the checklist of a measurement.

    Parameters
    ----------
    measured : mapping
        From `screener.evaluate.measure.measure`.
    evidence : mapping
        From `read_evidence`.
    """
    lines = [_figure(name, bar, measured["studies"][name]) for name, bar in BARS.items()]
    lines.append(_sites(measured["sites"]))
    return [*lines, *(_human(name, asked, measured, evidence.get(name)) for name, asked in HUMAN.items())]


def _figure(name: str, bar: float, found: Mapping[str, Any]) -> Line:
    asked = f"{name} > {bar:.0%}"
    if found["value"] is None:
        return Line(name, asked, Status.NOT_SHOWN, "the set cannot show it")
    shown = f"{found['value']:.3f} ({found['low']:.3f}–{found['high']:.3f})"
    if found["value"] <= bar:
        return Line(name, asked, Status.FAIL, shown)
    if found["low"] <= bar:
        return Line(name, asked, Status.NOT_SHOWN, f"{shown}: the interval reaches below; add patients")
    return Line(name, asked, Status.PASS, shown)


def _sites(sites: Mapping[str, Any]) -> Line:
    asked = f"at least {LEAST_SITES} sites, each with both labels"
    whole = [name for name, found in sites.items() if name and 0 < found["positives"] < found["count"]]
    if not any(sites):
        return Line("sites", asked, Status.NOT_SHOWN, "no site is named")
    status = Status.PASS if len(whole) >= LEAST_SITES else Status.FAIL
    return Line("sites", asked, status, f"{len(whole)}: {', '.join(sorted(whole)) or 'none'}")


def _human(name: str, asked: str, measured: Mapping[str, Any], found: Any) -> Line:  # noqa: ANN401 - JSON
    if found is None:
        return Line(name, asked, Status.NOT_SHOWN, "no evidence was given")
    if found["model_sha256"] != measured["model_sha256"]:
        return Line(name, asked, Status.NOT_SHOWN, f"the evidence is about another model: {found['model_sha256'][:12]}")
    return Line(name, asked, Status.PASS, f"{found['who']}, {found['when']}: {found['what']}")


def read_evidence(path: Path | None) -> dict[str, Any]:
    """Read who showed what and when.

    Parameters
    ----------
    path : Path or None
        JSON: for each of `HUMAN` an object with ``who``, ``when`` (ISO date, not in the future), ``what`` (such as the
        place of the document) and ``model_sha256``, all text.

    Raises
    ------
    UsageError
        The file cannot be read, or an entry does not say who and when.
    """
    if path is None:
        return {}
    hint = f"it is a JSON object of {', '.join(HUMAN)}, each with who, when, what and model_sha256"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint) from None
    if not isinstance(found, dict) or set(found) - set(HUMAN):
        raise UsageError(f"{path} holds something else than {', '.join(HUMAN)}", hint)
    for name, entry in found.items():
        if wrong := _wrong(entry):
            raise UsageError(f"{path}: {name}: {wrong}", hint)
    return found


def _wrong(entry: Any) -> str | None:  # noqa: ANN401 - JSON
    """Say what an entry lacks; None when it is whole."""
    names = ("who", "when", "what", "model_sha256")
    if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) and entry[name] for name in names):
        return f"lacks one of {', '.join(names)}"
    try:
        when = date.fromisoformat(entry["when"])
    except ValueError:
        return f"{entry['when']!r} is no date"
    return f"{entry['when']} lies in the future" if when > datetime.now(UTC).date() else None


def lacking(lines: list[Line], required: list[str]) -> list[Line]:
    """Return the required lines that do not pass; ``all`` requires every line.

    Raises
    ------
    UsageError
        A required line is unknown.
    """
    unknown = set(required) - {*LINES, "all"}
    if unknown:
        raise UsageError(f"nothing is called {min(unknown)!r}", f"require one of {', '.join(LINES)}, or all")
    chosen = set(LINES) if "all" in required else set(required)
    return [line for line in lines if line.name in chosen and line.status is not Status.PASS]


def as_json(lines: list[Line]) -> list[dict[str, str]]:
    """Return the lines as JSON has them."""
    return [asdict(line) for line in lines]
