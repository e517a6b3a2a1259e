"""How the workers of a cluster do, for the terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from screener.catalogue import Catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from screener.cluster.dask_workers import WorkerHealth
    from screener.messages import Language

_ROWS = 16
"""Workers shown: those that answered longest ago, and those that are left out, come first."""

TEXT = Catalogue(
    "cluster",
    {
        "worker": "Worker",
        "slices": "Slices",
        "answered": "Last answer",
        "cpu": "CPU",
        "memory": "Memory",
        "state": "State",
        "working": "working",
        "seconds_ago": "{seconds} s ago",
        "more": "{count} more workers, all of which answered later",
        "dashboard": "Dashboard: {address}",
        "left_out": "left out of the cluster: {worker}",
    },
)


def health_table(workers: Sequence[WorkerHealth], lang: Language) -> Table:
    """Draw a row a worker, those that need a look first.

    Parameters
    ----------
    workers : sequence of WorkerHealth
    lang : {"en", "fr"}
    """
    from rich.table import Table

    text = TEXT[lang]
    hidden = len(workers) - _ROWS
    caption = text["more"].format(count=hidden) if hidden > 0 else None
    table = Table(box=None, pad_edge=False, caption=caption, caption_justify="left")
    for name in ("worker", "slices", "answered", "cpu", "memory", "state"):
        table.add_column(text[name], justify="left" if name in {"worker", "state"} else "right")
    now = time.monotonic()
    for one in sorted(workers, key=lambda one: (one.trouble is None, one.answered))[:_ROWS]:
        ago = text["seconds_ago"].format(seconds=round(now - one.answered))
        state = one.trouble or text["working"]
        memory = f"{one.memory / 1e6:.0f} MB"
        table.add_row(_plain(one.address), str(one.slices), ago, f"{one.cpu:.0f} %", memory, _plain(state))
    return table


def _plain(text: str) -> str:
    """Return text of a worker so that it cannot steer the terminal."""
    from rich.markup import escape

    from screener.report.console import safe

    return escape(safe(text))
