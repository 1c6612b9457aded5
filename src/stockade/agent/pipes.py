"""The ends of pipes that lead into devboxes, read and written in the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable

from stockade.agent.means import Pace
from stockade.errors import Conflict

#: The most that is read at once.
PIECE = 256 << 10
_FULL = 64 << 10
_BUSY = 8
_CLOSED = "it does not read its standard input any more"


def enlarge(descriptor: int) -> None:
    """Let a pipe hold more, as far as the machine's bound for pipes permits."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIECE)


class Collector:
    """Reads a pipe to its end. *take* is given what arrives, *on_end* called once.

    A piece at a time, and others have their turn before the next: who writes faster
    waits.
    """

    def __init__(
        self,
        descriptor: int,
        take: Callable[[bytes], None],
        on_end: Callable[[], None],
        pace: Pace,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._take = take
        self._on_end = on_end
        self._pace = pace
        self._timer: asyncio.TimerHandle | None = None
        self._busy = 0
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._ready)

    @property
    def is_closed(self) -> bool:
        """Whether nothing is read any more."""
        return self._descriptor < 0

    def discard(self) -> None:
        """Read on, so that nobody is held up, but keep nothing of it."""
        self._take = _ignore

    def drain(self) -> None:
        """Take what is in the pipe now."""
        for _ in range(PIECE // 4096):
            if not self._read():
                return

    def close(self) -> None:
        """Read no more. Who writes gets SIGPIPE. Safe to call twice."""
        if self._descriptor < 0:
            return
        self._loop.remove_reader(self._descriptor)
        if self._timer is not None:
            self._timer.cancel()
        os.close(self._descriptor)
        self._descriptor = -1
        self._on_end()

    def _ready(self) -> None:
        self._loop.remove_reader(self._descriptor)
        self._read()
        if self._descriptor >= 0:
            wait = self._pace.delay(self._loop.time())
            self._timer = self._loop.call_later(wait, self._arm)

    def _arm(self) -> None:
        self._timer = None
        if self._descriptor >= 0:
            self._loop.add_reader(self._descriptor, self._ready)

    def _read(self) -> bool:
        """Read one piece; whether there was one."""
        if self._descriptor < 0:
            return False
        try:
            data = os.read(self._descriptor, PIECE)
        except BlockingIOError:
            return False
        if not data:
            self.close()
            return False
        if len(data) >= _FULL:
            self._busy += 1
            if self._busy == _BUSY:
                enlarge(self._descriptor)
        self._take(data)
        return True


class InputPipe:
    """Writes to a pipe, in the order of the calls, at the pace of who reads."""

    def __init__(self, descriptor: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._turn = asyncio.Lock()
        self._waiting: asyncio.Future[None] | None = None
        os.set_blocking(descriptor, False)

    async def write(self, data: bytes | memoryview) -> None:
        """Write all of *data*. Raises `Conflict` if nobody reads it any more.

        A part may have been written when it is cancelled.
        """
        async with self._turn:
            rest = memoryview(data)
            while rest:
                rest = rest[await self._write(rest) :]

    async def end(self) -> None:
        """Let the reader see the end of the file, after all that was written."""
        async with self._turn:
            self.close()

    def close(self) -> None:
        """Write no more; a writer that waits gets `Conflict`. Safe to call twice."""
        if self._descriptor >= 0:
            self._loop.remove_writer(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Conflict(_CLOSED))

    async def _write(self, data: memoryview) -> int:
        if self._descriptor < 0:
            raise Conflict(_CLOSED)
        try:
            return os.write(self._descriptor, data[:PIECE])
        except BrokenPipeError:
            self.close()
            raise Conflict(_CLOSED) from None
        except BlockingIOError:
            await self._until_writable()
            return 0

    async def _until_writable(self) -> None:
        self._waiting = waiting = self._loop.create_future()
        self._loop.add_writer(self._descriptor, _wake, waiting)
        try:
            await waiting
        finally:
            self._waiting = None
            if self._descriptor >= 0:
                self._loop.remove_writer(self._descriptor)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _ignore(_data: bytes) -> None:
    """Keep nothing."""
