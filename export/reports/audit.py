"""The audit as a page with pictures, and as numbers alone for those who may not see the pictures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from export.reports import plots
from screener.report.document import document, figure, gallery, heading, listing, paragraph, picture, save, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from export.data.audit import Audit

_GRID, _TWINS, _NAMED = 48, 24, 40
_NO_GATE = "No model was there, so that the pixel gate alone was asked."


def write_page(found: Audit, out: Path) -> None:
    """Write ``index.html`` and its plots as PNG into a folder; the page holds pictures of slices.

    Parameters
    ----------
    found : Audit
    out : Path
    """
    drawn = _plots(found)
    for name, content in drawn.items():
        (out / f"{name}.png").write_bytes(content)
    save(out / "index.html", document("Audit of the labelled slices", _parts(found, drawn)))


def _plots(found: Audit) -> dict[str, bytes]:
    """Draw every plot: PNG by name."""
    labels = np.array([record.label for record in found.dataset.records])
    sources = np.array([record.source for record in found.dataset.records])
    scopes = {"all": found.looks.readable} | {
        str(name): (sources == name) & found.looks.readable for name in np.unique(sources)
    }
    drawn = {
        "classes": plots.classes(found.figures["counts"]["source"]),
        "intensities": plots.intensities({
            name: {
                word: found.looks.levels[chosen & (labels == label)].mean(axis=0)
                for label, word in ((1, "yes"), (0, "no"))
                if (chosen & (labels == label)).any()
            }
            for name, chosen in scopes.items()
        }),
    }  # fmt: skip
    result = found.figures["confounding"]["source"]["picture"]
    if result["accuracy"]:
        drawn["sources"] = plots.matrix(result["names"], np.array(result["matrix"]), "Source, result from the picture")
    return drawn


def _parts(found: Audit, drawn: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the page, part by part."""
    result = found.figures
    yield listing(findings(result))
    if result["mended"]:
        yield paragraph("Mended while reading:", "warning") + listing(result["mended"])
    yield heading("What is there")
    yield figure(picture(drawn["classes"], "class distribution"), "Slices of either label by source.")
    for name, rows in result["counts"].items():
        yield table((name, "yes", "no", "leak-free units", "patients known"), _count_rows(rows))
    yield figure(
        picture(drawn["intensities"], "intensity histograms"), "Stored intensities by label: shares of pixels."
    )
    yield from _samples(found)
    yield heading("What is there twice")
    yield from _duplicates(found)
    yield heading("Sets")
    yield from (paragraph(sentence) for sentence in set_sentences(result["sets"]))
    yield table(("set", "yes", "no", "leak-free units"), [
        (name, *row.values()) for name, row in result["sets"]["slices"].items()
    ])  # fmt: skip
    yield heading("What is alike and bears two labels")
    yield from _conflicts(found)
    yield heading("What does not look like a brain MRI")
    yield from _strangers(found)
    yield heading("What gives the label or the source away")
    yield from _confounding(result["confounding"])
    if "sources" in drawn:
        yield figure(picture(drawn["sources"], "sources, true and said"), "Slices of units that were not learnt from.")


def findings(result: Mapping[str, Any]) -> list[str]:
    """Say in sentences what a data scientist should know before training."""
    counts, copies, conflicts = result["counts"]["source"], result["duplicates"], result["conflicts"]
    yes, no = (sum(row[word] for row in counts.values()) for word in ("yes", "no"))
    one_label = [name for name, row in counts.items() if not row["yes"] or not row["no"]]
    said = [f"{yes + no} slices: {yes} with tumour, {no} without, from {len(counts)} sources."]
    if one_label:
        said.append(f"One label only, so that the source tells it: {', '.join(one_label)}.")
    said.append(
        f"{copies['groups']} near-duplicate groups; {copies['slices_in_shared']} slices share theirs, and "
        f"{copies['across']['sources']} groups reach over several sources. Split by unit, never by slice."
    )
    for one, other, row in _between(copies["twins"]):
        if row["turned"] and one != other:
            total = counts[one]["yes"] + counts[one]["no"]
            said.append(
                f"{row['turned']} of the {total} slices of {one} have a flipped or turned near-twin in {other}, "
                f"{row['plain']} a plain one, {row['any']} either."
            )
    said.append(
        f"{conflicts['pairs']} pairs look alike and bear two labels, {conflicts['within_patient']} of them within one "
        f"patient; {conflicts['mixed']} groups hold two labels as written."
    )
    refused = result["strangers"]["refused"]
    said.append(f"{len(refused)} slices do not pass as a brain MRI: {_by_gate(refused) or 'none'}.")
    if result["sets"]["refused"] or result["sets"]["leaking_units"]:
        said += set_sentences(result["sets"])
    return [*said, *_given_away(result["confounding"])]


