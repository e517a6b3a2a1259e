"""What signals do to a scan or a service: it ends after the batch in hand, and nothing is lost."""

from __future__ import annotations

import os
import signal
from typing import Any, Protocol, Self

from screener.errors import ExitCode

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stoppable(Protocol):
    """Something that can be asked to end."""

    def stop(self) -> None:
        """Finish the batch in hand and end; safe to call from a signal handler."""


class Signals:
    """What SIGINT, SIGTERM and SIGHUP do within the block: stop after the batch in hand.

    Attributes
    ----------
    scan : Stoppable or None
        What to stop; before there is one, a signal ends the process.
    over : bool
        Set once the scan has ended: a signal then does nothing.
    """

    def __init__(self) -> None:
        self.scan: Stoppable | None = None
        self.over = False
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _STOPPING:
            # Under nohup, or in a background job, some of them are to be ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._former[number] = signal.signal(number, self)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def __call__(self, *_: object) -> None:
        """Handle a signal."""
        if self.scan is None:
            # Raised here, an exception would surface inside whatever is being imported; nothing is open that matters.
            os.write(2, b"error: interrupted before anything was screened\nhint: run the same command again\n")
            os._exit(ExitCode.INTERRUPTED)
        if not self.over:
            self.scan.stop()
