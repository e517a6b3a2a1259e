"""The audit as a page with pictures, and as numbers alone for those who may not see the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from export.reports import plots
from export.reports.figures import UNKNOWN, interval
from export.reports.render import data_uri, write_page, write_results

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from export.data.audit import Audit

    Rows = list[tuple[object, ...]]

_GRID, _TWINS, _LISTED = 48, 24, 40
_CHECKS = {"reader": "reader", "pixels": "pixel check", "model": "embedding check"}
_COPIES = {
    "identical_files": "files that another one repeats byte by byte",
    "pairs": "pairs",
    "turned_pairs": "of these flipped or turned",
    "groups": "groups",
    "shared": "groups of more than one slice",
    "slices_in_shared": "slices in these",
    "largest": "slices in the largest group",
}


@dataclass(frozen=True)
class Picture:
    """A picture of a report with its caption.

    Attributes
    ----------
    uri : str
        Address that holds the picture.
    caption : str
    label : str
        What a screen reader says.
    tone : {"", "good", "bad"}
    """

    uri: str
    caption: str
    label: str = ""
    tone: str = ""


def write_audit(audited: Audit, out: Path) -> None:
    """Write ``index.html`` and its plots as PNG into a folder; the page holds pictures of slices.

    Parameters
    ----------
    audited : Audit
    out : Path
    """
    drawn = _plots(audited)
    for name, content in drawn.items():
        (out / f"{name}.png").write_bytes(content)
    twins = _turned_twins(audited)
    write_page(
        out / "index.html",
        "audit",
        result=audited.figures,
        **summary(audited.figures),
        plots={name: data_uri(content) for name, content in drawn.items()},
        samples=_samples(audited),
        turned_twins={"count": len(twins), "pictures": _pairs(audited, twins)},
        conflicts=_conflicts(audited),
        refused=_refused(audited),
        farthest=_farthest(audited),
    )


def write_summary(result: Mapping[str, Any], out: Path) -> None:
    """Write ``<out>.json`` and ``<out>.md``: numbers and names, no picture.

    Parameters
    ----------
    result : mapping
        The audit's figures.
    out : Path
        Without suffix.
    """
    write_results(out, "audit", result, **summary(result))


def summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what both reports show beside the figures: sentences, and the rows of tables."""
    return {
        "sentences": sentences(result),
        "set_sentences": list(set_sentences(result["sets"])),
        "counts": {name: count_rows(rows) for name, rows in result["counts"].items()},
        "copies": copy_rows(result["duplicates"]),
        "groups": group_rows(result["duplicates"]["by_source"]),
        "twins": twin_rows(result["duplicates"]["twins"]),
        "sets": [(name, *row.values()) for name, row in result["sets"]["slices"].items()],
        "conflicts_elsewhere": [pair for pair in result["conflicts"]["listed"] if not pair["same_patient"]],
        "listed": _LISTED,
        "checks": _CHECKS,
        "sources": source_rows(result["confounding"]["source"]),
        "labels": label_rows(result["confounding"]["label"]),
        "cuts": cut_rows(result["confounding"]["threshold"]),
    }


def sentences(result: Mapping[str, Any]) -> list[str]:
    """Return in sentences what a data scientist should know before training."""
    counts, copies, conflicts = result["counts"]["source"], result["duplicates"], result["conflicts"]
    yes, no = (sum(row[word] for row in counts.values()) for word in ("yes", "no"))
    one_label = [name for name, row in counts.items() if not row["yes"] or not row["no"]]
    lines = [f"{yes + no} slices: {yes} with tumour, {no} without, from {len(counts)} sources."]
    if one_label:
        lines.append(f"One label only, so that the source gives it away: {', '.join(one_label)}.")
    lines.append(
        f"{copies['groups']} near-duplicate groups; {copies['slices_in_shared']} slices share theirs, and "
        f"{copies['across']['sources']} groups reach over several sources. Split by unit, never by slice."
    )
    for source, other, row in _between(copies["twins"]):
        if row["turned"] and source != other:
            total = counts[source]["yes"] + counts[source]["no"]
            lines.append(
                f"{row['turned']} of the {total} slices of {source} have a flipped or turned near-twin in {other}, "
                f"{row['plain']} a plain one, {row['any']} either."
            )
    lines.append(
        f"{conflicts['pairs']} pairs look alike and bear two labels, {conflicts['within_patient']} of them within one "
        f"patient; {conflicts['mixed']} groups hold two labels as written."
    )
    refused = result["implausible"]["refused"]
    lines.append(f"{len(refused)} slices do not pass as a brain MRI: {_by_check(refused) or 'none'}.")
    if result["sets"]["refused"] or result["sets"]["leaking_units"]:
        lines += set_sentences(result["sets"])
    return [*lines, *_confounders(result["confounding"])]


