"""What a measurement showed, as tables for the terminal and as a page with every mistake in pictures."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from screener.messages import NOTICE
from screener.report.console import rich_table, safe
from screener.report.document import document, figure, gallery, heading, listing, paragraph, picture, table
from screener.report.pictures import jpeg

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.table import Table

    from screener.model.session import Model

PICTURES = 200
"""Mistakes shown of each kind."""
_BATCH = 16
_RATES = ("sensitivity", "specificity", "accuracy", "precision", "f1")
_HEAD = ("part", "studies or slices", "with tumour", "refused", "AUC", *_RATES, "Brier", "ECE")
_HOW = (
    "A study is positive if any of its slices is; its answer comes from its slices as in a scan. Intervals: 95 %, "
    "bootstrap over patients; those of rates exact where there is no exception, and no narrower than that below ten "
    "patients. What is refused counts as missed when it shows a tumour and as a false alarm when it does not; Brier "
    "score and calibration error (ECE) are those of what is assessable."
)
_LEVELS = {"lower": "lower 40 %", "middle": "middle", "top": "top 20 %"}


def _rows(measured: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the cells of the table of figures: by study first."""
    parts = [("studies", measured["studies"])]
    parts += [(f"sequence {name}", figures) for name, figures in measured["sequences"].items()]
    sites = measured["sites"]
    if any(sites):
        parts += [(f"site {name or 'unknown'}", figures) for name, figures in sites.items()]
    for name, figures in [*parts, ("slices", measured["slices"])]:
        yield (
            name,
            str(figures["count"]),
            str(figures["positives"]),
            str(figures["refused"]["hits"]),
            _interval(figures["auc"]),
            *(_interval(figures[rate]) for rate in _RATES),
            _plain(figures["brier"]),
            _plain(figures["calibration_error"]),
        )


def _level_rows(measured: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (_LEVELS[level], _counted(rates["sensitivity"]), _counted(rates["specificity"]))
        for level, rates in measured["levels"].items()
    ]


def _counted(rate: Mapping[str, Any]) -> str:
    """Show a rate with its interval and the slices and patients behind it."""
    if rate["value"] is None:
        return "–"
    return f"{_interval(rate)}, {rate['hits']} of {rate['count']} slices, {rate['units']} patients"


