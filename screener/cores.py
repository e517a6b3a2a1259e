"""How many cores this process may really use: affinity and cgroup quotas, not what the machine has."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROOT = Path("/")


def available_cores(root: Path = _ROOT) -> int:
    """Return the number of cores, at least 1.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` lie.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([cores, *(max(1, math.ceil(quota)) for quota in _quotas(root))])


def workers(requested: int | None) -> int:
    """Return how many threads should work: those wanted, but never more than there are cores for them."""
    cores = available_cores()
    return min(requested or cores, cores)


def share_out_slices_only() -> None:
    """Tell numpy's BLAS to start no threads; to be called before the first ``import numpy``.

    Worker threads share out the slices. What BLAS has to do is tiny, and where memory is short the buffers that it
    wants for each thread crash the process.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _quotas(root: Path) -> Iterator[float]:
    """Yield what each cgroup above this process allows, in cores: version 2, and version 1 of older systems."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _up(root / "sys/fs/cgroup", path, _quota)
        elif "cpu" in controllers.split(","):
            yield from _up(root / "sys/fs/cgroup" / controllers, path, _old_quota)


def _up(mount: Path, path: str, quota: Callable[[Path], float]) -> Iterator[float]:
    """Ask a group and all above it; within a container the path may lead nowhere, and the mount itself is the group."""
    group = mount / path.strip("/")
    for folder in (group, *group.parents):
        if not folder.is_relative_to(mount):
            return
        # No such group, or no quota ("max").
        with suppress(OSError, ValueError):
            yield quota(folder)


def _quota(folder: Path) -> float:
    quota, period = (folder / "cpu.max").read_text().split()[:2]
    return int(quota) / int(period)


def _old_quota(folder: Path) -> float:
    quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    if quota <= 0:
        raise ValueError("no quota")
    return quota / period
