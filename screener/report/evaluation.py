"""What a measurement showed, as tables for the terminal and as a page with every mistake in pictures."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from screener.messages import NOTICE
from screener.report.console import safe
from screener.report.document import document, figure, gallery, heading, listing, paragraph, picture, table
from screener.report.pictures import jpeg

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.table import Table

    from screener.model.session import Model

PICTURES = 200
"""Mistakes shown of each kind."""
_BATCH = 16
_RATES = ("sensitivity", "specificity", "accuracy", "precision", "f1")
_HEAD = ("part", "slices or patients", "with tumour", "refused", "AUC", *_RATES, "Brier", "ECE")
_HOW = (
    "Intervals: 95 %, bootstrap over patients; those of rates exact where there is no exception, and no narrower than "
    "that below ten patients. A refused slice counts as missed when it shows a tumour and as a false alarm when it "
    "does not; Brier score and calibration error (ECE) are those of the assessable slices. A patient counts as flagged "
    "when a slice is, and one without a tumour as a false alarm when a slice was refused."
)


def _rows(told: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the cells of the table of figures."""
    parts = [("slices", told["slices"]), ("patients", told["patients"])]
    sites = told["sites"]
    if any(sites):
        parts += [(f"site {name or 'unknown'}", found) for name, found in sites.items()]
    for name, found in parts:
        yield (
            name,
            str(found["slices"]),
            str(found["positives"]),
            str(found["refused"]["hits"]),
            _interval(found["auc"]),
            *(_interval(found[rate]) for rate in _RATES),
            _plain(found["brier"]),
            _plain(found["calibration_error"]),
        )


def _interval(found: Mapping[str, float | None]) -> str:
    if found["value"] is None:
        return "–"
    return f"{found['value']:.3f} ({_plain(found['low'])}–{_plain(found['high'])})"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _confusion(told: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    matrix = told["slices"]["confusion"]
    return [("tumour", matrix["caught"], matrix["missed"]), ("no tumour", matrix["alarms"], matrix["quiet"])]


def _prevalences(told: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rows = told["slices"]["at_prevalence"].items()
    return [(f"{float(share):.0%}", _plain(row["ppv"]), _plain(row["npv"])) for share, row in rows]


def _detection(told: Mapping[str, Any]) -> str:
    """Say how many patients were found as a certificate counts them."""
    found = told["detection"]
    if found is None:
        return "Patients found: not known, since no patient with a tumour is named (column patient)."
    supports = f"supports sensitivity ≥ {found['supports']:g}" if found["supports"] else "supports no certificate"
    low, high = found["usual"]
    return (
        f"Patients found by one drawn slice each: {found['missed']} of {found['units']} missed, lower bound "
        f"{found['bound']:.4f} at 95 % confidence, which {supports}. Over all draws {found['average']:.3f} are found; "
        f"in 95 % of draws {low} to {high} are missed."
    )


def _identity(told: Mapping[str, Any]) -> str:
    return (
        f"Model {told['model']} ({told['model_sha256'][:12]}), threshold {told['threshold']:g} "
        f"({told['operating_point']}), measured {told['measured']} with screener {told['tool_version']} "
        f"on {told['data']}."
    )


def tables(told: Mapping[str, Any]) -> Iterator[Table | str]:
    """Yield what the terminal shows: rich tables and lines of text."""
    yield safe(_identity(told))
    yield _rich("Figures", _HEAD, _rows(told))
    yield _rich("Slices", ("truth", "flagged", "not flagged"), _confusion(told))
    if told["slices"]["at_prevalence"]:
        yield _rich("If so many slices show a tumour", ("prevalence", "PPV", "NPV"), _prevalences(told))
    yield _detection(told)
    yield _rich("Release checklist", ("line", "status", "why"), _checklist(told))
    yield from (safe(remark) for remark in told["remarks"])
    if told["refusals"]:
        yield "Refused: " + ", ".join(f"{count} {reason}" for reason, count in told["refusals"].items())
    yield f"{len(told['missed'])} missed, {len(told['false_alarms'])} false alarms (--out FILE shows each)."
    yield _HOW
    yield NOTICE["en"]


def _checklist(told: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [(line["asked"], line["status"], line["why"]) for line in told["checklist"]]


def _rich(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in head:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*(Text(safe(str(cell))) for cell in row))
    return made


def evaluation_page(root: Path, told: Mapping[str, Any], model: Model) -> str:
    """Return the page.

    Parameters
    ----------
    root : Path
        Folder that the paths of the set are relative to.
    told : mapping
        From `screener.evaluate.measure.measure`, with its ``checklist``.
    model : Model
        Draws where it found evidence.
    """
    parts = [
        paragraph(_identity(told), "remark"),
        *(paragraph(remark, "warning") for remark in told["remarks"]),
        heading("Figures"),
        table(_HEAD, _rows(told)),
        paragraph(_HOW, "remark"),
        table(("truth", "flagged", "not flagged"), _confusion(told), "Slices"),
        paragraph(_detection(told)),
        heading("Release checklist"),
        table(("line", "status", "why"), _checklist(told)),
        *_chances(told),
        *_faults(told["faults"]),
    ]
    parts += _mistakes("Missed", told["missed"], root, model)
    parts += _mistakes("False alarms", told["false_alarms"], root, model)
    return document(f"{model.card.title} on labelled slices", parts)


def _chances(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a verdict is worth where tumours are rarer, and how far probabilities can be believed."""
    if told["slices"]["at_prevalence"]:
        yield heading("If so many slices show a tumour")
        yield table(("prevalence", "PPV", "NPV"), _prevalences(told))
    yield heading("Calibration")
    yield table(
        ("probability", "slices", "mean probability", "share with tumour"),
        [
            (f"{row['low']:.1f}–{row['high']:.1f}", row["count"], _plain(row["mean"]), _plain(row["share"]))
            for row in told["slices"]["reliability"]
        ],
    )


def _faults(faults: Sequence[str]) -> list[str]:
    return [heading(f"Not used ({len(faults)})"), listing(faults)] if faults else []


def _mistakes(title: str, told: Sequence[Mapping[str, Any]], root: Path, model: Model) -> Iterator[str]:
    yield heading(f"{title} ({len(told)})")
    if len(told) > PICTURES:
        yield paragraph(f"The first {PICTURES} of {len(told)}.", "remark")
    shown = iter(told[:PICTURES])
    while batch := list(islice(shown, _BATCH)):
        yield gallery(_figures(batch, root, model))


def _figures(batch: Sequence[Mapping[str, Any]], root: Path, model: Model) -> Iterator[str]:
    import numpy as np

    from screener.inbox import RefusedError, decode
    from screener.preprocess import prepare

    drawn = {}
    for one in batch:
        try:
            drawn[one["path"]] = decode((root / one["path"]).read_bytes())[0]
        except (RefusedError, OSError):
            continue
    tensors = [prepare(pixels, model.card.preprocessing) for pixels in drawn.values()]
    answers = model.predict(np.stack(tensors), heatmaps=True) if tensors else []
    heatmaps = {path: answer.heatmap for path, answer in zip(drawn, answers, strict=True)}
    for one in batch:
        said = one["reason"] if one["probability"] is None else f"{one['probability']:.3f}"
        caption = " · ".join(filter(None, (one["path"], one["site"], one["patient"], said)))
        path = one["path"]
        heatmap = heatmaps.get(path) if one["reason"] is None else None
        markup = picture(jpeg(drawn[path], heatmap, model), path, "jpeg") if path in drawn else ""
        yield figure(markup, caption, "bad")
