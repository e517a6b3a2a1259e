"""How far a scan is, on a terminal."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any

from screener.messages import TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from screener.messages import Language
    from screener.pipeline.scan import Scan


def progress(
    scan: Scan, lang: Language, *, quiet: bool, color: bool, below: Callable[[], object] | None = None
) -> AbstractContextManager[Callable[[], None]]:
    """Return a bar with rate and time left on a terminal, nothing in cron; `below` draws what stands under it."""
    if quiet or not sys.stderr.isatty():
        return nullcontext(lambda: None)
    return _bar(scan, lang, color=color, below=below)


@contextmanager
def _bar(
    scan: Scan, lang: Language, *, color: bool, below: Callable[[], object] | None
) -> Iterator[Callable[[], None]]:
    """Draw the bar; the files are counted beside the scan, which does not wait for their number."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from screener.inbox import find
    from screener.report.console import console

    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())

    # By default rich would carry off to stderr what is written to stdout, and with it the results.
    class _Progress(Progress):
        def get_renderables(self) -> Iterable[Any]:
            yield from super().get_renderables()
            if below is not None:
                yield below()

    bar = _Progress(
        *columns,
        console=console(sys.stderr, color=color),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with bar:
        task = bar.add_task(TEXT[lang]["scanning"], total=None, rate="")
        started = time.monotonic()

        def count() -> None:
            total = sum(1 for _ in islice(find(scan.inbox, options=scan.walk), scan.config.limit))
            bar.update(task, total=total)

        def advance() -> None:
            done = bar.tasks[0].completed + 1
            bar.update(task, advance=1, rate=f"{done / max(time.monotonic() - started, 1e-3):.0f}/s")

        threading.Thread(target=count, daemon=True).start()
        yield advance
