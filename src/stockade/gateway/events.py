"""Tells the sockets of one devbox when they can be read or written.

Each devbox has an epoll of its own, which the event loop watches as one descriptor. So
in each round of the loop every devbox has one turn, which is short: a devbox that keeps
thousands of sockets busy does not make another wait. A socket costs one system call to
watch, where the loop's own readers cost several for each wait.
"""

from __future__ import annotations

import asyncio
import errno
import select
from collections.abc import Callable

#: How many events one devbox may have served in a turn. The kernel tells first of those
#: that have waited longest.
TURN = 4

Handler = Callable[[int], None]


class EventQueue:
    """The epoll of one devbox. It is opened when the first socket is watched."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handlers: dict[int, Handler] = {}
        self._gone: set[int] = set()
        self._closed = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop whose turns these are: that of the first who asks."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def watch(self, fd: int, mask: int, handler: Handler) -> None:
        """Call *handler* with the events of *fd* that are in *mask*, and errors.

        Raises `OSError` when the kernel cannot watch one more.
        """
        epoll = self._epoll or self._open()
        epoll.register(fd, mask)
        self._handlers[fd] = handler

    def change(self, fd: int, mask: int) -> None:
        """Wait for other events of a watched *fd*."""
        if self._epoll is not None:
            self._epoll.modify(fd, mask)

    def unwatch(self, fd: int) -> None:
        """Watch an open *fd* no more."""
        if self._handlers.pop(fd, None) is not None and self._epoll is not None:
            self._gone.add(fd)
            self._epoll.unregister(fd)

    def forget(self, fd: int) -> None:
        """Take note that *fd* is about to be closed: the kernel forgets it by itself."""
        if self._handlers.pop(fd, None) is not None:
            self._gone.add(fd)

    def close(self) -> None:
        """Watch nothing any more. Sockets may still be forgotten afterwards."""
        self._closed = True
        self._handlers.clear()
        if self._epoll is not None and self._loop is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _open(self) -> select.epoll:
        if self._closed:
            raise OSError(errno.ESHUTDOWN, "the devbox is detached")
        self._epoll = select.epoll()
        self.loop.add_reader(self._epoll.fileno(), self._turn)
        return self._epoll

    def _turn(self) -> None:
        assert self._epoll is not None  # noqa: S101 - closed ones are not read
        gone = self._gone
        gone.clear()
        for fd, mask in self._epoll.poll(0, TURN):
            # The number may belong to another socket by now: what was said of the one
            # before says nothing of it.
            handler = self._handlers.get(fd)
            if handler is not None and fd not in gone:
                handler(mask)
