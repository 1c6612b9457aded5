"""Accepting connections, and keeping the tasks that serve them."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Coroutine

_BATCH = 64
_PAUSE = 0.1
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


def accept_each(
    listener: socket.socket, serve: Callable[[socket.socket, str], None]
) -> None:
    """Call *serve* with each accepted connection and the address it comes from.

    Without descriptors to spare, accepting pauses and goes on; the kernel keeps those
    who wait.
    """
    loop = asyncio.get_running_loop()

    def resume() -> None:
        if listener.fileno() >= 0:
            loop.add_reader(listener.fileno(), accept)

    def accept() -> None:
        for _ in range(_BATCH):
            try:
                client, source = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    _log.warning("no descriptor for another connection: %s", error)
                    loop.remove_reader(listener.fileno())
                    loop.call_later(_PAUSE, resume)
                return
            client.setblocking(False)
            try:
                serve(client, source[0])
            except OSError:
                client.close()  # Gone before it was served.

    resume()
