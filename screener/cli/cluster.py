"""``screener scan --cluster``: connect before the log is opened, compute elsewhere, show how the workers do."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from screener.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from screener.cluster.dask_workers import DaskWorkers
    from screener.messages import Language
    from screener.model.session import Model
    from screener.pipeline.executor import Executor
    from screener.pipeline.run import ScanRun
    from screener.pipeline.slice import PipelineSettings


def connected(run: ScanRun, lang: Language, *, pictures: bool) -> AbstractContextManager[DaskWorkers | None]:
    """Return the workers of the cluster that was named, each of which proved itself; None where none was.

    Raises
    ------
    UsageError
        Pictures of the slices are wanted, whose pixels do not leave the workers.
    """
    address = run.config.cluster
    if address is None:
        return nullcontext()
    if pictures:
        raise UsageError(
            "--report needs the pixels, which --cluster leaves to the workers",
            "write the page afterwards: screener report PAGE",
        )
    from screener.cluster.dask_workers import DaskWorkers
    from screener.cluster.executor import question_for
    from screener.cluster.health import TEXT
    from screener.report.console import safe

    def notify(sentence: str) -> None:
        sys.stderr.write(TEXT[lang]["left_out"].format(worker=safe(sentence)) + "\n")

    return DaskWorkers(address, question_for(run.inbox, run.model, run.config), notify)


def executor(run: ScanRun, workers: DaskWorkers | None) -> Callable[[PipelineSettings, Model, int | None], Executor]:
    """Return what a scan makes its executor with: of the workers, or of this machine."""
    from screener.pipeline.executor import local_executor

    if workers is None:
        return local_executor
    from screener.cluster.executor import executor_for

    return executor_for(workers, run.config, run.policy, run.log)


def health(workers: DaskWorkers | None, lang: Language, *, quiet: bool) -> Callable[[], object] | None:
    """Say where Dask shows the cluster, and return what draws the state of the workers below the bar."""
    if workers is None or quiet:
        return None
    from screener.cluster.health import TEXT, health_table

    sys.stderr.write(TEXT[lang]["dashboard"].format(address=workers.dashboard) + "\n")
    return lambda: health_table(workers.health(), lang)
