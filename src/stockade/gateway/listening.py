"""Accepting connections, and keeping the tasks that serve them."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Coroutine

from stockade.gateway.questions import Bucket

# In a round of the loop: others who are served by it wait meanwhile.
_BATCH = 2
_PAUSE = 0.1
_BREATH = 0.005
#: For how long after the last connection of another lane this one has to share.
_CONTENDED = 1.0
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

_log = logging.getLogger(__name__)


class TaskKeeper:
    """Runs coroutines to their end; one that fails is logged and ends only itself."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run *work* beside everything else."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def stop(self) -> None:
        """Cancel what still runs, and wait for its end."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a task of the gateway failed", exc_info=task.exception())


class Pace:
    """Bounds how fast one lane starts connections while others start some, too.

    Alone, a lane may take all there is. What waits meanwhile waits in the kernel, in the
    queue of its own lane. *rate* is in connections a second.
    """

    def __init__(
        self, clock: Callable[[], float], *, rate: float, burst: float
    ) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._buckets: dict[object, Bucket] = {}
        self._latest: object = None
        self._latest_at = self._other_at = float("-inf")

    def allows(self, lane: object) -> bool:
        """Whether *lane* may start a connection now."""
        now = self._clock()
        if lane is not self._latest:
            self._other_at = self._latest_at
            self._latest = lane
        self._latest_at = now
        if now - self._other_at > _CONTENDED:
            return True
        bucket = self._buckets.get(lane)
        if bucket is None:
            bucket = self._buckets[lane] = Bucket(self._rate, self._burst)
        return bucket.take(now)


def accept_each(
    listener: socket.socket,
    serve: Callable[[socket.socket, str], None],
    pace: Pace | None = None,
) -> None:
    """Call *serve* with each accepted connection and the address it comes from.

    Without descriptors to spare, or when the *pace* does not allow it, accepting pauses
    and goes on; the kernel keeps those who wait.
    """
    loop = asyncio.get_running_loop()

    def resume() -> None:
        if listener.fileno() >= 0:
            loop.add_reader(listener.fileno(), accept)

    def pause(seconds: float) -> None:
        loop.remove_reader(listener.fileno())
        loop.call_later(seconds, resume)

    def accept() -> None:
        for _ in range(_BATCH):
            if pace is not None and not pace.allows(listener):
                pause(_BREATH)
                return
            try:
                client, source = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    _log.warning("no descriptor for another connection: %s", error)
                    pause(_PAUSE)
                return
            client.setblocking(False)
            try:
                serve(client, source[0])
            except OSError:
                client.close()  # Gone before it was served.

    resume()
