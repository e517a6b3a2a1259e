"""A scan in a process of its own, to be killed: ``audit_writer.py LOG SLICES SEED ROTATE_BYTES``."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from audit_samples import PREPROCESSING, finding, look_up

from screener.audit import AuditLog


def main() -> None:
    """Judge every slice not seen yet, in batches of changing size."""
    path, slices, seed, rotate_bytes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    chance = random.Random(seed)  # noqa: S311 - sizes of batches
    with AuditLog(path, wait=10, rotate_bytes=rotate_bytes) as log:
        log.start({"seed": seed})
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        pending = []
        for number in range(slices):
            if look_up(log, finding(number)) is None:
                pending.append(finding(number))
            if len(pending) >= chance.randint(1, 32) or number == slices - 1:
                log.results(pending, doctor_id=None, preprocessing=PREPROCESSING)
                pending = []
        log.end({}, "done")


main()
