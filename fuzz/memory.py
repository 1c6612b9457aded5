"""Sockets, an event queue and an event loop in memory: no system call, no real time.

What the gateway does with a connection runs as it is; only the kernel is ours. Time passes
when nobody has anything left to do, so a run is quick and always the same.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import itertools
import os
import select
import selectors
import socket
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from fuzz.target import Finding

_IN, _OUT, _HUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP
_MAX_ROUNDS = 20_000

_numbers = itertools.count(1_000_000)


class MemorySocket:
    """The gateway's end of a connection. The other end is whoever holds this object."""

    def __init__(
        self,
        local: tuple[str, int] = ("", 0),
        on_send: Callable[[bytes], None] | None = None,
    ) -> None:
        self._local = local
        self._on_send = on_send
        self._number = next(_numbers)
        self._incoming: deque[bytes] = deque()
        self._has_ended = False
        self._is_broken = False
        self.sent = b""
        self.is_shut = False
        self.is_closed = False
        self.is_full = False

    def arrive(self, data: bytes) -> None:
        """Let *data* arrive, as one segment."""
        if data and not self._has_ended:
            self._incoming.append(data)

    def arrive_end(self) -> None:
        """Let the other end say that it sends no more."""
        self._has_ended = True

    def arrive_reset(self) -> None:
        """Let the other end be gone."""
        self._is_broken = self._has_ended = True
        self._incoming.clear()

    @property
    def events(self) -> int:
        """What an epoll would say of the socket."""
        mask = 0 if self.is_shut or self.is_full else _OUT
        if self._incoming or self._has_ended:
            mask |= _IN
        return mask | _HUP if self._is_broken else mask

    def fileno(self) -> int:
        return -1 if self.is_closed else self._number

    def getsockname(self) -> tuple[str, int]:
        return self._local

    def recv(self, size: int, flags: int = 0) -> bytes:
        self._expect_usable()
        if not self._incoming:
            if self._has_ended:
                return b""
            raise BlockingIOError
        piece = self._incoming[0]
        if not flags & socket.MSG_PEEK:
            self._incoming.popleft()
            if len(piece) > size:
                self._incoming.appendleft(piece[size:])
        return piece[:size]

    def send(self, data: bytes) -> int:
        self._expect_usable()
        if self.is_shut:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if self.is_full:
            raise BlockingIOError
        octets = bytes(data)
        if self._on_send is not None:
            self._on_send(octets)
        self.sent += octets
        return len(octets)

    def shutdown(self, _how: int) -> None:
        self._expect_usable()
        self.is_shut = True

    def setsockopt(self, *_option: object) -> None:
        self._expect_open()

    def setblocking(self, _flag: object) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True

    def _expect_open(self) -> None:
        if self.is_closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def _expect_usable(self) -> None:
        self._expect_open()
        if self._is_broken:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


class MemoryQueue:
    """Stands for the `EventQueue` of a devbox, over sockets in memory."""

    def __init__(self, loop: MemoryLoop) -> None:
        self.loop = loop
        self.sockets: dict[int, MemorySocket] = {}
        self.watched: dict[int, tuple[int, Callable[[int], None]]] = {}

    def watch(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        self.watched[fd] = (mask, handler)

    def change(self, fd: int, mask: int) -> None:
        self.watched[fd] = (mask, self.watched[fd][1])

    def unwatch(self, fd: int) -> None:
        self.watched.pop(fd, None)

    forget = unwatch

    def close(self) -> None:
        self.watched.clear()

    @property
    def has_events(self) -> bool:
        for fd, (mask, _) in self.watched.items():  # A loop: this is asked every round.
            if self.sockets[fd].events & (mask | _HUP):
                return True
        return False

    def turn(self) -> None:
        """Deliver what the sockets have to say, as one round of an epoll does."""
        for fd in tuple(self.watched):
            found = self.watched.get(fd)  # An earlier one may have taken it out.
            if found is not None:
                mask = self.sockets[fd].events & (found[0] | _HUP)
                if mask:
                    found[1](mask)


class _NoKernel(selectors.BaseSelector):
    """Waits for nothing: `MemoryLoop` does what the kernel would."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        return None

    def unregister(self, fileobj: Any) -> Any:
        return None

    def get_map(self) -> Mapping[Any, Any]:
        return {}

    def get_key(self, fileobj: Any) -> Any:
        raise KeyError(fileobj)

    def select(self, timeout: float | None = None) -> list[Any]:
        return []


class MemoryLoop(asyncio.SelectorEventLoop):
    """A loop in which nothing is waited for.

    In each round the events of *queue* are delivered. *steps* are what the world outside
    does: one whenever nothing is left to do, or earlier where *haste* has a bit set for the
    round. At the end of all, time passes; and where nothing waits for time, it is stuck.
    """

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _stopping: bool

    def __init__(self) -> None:
        super().__init__(_NoKernel())
        self.begin()

    def begin(self, haste: int = 0) -> None:
        """Forget the run before, and what it would still have waited for."""
        self._scheduled.clear()
        self._now = 0.0
        self.queue = MemoryQueue(self)
        self.steps: deque[Callable[[], None]] = deque()
        self._haste = haste
        self._rounds = 0
        self._is_held = False
        self._problem: BaseException | None = None

    def hold(self, seconds: float) -> None:
        """Let no step happen for so long: time passes."""
        self._is_held = True
        self.call_later(seconds, self._release)

    def _release(self) -> None:
        self._is_held = False

    def abandon(self) -> None:
        """Cancel what a finding has left behind, and close the loop."""
        self.begin()
        left = asyncio.all_tasks(self)
        for task in left:
            task.cancel()

        async def end() -> None:
            await asyncio.gather(*left, return_exceptions=True)

        self.run_until_complete(end())
        self.close()

    def time(self) -> float:
        return self._now

    async def sock_recv(self, sock: Any, size: int) -> bytes:
        """For sockets to which all that will come has come already."""
        received: bytes = sock.recv(size)
        return received

    async def sock_sendall(self, sock: Any, data: Any) -> None:
        sock.send(data)

    def _run_once(self) -> None:
        """One round, as the loop of asyncio has it, but for the wait."""
        self._rounds += 1
        if self._rounds > _MAX_ROUNDS:
            raise Finding("a run without end")
        is_hasty = self._haste & 1
        self._haste >>= 1
        has_events = self.queue.has_events
        is_idle = not (self._ready or has_events or self._stopping)
        if self.steps and not self._is_held and (is_idle or is_hasty):
            self.call_soon(self.steps.popleft())
        elif is_idle:
            self._pass_time()
        if has_events:
            self.call_soon(self.queue.turn)
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()
                if self._problem is not None:
                    raise self._problem

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what went wrong in a callback, or in a task that nobody waits for."""
        self._problem = context.get("exception") or Finding(context["message"])

    def _pass_time(self) -> None:
        while self._scheduled:
            timer = heapq.heappop(self._scheduled)
            if not timer.cancelled():
                self._now = max(self._now, timer.when())
                self._ready.append(timer)
                return
        raise Finding("stuck: nothing left to happen, and it has not ended")