def _between(twins: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, Mapping[str, int]]]:
    """Yield from, to and counts of every two sources that share pictures."""
    return ((one, other, row) for one, others in twins.items() for other, row in others.items())


def _by_gate(refused: Sequence[Mapping[str, str]]) -> str:
    numbers = {gate: sum(one["gate"] == gate for one in refused) for gate in ("reader", "pixels", "model")}
    return ", ".join(f"{number} by the {_GATES[gate]}" for gate, number in numbers.items() if number)


_GATES = {"reader": "reader", "pixels": "pixel gate", "model": "model's own gate"}


def _given_away(result: Mapping[str, Any]) -> Iterator[str]:
    """Say how well source and label are result without looking for a tumour."""
    seen = result["source"]["picture"]
    if seen["accuracy"]:
        yield (
            f"A linear classifier names the source of {seen['accuracy']['value']:.1%} of the slices; the largest one "
            f"alone makes {seen['largest']:.1%}."
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
    """Say where the sets come from and whether anything leaks."""
    if sets["refused"]:
        yield f"No groups.csv was written: {sets['refused']}."
        return
    origin = "computed as training would" if sets["origin"] == "computed" else f"read from {sets['origin']}"
    yield f"Sets {origin}; {sets['leaking_units']} leak-free units lie in more than one of them."


def _count_rows(rows: Mapping[str, Mapping[str, int]]) -> list[tuple[object, ...]]:
    return [(value, row["yes"], row["no"], row["units"], row["patients"] or "–") for value, row in rows.items()]


def _samples(found: Audit) -> Iterator[str]:
    """Yield a grid of slices per class, the sources taking turns."""
    records = found.dataset.records
    for label, words in ((1, "With tumour"), (0, "Without tumour")):
        rng = np.random.default_rng(0)
        turns = sorted(
            (place, records[index].source, index)
            for source in sorted({record.source for record in records})
            for place, index in enumerate(rng.permutation(_of(found, label, source)).tolist())
        )
        yield heading(words, 3) + gallery(_card(found, index) for _, _, index in turns[:_GRID])


def _of(found: Audit, label: int, source: str) -> list[int]:
    """Return the readable slices of one label and source."""
    return [
        index
        for index, record in enumerate(found.dataset.records)
        if record.label == label and record.source == source and found.looks.readable[index]
    ]


def _card(found: Audit, index: int, remark: str = "", other: int | None = None) -> str:
    """Return one slice, framed as it is compared, beside its twin where it has one."""
    shown = [found.framed[place][::2, ::2] for place in (index, other) if place is not None]
    data = cv2.imencode(".jpg", np.hstack(shown), (cv2.IMWRITE_JPEG_QUALITY, 80))[1].tobytes()
    names = " ~ ".join(found.dataset.records[place].path for place in (index, other) if place is not None)
    return figure(picture(data, names, "jpeg"), f"{names}{f' · {remark}' if remark else ''}")


def _duplicates(found: Audit) -> Iterator[str]:
    result = found.figures["duplicates"]
    yield table(("near-duplicates", "number"), copy_rows(result))
    yield table(("source", "yes: slices", "groups", "no: slices", "groups"), group_rows(result["by_source"]))
    yield table(
        ("slices of", "with a near-twin in", "plain", "flipped or turned", "either"), twin_rows(result["twins"])
    )
    across = [
        (int(first), int(second))
        for first, second, turned in zip(found.pairs.first, found.pairs.second, found.pairs.turned, strict=True)
        if turned and found.dataset.records[first].source != found.dataset.records[second].source
    ]
    yield heading(f"Flipped or turned twins across sources ({len(across)} pairs)", 3)
    shown = np.random.default_rng(0).permutation(len(across))[:_TWINS].tolist()
    yield gallery(_card(found, across[place][0], other=across[place][1]) for place in shown)


def copy_rows(result: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return what is counted of near-duplicates as rows: in words, number."""
    names = {
        "identical_files": "files that another one repeats byte by byte",
        "pairs": "pairs",
        "turned_pairs": "of these flipped or turned",
        "groups": "groups",
        "shared": "groups of more than one slice",
        "slices_in_shared": "slices in these",
        "largest": "slices in the largest group",
    }
    return [
        *((words, result[name]) for name, words in names.items()),
        *((f"groups over several {place}", number) for place, number in result["across"].items()),
    ]


def group_rows(by_source: Mapping[str, Mapping[str, int]]) -> list[tuple[object, ...]]:
    """Return slices and near-duplicate groups by source and label as rows."""
    names = ("yes_slices", "yes_groups", "no_slices", "no_groups")
    return [(source, *(row[name] for name in names)) for source, row in by_source.items()]


def twin_rows(found: Mapping[str, Mapping[str, Any]]) -> list[tuple[object, ...]]:
    """Return near-twins within and between sources as rows."""
    return [(one, other, row["plain"], row["turned"], row["any"]) for one, other, row in _between(found)]


def _conflicts(found: Audit) -> Iterator[str]:
    result = found.figures["conflicts"]
    place = {record.path: index for index, record in enumerate(found.dataset.records)}
    yield paragraph(
        f"{result['pairs']} pairs, {result['within_patient']} of them neighbouring slices of one patient. Joined, they "
        f"would make {result['mixed_before']} groups with two labels; they share a unit, but no group: "
        f"{result['mixed']} remain."
    )
    yield gallery(
        _card(found, place[one["yes"]], f"yes ~ no{', turned' if one['turned'] else ''}", place[one["no"]])
        for one in result["listed"][:_NAMED]
    )


def _strangers(found: Audit) -> Iterator[str]:
    result = found.figures["strangers"]
    place = {record.path: index for index, record in enumerate(found.dataset.records)}
    yield paragraph(f"The model asked: {result['model']}." if result["model"] else _NO_GATE)
    yield gallery(
        _card(found, place[one["path"]], f"{_GATES[one['gate']]}: {one['reason']}") for one in result["refused"]
    )
    yield paragraph(
        "What a gate lets pass may still be no brain: these are the slices of each source that are least like any "
        f"other, by {result['measure']}. Most are brains; look for those that are not.",
        "remark",
    )
    for source, rows in result["strangest"].items():
        yield heading(source, 3)
        yield gallery(_card(found, place[row["path"]], f"distance {row['distance']}") for row in rows)


def _confounding(result: Mapping[str, Any]) -> Iterator[str]:
    yield table(
        ("source result from", "accuracy", "largest source", "balanced accuracy"), source_rows(result["source"])
    )
    head, rows = label_rows(result["label"])
    yield table(head, rows, "AUC of one property alone for the label, on units that were not learnt from")
    yield table(
        ("one threshold on", "balanced accuracy", "tumour when", "AUC of the number"), cut_rows(result["threshold"])
    )


def source_rows(result: Mapping[str, Mapping[str, Any]]) -> list[tuple[object, ...]]:
    """Return how well the source is result as rows."""
    return [
        (name, _span(row["accuracy"]), row["largest"], row["balanced_accuracy"])
        if row["accuracy"]
        else (name, row["why"], "–", "–")
        for name, row in result.items()
    ]


def label_rows(result: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return head and rows of the AUC by property and source; properties without any figure say why."""
    scopes = list(next(iter(result.values())))
    kept = [scope for scope in scopes if any(row[scope]["auc"] for row in result.values())]
    rows = [(name, *(_span(row[scope]["auc"]) or row[scope]["why"] for scope in kept)) for name, row in result.items()]
    return ("property", *kept), rows


def cut_rows(result: Mapping[str, Mapping[str, Any]]) -> list[tuple[object, ...]]:
    """Return how far one threshold gets as rows."""
    return [
        (
            name,
            _span(row["balanced_accuracy"]),
            f"{'above' if row['above'] else 'below'} {row['cut']:.3g}",
            row["auc"],
        )
        if row["balanced_accuracy"]
        else (name, row["why"], "–", "–")
        for name, row in result.items()
    ]


def _span(cell: Mapping[str, float] | None) -> str:
    return f"{cell['value']:.3f} ({cell['low']:.3f}–{cell['high']:.3f})" if cell else ""


def write_summary(result: Mapping[str, Any], out: Path) -> None:
    """Write ``<out>.json`` and ``<out>.md``: numbers and names, no picture.

    Parameters
    ----------
    result : mapping
        Of the audit.
    out : Path
        Without suffix.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    out.with_suffix(".md").write_text("\n".join(_lines(result)) + "\n")


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    cost = result["cost"]
    yield from ("# Audit of the labelled slices", "")
    yield (
        f"Written by `make audit` in {cost['seconds']:.0f} s, {cost['peak_mb']} MB at most. Intervals: 95 %, bootstrap "
        "over leak-free units (near-duplicate groups and patients)."
    )
    yield from ("", *(f"- {sentence}" for sentence in findings(result)), "", "## What is there")
    for name, rows in result["counts"].items():
        if name != "folder" and set(rows) != {"not known"}:
            yield from _markdown((name, "yes", "no", "leak-free units", "patients known"), _count_rows(rows))
    yield from ("", "## What is there twice")
    copies = result["duplicates"]
    yield from _markdown(("near-duplicates", "number"), copy_rows(copies))
    yield from _markdown(
        ("slices of", "with a near-twin in", "plain", "flipped or turned", "either"), twin_rows(copies["twins"])
    )
    yield from ("", "## Sets", "", *set_sentences(result["sets"]))
    yield from _markdown(
        ("set", "yes", "no", "leak-free units"),
        [(name, *row.values()) for name, row in result["sets"]["slices"].items()],
    )
    yield from _conflict_lines(result["conflicts"])
    yield from _stranger_lines(result["strangers"])
    yield from ("", "## What gives the label or the source away")
    yield from _markdown(
        ("source result from", "accuracy", "largest source", "balanced accuracy"),
        source_rows(result["confounding"]["source"]),
    )
    yield from ("", "AUC of one property alone for the label, on units that were not learnt from:")
    yield from _markdown(*label_rows(result["confounding"]["label"]))
    yield from _markdown(
        ("one threshold on", "balanced accuracy", "tumour when", "AUC of the number"),
        cut_rows(result["confounding"]["threshold"]),
    )


def _conflict_lines(result: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", "## What is alike and bears two labels", "")
    yield (
        f"{result['pairs']} pairs, {result['within_patient']} of them neighbouring slices of one patient. Joined, they "
        f"would make {result['mixed_before']} groups with two labels; as written, {result['mixed']} groups have two."
    )
    listed = [one for one in result["listed"] if not one["same_patient"]]
    if listed:
        yield from ("", "Not of one known patient:", "")
        yield from (
            f"- `{one['yes']}` ~ `{one['no']}`{' (turned)' if one['turned'] else ''}" for one in listed[:_NAMED]
        )
    if len(listed) > _NAMED:
        yield f"- … and {len(listed) - _NAMED} more, in the JSON"


def _stranger_lines(result: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", "## What does not look like a brain MRI", "")
    yield f"The model asked: {result['model']}." if result["model"] else _NO_GATE
    yield ""
    yield from (f"- `{one['path']}`: {_GATES[one['gate']]}, {one['reason']}" for one in result["refused"])
    yield from (
        "",
        f"Least like any other slice, by {result['measure']}; most are brains, none was refused for it:",
        "",
    )
    for source, rows in result["strangest"].items():
        yield f"- {source}: {', '.join(_named(row['path']) for row in rows)}"


def _named(path: str) -> str:
    return f"`{path.rsplit('/', 1)[-1]}`"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield a table."""
    yield from ("", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}")
    yield from (f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)
