"""Let other programs of the same machine go first."""

from __future__ import annotations

import os


def be_nice(requested: int) -> None:
    """Lower the priority; one that cron or systemd already lowered is not lowered twice."""
    os.nice(max(0, requested - os.nice(0)))