def _between(twins: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, Mapping[str, int]]]:
    """Yield from, to and counts of every two sources that share pictures."""
    return ((source, other, row) for source, others in twins.items() for other, row in others.items())


def _by_check(refused: Sequence[Mapping[str, str]]) -> str:
    numbers = {check: sum(row["check"] == check for row in refused) for check in _CHECKS}
    return ", ".join(f"{number} by the {_CHECKS[check]}" for check, number in numbers.items() if number)


def _confounders(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield how well source and label are predicted without looking for a tumour."""
    source = result["source"]["picture"]
    if source["accuracy"]:
        yield (
            f"A linear classifier names the source of {source['accuracy']['value']:.1%} of the slices; the largest one "
            f"alone makes {source['largest']:.1%}."
        )
    areas = {name: row["all"]["auc"]["value"] for name, row in result["label"].items() if row["all"]["auc"]}
    if areas:
        best = max(areas, key=lambda name: areas[name])
        yield f"Of all properties, {best} alone predicts the label best: AUC {areas[best]:.3f}."
    cuts = {
        name: row["balanced_accuracy"]["value"] for name, row in result["threshold"].items() if row["balanced_accuracy"]
    }
    if cuts:
        best = max(cuts, key=lambda name: cuts[name])
        yield f"The best plain intensity threshold, on {best}, reaches a balanced accuracy of {cuts[best]:.3f}."


def set_sentences(sets: Mapping[str, Any]) -> Iterator[str]:
    """Yield where the sets come from and whether anything leaks."""
    if sets["refused"]:
        yield f"No groups.csv was written: {sets['refused']}."
        return
    origin = "computed as training would" if sets["origin"] == "computed" else f"read from {sets['origin']}"
    yield f"Sets {origin}; {sets['leaking_units']} leak-free units lie in more than one of them."


def count_rows(rows: Mapping[str, Mapping[str, int]]) -> Rows:
    """Return slices, units and patients by value as rows."""
    return [(value, row["yes"], row["no"], row["units"], row["patients"] or UNKNOWN) for value, row in rows.items()]


def copy_rows(result: Mapping[str, Any]) -> Rows:
    """Return what is counted of near-duplicates as rows: in words, number."""
    across = [(f"groups over several {place}", number) for place, number in result["across"].items()]
    return [*((words, result[name]) for name, words in _COPIES.items()), *across]


def group_rows(by_source: Mapping[str, Mapping[str, int]]) -> Rows:
    """Return slices and near-duplicate groups by source and label as rows."""
    names = ("yes_slices", "yes_groups", "no_slices", "no_groups")
    return [(source, *(row[name] for name in names)) for source, row in by_source.items()]


def twin_rows(twins: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Return near-twins within and between sources as rows."""
    return [(source, other, row["plain"], row["turned"], row["any"]) for source, other, row in _between(twins)]


def source_rows(result: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Return how well the source is predicted as rows."""
    return [
        (name, interval(row["accuracy"]), row["largest"], row["balanced_accuracy"])
        if row["accuracy"]
        else (name, row["why"], UNKNOWN, UNKNOWN)
        for name, row in result.items()
    ]


def label_rows(result: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return ``head`` and ``rows`` of the AUC by property and source; a cell without a figure says why."""
    scopes = list(next(iter(result.values())))
    kept = [scope for scope in scopes if any(row[scope]["auc"] for row in result.values())]
    rows = [
        (name, *(interval(row[scope]["auc"]) if row[scope]["auc"] else row[scope]["why"] for scope in kept))
        for name, row in result.items()
    ]
    return {"head": ("property", *kept), "rows": rows}


def cut_rows(result: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Return how far one threshold gets as rows."""
    return [
        (
            name,
            interval(row["balanced_accuracy"]),
            f"{'above' if row['above'] else 'below'} {row['cut']:.3g}",
            row["auc"],
        )
        if row["balanced_accuracy"]
        else (name, row["why"], UNKNOWN, UNKNOWN)
        for name, row in result.items()
    ]


def _plots(audited: Audit) -> dict[str, bytes]:
    """Draw every plot: PNG by name."""
    labels = np.array([record.label for record in audited.dataset.records])
    sources = np.array([record.source for record in audited.dataset.records])
    readable = audited.statistics.readable
    scopes = {"all": readable} | {str(name): (sources == name) & readable for name in np.unique(sources)}
    drawn = {
        "classes": plots.classes(audited.figures["counts"]["source"]),
        "intensities": plots.intensities({
            name: _mean_levels(audited, labels, chosen) for name, chosen in scopes.items()
        }),
    }  # fmt: skip
    result = audited.figures["confounding"]["source"]["picture"]
    if result["accuracy"]:
        drawn["sources"] = plots.matrix(result["names"], np.array(result["matrix"]), "Source, predicted from pixels")
    return drawn


def _mean_levels(audited: Audit, labels: NDArray[np.int64], chosen: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Return the mean histogram of either label: (64,) by "yes" and "no"."""
    return {
        word: audited.statistics.levels[chosen & (labels == label)].mean(axis=0)
        for label, word in ((1, "yes"), (0, "no"))
        if (chosen & (labels == label)).any()
    }


def _samples(audited: Audit) -> dict[str, list[Picture]]:
    """Return pictures of either label, the sources taking turns."""
    records = audited.dataset.records
    result = {}
    for label, words in ((1, "With tumour"), (0, "Without tumour")):
        rng = np.random.default_rng(0)
        turns = sorted(
            (place, records[index].source, index)
            for source in sorted({record.source for record in records})
            for place, index in enumerate(rng.permutation(_readable(audited, label, source)).tolist())
        )
        result[words] = [_picture(audited, index) for _, _, index in turns[:_GRID]]
    return result


def _readable(audited: Audit, label: int, source: str) -> list[int]:
    """Return the readable slices of one label and source."""
    return [
        index
        for index, record in enumerate(audited.dataset.records)
        if record.label == label and record.source == source and audited.statistics.readable[index]
    ]


def _picture(audited: Audit, index: int, remark: str = "", other: int | None = None) -> Picture:
    """Return one slice, framed as it is compared, beside its twin where it has one."""
    places = [place for place in (index, other) if place is not None]
    image = np.hstack([audited.framed[place][::2, ::2] for place in places])
    data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 80))[1].tobytes()
    names = " ~ ".join(audited.dataset.records[place].path for place in places)
    return Picture(data_uri(data, "jpeg"), f"{names}{f' · {remark}' if remark else ''}", names)


def _turned_twins(audited: Audit) -> list[tuple[int, int]]:
    """Return the flipped or turned pairs across sources."""
    records, pairs = audited.dataset.records, audited.pairs
    return [
        (int(first), int(second))
        for first, second, turned in zip(pairs.first, pairs.second, pairs.turned, strict=True)
        if turned and records[first].source != records[second].source
    ]


def _pairs(audited: Audit, twins: Sequence[tuple[int, int]]) -> list[Picture]:
    """Return a random sample of pairs as pictures."""
    shown = np.random.default_rng(0).permutation(len(twins))[:_TWINS].tolist()
    return [_picture(audited, twins[place][0], other=twins[place][1]) for place in shown]


def _places(audited: Audit) -> dict[str, int]:
    return {record.path: index for index, record in enumerate(audited.dataset.records)}


def _conflicts(audited: Audit) -> list[Picture]:
    """Return the first pairs that look alike and bear two labels."""
    place = _places(audited)
    return [
        _picture(audited, place[pair["yes"]], f"yes ~ no{', turned' if pair['turned'] else ''}", place[pair["no"]])
        for pair in audited.figures["conflicts"]["listed"][:_LISTED]
    ]


def _refused(audited: Audit) -> list[Picture]:
    """Return every slice that a check refused."""
    place = _places(audited)
    return [
        _picture(audited, place[row["path"]], f"{_CHECKS[row['check']]}: {row['reason']}")
        for row in audited.figures["implausible"]["refused"]
    ]


def _farthest(audited: Audit) -> dict[str, list[Picture]]:
    """Return by source the slices that are least like any other."""
    place = _places(audited)
    return {
        source: [_picture(audited, place[row["path"]], f"distance {row['distance']}") for row in rows]
        for source, rows in audited.figures["implausible"]["farthest"].items()
    }
