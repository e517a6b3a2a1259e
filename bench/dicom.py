"""Measure DICOM: the header pass beside bare pydicom, and a scan of DICOM slices beside the same slices as PNG.

Whoever is compared takes turns, so that a busy machine slows all of them alike: ``make bench``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.dicom_slices import drawn, encoded  # noqa: E402 - the checkout's own
from bench.watch import SCAN, processor, run, timed, watched  # noqa: E402
from screener.cores import available_cores  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

_SIDE = 256
_FLAT = 64
"""Side of the slices of the large flat export: its headers are what is measured."""
_WHITE = 4095
"""What the window of the slices shows as white."""
_AIMS = {
    "header_share": 0.71,
    "header_per_second": 1500.0,
    "scan_share": 0.85,
    "difference": 0.02,
    "first_seconds": 5.0,
    "peak_memory_mb": 350.0,
}


def main() -> None:
    """Write ``docs/results/dicom.json`` and ``dicom.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headers", type=int, default=2_000)
    parser.add_argument("--slices", type=int, default=400)
    parser.add_argument("--flat", type=int, default=20_000, help="files of the flat export whose memory is watched")
    parser.add_argument("--compared", type=int, default=600, help="slices read as DICOM and as 16-bit PNG")
    parser.add_argument("--data", type=Path, help="labelled slices: half of the compared ones come from there")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/dicom")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        figures = {
            "headers": headers(scratch / "headers", arguments.headers, arguments.rounds),
            "scan": scans(scratch, arguments.slices, arguments.rounds),
            "same_pixels": same_pixels(scratch / "same", arguments.compared, arguments.data),
            "first": first_answer(scratch / "first", arguments.flat, arguments.rounds),
            "flat": [flat(scratch, count) for count in (arguments.flat // 10, arguments.flat)],
            "aims": _AIMS,
            "machine": {"processor": processor(), "cores": available_cores()},
            "rounds": arguments.rounds,
        }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(report(figures))
    print(report(figures))


def headers(folder: Path, count: int, rounds: int) -> dict[str, float]:
    """Time the header pass and bare pydicom over the same files, both in one thread, as wall and processor time.

    Parameters
    ----------
    folder : Path
    count, rounds : int

    Returns
    -------
    dict
        Files a second, wall and processor time, of each; ``share``: the pass over bare pydicom, by processor time.
    """
    import pydicom

    from screener.inbox import Entry, Limits
    from screener.inbox.dicom import wanted_tags
    from screener.inbox.header_index import HeaderIndex

    files = _write(folder, count, _SIDE)
    tags = wanted_tags()

    def bare() -> None:
        for file in files:
            pydicom.dcmread(file, specific_tags=tags, stop_before_pixels=True)

    def passed() -> None:
        with HeaderIndex(Limits()) as index:
            found = index.ordered(Entry(file, file.name, None) for file in files)
            assert sum(1 for _ in found) == count  # noqa: S101 - else the figure means nothing

    spent = _in_turns({"bare": bare, "pass": passed}, rounds)
    return {
        "files": count,
        "bare_per_second": count / spent["bare"][0],
        "pass_per_second": count / spent["pass"][0],
        "bare_per_processor_second": count / spent["bare"][1],
        "pass_per_processor_second": count / spent["pass"][1],
        "share": spent["bare"][1] / spent["pass"][1],
    }


def scans(scratch: Path, count: int, rounds: int) -> dict[str, float]:
    """Time whole scans of the same slices as uncompressed DICOM and as 16-bit PNG, start-up taken off.

    Returns
    -------
    dict
        Slices a second of each, and ``share``: DICOM over PNG.
    """
    import cv2
    import numpy as np

    dicom, png, few = scratch / "dicom", scratch / "png", scratch / "few"
    _write(dicom, count, _SIDE)
    for number, file in enumerate(sorted(dicom.rglob("*.dcm"))):
        study = png / file.parent.name
        study.mkdir(parents=True, exist_ok=True)
        stored = np.frombuffer(drawn(number, _SIDE).PixelData, np.uint16).reshape(_SIDE, _SIDE)
        (study / f"{number:06}.png").write_bytes(cv2.imencode(".png", stored)[1].tobytes())
    one = {"dicom": few / "dicom/a", "png": few / "png/a"}
    for kind, source in (("dicom", dicom), ("png", png)):
        one[kind].mkdir(parents=True)
        first = min(path for path in source.rglob("*") if path.is_file())
        (one[kind] / first.name).write_bytes(first.read_bytes())
    logs = iter(range(10**6))

    def scan(inbox: Path) -> None:
        run([*SCAN, str(inbox), "--log", str(scratch / f"log-{next(logs)}.jsonl"), "--quiet"])

    work = {"dicom": dicom, "png": png, "one dicom": one["dicom"].parent, "one png": one["png"].parent}
    spent = _in_turns({name: partial(scan, inbox) for name, inbox in work.items()}, rounds)
    rates = {kind: (count - 1) / (spent[kind][0] - spent[f"one {kind}"][0]) for kind in ("dicom", "png")}
    return {
        "slices": count,
        "dicom_per_second": rates["dicom"],
        "png_per_second": rates["png"],
        "share": rates["dicom"] / rates["png"],
    }


def same_pixels(folder: Path, count: int, data: Path | None) -> dict[str, float]:
    """Scan slices as DICOM, and the same windowed pixels as 16-bit PNG.

    Parameters
    ----------
    folder : Path
    count : int
        Slices; drawn heads, or half of them pictures from `data`.
    data : Path, optional
        Folder with a manifest.

    Returns
    -------
    dict
        ``slices`` that were scored both ways, those ``refused`` one way only, the largest difference in probability,
        and how many differ by more than 0.02.
    """
    stored = [*_pictures(data, count // 2 if data else 0)]
    stored += [_stored(number) for number in range(count - len(stored))]
    for number, values in enumerate(stored):
        name = f"{number // 20:03}/{number:06}"
        for kind in ("dicom", "png"):
            (folder / kind / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "dicom" / f"{name}.dcm").write_bytes(encoded(number, _SIDE, stored=values))
        (folder / "png" / f"{name}.png").write_bytes(_png16(values))
    dicom, png = (_probabilities(folder / kind, folder / f"{kind}.jsonl") for kind in ("dicom", "png"))
    scored = [name for name in dicom if dicom[name] is not None and png[name] is not None]
    apart = [abs(float(dicom[name] or 0) - float(png[name] or 0)) for name in scored]
    return {
        "slices": len(scored),
        "pictures": count // 2 if data else 0,
        "refused_one_way": sum((dicom[name] is None) != (png[name] is None) for name in dicom),
        "largest": max(apart),
        "beyond": sum(difference > _AIMS["difference"] for difference in apart),
    }


def _pictures(data: Path | None, count: int) -> Iterator[NDArray[np.uint16]]:
    """Yield pictures of a data set as 12-bit values, evenly spread over its manifest."""
    import cv2
    import numpy as np

    from screener.evaluate.labelled import read_slices

    if data is None:
        return
    found = read_slices(data)
    for record in found.slices[:: max(1, len(found.slices) // count)][:count]:
        image = cv2.imdecode(np.fromfile(found.root / record.path, np.uint8), cv2.IMREAD_GRAYSCALE)
        if image is not None:
            yield np.asarray(image.astype(np.uint16) << 4, np.uint16)


def _stored(number: int) -> NDArray[np.uint16]:
    import numpy as np

    from export.data.phantoms import phantom

    drawn_head = phantom(number, _SIDE, tumour=number % 2 == 1)
    return np.asarray(drawn_head.astype(np.uint16) << 4, np.uint16)


def _png16(values: NDArray[np.uint16]) -> bytes:
    """Return what the window shows, over the whole range of 16 bits."""
    import cv2
    import numpy as np

    windowed = np.rint(np.clip(values / _WHITE, 0, 1) * 65535).astype(np.uint16)
    return bytes(cv2.imencode(".png", windowed)[1].tobytes())


def _probabilities(inbox: Path, log: Path) -> dict[str, float | None]:
    """Return the probability of each slice by its path without the ending; None for a refused one."""
    done = subprocess.run(
        [*SCAN, str(inbox), "--log", str(log), "--json", "--level", "slice"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    if not found:
        raise SystemExit(f"the scan ended with {done.returncode}: {done.stderr}")
    return {str(Path(line["path"]).with_suffix("")): line["probability"] for line in found}


def first_answer(folder: Path, count: int, rounds: int) -> dict[str, float]:
    """Time how long the first study takes to be answered, of an inbox with a folder a study.

    Returns
    -------
    dict
        ``files`` and ``studies`` of the inbox, and the median ``seconds`` from the start of the command.
    """
    _write(folder / "inbox", count, _FLAT)
    seconds = []
    for turn in range(rounds):
        command = [*SCAN, str(folder / "inbox"), "--log", str(folder / f"{turn}.jsonl"), "--json", "--level", "study"]
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            line = process.stdout.readline() if process.stdout else ""
            seconds.append(time.perf_counter() - started)
            process.kill()
        if json.loads(line)["level"] != "study":
            raise SystemExit(f"no study was answered: {line}")
    return {"files": count, "studies": -(-count // 20), "seconds": statistics.median(seconds)}


def flat(scratch: Path, count: int) -> dict[str, float]:
    """Scan a flat folder of many small DICOM files of mixed studies while looking at its memory."""
    folder = scratch / f"flat-{count}"
    _write(folder, count, _FLAT, flat=True)
    seen = watched([*SCAN, str(folder), "--log", str(scratch / f"flat-{count}.jsonl"), "--quiet"], every=0.2)
    return {"files": count, "seconds": seen.seconds, "peak_memory_mb": seen.megabytes}


def _write(folder: Path, count: int, side: int, *, flat: bool = False) -> list[Path]:
    """Write heads as DICOM, twenty a study: a folder a study, or all in one folder with the studies mixed."""
    files = []
    for number in range(count):
        name = f"{number * 7919 % count:07}.dcm" if flat else f"{number // 20:05}/{number:06}.dcm"
        files.append(folder / name)
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        files[-1].write_bytes(encoded(number, side))
    return files


def _in_turns(work: dict[str, Callable[[], None]], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median wall and processor seconds of each, after one round that does not count."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, job in work.items():
            started = time.process_time()
            seconds = timed(job)
            if turn:
                spent[name].append((seconds, time.process_time() - started))
    return {
        name: (statistics.median(wall for wall, _ in both), statistics.median(used for _, used in both))
        for name, both in spent.items()
    }


def report(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    head, scan, machine = figures["headers"], figures["scan"], figures["machine"]
    small, large = figures["flat"]
    same, first = figures["same_pixels"], figures["first"]
    rows = (
        (
            "bare pydicom, chosen tags, no pixels",
            f"{head['bare_per_processor_second']:.0f} files/s of processor time",
            "–",
        ),
        (
            "header pass: read, described, indexed",
            f"{head['pass_per_processor_second']:.0f} files/s of processor time",
            "–",
        ),
        (
            "header pass, with others beside it",
            f"{head['pass_per_second']:.0f} files/s",
            f"{_AIMS['header_per_second']:.0f} files/s",
        ),
        ("header pass against bare pydicom", f"{head['share']:.2f}", f"{_AIMS['header_share']:.2f}"),
        (f"scan of {scan['slices']} slices of {_SIDE} pixels, DICOM", f"{scan['dicom_per_second']:.0f} slices/s", "–"),
        ("the same as 16-bit PNG", f"{scan['png_per_second']:.0f} slices/s", "–"),
        ("DICOM against PNG", f"{scan['share']:.2f}", f"{_AIMS['scan_share']:.2f}"),
        (
            f"DICOM and 16-bit PNG of {same['slices']} slices, {same['pictures']} of them of patients: probability",
            (
                f"at most {same['largest']:.4f} apart, {same['beyond']} more than the aim, "
                f"{same['refused_one_way']} refused one way only"
            ),
            f"{_AIMS['difference']:.2f}",
        ),
        (
            f"first of {first['studies']:,} studies answered, a folder each",
            f"{first['seconds']:.1f} s after the start",
            f"{_AIMS['first_seconds']:.0f} s",
        ),
        *(
            (
                f"flat export of {one['files']:,} files, peak memory",
                f"{one['peak_memory_mb']:.0f} MB",
                f"{_AIMS['peak_memory_mb']:.0f} MB",
            )
            for one in (small, large)
        ),
        (f"flat export of {large['files']:,} files", f"{large['seconds']:.0f} s", "–"),
    )
    return (
        f"# DICOM\n\nWritten by `make bench`: medians of {figures['rounds']} rounds in turns, on {machine['cores']} "
        f"cores of {machine['processor']} that others may have kept busy; start-up taken off the scans.\n\n"
        f"{_table(rows)}\n"
    )


def _table(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(["| what | measured | aim |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


if __name__ == "__main__":
    main()
