"""One side of a relayed connection: a non-blocking socket, and who waits for it."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import struct
from collections.abc import Callable

from stockade.gateway.events import EventQueue

_IN = select.EPOLLIN
_OUT = select.EPOLLOUT
_BROKEN = select.EPOLLHUP | select.EPOLLERR
_READABLE = _IN | _BROKEN
_WRITABLE = _OUT | _BROKEN
_RESET = struct.pack("ii", 1, 0)

Wake = Callable[[], None]


def reset(sock: socket.socket) -> None:
    """Close *sock* so that its peer sees a reset, not an orderly end."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    except OSError:
        pass
    sock.close()


class Side:
    """A socket of a connection, watched in the queue of its devbox.

    One may wait for it to be readable and one for it to be writable. Interest that
    nobody has any more is given up only when it is met: most often it returns at once.
    """

    __slots__ = ("_fd", "_mask", "_on_readable", "_on_writable", "_queue", "sock")

    def __init__(self, sock: socket.socket, queue: EventQueue) -> None:
        self.sock = sock
        self._fd = sock.fileno()
        self._queue = queue
        self._mask = 0
        self._on_readable: Wake | None = None
        self._on_writable: Wake | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the side is watched by."""
        return self._queue.loop

    def on_readable(self, wake: Wake | None) -> None:
        """Call *wake* whenever there is something to read, or the end; None: nobody."""
        self._on_readable = wake
        if wake is not None and not self._mask & _IN:
            self._renew()

    def on_writable(self, wake: Wake | None) -> None:
        """Call *wake* whenever there is room to write, or an error; None: nobody."""
        self._on_writable = wake
        if wake is not None and not self._mask & _OUT:
            self._renew()

    async def readable(self, seconds: float | None = None) -> None:
        """Wait until there is something to read, the end, or an error.

        Raises `TimeoutError` after *seconds*.
        """
        await self._woken(self.on_readable, seconds)

    async def writable(self, seconds: float | None = None) -> None:
        """Wait until there is room to write, or an error.

        Raises `TimeoutError` after *seconds*.
        """
        await self._woken(self.on_writable, seconds)

    async def receive(self, size: int) -> bytes:
        """What came, at most *size* octets; nothing at the end. Raises `OSError`."""
        while True:
            try:
                return self.sock.recv(size)
            except BlockingIOError:
                await self.readable()

    async def send_all(self, data: bytes) -> None:
        """Send all of *data*. Raises `OSError`."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self.sock.send(rest) :]
            except BlockingIOError:
                await self.writable()

    def end(self) -> None:
        """Send no more; a peer that is gone already needs no end. Raises `OSError`."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise

    def close(self) -> None:
        """Close the socket in an orderly way. May be called twice."""
        self._leave()
        self.sock.close()

    def reset(self) -> None:
        """Close the socket so that its peer sees a reset. May be called twice."""
        self._leave()
        reset(self.sock)

    async def _woken(
        self, wait: Callable[[Wake | None], None], seconds: float | None
    ) -> None:
        # The means of asyncio for this take several times as long.
        ready = self.loop.create_future()
        expiry = None
        if seconds is not None:
            expiry = self.loop.call_later(seconds, _fail, ready)
        wait(lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            wait(None)
            if expiry is not None:
                expiry.cancel()

    def _leave(self) -> None:
        if self._mask:
            self._queue.forget(self._fd)
            self._mask = 0
        self._on_readable = self._on_writable = None

    def _event(self, mask: int) -> None:
        unmet = False
        if mask & _READABLE:
            if self._on_readable is not None:
                self._on_readable()
            else:
                unmet = True
        if mask & _WRITABLE:
            if self._on_writable is not None:
                self._on_writable()
            else:
                unmet = True
        if unmet:
            self._renew()

    def _renew(self) -> None:
        """Watch for what somebody waits for, and nothing else."""
        mask = (_IN if self._on_readable else 0) | (_OUT if self._on_writable else 0)
        if mask == self._mask:
            return
        if not self._mask:
            self._queue.watch(self._fd, mask, self._event)
        elif mask:
            self._queue.change(self._fd, mask)
        else:
            self._queue.unwatch(self._fd)
        self._mask = mask


def _fail(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_exception(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