def _head_rows(measured: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the figures that the hospital cannot give away."""
    heads = measured["heads"]
    for name, figures in heads.get("adjusted", {}).items():
        shown = f"{figures['alone']:.3f} alone, {figures['in_context']:.3f} in context"
        yield (
            f"covariate-adjusted AUC, {name}",
            f"{shown}; {figures['positives']} slices with tumour, {figures['patients']} patients",
        )
    if parts := heads.get("parts"):
        fair = "" if heads["random_parts"] is None else f"; random scores get {heads['random_parts']:.3f}"
        specificity = _share(parts["specificity"])
        yield (
            "tumour-free part of the same heads",
            f"AUC {parts['auc']:.3f}, specificity at sensitivity 0.95: {specificity}{fair}",
        )
    for name, figures in heads.get("key_slices", {}).items():
        yield f"key slice on the tumour, {name}", f"{_share(figures)}; chance {figures['chance']:.3f}"


def _share(rate: Mapping[str, Any]) -> str:
    return f"{_interval(rate)}, {rate['hits']} of {rate['count']}"


def _pooled(measured: Mapping[str, Any]) -> str | None:
    """Say what the hospital alone would give; None where that cannot be computed."""
    baseline = measured["acquisition_baseline"]
    if baseline is None:
        return None
    return (
        f"Acquisition baseline: image size and grey statistics alone, one patient left out, get an AUC by study of "
        f"{baseline['auc']:.3f} ({baseline['studies']} studies, {baseline['patients']} patients). Where it is high, "
        "patients with and without a tumour come from different scanners, and the AUC by study says little."
    )


def _without_anatomy(measured: Mapping[str, Any]) -> str | None:
    """Say what happened to slices that show no anatomy, which no other figure by slice counts."""
    counts = measured["without_anatomy"]
    if not counts["slices"]:
        return None
    return (
        f"Of {counts['slices']} slices without anatomy in view {counts['refused']} were refused, which is right, and "
        f"{counts['flagged']} flagged, which is a false alarm."
    )


def _interval(rate: Mapping[str, float | None]) -> str:
    if rate["value"] is None:
        return "–"
    return f"{rate['value']:.3f} ({_plain(rate['low'])}–{_plain(rate['high'])})"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _confusion(measured: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    matrix = measured["studies"]["confusion"]
    return [("tumour", matrix["caught"], matrix["missed"]), ("no tumour", matrix["alarms"], matrix["quiet"])]


def _prevalences(measured: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rows = measured["studies"]["at_prevalence"].items()
    return [(f"{float(share):.0%}", _plain(row["ppv"]), _plain(row["npv"])) for share, row in rows]


def _detection(measured: Mapping[str, Any]) -> str:
    """Say how many patients were found as a certificate counts them."""
    detected = measured["detection"]
    if detected is None:
        return "Patients found: not known, since no patient with a tumour is named (column patient)."
    supports = f"supports sensitivity ≥ {detected['supports']:g}" if detected["supports"] else "supports no certificate"
    low, high = detected["usual"]
    return (
        f"Patients found by one drawn slice each: {detected['missed']} of {detected['units']} missed, lower bound "
        f"{detected['bound']:.4f} at 95 % confidence, which {supports}. Over all draws {detected['average']:.3f} are "
        f"found; in 95 % of draws {low} to {high} are missed."
    )


def _identity(measured: Mapping[str, Any]) -> str:
    return (
        f"Model {measured['model']} ({measured['model_sha256'][:12]}), threshold {measured['threshold']:g} "
        f"({measured['operating_point']}), measured {measured['measured']} with screener {measured['tool_version']} "
        f"on {measured['data']}."
    )


def tables(measured: Mapping[str, Any]) -> Iterator[Table | str]:
    """Yield what the terminal shows: rich tables and lines of text."""
    yield safe(_identity(measured))
    yield rich_table("Figures", _HEAD, _rows(measured))
    yield from filter(None, [_pooled(measured), _without_anatomy(measured)])
    if measured["heads"]:
        yield rich_table("Figures that the hospital cannot give away", ("figure", "value"), _head_rows(measured))
    if measured["levels"]:
        yield rich_table("Slices by level of the head", ("level", "sensitivity", "specificity"), _level_rows(measured))
    yield rich_table("Studies", ("truth", "flagged", "not flagged"), _confusion(measured))
    if measured["studies"]["at_prevalence"]:
        yield rich_table("If so many studies show a tumour", ("prevalence", "PPV", "NPV"), _prevalences(measured))
    yield _detection(measured)
    yield rich_table("Release checklist", ("line", "status", "why"), _checklist(measured))
    yield from (safe(remark) for remark in measured["remarks"])
    if measured["refusals"]:
        yield "Refused: " + ", ".join(f"{count} {reason}" for reason, count in measured["refusals"].items())
    yield f"Studies: {len(measured['missed_studies'])} missed, {len(measured['false_alarm_studies'])} false alarms."
    alarms = len(measured["false_alarms"])
    yield f"Slices: {len(measured['missed'])} missed, {alarms} false alarms (--out FILE shows each)."
    yield _HOW
    yield NOTICE["en"]


def _checklist(measured: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [(line["asked"], line["status"], line["why"]) for line in measured["checklist"]]


def evaluation_page(root: Path, measured: Mapping[str, Any], model: Model) -> str:
    """Return the page.

    Parameters
    ----------
    root : Path
        Folder that the paths of the set are relative to.
    measured : mapping
        From `screener.evaluate.measure.measure`, with its ``checklist``.
    model : Model
        Draws where it found evidence.
    """
    parts = [
        paragraph(_identity(measured), "remark"),
        *(paragraph(remark, "warning") for remark in measured["remarks"]),
        heading("Figures"),
        table(_HEAD, _rows(measured)),
        paragraph(_HOW, "remark"),
        *(paragraph(line) for line in filter(None, [_pooled(measured), _without_anatomy(measured)])),
        *_whole_heads(measured),
        table(("truth", "flagged", "not flagged"), _confusion(measured), "Studies"),
        paragraph(_detection(measured)),
        heading("Release checklist"),
        table(("line", "status", "why"), _checklist(measured)),
        *_chances(measured),
        *_faults(measured["faults"]),
    ]
    parts += _study_table("Missed studies", measured["missed_studies"])
    parts += _study_table("Studies flagged or refused without a tumour", measured["false_alarm_studies"])
    parts += _mistakes("Missed slices", measured["missed"], root, model)
    parts += _mistakes("Slices flagged or refused without a tumour", measured["false_alarms"], root, model)
    return document(f"{model.card.title} on labelled slices", parts)


def _whole_heads(measured: Mapping[str, Any]) -> Iterator[str]:
    if measured["heads"]:
        yield heading("Figures that the hospital cannot give away")
        yield table(("figure", "value"), _head_rows(measured))
    if measured["levels"]:
        yield table(("level", "sensitivity", "specificity"), _level_rows(measured), "Slices by level of the head")


def _study_table(title: str, studies: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield heading(f"{title} ({len(studies)})")
    if studies:
        rows = [
            (
                study["study"],
                study["site"],
                _plain(study["probability"]),
                study["reason"] or "",
                ", ".join(study["key_slices"]),
            )
            for study in studies
        ]
        yield table(("study", "site", "probability", "reason", "key slices"), rows)


def _chances(measured: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a verdict is worth where tumours are rarer, and how far probabilities can be believed."""
    if measured["studies"]["at_prevalence"]:
        yield heading("If so many studies show a tumour")
        yield table(("prevalence", "PPV", "NPV"), _prevalences(measured))
    yield heading("Calibration")
    yield table(
        ("probability", "studies", "mean probability", "share with tumour"),
        [
            (f"{row['low']:.1f}–{row['high']:.1f}", row["count"], _plain(row["mean"]), _plain(row["share"]))
            for row in measured["studies"]["reliability"]
        ],
    )


def _faults(faults: Sequence[str]) -> list[str]:
    return [heading(f"Not used ({len(faults)})"), listing(faults)] if faults else []


def _mistakes(title: str, measured: Sequence[Mapping[str, Any]], root: Path, model: Model) -> Iterator[str]:
    yield heading(f"{title} ({len(measured)})")
    if len(measured) > PICTURES:
        yield paragraph(f"The first {PICTURES} of {len(measured)}.", "remark")
    shown = iter(measured[:PICTURES])
    while batch := list(islice(shown, _BATCH)):
        yield gallery(_figures(batch, root, model))


def _figures(batch: Sequence[Mapping[str, Any]], root: Path, model: Model) -> Iterator[str]:
    from screener.inbox import RefusedError, decode
    from screener.pipeline.slice import heatmaps

    drawn = {}
    for mistake in batch:
        try:
            drawn[mistake["path"]] = decode((root / mistake["path"]).read_bytes())[0]
        except (RefusedError, OSError):
            continue
    evidence = dict(zip(drawn, heatmaps(model, list(drawn.values())), strict=True))
    for mistake in batch:
        said = mistake["reason"] if mistake["probability"] is None else f"{mistake['probability']:.3f}"
        caption = " · ".join(filter(None, (mistake["path"], mistake["site"], mistake["patient"], said)))
        path = mistake["path"]
        heatmap = evidence.get(path) if mistake["reason"] is None else None
        markup = picture(jpeg(drawn[path], heatmap, model), path, "jpeg") if path in drawn else ""
        yield figure(markup, caption, "bad")
