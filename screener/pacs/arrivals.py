"""What has arrived and is not answered yet, and from when on it counts as complete."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LONGEST_PAUSE = 600.0
"""Seconds between two attempts at what fails."""
_FIRST_PAUSE = 5.0


@dataclass(slots=True)
class Arrival:
    """One name below the inbox that waits for its answer.

    Attributes
    ----------
    since : float
        Monotonic time of its first arrival, s.
    due : float
        Monotonic time from which on it is complete, or tried again, s.
    senders : set of str
        Calling AE titles.
    looked : str or None
        Digest of its contents at the last look.
    failures : int
        Attempts in a row that failed.
    """

    since: float
    due: float
    senders: set[str] = field(default_factory=set)
    looked: str | None = None
    failures: int = 0


class Arrivals:
    """Collects arrivals from other threads. Times are monotonic: a clock that is set makes nothing early or late.

    Parameters
    ----------
    quiet : float
        Seconds without an arrival after which a folder is complete.
    clock : callable
        Monotonic time, s.
    """

    def __init__(self, quiet: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.quiet = quiet
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[str, Arrival] = {}
        self._woken = threading.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, name: str, sender: str | None = None, age: float = 0.0) -> None:
        """Note that something arrived below a name, so many seconds ago; the quiet period begins anew."""
        now = self._clock()
        with self._lock:
            arrival = self._waiting.setdefault(name, Arrival(now - max(0.0, age), now))
            arrival.due, arrival.looked = now + self.quiet, None
            if sender:
                arrival.senders.add(sender)

    def complete(self, names: Iterable[str]) -> None:
        """Note that nothing more is to come below some names."""
        with self._lock:
            for name in names:
                if name in self._waiting:
                    self._waiting[name].due = self._clock()
        self._woken.set()

    def due(self) -> list[str]:
        """Return the names that are complete, the longest waiting first."""
        now = self._clock()
        with self._lock:
            found = [(arrival.since, name) for name, arrival in self._waiting.items() if arrival.due <= now]
        return [name for _, name in sorted(found)]

    def take(self, name: str) -> Arrival | None:
        """Take a name off the list, so that what arrives from now on is noted anew."""
        with self._lock:
            return self._waiting.pop(name, None)

    def look_again(self, name: str, arrival: Arrival, digest: str) -> None:
        """Put a name back that may still change, for another quiet period."""
        arrival.looked = digest
        self._put_back(name, arrival, self.quiet)

    def try_again(self, name: str, arrival: Arrival) -> None:
        """Put a name back that could not be answered; each failure doubles the pause."""
        arrival.failures += 1
        self._put_back(name, arrival, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (arrival.failures - 1)))

    def ages(self) -> dict[str, float]:
        """Return for how many seconds each name waits."""
        now = self._clock()
        with self._lock:
            return {name: now - arrival.since for name, arrival in self._waiting.items()}

    def wait(self, seconds: float) -> None:
        """Sleep until `complete` is called, at most so many seconds."""
        self._woken.wait(seconds)
        self._woken.clear()

    def _put_back(self, name: str, arrival: Arrival, pause: float) -> None:
        arrival.due = self._clock() + pause
        with self._lock:
            newer = self._waiting.get(name)
            if newer is not None:
                newer.since = min(newer.since, arrival.since)
                newer.senders |= arrival.senders
                newer.failures = arrival.failures
            else:
                self._waiting[name] = arrival
