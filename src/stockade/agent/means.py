"""What all executions of this machine share: threads, a pace of reading, bounds."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self, TypeVar

from stockade.errors import Unavailable
from stockade.runtime.oci import guard_thread

_T = TypeVar("_T")

# A start takes ten milliseconds, but many times that in a devbox that uses up its share of
# processor time: others are not to wait for it.
_THREADS = 32
# What one holds open: pipes, files, itself; and the rest of the server needs some, too.
_FILES = 12
# Two thousand readings a second at most, of all outputs together: what devboxes print
# then takes a tenth of the event loop, however many of them print at once.
_GAP_SECONDS = 0.0005


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of outputs is kept, and how many executions run at once.

    In bytes: *stream* of the beginning of each output, *devbox* of all outputs of a
    devbox together. Of a longer output the last MiB is kept, too. Background processes
    that outlive their execution count as running while they hold its outputs open.
    """

    stream: int = 64 << 20
    devbox: int = 1 << 30
    running_in_devbox: int = 128
    running: int = 1_500


class Pace:
    """Spreads the readings of many pipes over time."""

    def __init__(self, gap: float = _GAP_SECONDS) -> None:
        self._gap = gap
        self._next = 0.0

    def delay(self, now: float) -> float:
        """How long who has read at *now* is to wait until it reads again."""
        self._next = max(now, self._next) + self._gap
        return self._next - now


class Means:
    """Made once for each machine. Close it when no devbox runs any more."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        self.pace = Pace()
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = min(self.bounds.running, files // _FILES)
        self._running = 0
        # Their own: what starts a command does not wait for what copies a disk.
        self._threads = ThreadPoolExecutor(_THREADS, "executions", guard_thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads. Safe to call twice."""
        self._threads.shutdown()

    def call(self, function: Callable[[], _T]) -> asyncio.Future[_T]:
        """Make a blocking call in a thread."""
        return asyncio.get_running_loop().run_in_executor(self._threads, function)

    def take_place(self) -> None:
        """Count one more execution. Raises `Unavailable` when there are too many."""
        if self._running >= self._most:
            raise Unavailable(
                f"{self._running} commands run on this machine, as many as may"
            )
        self._running += 1

    def leave_place(self) -> None:
        """Count one less."""
        self._running -= 1
