"""The tables of `export.evaluation.leave_one_out`, as JSON and Markdown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from export.errors import DataError
from export.evaluation.leave_one_out import RESTRICTED
from export.evaluation.sample import WITHOUT_PROMISE
from export.files import save_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from export.evaluation.leave_one_out import LeaveOneOut, Terms


def gather(folder: Path, experiments: Sequence[LeaveOneOut]) -> dict[str, dict[str, Any]]:
    """Read what was judged, by experiment.

    Raises
    ------
    DataError
        A experiment has not been judged.
    """
    missing = [one.name for one in experiments if not (folder / one.name / "leave_one_out.json").exists()]
    if missing:
        raise DataError(f"not judged yet: {', '.join(missing)}", "run the same command again; it goes on")
    return {one.name: json.loads((folder / one.name / "leave_one_out.json").read_text()) for one in experiments}


def write_leave_one_out(out: Path, found: Mapping[str, Any], terms: Terms) -> None:
    """Write ``<out>.json`` and ``<out>.md``: what the recipe is worth on each source or site that it never saw."""
    _write(out, found, _leave_one_out_lines(found, terms))


def write_ablation(out: Path, found: Mapping[str, Any], terms: Terms) -> None:
    """Write ``<out>.json`` and ``<out>.md``: what is lost on sources never seen without each setting."""
    _write(out, found, _ablation_lines(found, terms))


def _write(out: Path, found: Mapping[str, Any], lines: Iterator[str]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    save_json(out.with_suffix(".json"), dict(found))
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")


def _leave_one_out_lines(found: Mapping[str, Any], terms: Terms) -> Iterator[str]:
    at = f" at {terms.size} px" if terms.size else ""
    yield from ("# Leave one out: sources and sites that training never saw", "")
    yield (
        f"Written by `make leave-one-out`: the recipe `{terms.recipe}`{at}, {terms.epochs} epochs of "
        f"{terms.steps} batches (the released model is trained longer), once for each row without that source or site "
        "and without every unit that touches it. The threshold flags 95 % of the tune set's positives, plain T1 left "
        "aside; the tune set holds nothing of what is judged. Intervals: 95 %, over leak-free units."
    )
    yield from ("", "| never seen | judged on | slices (with tumour) | units | AUC | sensitivity | specificity |")
    yield "|---|---|---|---|---|---|---|"
    for name, result in found.items():
        for part, figures in result["parts"].items():
            counts = f"{figures['slices']} ({figures['positives']}) | {figures['units']}"
            rates = " | ".join(_told(figures[key]) for key in ("auc", "sensitivity", "specificity"))
            yield f"| {name} | {part} | {counts} | {rates} |"
    yield ""
    named = ", ".join(RESTRICTED.left_out)
    yield f"*{RESTRICTED.name}*: without {named}, whose licences do not plainly allow commercial use."
    yield ""
    without = ", ".join(WITHOUT_PROMISE)
    yield f"On plain {without} many tumours are hardly visible: reported, but no promise rests on it."


def _ablation_lines(found: Mapping[str, Any], terms: Terms) -> Iterator[str]:
    yield from ("# Augmentation: what each setting brings on sources never seen", "")
    left_out = ", ".join(next(iter(found.values()))["left_out"])
    yield (
        f"Written by `make ablation`: the recipe `{terms.recipe}` at {terms.size} px, {terms.epochs} epochs of "
        f"{terms.steps} batches, trained without {left_out} and every unit that touches them, judged on those by AUC. "
        "Slices that touch the test source choose nothing here. *Stripped*: the same slices after brain extraction; "
        "*against OASIS*: those with a tumour against brains that came stripped and healthy. One training a row: rows "
        "that only the seed tells apart (it also draws who is in which set) differ by luck; others may too."
    )
    columns = _columns(found)
    yield from ("", f"| augmentation | {' | '.join(columns)} | mean |", f"|---|{'---|' * (len(columns) + 1)}")
    for name, result in found.items():
        row = _areas(result)
        cells = " | ".join(f"{row[column]:.3f}" for column in columns)
        yield f"| {name} | {cells} | {sum(row[column] for column in columns) / len(columns):.3f} |"
    yield ""
    for name, result in found.items():
        yield f"- {name}: {', '.join(result['augmentation']) or 'as the recipe has them'}; seed {result['seed']}"


def _areas(result: Mapping[str, Any]) -> dict[str, float]:
    """Return every AUC of a experiment that exists: a source with one label has none."""
    whole = {part: figures["auc"]["value"] for part, figures in result["parts"].items()}
    return {part: area for part, area in (whole | result["stripped"]).items() if area is not None}


def _columns(found: Mapping[str, Any]) -> list[str]:
    return [part for part in _areas(next(iter(found.values()))) if part.rsplit(" ", 1)[-1] not in WITHOUT_PROMISE]


def _told(figure: Mapping[str, float | None]) -> str:
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "–"
    return f"{value:.3f} ({low:.3f}–{high:.3f})"
