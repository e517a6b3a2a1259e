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

Port = Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0: any that is free.")]
Host = Annotated[str, typer.Option(help="Address to listen on; another than this machine's own needs senders or TLS.")]
AeTitle = Annotated[str, typer.Option("--ae-title", help="AE title that senders call.")]
CallingAe = Annotated[
    list[str] | None, typer.Option(help="AE title that may send; repeatable. Default: any of this machine.")
]
CallingAddress = Annotated[list[str] | None, typer.Option(help="Address that may connect; repeatable. Default: any.")]
OnRelease = Annotated[
    bool, typer.Option("--on-release", help="A study is complete when its association ends, without a quiet period.")
]
Associations = Annotated[int, typer.Option(min=1, max=64, help="Associations at a time.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds of silence after which an association is aborted.")]
MinFree = Annotated[int, typer.Option(min=0, help="MiB of the disk that stay free; below, senders are refused (A700).")]
KeepDays = Annotated[
    float | None, typer.Option(min=0, help="Delete received files so many days after their answer. Default: never.")
]
TlsCert = Annotated[Path | None, typer.Option(help="Certificate for TLS, PEM; peers must show one too.")]
TlsKey = Annotated[Path | None, typer.Option(help="Its key, PEM.")]
TlsCa = Annotated[Path | None, typer.Option(help="Authority that signs the certificates of senders, PEM.")]
