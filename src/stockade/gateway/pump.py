"""Moves bytes between two sockets without bringing them into the process.

One `Pump` per direction: `splice(2)` from a socket into a pipe and from the pipe into
the other socket. A pipe is held only while bytes are in it, so an idle connection costs
no descriptor beyond its two sockets. Back-pressure is the pipe: while the target takes
nothing, the source is not read.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable

PIPE_BYTES = 1 << 20
POOLED_PIPES = 32

_F_SETPIPE_SZ = 1031
_SPLICE_FLAGS = 0x01 | 0x02  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK
_RESET = struct.pack("ii", 1, 0)


def reset(sock: socket.socket) -> None:
    """Close *sock* so that its peer sees a reset, not an orderly end."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    except OSError:
        pass
    sock.close()


def end_stream(sock: socket.socket) -> None:
    """Send no more; a peer that is gone already needs no end."""
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise


class PipePool:
    """Empty pipes for pumps to borrow."""

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] = []

    def take(self) -> tuple[int, int]:
        """An empty non-blocking pipe: (read end, write end). Raises `OSError`."""
        if self._free:
            return self._free.pop()
        ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(ends[1], _F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            pass  # The user's share of pipe memory is used up: a small pipe works too.
        return ends

    def give_back(self, ends: tuple[int, int]) -> None:
        """Return an empty pipe."""
        if len(self._free) < POOLED_PIPES:
            self._free.append(ends)
        else:
            self.discard(ends)

    def discard(self, ends: tuple[int, int]) -> None:
        """Close a pipe, whatever is in it."""
        os.close(ends[0])
        os.close(ends[1])

    def close(self) -> None:
        """Close the pipes that nobody holds."""
        while self._free:
            self.discard(self._free.pop())


class Pump:
    """One direction: bytes from *source* to *target* until the stream ends.

    At the end of the stream the target's sending side is shut down and *on_end* is
    called with None; when either socket fails, with the error. It is called once, and
    not after `stop`. *before* is called once, when the first bytes are there and have
    not been taken.
    """

    __slots__ = (
        "_before",
        "_eof",
        "_held",
        "_loop",
        "_on_end",
        "_pipe",
        "_pool",
        "_reading",
        "_running",
        "_source",
        "_target",
        "_writing",
        "moved",
    )

    def __init__(
        self,
        pool: PipePool,
        source: socket.socket,
        target: socket.socket,
        on_end: Callable[[OSError | None], None],
        before: Callable[[], None] | None = None,
    ) -> None:
        self._before = before
        self._loop = asyncio.get_running_loop()
        self._pool = pool
        self._source = source
        self._target = target
        self._on_end = on_end
        self._pipe: tuple[int, int] | None = None
        self._held = 0
        self._eof = False
        self._reading = False
        self._writing = False
        self._running = False
        self.moved = 0

    def start(self) -> None:
        """Begin to move bytes as they come."""
        self._running = True
        self._watch_source()

    def stop(self) -> None:
        """Stop moving bytes. Safe at any time, also twice."""
        self._running = False
        self._unwatch()
        if self._pipe is not None:
            if self._held:
                self._pool.discard(self._pipe)
            else:
                self._pool.give_back(self._pipe)
            self._pipe = None

    def _watch_source(self) -> None:
        if not self._reading:
            self._loop.add_reader(self._source.fileno(), self._step)
            self._reading = True

    def _unwatch(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._source.fileno())
            self._reading = False
        if self._writing:
            self._loop.remove_writer(self._target.fileno())
            self._writing = False

    def _step(self) -> None:
        """Move what can be moved now, once in and once out: other pumps want turns too."""
        if not self._running:
            return
        if self._before is not None:
            before, self._before = self._before, None
            before()
        try:
            if not self._eof and self._held < PIPE_BYTES:
                self._fill()
            if self._held:
                self._drain()
            if not self._held and self._pipe is not None:
                self._pool.give_back(self._pipe)
                self._pipe = None
            if self._eof and not self._held:
                end_stream(self._target)
                self._finish(None)
        except OSError as error:
            self._finish(error)

    def _fill(self) -> None:
        if self._pipe is None:
            self._pipe = self._pool.take()
        try:
            count = os.splice(
                self._source.fileno(), self._pipe[1], PIPE_BYTES, flags=_SPLICE_FLAGS
            )
        except BlockingIOError:
            return
        if count:
            self._held += count
        else:
            self._eof = True
            self._loop.remove_reader(self._source.fileno())
            self._reading = False

    def _drain(self) -> None:
        assert self._pipe is not None  # noqa: S101 - held bytes are in a pipe
        try:
            count = os.splice(
                self._pipe[0], self._target.fileno(), self._held, flags=_SPLICE_FLAGS
            )
        except BlockingIOError:
            count = 0
        self._held -= count
        self.moved += count
        if self._held:
            self._wait_for_target()
        elif self._writing:
            self._loop.remove_writer(self._target.fileno())
            self._writing = False
            if not self._eof:
                self._watch_source()

    def _wait_for_target(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._source.fileno())
            self._reading = False
        if not self._writing:
            self._loop.add_writer(self._target.fileno(), self._step)
            self._writing = True

    def _finish(self, error: OSError | None) -> None:
        self.stop()
        self._on_end(error)

    @property
    def is_idle(self) -> bool:
        """Whether no byte is on its way."""
        return not self._held
