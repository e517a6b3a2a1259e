"""Mutated inputs against everything that reads bytes from outside: ``make fuzz``, ``make fuzz-volumes``.

Image decoder, DICOM and NIfTI readers, audit-log reader, model-card reader. An input counts as survived when the reader
answers or refuses with its own exception; a crash ends this program, a slow or greedy one shows in the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from screener.inbox.isolation import SafeDecoder  # noqa: E402 - the checkout's own
from screener.inbox.limits import Limits  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from screener.domain.slice import Refused

    Reader = Callable[[bytes], str]


_TOLD = 1000
"""Inputs between two signs of progress."""


@dataclass
class Outcome:
    """What a reader did with its inputs."""

    inputs: int = 0
    slowest_seconds: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)


def main() -> None:
    """Run every target and write ``docs/results/fuzz.json`` and ``fuzz.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--dicom", type=int, default=50_000)
    parser.add_argument("--volumes", type=int, default=10_000)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument(
        "--only", action="append", help="a reader by its name; may be repeated; the others keep figures"
    )
    parser.add_argument(
        "--minutes", type=float, default=1e9, help="stop a reader after so long; the figures say how far"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/fuzz")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)  # noqa: S311 - mutations, not secrets
    plan: dict[str, tuple[Reader, Callable[[], Sequence[bytes]], int]] = {
        "JPEG and PNG decoder": (_decode, _images, arguments.images),
        "DICOM reader": (read_slices, dicom_seeds, arguments.dicom),
        "NIfTI reader": (read_slices, volume_seeds, arguments.volumes),
        "audit log, verify and read": (_read_log, _logs, arguments.texts),
        "model card": (_read_card, _cards, arguments.texts),
    }
    known = arguments.out.with_suffix(".json")
    figures = json.loads(known.read_text()) if arguments.only and known.exists() else {"targets": {}}
    for name, (reader, seeds, count) in plan.items():
        if not arguments.only or name in arguments.only:
            figures["targets"][name] = vars(attack(reader, seeds(), count, rng, arguments.minutes))
    _DECODER.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    figures |= {"seed": arguments.seed, "peak_memory_mb": max(peak, figures.get("peak_memory_mb", 0.0))}
    figures["targets"] = {name: figures["targets"][name] for name in plan if name in figures["targets"]}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    known.write_text(json.dumps(figures, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(report(figures))
    print(report(figures))


def attack(
    reader: Reader, seeds: Sequence[bytes], count: int, rng: random.Random, minutes: float = float("inf")
) -> Outcome:
    """Feed `count` mutations of the seeds to a reader, or as many as fit into some minutes."""
    outcome, until = Outcome(), time.monotonic() + 60 * minutes
    for _ in range(count):
        if time.monotonic() > until:
            break
        data = mutate(rng.choice(seeds), rng)
        started = time.perf_counter()
        outcome.answers[reader(data)] += 1
        outcome.slowest_seconds = max(outcome.slowest_seconds, time.perf_counter() - started)
        outcome.inputs += 1
        if outcome.inputs % _TOLD == 0:
            print(f"{outcome.inputs:,} of {count:,}", file=sys.stderr, flush=True)
    return outcome


def mutate(seed: bytes, rng: random.Random) -> bytes:
    """Change, flip, cut, insert, repeat or truncate bytes, once to sixteen times."""
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not data:
            break
        at, kind = rng.randrange(len(data)), rng.random()
        if kind < 0.5:
            data[at] = rng.randrange(256)
        elif kind < 0.65:
            data[at] ^= 1 << rng.randrange(8)
        elif kind < 0.75:
            del data[at : at + rng.randrange(1, 30)]
        elif kind < 0.85:
            data[at:at] = rng.randbytes(rng.randrange(1, 20))
        elif kind < 0.95:
            data[at:at] = data[rng.randrange(len(data)) :][:200]
        else:
            del data[at:]
    return bytes(data)


def _images() -> list[bytes]:
    """Draw small heads and encode them in every way that we read."""
    import cv2
    import numpy as np

    from export.data.phantoms import phantom

    grey = phantom(1, 64)
    colour = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    alpha = np.dstack([colour, np.full_like(grey, 200)])
    deep = grey.astype(np.uint16) << 4
    ways = [
        (".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 80]),
        (".jpg", colour, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (".jpg", colour, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
        *(
            (".png", image, [cv2.IMWRITE_PNG_COMPRESSION, level])
            for image in (grey, colour, alpha, deep)
            for level in (0, 9)
        ),
    ]
    return [cv2.imencode(kind, image, options)[1].tobytes() for kind, image, options in ways]


def _decode(data: bytes) -> str:
    from screener.inbox import RefusedError, decode

    try:
        pixels, saturation = decode(data)
    except RefusedError as refused:
        return refused.reason.value
    if not (0 <= pixels.min() <= pixels.max() <= 1 and 0 <= saturation <= 1):
        raise AssertionError("decoded outside [0, 1]")
    return "decoded"


_DECODER = SafeDecoder()
"""As in a scan: what takes a foreign decoder is decoded in a process that may die."""
_LIMITS = Limits(seconds=60.0)
"""Patient, so that a busy machine passes for no slow decoder."""
_FRAMES = 2
"""Frames decoded of one input."""


def read_slices(data: bytes) -> str:
    """Read a DICOM or NIfTI file as a scan does, and decode its first frames."""
    from screener.domain.slice import Identity, Slice
    from screener.inbox import FileBytes, decode_slice, sniff
    from screener.inbox.dicom import expand
    from screener.inbox.nifti import expand_nifti

    limits, kind = _LIMITS, sniff.kind(data)
    found = FileBytes(Identity("a/T1.nii.gz", "0", None), data)
    items: list[FileBytes | Refused] = [found]
    if kind in {sniff.DICOM, sniff.NIFTI}:
        items = expand(found, limits) if kind == sniff.DICOM else expand_nifti(found, limits)
    answer = "decoded"
    for item in items[:_FRAMES]:
        slice_ = decode_slice(item, limits, _DECODER) if isinstance(item, FileBytes) else item
        if not isinstance(slice_, Slice):
            answer = slice_.reason.value
        elif not 0 <= slice_.pixels.min() <= slice_.pixels.max() <= 1:
            raise AssertionError("decoded outside [0, 1]")
    return answer


def dicom_seeds() -> list[bytes]:
    """Write a small head in every encoding that pydicom writes, as single frame, frames, and Enhanced MR."""
    from bench.dicom_slices import ENCODINGS, encoded, enhanced

    return [*(encoded(1, 32, syntax) for syntax in ENCODINGS), enhanced(32, 2), enhanced(32, 3, grouped=False)]


def volume_seeds() -> list[bytes]:
    """Write a small head as NIfTI, plain and packed, of versions 1 and 2."""
    import gzip

    import nibabel as nib
    import numpy as np

    from export.data.phantoms import phantom

    head = np.stack([phantom(number, 32) for number in range(3)], axis=-1)
    affine = np.diag([6.0, 6.0, 9.0, 1.0])
    made = [
        kind(head.astype(depth), affine).to_bytes()
        for kind in (nib.Nifti1Image, nib.Nifti2Image)
        for depth in (np.uint8, np.int16, np.float32)
    ]
    return [*made, *(gzip.compress(data, 1) for data in made)]


def _logs() -> list[bytes]:
    """Write a small log."""
    from screener.audit import AuditLog
    from screener.domain.finding import Decision, Finding, Urgency

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.jsonl"
        with AuditLog(path) as log:
            log.start({"model": "fuzz"})
            finding = Finding(
                "a/b.png", "0" * 64, "a", Decision.FLAGGED, 0.9, 0.9, Urgency.HIGH, "read", 0.5, "auto", None, "m 1",
                "1" * 64, "0", False, "notice",
            )  # fmt: skip
            log.results([finding] * 3, doctor_id=None, preprocessing="v1")
            log.end({"files": 3}, "complete")
        return [path.read_bytes()]


def _read_log(data: bytes) -> str:
    from screener.audit import read, verify
    from screener.errors import AuditLogError

    path = Path(tempfile.gettempdir()) / f"screener-fuzz-{os.getpid()}.jsonl"
    path.write_bytes(data)
    try:
        sound = verify(path).ok
        for _ in read(path):
            pass
    except AuditLogError:
        return "refused"
    finally:
        path.unlink()
    return "sound" if sound else "not sound"


def _cards() -> list[bytes]:
    from screener.model.store import locate

    return [(locate().folder / "card.json").read_bytes()]


def _read_card(data: bytes) -> str:
    from screener.errors import ModelError
    from screener.model.card import Card

    try:
        Card.parse(data)
    except ModelError:
        return "refused"
    return "read"


def report(figures: Mapping[str, Any]) -> str:
    """Return the figures as Markdown."""
    rows = "\n".join(
        f"| {name} | {found['inputs']:,} | {found['slowest_seconds']:.2f} s | "
        f"{', '.join(f'{answer} {count:,}' for answer, count in Counter(found['answers']).most_common())} |"
        for name, found in figures["targets"].items()
    )
    return (
        "# Fuzzing\n\nWritten by `make fuzz` and `make fuzz-volumes`: mutated inputs, no crash of the program, no "
        f"unexpected exception; peak memory {figures['peak_memory_mb']:.0f} MB.\n\n"
        f"| reader | inputs | slowest | answers |\n|---|---|---|---|\n{rows}\n"
    )


if __name__ == "__main__":
    main()
