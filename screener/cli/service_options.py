"""Options that `listen`, `watch` and `status` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

QuietPeriod = Annotated[float, typer.Option(min=0, help="Seconds without an arrival after which a study is complete.")]
Page = Annotated[
    Path | None, typer.Option("--report", help="Also keep the worklist as a page, renewed after each study.")
]
UnansweredAfter = Annotated[
    float, typer.Option(min=0, help="Minutes after which a study without an answer raises an alarm.")
]
Results = Annotated[bool, typer.Option("--json", help="One JSON object a study on stdout.")]
Health = Annotated[
    int | None,
    typer.Option("--health", min=0, max=65535, help="Port of this machine for /healthz and /metrics; 0: any."),
]
Wait = Annotated[float, typer.Option(min=0, help="Seconds to wait for a scan on the same log before trying later.")]
